"""Postfix: reads `live/NAME/privkey.pem` and `fullchain.pem`, named by `smtpd_tls_chain_files`.

A map of certificates by name (`tls_server_sni_maps`) holds the files themselves, not their paths:
it is compiled again (`postmap -F`) before each reload.
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

_COMPILED = re.compile(r"(?:hash|btree|lmdb|cdb|dbm|sdbm):\S+")
_LISTENER = re.compile(r"^(\S+)\s+inet\s.*\bsmtpd\b", re.MULTILINE)
_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}
_WRAPPED = 465
"""Where TLS comes first, without STARTTLS (RFC 8314 §7.3)."""


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where Postfix or its configuration is not
    there.
    """
    directory = text(settings, "deploy.postfix.config_directory")
    for name in ("postfix", "postconf", "postmap"):
        system.program(name, given=None)
    if directory:
        system.file(directory, "--postfix-config-directory")
    return Postfix(("-c", directory) if directory else (), system)


class Postfix(LiveFilesTarget):
    """A Postfix, told by `where` which one is meant."""

    def __init__(self, where: Sequence[str], system: TargetSystem) -> None:
        self._where = where
        self._system = system

    def test(self) -> None:
        self._system.test("postfix", *self._where, "check")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - it reads all again
        said = self._system.query("postconf", *self._where, "-h", "tls_server_sni_maps").output
        for each in _COMPILED.findall(said.replace(",", " ")):
            self._system.reload("postmap", *self._where, "-F", each)
        self._system.reload("postfix", *self._where, "reload")

    def services(self) -> Sequence[ServiceAddress]:
        shown = self._system.query("postconf", *self._where, "-M").output
        found: list[ServiceAddress] = []
        for place in _LISTENER.findall(shown):
            name = place.rpartition(":")[2]
            port = int(name) if name.isdigit() else _PORTS.get(name)
            if port is not None:
                found.append(ServiceAddress(None, port, None if port == _WRAPPED else "smtp"))
        return found
