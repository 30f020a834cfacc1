"""Postfix: `smtpd_tls_chain_files` names `live/NAME/privkey.pem` and `fullchain.pem`.

The SNI map (`tls_server_sni_maps`) contains the files themselves, not their paths, so it is rebuilt
with `postmap -F` before each reload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.text import whole_number
from certctl.model.values import Value
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.postfix.config_directory",
        Kind.PATH,
        None,
        "Configuration directory of the Postfix instance, if it is not the default one.",
        flag="--postfix-config-directory",
        metavar="DIR",
        in_spec=True,
        variable="CERTCTL_POSTFIX_CONFIG_DIRECTORY",
    ),
)

_INDEXED_MAP = re.compile(r"(?:hash|btree|lmdb|cdb|dbm|sdbm):\S+")
_LISTENER = re.compile(r"^(\S+)\s+inet\s.*\bsmtpd\b", re.MULTILINE)
_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}
_IMPLICIT_TLS_PORT = 465
"""TLS without STARTTLS (RFC 8314 §7.3)."""


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if Postfix or its configuration is missing."""
    directory = text(settings, "deploy.postfix.config_directory")
    for name in ("postfix", "postconf", "postmap"):
        system.program(name, given=None)
    if directory:
        system.file(directory, "--postfix-config-directory")
    return Postfix(("-c", directory) if directory else (), system)


class Postfix(LiveFilesTarget):
    """A Postfix; `arguments` select the instance."""

    def __init__(self, arguments: Sequence[str], system: TargetSystem) -> None:
        self._arguments = arguments
        self._system = system

    def test(self) -> None:
        self._system.test("postfix", *self._arguments, "check")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        maps = self._system.query("postconf", *self._arguments, "-h", "tls_server_sni_maps").output
        for each in _INDEXED_MAP.findall(maps.replace(",", " ")):
            self._system.reload("postmap", *self._arguments, "-F", each)
        self._system.reload("postfix", *self._arguments, "reload")

    def names_path(self, path: str) -> bool:
        return f"{path}/" in self._system.query("postconf", *self._arguments, "-n").output

    def services(self) -> Sequence[ServiceAddress]:
        output = self._system.query("postconf", *self._arguments, "-M").output
        found: list[ServiceAddress] = []
        for listener in _LISTENER.findall(output):
            name = listener.rpartition(":")[2]
            port = _PORTS.get(name, whole_number(name))
            if port is not None:
                starttls = None if port == _IMPLICIT_TLS_PORT else "smtp"
                found.append(ServiceAddress(None, port, starttls))
        return found
