"""Caddy: reads `live/NAME/fullchain.pem` and `privkey.pem`, as a `tls` line of its configuration
names them.

`--force` because Caddy does nothing where its configuration is the same as before, though the files
that it names are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.models import Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.caddy.config",
        Kind.PATH,
        "/etc/caddy/Caddyfile",
        "Configuration of the Caddy to deploy to.",
        flag="--caddy-config",
        in_spec=True,
        variable="CERTCTL_CADDY_CONFIG",
    ),
    Option(
        "deploy.caddy.adapter",
        Kind.TEXT,
        None,
        "The adapter that Caddy reads its configuration with, where the file's name does not tell.",
        flag="--caddy-adapter",
        metavar="NAME",
        in_spec=True,
        variable="CERTCTL_CADDY_ADAPTER",
    ),
    Option(
        "deploy.caddy.binary",
        Kind.PATH,
        None,
        "The caddy program, where it is in no directory of PATH.",
        flag="--caddy-binary",
        in_spec=True,
        variable="CERTCTL_CADDY_BINARY",
    ),
)

_PORT = re.compile(r"^[^\s#{}][^\n{]*?:(\d+)(?=[\s,{])", re.MULTILINE)


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where Caddy or its configuration is not
    there.
    """
    binary, adapter = (text(settings, f"deploy.caddy.{key}") for key in ("binary", "adapter"))
    config = text(settings, "deploy.caddy.config") or str(OPTIONS[0].default)
    program = system.program("caddy", given=binary, flag="--caddy-binary")
    system.file(config, "--caddy-config")
    arguments = ("--config", config, *(("--adapter", adapter) if adapter else ()))
    return Caddy(program, arguments, Path(config), system)


class Caddy(LiveFilesTarget):
    """A Caddy, told by `arguments` which configuration is meant."""

    def __init__(
        self, program: str, arguments: Sequence[str], config: Path, system: TargetSystem
    ) -> None:
        self._program = program
        self._arguments = arguments
        self._config = config
        self._system = system

    def test(self) -> None:
        self._system.test(self._program, "validate", *self._arguments)

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - it reads all again
        self._system.reload(self._program, "reload", "--force", *self._arguments)

    def services(self) -> Sequence[ServiceAddress]:
        try:
            text = self._config.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        ports = sorted({int(port) for port in _PORT.findall(text)} - {80})
        return [ServiceAddress(None, port) for port in ports or [443]]
