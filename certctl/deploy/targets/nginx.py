"""nginx: its configuration names `live/NAME/fullchain.pem` and `privkey.pem`.

On a reload nginx checks its files itself and keeps the old ones if the new ones are invalid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.values import Value
from certctl.rules.nginx_sites import Listen, servers_of_dump
from certctl.rules.nginx_syntax import SyntaxProblem
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.nginx.config",
        Kind.PATH,
        None,
        "Configuration of the nginx to deploy to, if it is not the system's own.",
        flag="--nginx-config",
        in_spec=True,
        variable="CERTCTL_NGINX_CONFIG",
    ),
    Option(
        "deploy.nginx.binary",
        Kind.PATH,
        None,
        "The nginx program, if it is not in PATH.",
        flag="--nginx-binary",
        in_spec=True,
        variable="CERTCTL_NGINX_BINARY",
    ),
)

_HTTPS = 443
_LARGEST_DUMP = 64 * 1024 * 1024


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if nginx or its configuration is missing."""
    binary, config = (text(settings, f"deploy.nginx.{key}") for key in ("binary", "config"))
    program = system.program("nginx", given=binary, flag="--nginx-binary")
    if config:
        system.file(config, "--nginx-config")
    return Nginx((program, *(("-c", config) if config else ())), system, own=bool(config))


class Nginx(LiveFilesTarget):
    """An nginx, called by `command`; `own`: not the instance that the system starts."""

    def __init__(self, command: Sequence[str], system: TargetSystem, *, own: bool) -> None:
        self._command = command
        self._system = system
        self._own = own

    def test(self) -> None:
        self._system.test(*self._command, "-t", "-q")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        service = None if self._own else self._system.service("nginx")
        self._system.reload(*(service or (*self._command, "-s", "reload")))

    def services(self) -> Sequence[ServiceAddress]:
        output = self._system.query(*self._command, "-T", limit=_LARGEST_DUMP).printed
        try:
            blocks = servers_of_dump(output.encode())
        except SyntaxProblem:  # the test has said so
            blocks = ()
        found = sorted(
            {_reached(each) for block in blocks for each in block if each.ssl and each.port}
        )
        return [ServiceAddress(host or None, port) for host, port in found or [("", _HTTPS)]]


def _reached(listen: Listen) -> tuple[str, int]:
    """Return where this machine reaches an address: "" for the addresses of the loopback."""
    host = "" if listen.address in {"*", "[::]"} else listen.address.strip("[]")
    return host, listen.port
