"""Caddy: a `tls` directive of its configuration names `live/NAME/fullchain.pem` and `privkey.pem`.

Reloads use `--force`, because Caddy otherwise ignores a reload with an unchanged configuration even
if the certificate files have changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.values import Value
from certctl.rules.options import Kind, Option

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
        "Caddy's configuration adapter, if it cannot be derived from the file name.",
        flag="--caddy-adapter",
        metavar="NAME",
        in_spec=True,
        variable="CERTCTL_CADDY_ADAPTER",
    ),
    Option(
        "deploy.caddy.binary",
        Kind.PATH,
        None,
        "The caddy program, if it is not in PATH.",
        flag="--caddy-binary",
        in_spec=True,
        variable="CERTCTL_CADDY_BINARY",
    ),
)

_PORT = re.compile(r"^[^\s#{}][^\n{]*?:(\d+)(?=[\s,{])", re.MULTILINE)


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if Caddy or its configuration is missing."""
    binary, adapter = (text(settings, f"deploy.caddy.{key}") for key in ("binary", "adapter"))
    config = text(settings, "deploy.caddy.config") or str(OPTIONS[0].default)
    program = system.program("caddy", given=binary, flag="--caddy-binary")
    system.file(config, "--caddy-config")
    arguments = ("--config", config, *(("--adapter", adapter) if adapter else ()))
    return Caddy(program, arguments, Path(config), system)


class Caddy(LiveFilesTarget):
    """A Caddy; `arguments` select its configuration."""

    serves_one_key = True

    def __init__(
        self, program: str, arguments: Sequence[str], config: Path, system: TargetSystem
    ) -> None:
        self._program = program
        self._arguments = arguments
        self._config = config
        self._system = system

    def test(self) -> None:
        self._system.test(self._program, "validate", *self._arguments)

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        self._system.reload(self._program, "reload", "--force", *self._arguments)

    def services(self) -> Sequence[ServiceAddress]:
        try:
            text = self._config.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        ports = sorted({int(port) for port in _PORT.findall(text)} - {80})
        return [ServiceAddress(None, port) for port in ports or [443]]
