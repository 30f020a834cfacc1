"""Dovecot: reads `live/NAME/fullchain.pem` and `privkey.pem`, named by `ssl_cert` and `ssl_key`.

A reload with a bad file leaves it without TLS for new connections, so the test always comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.models import Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.dovecot.config",
        Kind.PATH,
        None,
        "Configuration of the Dovecot to deploy to, where it is not the system's own.",
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
"""The protocol, the path of its listener in the configuration, and what comes before TLS."""

_USUAL = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where Dovecot or its configuration is not
    there.
    """
    config = text(settings, "deploy.dovecot.config")
    for name in ("doveconf", "doveadm"):
        system.program(name, given=None)
    if config:
        system.file(config, "--dovecot-config")
    return Dovecot(("-c", config) if config else (), system)


class Dovecot(LiveFilesTarget):
    """A Dovecot, told by `where` which one is meant."""

    def __init__(self, where: Sequence[str], system: TargetSystem) -> None:
        self._where = where
        self._system = system

    def test(self) -> None:
        self._system.test("doveconf", *self._where, "-n")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - it reads all again
        service = None if self._where else self._system.service("dovecot")
        self._system.reload(*(service or ("doveadm", *self._where, "reload")))

    def services(self) -> Sequence[ServiceAddress]:
        protocols = self._asked("protocols").split()
        found: list[ServiceAddress] = []
        for protocol, path, starttls in _LISTENERS:
            if protocol not in protocols:
                continue
            said = self._asked(f"service/{path}/port")
            port = int(said) if said.isdigit() else _USUAL[path.rpartition("/")[2]]
            if port:
                found.append(ServiceAddress(None, port, starttls))
        return found

    def _asked(self, setting: str) -> str:
        said = self._system.query("doveconf", *self._where, "-h", setting)
        return said.output.strip() if said.exit_status == 0 else ""
