"""BIND as the authoritative DNS of test zones: a primary that takes signed updates, and a
secondary that lags behind it until it is told to catch up.

Plain processes on loopback. Servers of the same zones share one port on different loopback
addresses, as real ones share port 53.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from tests.lab.ports import free_port
from tests.lab.processes import LabServer, ServerProcess
from tests.lab.programs import program
from tests.lab.relay import DnsRelay

QUERY_SECONDS = 5.0
NEVER_SECONDS = 2_000_000


@dataclass(frozen=True)
class DnsEndpoint:
    """One DNS server that can be asked directly."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """The server as `host:port`."""
        return f"{self.host}:{self.port}"

    def records(self, name: str, kind: str) -> list[str]:
        """Return the records of one type at `name` as text, sorted; none if there are none."""
        answer = self.ask(dns.message.make_query(name, kind))
        wanted = dns.rdatatype.from_text(kind)
        return sorted(
            record.to_text()
            for rrset in answer.answer
            if rrset.rdtype == wanted
            for record in rrset
        )

    def txt(self, name: str) -> list[str]:
        """Return the TXT values at `name`, sorted and without quotes."""
        return sorted(text.strip('"') for text in self.records(name, "TXT"))

    def dump(self, zone: str, key_name: str, key_secret: bytes) -> list[str]:
        """Return every record of a zone but its SOA as `name TTL type data`, sorted, by a transfer
        that the key allows.
        """
        found = dns.zone.Zone(zone, relativize=False)
        query, _ = dns.xfr.make_query(
            found, keyring={dns.name.from_text(key_name): dns.tsig.Key(key_name, key_secret)}
        )
        dns.query.inbound_xfr(self.host, found, query, port=self.port, timeout=QUERY_SECONDS)
        return sorted(
            f"{name} {ttl} {dns.rdatatype.to_text(data.rdtype)} {data}"
            for name, ttl, data in found.iterate_rdatas()
            if data.rdtype != dns.rdatatype.SOA
        )

    def ask(self, query: dns.message.QueryMessage) -> dns.message.Message:
        """Return the answer to a message, over UDP and then TCP if it was cut short."""
        answer, _ = dns.query.udp_with_fallback(
            query, self.host, port=self.port, timeout=QUERY_SECONDS
        )
        return answer

    def serves(self, zone: str) -> bool:
        """Return whether the server answers for `zone` with authority."""
        try:
            # TCP, since a server that does not listen yet refuses it at once.
            query = dns.message.make_query(zone, "SOA")
            answer = dns.query.tcp(query, self.host, port=self.port, timeout=QUERY_SECONDS)
        except (OSError, dns.exception.DNSException):
            return False
        return answer.rcode() == dns.rcode.NOERROR and bool(answer.flags & dns.flags.AA)


class Primary(Protocol):
    """What a secondary needs to know of its primary, whoever wrote that."""

    key_name: str
    key_secret: bytes

    @property
    def zones(self) -> Mapping[str, str]:
        """The names of its zones, with their records."""
        ...

    @property
    def endpoint(self) -> DnsEndpoint:
        """Where it answers."""
        ...


class DnsServer(LabServer):
    """A name server at `host` and `port`."""

    host: str
    port: int

    @property
    def endpoint(self) -> DnsEndpoint:
        """Where it answers."""
        return DnsEndpoint(self.host, self.port)

    @property
    def address(self) -> str:
        """The server as `host:port`."""
        return self.endpoint.address

    def txt(self, name: str) -> list[str]:
        """Return the TXT values at `name`, sorted."""
        return self.endpoint.txt(name)


@dataclass(kw_only=True)
class BindServer(DnsServer):
    """A primary for `zones`, each with a wildcard A record to 127.0.0.1, and their resolver.

    A name outside the zones does not exist (NXDOMAIN); nobody else is asked.

    `zones` maps a zone's name to further records in master-file syntax. `grants` are BIND
    update-policy rules for the TSIG key, without the leading `grant KEY`. With `secondary_host`,
    that address is named as a second authoritative server; `secondary()` starts it. `forwards` has
    the servers of zones that others serve.
    """

    directory: Path
    zones: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    key_name: str = "certctl-test"
    key_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    grants: Sequence[str] = ("zonesub TXT",)
    secondary_host: str | None = None
    other_servers: Mapping[str, str] = field(default_factory=dict)
    """Further name servers: their first labels with their addresses."""
    query_log: bool = False
    forwards: Mapping[str, DnsEndpoint] = field(default_factory=dict)
    """Zones of other servers, which it asks when it is asked as a resolver."""

    def __post_init__(self) -> None:
        self._write_keyfile()
        for zone, records in self.zones.items():
            self._zone_file(zone).write_text(zone_text(self._servers(), records))
        self._server = _named(
            self.directory,
            self._configuration(),
            self.endpoint,
            list(self.zones),
            options="querylog yes;" if self.query_log else "",
            delegations="".join(
                f"{zone}. NS ns1.{zone}.\nns1.{zone}. A {server.host}\n"
                for zone, server in self.forwards.items()
            ),
        )

    @property
    def key_secret_b64(self) -> str:
        """The TSIG secret (hmac-sha256) in base64."""
        return base64.b64encode(self.key_secret).decode()

    @property
    def keyfile(self) -> Path:
        """The TSIG key in BIND's own syntax, as `tsig-keygen` writes it."""
        return self.directory / "tsig.key"

    def add_txt(self, name: str, value: str) -> None:
        """Add a TXT value to the zone of `name`, as somebody would by hand."""
        update = self._update(name)
        update.add(f"{name}.", 1, "TXT", f'"{value}"')
        self._send(update)

    def remove(self, name: str, kind: str) -> None:
        """Remove all records of one type at a name, as somebody would by hand."""
        update = self._update(name)
        update.delete(f"{name}.", kind)
        self._send(update)

    def _update(self, name: str) -> dns.update.UpdateMessage:
        zone = max((each for each in self.zones if f".{name}".endswith(f".{each}")), key=len)
        update = dns.update.UpdateMessage(f"{zone}.")
        update.use_tsig(dns.tsig.Key(f"{self.key_name}.", self.key_secret, "hmac-sha256"))
        return update

    def _send(self, update: dns.update.UpdateMessage) -> None:
        answer = dns.query.tcp(update, self.host, port=self.port, timeout=QUERY_SECONDS)
        assert answer.rcode() == dns.rcode.NOERROR, answer

    def records(self, name: str, kind: str) -> list[str]:
        """Return the records of one type at `name` on the primary as text, sorted."""
        return self.endpoint.records(name, kind)

    def dump(self, zone: str) -> list[str]:
        """Return every record of a zone but its SOA, sorted."""
        return self.endpoint.dump(zone, self.key_name, self.key_secret)

    def secondary(self, directory: Path) -> "BindSecondary":
        """Return a secondary of all zones, not yet started, on `secondary_host`."""
        assert self.secondary_host is not None, "the primary was made without secondary_host"
        return BindSecondary(directory=directory, primary=self, host=self.secondary_host)

    def key_statement(self) -> str:
        """Return the `key` statement that a configuration needs to use the TSIG key."""
        return (
            f'key "{self.key_name}" {{\n\talgorithm hmac-sha256;\n'
            f'\tsecret "{self.key_secret_b64}";\n}};\n'
        )

    def _write_keyfile(self) -> None:
        self.keyfile.touch(mode=0o600)
        self.keyfile.write_text(self.key_statement())

    def _zone_file(self, zone: str) -> Path:
        return self.directory / f"{zone}.zone"

    def _servers(self) -> Mapping[str, str]:
        secondary = {} if self.secondary_host is None else {"ns2": self.secondary_host}
        return {"ns1": self.host, **secondary, **self.other_servers}

    def _configuration(self) -> str:
        policy = " ".join(f'grant "{self.key_name}" {rule};' for rule in self.grants)
        zones = "".join(
            f'zone "{zone}" {{ type primary; file "{self._zone_file(zone)}"; notify no;\n'
            f'  allow-transfer {{ key "{self.key_name}"; }};\n'
            f"  update-policy {{ {policy} }}; }};\n"
            for zone in self.zones
        )
        forwards = "".join(
            f'zone "{zone}" {{ type forward; forward only;\n'
            f"  forwarders {{ {server.host} port {server.port}; }}; }};\n"
            for zone, server in self.forwards.items()
        )
        return f'include "{self.keyfile}";\n{zones}{forwards}'


@dataclass(kw_only=True)
class BindSecondary:
    """A secondary that copies the primary's zones when it starts, and again only on request.

    It answers on the primary's port at another loopback address; see `tests.lab.relay`.
    """

    directory: Path
    primary: BindServer
    host: str
    inner_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        zones = list(self.primary.zones)
        self._inner = DnsEndpoint("127.0.0.1", self.inner_port)
        self._server = _named(self.directory, self._configuration(zones), self._inner, zones)
        self._running = ExitStack()

    @property
    def endpoint(self) -> DnsEndpoint:
        """Where it answers."""
        return DnsEndpoint(self.host, self.primary.port)

    def txt(self, name: str) -> list[str]:
        """Return the TXT values at `name` on the secondary, sorted."""
        return self.endpoint.txt(name)

    def catch_up(self) -> None:
        """Ask the secondary to copy what changed (RFC 1996 NOTIFY); it does so within moments."""
        for zone in self.primary.zones:
            notify(self._inner, zone)

    def output(self) -> str:
        """Return the server's log."""
        return self._server.output()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self._server)
            starting.enter_context(DnsRelay(self.host, self.primary.port, self.inner_port))
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _configuration(self, zones: Sequence[str]) -> str:
        primary, key = self.primary, self.primary.key_name
        return f'include "{primary.keyfile}";\n' + "".join(
            f'zone "{zone}" {{ type secondary; file "{self.directory / zone}.zone";\n'
            f'  primaries port {primary.port} {{ {primary.host} key "{key}"; }};\n'
            "  notify no; allow-notify { any; };\n"
            f"  min-refresh-time {NEVER_SECONDS}; max-refresh-time {NEVER_SECONDS}; }};\n"
            for zone in zones
        )


def zone_text(servers: Mapping[str, str], records: str) -> str:
    """Return a zone in master-file syntax: its servers by first label, wildcard addresses, and
    `records`.
    """
    lines = [
        "$TTL 1",
        "@ SOA ns1 hostmaster 1 3600 600 86400 1",
        "@ A 127.0.0.1",
        "* A 127.0.0.1",
    ]
    for name, host in servers.items():
        lines += [f"@ NS {name}", f"{name} {'AAAA' if ':' in host else 'A'} {host}"]
    return "\n".join([*lines, records, ""])


def notify(endpoint: DnsEndpoint, zone: str) -> None:
    """Tell a secondary that its primary has changed a zone (RFC 1996)."""
    message = dns.message.make_query(zone, "SOA")
    message.set_opcode(dns.opcode.NOTIFY)
    message.flags |= dns.flags.AA
    endpoint.ask(message)


def _named(
    directory: Path,
    configuration: str,
    endpoint: DnsEndpoint,
    zones: Sequence[str],
    *,
    options: str = "",
    delegations: str = "",
) -> ServerProcess:
    config = directory / "named.conf"
    config.write_text(_options(directory, endpoint, options, delegations) + configuration)
    return ServerProcess(
        # -g: in the foreground with the log on standard error; -n 1: a thread is enough.
        [program("named"), "-g", "-4", "-n", "1", "-c", str(config)],
        directory=directory,
        ready=lambda: all(endpoint.serves(zone) for zone in zones),
    )


def _options(directory: Path, endpoint: DnsEndpoint, further: str, delegations: str) -> str:
    # Nothing outside the directory is written. Recursion makes named a resolver as well, which
    # follows aliases between its zones; its own root zone keeps it from asking anybody else but the
    # servers of zones that are elsewhere.
    root = directory / "root.zone"
    root.write_text(
        "$TTL 1\n@ SOA localhost. hostmaster 1 3600 600 86400 1\n"
        f"@ NS localhost.\nlocalhost. A {endpoint.host}\n{delegations}"
    )
    return (
        f'options {{ directory "{directory}"; managed-keys-directory "{directory}";\n'
        f'  pid-file none; lock-file none; session-keyfile "{directory / "session.key"}";\n'
        f"  listen-on port {endpoint.port} {{ {endpoint.host}; }}; listen-on-v6 {{ none; }};\n"
        "  recursion yes; allow-recursion { any; };\n"
        "  dnssec-validation no; max-cache-size 16M; empty-zones-enable no;\n"
        f"  max-cache-ttl 0; max-ncache-ttl 0; {further} }};\n"
        "controls { };\n"
        f'zone "." {{ type primary; file "{root}"; notify no; }};\n'
    )
