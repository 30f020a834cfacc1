"""nginx: reads `live/NAME/fullchain.pem` and `privkey.pem`, as its configuration names them.

It checks its files by itself before it uses them, and keeps the old ones where they are bad.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.models import Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.nginx.config",
        Kind.PATH,
        None,
        "Configuration of the nginx to deploy to, where it is not the system's own.",
        flag="--nginx-config",
        in_spec=True,
        variable="CERTCTL_NGINX_CONFIG",
    ),
    Option(
        "deploy.nginx.binary",
        Kind.PATH,
        None,
        "The nginx program, where it is in no directory of PATH.",
        flag="--nginx-binary",
        in_spec=True,
        variable="CERTCTL_NGINX_BINARY",
    ),
)

_LISTEN = re.compile(r"^\s*listen\s+(?:\S*:)?(\d+)\s[^;]*\bssl\b", re.MULTILINE)


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where nginx or its configuration is not
    there.
    """
    binary, config = (text(settings, f"deploy.nginx.{key}") for key in ("binary", "config"))
    program = system.program("nginx", given=binary, flag="--nginx-binary")
    if config:
        system.file(config, "--nginx-config")
    return Nginx((program, *(("-c", config) if config else ())), system, own=bool(config))


class Nginx(LiveFilesTarget):
    """An nginx, called by `command`; `own` where it is not the one that the system starts."""

    def __init__(self, command: Sequence[str], system: TargetSystem, *, own: bool) -> None:
        self._command = command
        self._system = system
        self._own = own

    def test(self) -> None:
        self._system.test(*self._command, "-t", "-q")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - it reads all again
        service = None if self._own else self._system.service("nginx")
        self._system.reload(*(service or (*self._command, "-s", "reload")))

    def services(self) -> Sequence[ServiceAddress]:
        shown = self._system.query(*self._command, "-T").output
        ports = sorted({int(port) for port in _LISTEN.findall(shown)})
        return [ServiceAddress(None, port) for port in ports or [443]]
