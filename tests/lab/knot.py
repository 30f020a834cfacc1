"""Knot DNS as the authoritative DNS of test zones: a primary that takes signed updates, and a
secondary that lags behind any primary until it is told to catch up.

The other half of `tests.lab.bind`, by other people: what holds with both is no habit of one of
them. Knot listens at any loopback address by itself.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.bind import DnsEndpoint, DnsServer, Primary, notify, zone_text
from tests.lab.ports import free_port
from tests.lab.processes import LabServer, ServerProcess
from tests.lab.programs import program


@dataclass(kw_only=True)
class KnotServer(DnsServer):
    """A primary for `zones`, each with a wildcard A record to 127.0.0.1. It is no resolver, but
    answers with authority, which is enough to find its zones by.

    `zones` maps a zone's name to further records in master-file syntax. `other_servers` maps the
    first label of further name servers to their addresses, whether or not anybody listens there.
    """

    directory: Path
    zones: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    key_name: str = "certctl-test"
    key_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    other_servers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keyfile.touch(mode=0o600)
        self.keyfile.write_text(
            f'key "{self.key_name}" {{ algorithm hmac-sha256; secret "{self.key_secret_b64}"; }};\n'
        )
        for zone, records in self.zones.items():
            servers = {"ns1": self.host, **self.other_servers}
            (self.directory / f"{zone}.zone").write_text(zone_text(servers, records))
        zones = "".join(
            f'  - domain: "{zone}"\n    file: "{zone}.zone"\n    zonefile-sync: -1\n'
            "    zonefile-load: whole\n    journal-content: all\n    acl: ours\n"
            for zone in self.zones
        )
        self._server = _knotd(self, self.directory, _update_acl(self) + f"zone:\n{zones}")

    @property
    def key_secret_b64(self) -> str:
        """The TSIG secret (hmac-sha256) in base64."""
        return base64.b64encode(self.key_secret).decode()

    @property
    def keyfile(self) -> Path:
        """The TSIG key in the syntax of BIND's `tsig-keygen`."""
        return self.directory / "tsig.key"

    def dump(self, zone: str) -> list[str]:
        """Return every record of a zone but its SOA, sorted."""
        return self.endpoint.dump(zone, self.key_name, self.key_secret)


@dataclass(kw_only=True)
class KnotSecondary(LabServer):
    """A secondary that copies the primary's zones when it starts, and again only on request.

    It answers on the primary's port at another loopback address.
    """

    directory: Path
    primary: Primary
    host: str

    def __post_init__(self) -> None:
        primary = self.primary
        host, port = primary.endpoint.host, primary.endpoint.port
        remote = (
            f"remote:\n  - id: primary\n    address: {host}@{port}\n    key: {primary.key_name}\n"
            f"acl:\n  - id: told\n    address: 127.0.0.0/8\n    action: notify\n"
        )
        zones = "".join(
            f'  - domain: "{zone}"\n    master: primary\n    acl: told\n    zonefile-sync: -1\n'
            for zone in primary.zones
        )
        self._server = _knotd(self, self.directory, _key(primary) + remote + f"zone:\n{zones}")

    @property
    def port(self) -> int:
        """The primary's port."""
        return self.primary.endpoint.port

    @property
    def zones(self) -> Sequence[str]:
        """The zones that it copies."""
        return list(self.primary.zones)

    @property
    def endpoint(self) -> DnsEndpoint:
        """Where it answers."""
        return DnsEndpoint(self.host, self.port)

    def txt(self, name: str) -> list[str]:
        """Return the TXT values at `name` on the secondary, sorted."""
        return self.endpoint.txt(name)

    def catch_up(self) -> None:
        """Ask the secondary to copy what changed (RFC 1996 NOTIFY); it does so within moments."""
        for zone in self.zones:
            notify(self.endpoint, zone)


def _knotd(
    server: KnotServer | KnotSecondary, directory: Path, configuration: str
) -> ServerProcess:
    (directory / "db").mkdir()
    config = directory / "knot.conf"
    sizes = "".join(f"    {each}-db-max-size: 16M\n" for each in ("journal", "kasp", "timer"))
    config.write_text(
        f'server:\n    rundir: "{directory}"\n    listen: {server.host}@{server.port}\n'
        "    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n"
        f'control:\n    listen: "{directory / "knot.sock"}"\n'
        "log:\n  - target: stderr\n    any: info\n"
        f'database:\n    storage: "{directory / "db"}"\n{sizes}    catalog-db-max-size: 16M\n'
        f'template:\n  - id: default\n    storage: "{directory}"\n' + configuration
    )
    config.chmod(0o600)
    return ServerProcess(
        [program("knotd"), "-c", str(config)],
        directory=directory,
        ready=lambda: all(server.endpoint.serves(zone) for zone in server.zones),
    )


def _key(primary: Primary) -> str:
    secret = base64.b64encode(primary.key_secret).decode()
    return f"key:\n  - id: {primary.key_name}\n    algorithm: hmac-sha256\n    secret: {secret}\n"


def _update_acl(server: KnotServer) -> str:
    return (
        f"{_key(server)}acl:\n  - id: ours\n    key: {server.key_name}\n"
        "    action: [update, transfer]\n"
    )
