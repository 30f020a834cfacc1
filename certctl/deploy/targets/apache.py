"""Apache: its configuration names `live/NAME/fullchain.pem` and `privkey.pem`.

Apache exits if it cannot load a file during a graceful restart, so its configuration is always
tested first. A server that is not running is not started.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.errors import HookFailed
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.values import Value
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.apache.config",
        Kind.PATH,
        None,
        "Configuration of the Apache to deploy to, if it is not the system's own.",
        flag="--apache-config",
        in_spec=True,
        variable="CERTCTL_APACHE_CONFIG",
    ),
    Option(
        "deploy.apache.binary",
        Kind.PATH,
        None,
        "The apache2ctl, apachectl or httpd program, if it is not in PATH.",
        flag="--apache-binary",
        in_spec=True,
        variable="CERTCTL_APACHE_BINARY",
    ),
)

_PID_FILE = re.compile(r'^PidFile: "(.+)"', re.MULTILINE)
_PORT = re.compile(r"^(?:\S*:)(\d+)\s", re.MULTILINE)
_HTTP_PORT = 80


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if Apache or its configuration is missing."""
    binary, config = (text(settings, f"deploy.apache.{key}") for key in ("binary", "config"))
    program = system.program(
        "apache2ctl", "apachectl", "httpd", given=binary, flag="--apache-binary"
    )
    if config:
        system.file(config, "--apache-config")
    return Apache((program, *(("-f", config) if config else ())), system, own=bool(config))


class Apache(LiveFilesTarget):
    """An Apache, called by `command`; `own`: not the instance that the system starts."""

    def __init__(self, command: Sequence[str], system: TargetSystem, *, own: bool) -> None:
        self._command = command
        self._system = system
        self._own = own

    def test(self) -> None:
        self._system.test(*self._command, "-t")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        service = None
        if not self._own:
            service = self._system.service("apache2") or self._system.service("httpd")
        if service is not None:
            self._system.reload(*service)
            return
        output = self._system.query(*self._command, "-t", "-D", "DUMP_RUN_CFG").output
        found = _PID_FILE.search(output)
        if found is None:
            raise HookFailed(
                "the reload failed: Apache does not report its PID file",
                hint=f"Check the output of: {' '.join(self._command)} -t -D DUMP_RUN_CFG",
            )
        self._system.signal(signal.SIGUSR1, found[1], "--apache-config")

    def services(self) -> Sequence[ServiceAddress]:
        output = self._system.query(*self._command, "-t", "-D", "DUMP_VHOSTS").output
        ports = sorted({int(port) for port in _PORT.findall(output)} - {_HTTP_PORT})
        return [ServiceAddress(None, port) for port in ports or [443]]
