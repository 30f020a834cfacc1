"""stunnel: its configuration names `live/NAME/fullchain.pem` and `privkey.pem`.

stunnel has no configuration test and does not report a failed reload: it keeps the old files, which
only the live check detects.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.errors import ConfigurationError, HookFailed
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.values import Value
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.stunnel.config",
        Kind.PATH,
        "/etc/stunnel/stunnel.conf",
        "Configuration of the stunnel to deploy to.",
        flag="--stunnel-config",
        in_spec=True,
        variable="CERTCTL_STUNNEL_CONFIG",
    ),
    Option(
        "deploy.stunnel.pid_file",
        Kind.PATH,
        None,
        "The PID file of stunnel, if its configuration does not name one.",
        flag="--stunnel-pid-file",
        in_spec=True,
        variable="CERTCTL_STUNNEL_PID_FILE",
    ),
)

_PID = re.compile(r"^\s*pid\s*=\s*(\S+)", re.MULTILINE)
_ACCEPT = re.compile(r"^\s*accept\s*=\s*(?:\S*:)?(\d+)\s*$", re.MULTILINE)
_FILE = re.compile(r"^\s*(?:cert|key)\s*=\s*(\S+)", re.MULTILINE)


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if the configuration is missing."""
    config = text(settings, "deploy.stunnel.config") or str(OPTIONS[0].default)
    pid_file = text(settings, "deploy.stunnel.pid_file")
    system.file(config, "--stunnel-config")
    return Stunnel(Path(config), pid_file, system)


class Stunnel(LiveFilesTarget):
    """An stunnel that runs with the configuration `config`."""

    serves_one_key = True

    def __init__(self, config: Path, pid_file: str | None, system: TargetSystem) -> None:
        self._config = config
        self._pid_file = pid_file
        self._system = system

    def test(self) -> None:
        missing = [each for each in _FILE.findall(self._text()) if not Path(each).exists()]
        if missing:
            raise HookFailed(
                f"{self._config} names {missing[0]}, which does not exist",
                hint="Correct the configuration, then run: certctl deploy --pending",
                code="deploy.test_failed",
            )

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        found = _PID.search(self._text())
        pid_file = self._pid_file or (found[1] if found else None)
        if pid_file is not None:
            self._system.signal(signal.SIGHUP, pid_file, "--stunnel-pid-file")
            return
        service = self._system.service("stunnel4") or self._system.service("stunnel")
        if service is None:
            raise ConfigurationError(
                f"stunnel cannot be reloaded: {self._config} does not name a PID file (pid = FILE)",
                hint="Add that line, or give the PID file: --stunnel-pid-file FILE",
                code="deploy.not_running",
            )
        self._system.reload(*service)

    def services(self) -> Sequence[ServiceAddress]:
        ports = sorted({int(port) for port in _ACCEPT.findall(self._text())})
        return [ServiceAddress(None, port) for port in ports]

    def _text(self) -> str:
        try:
            return self._config.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
