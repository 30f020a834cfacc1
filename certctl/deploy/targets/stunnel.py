"""stunnel: reads `live/NAME/fullchain.pem` and `privkey.pem`, as a section of its configuration
names them.

It has no test of its own and says nothing of a reload that failed: it keeps the old files then, and
only a look on the wire tells.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.errors import ConfigurationError, HookFailed
from certctl.models import Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget

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
        "File with the number of stunnel's process, where its configuration does not say it.",
        flag="--stunnel-pid-file",
        in_spec=True,
        variable="CERTCTL_STUNNEL_PID_FILE",
    ),
)

_PID = re.compile(r"^\s*pid\s*=\s*(\S+)", re.MULTILINE)
_ACCEPT = re.compile(r"^\s*accept\s*=\s*(?:\S*:)?(\d+)\s*$", re.MULTILINE)
_FILE = re.compile(r"^\s*(?:cert|key)\s*=\s*(\S+)", re.MULTILINE)


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where the configuration is not there."""
    config = text(settings, "deploy.stunnel.config") or str(OPTIONS[0].default)
    pid_file = text(settings, "deploy.stunnel.pid_file")
    system.file(config, "--stunnel-config")
    return Stunnel(Path(config), pid_file, system)


class Stunnel(LiveFilesTarget):
    """An stunnel that was started with a configuration."""

    def __init__(self, config: Path, pid_file: str | None, system: TargetSystem) -> None:
        self._config = config
        self._pid_file = pid_file
        self._system = system

    def test(self) -> None:
        absent = [each for each in _FILE.findall(self._text()) if not Path(each).exists()]
        if absent:
            raise HookFailed(
                f"{self._config} names {absent[0]}, which is not there",
                hint="Correct the configuration, then: certctl deploy --pending",
                code="deploy.test_failed",
            )

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - it reads all again
        named = _PID.search(self._text())
        pid_file = self._pid_file or (named[1] if named else None)
        if pid_file is not None:
            self._system.signal(signal.SIGHUP, pid_file, "--stunnel-pid-file")
            return
        service = self._system.service("stunnel4") or self._system.service("stunnel")
        if service is None:
            raise ConfigurationError(
                f"{self._config} does not say where stunnel writes its number (pid = FILE)",
                hint="Say it there, or with --stunnel-pid-file FILE.",
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
