"""Apache: reads `live/NAME/fullchain.pem` and `privkey.pem`, as its configuration names them.

A graceful restart with a file that it cannot load ends it, so the test always comes first, and
where the server does not run it is not started.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.errors import HookFailed
from certctl.models import Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.apache.config",
        Kind.PATH,
        None,
        "Configuration of the Apache to deploy to, where it is not the system's own.",
        flag="--apache-config",
        in_spec=True,
        variable="CERTCTL_APACHE_CONFIG",
    ),
    Option(
        "deploy.apache.binary",
        Kind.PATH,
        None,
        "The apache2ctl, apachectl or httpd program, where it is in no directory of PATH.",
        flag="--apache-binary",
        in_spec=True,
        variable="CERTCTL_APACHE_BINARY",
    ),
)

_PID_FILE = re.compile(r'^PidFile: "(.+)"', re.MULTILINE)
_PORT = re.compile(r"^(?:\S*:)(\d+)\s", re.MULTILINE)
_PLAIN = 80


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where Apache or its configuration is not
    there.
    """
    binary, config = (text(settings, f"deploy.apache.{key}") for key in ("binary", "config"))
    program = system.program(
        "apache2ctl", "apachectl", "httpd", given=binary, flag="--apache-binary"
    )
    if config:
        system.file(config, "--apache-config")
    return Apache((program, *(("-f", config) if config else ())), system, own=bool(config))


class Apache(LiveFilesTarget):
    """An Apache, called by `command`; `own` where it is not the one that the system starts."""

    def __init__(self, command: Sequence[str], system: TargetSystem, *, own: bool) -> None:
        self._command = command
        self._system = system
        self._own = own

    def test(self) -> None:
        self._system.test(*self._command, "-t")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - it reads all again
        service = None
        if not self._own:
            service = self._system.service("apache2") or self._system.service("httpd")
        if service is not None:
            self._system.reload(*service)
            return
        shown = self._system.query(*self._command, "-t", "-D", "DUMP_RUN_CFG").output
        found = _PID_FILE.search(shown)
        if found is None:
            raise HookFailed(
                "the reload failed: Apache does not say where its number is written",
                hint=f"See what this prints: {' '.join(self._command)} -t -D DUMP_RUN_CFG",
            )
        self._system.signal(signal.SIGUSR1, found[1], "--apache-config")

    def services(self) -> Sequence[ServiceAddress]:
        shown = self._system.query(*self._command, "-t", "-D", "DUMP_VHOSTS").output
        ports = sorted({int(port) for port in _PORT.findall(shown)} - {_PLAIN})
        return [ServiceAddress(None, port) for port in ports or [443]]
