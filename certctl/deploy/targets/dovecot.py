"""Dovecot: `ssl_cert` and `ssl_key` name `live/NAME/fullchain.pem` and `privkey.pem`.

After a reload with an invalid file Dovecot offers no TLS to new connections, so its configuration
is always tested first.
"""

from __future__ import annotations

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
        "deploy.dovecot.config",
        Kind.PATH,
        None,
        "Configuration of the Dovecot to deploy to, if it is not the system's own.",
        flag="--dovecot-config",
        in_spec=True,
        variable="CERTCTL_DOVECOT_CONFIG",
    ),
)

_LISTENERS = (
    ("imap", "imap-login/inet_listener/imap", "imap"),
    ("imap", "imap-login/inet_listener/imaps", None),
    ("pop3", "pop3-login/inet_listener/pop3", "pop3"),
    ("pop3", "pop3-login/inet_listener/pop3s", None),
)
"""The protocol, the path of its listener in the configuration, and the STARTTLS protocol."""

_DEFAULT_PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if Dovecot or its configuration is missing."""
    config = text(settings, "deploy.dovecot.config")
    for name in ("doveconf", "doveadm"):
        system.program(name, given=None)
    if config:
        system.file(config, "--dovecot-config")
    return Dovecot(("-c", config) if config else (), system)


class Dovecot(LiveFilesTarget):
    """A Dovecot; `arguments` select its configuration."""

    def __init__(self, arguments: Sequence[str], system: TargetSystem) -> None:
        self._arguments = arguments
        self._system = system

    def test(self) -> None:
        self._system.test("doveconf", *self._arguments, "-n")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        service = None if self._arguments else self._system.service("dovecot")
        self._system.reload(*(service or ("doveadm", *self._arguments, "reload")))

    def names_path(self, path: str) -> bool:
        return f"{path}/" in self._system.query("doveconf", *self._arguments, "-n").output

    def services(self) -> Sequence[ServiceAddress]:
        protocols = self._setting("protocols").split()
        found: list[ServiceAddress] = []
        for protocol, path, starttls in _LISTENERS:
            if protocol not in protocols:
                continue
            value = self._setting(f"service/{path}/port")
            given = whole_number(value)
            port = _DEFAULT_PORTS[path.rpartition("/")[2]] if given is None else given
            if port:
                found.append(ServiceAddress(None, port, starttls))
        return found

    def _setting(self, name: str) -> str:
        completed = self._system.query("doveconf", *self._arguments, "-h", name)
        return completed.output.strip() if completed.exit_status == 0 else ""
