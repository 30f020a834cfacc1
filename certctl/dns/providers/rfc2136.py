"""Dynamic updates (RFC 2136) signed with TSIG (RFC 8945): BIND, Knot, PowerDNS and others.

Adds and deletes single values, so that whatever else stands at the name stays. Updates go over TCP:
they are few, and a lost datagram would cost a retry.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certctl.dns import tsig_keys
from certctl.dns.addresses import split_port
from certctl.dns.batches import Batches, Refused
from certctl.dns.system import ProviderSystem
from certctl.errors import ChallengeError, ConfigurationError
from certctl.models import TxtRecord, Value
from certctl.options import Kind, Option
from certctl.ports import DnsProvider

if TYPE_CHECKING:
    import dns.message
    import dns.update

    from certctl.dns.tsig_keys import TsigKey

OPTIONS: tuple[Option, ...] = (
    Option(
        "dns.rfc2136.server",
        Kind.TEXT,
        None,
        "Primary DNS server that takes the updates, as HOST or HOST:PORT.",
        flag="--rfc2136-server",
        metavar="HOST[:PORT]",
        in_spec=True,
        variable="CERTCTL_RFC2136_SERVER",
    ),
    Option(
        "dns.rfc2136.key_name",
        Kind.TEXT,
        None,
        "Name of the TSIG key; the key file's by default.",
        flag="--rfc2136-key-name",
        metavar="NAME",
        in_spec=True,
        variable="CERTCTL_RFC2136_KEY_NAME",
    ),
    Option(
        "dns.rfc2136.key_algorithm",
        Kind.CHOICE,
        None,
        "Algorithm of the TSIG key; the key file's by default, hmac-sha256 where it names none.",
        flag="--rfc2136-key-algorithm",
        choices=tsig_keys.ALGORITHMS,
        in_spec=True,
        variable="CERTCTL_RFC2136_KEY_ALGORITHM",
    ),
    Option(
        "dns.rfc2136.key_file",
        Kind.PATH,
        None,
        "File with the TSIG key, as tsig-keygen writes it, or with the secret alone in base64.",
        flag="--rfc2136-key-file",
        in_spec=True,
        variable="CERTCTL_RFC2136_KEY_FILE",
    ),
    Option(
        "dns.rfc2136.secret",
        Kind.TEXT,
        None,
        "The TSIG secret in base64, where there is no key file.",
        secret=True,
        in_spec=True,
        in_file=False,
        variable="CERTCTL_RFC2136_SECRET",
    ),
)

TTL_SECONDS = 60
ANSWER_SECONDS = 10.0
MAX_CHANGES_PER_UPDATE = 100
"""With names of 255 octets, the longest there are, this many still fit into a message."""

_CODE = "challenge.dns.rfc2136"


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:  # noqa: ARG001 - an update is one short exchange
    """Return the provider. Raises `ConfigurationError` for a missing server or an unusable key.

    Without any key the updates are not signed: some servers go by the client's address.
    """
    server = _text(settings, "dns.rfc2136.server")
    if server is None:
        raise ConfigurationError(
            "the DNS provider rfc2136 needs a server",
            hint="Name the zone's primary server with --rfc2136-server HOST[:PORT].",
        )
    return Rfc2136Provider(*_host_and_port(server), _key(settings))


@dataclass(frozen=True)
class _Change:
    """A value to add, or one to delete."""

    record: TxtRecord
    add: bool


class Rfc2136Provider:
    """Writes TXT values by dynamic updates to one server: what orders want of a zone at the same
    time goes out as one update.
    """

    def __init__(self, host: str, port: int, key: TsigKey | None) -> None:
        self._host = host
        self._address = host
        self._port = port
        self._key = key
        self._guard = threading.Lock()
        self._zones: dict[str, Batches[_Change]] = {}

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values. Raises `ChallengeError` with the server's verdict."""
        for zone, some in _by_zone(records).items():
            self._batches(zone).do([_Change(each, add=True) for each in some])

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Delete the values, in every zone that can be updated; raises the first failure after."""
        failures: list[ChallengeError] = []
        for zone, some in _by_zone(records).items():
            try:
                self._batches(zone).do([_Change(each, add=False) for each in some])
            except ChallengeError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _batches(self, zone: str) -> Batches[_Change]:
        with self._guard:
            if zone not in self._zones:
                self._zones[zone] = Batches(
                    lambda changes: self._change(zone, changes), limit=MAX_CHANGES_PER_UPDATE
                )
            return self._zones[zone]

    def _change(self, zone: str, changes: Sequence[_Change]) -> None:
        """Make the changes, where nothing stands yet at the names that are added to.

        The records of one name and type have one TTL (RFC 2181 §5.2), that of the last one added:
        where others have values there, it stays theirs.
        """
        for start in range(0, len(changes), MAX_CHANGES_PER_UPDATE):
            some = changes[start : start + MAX_CHANGES_PER_UPDATE]
            names = list(dict.fromkeys(each.record.name for each in some if each.add))
            update = self._update(zone, some, {})
            for name in names:
                update.absent(f"{name}.", "TXT")
            verdict = self._send(update, zone)
            if verdict == "YXRRSET":
                verdict = self._send(self._update(zone, some, self._ttls(names)), zone)
            self._check(verdict, zone)

    def _update(
        self, zone: str, changes: Sequence[_Change], ttls: Mapping[str, int]
    ) -> dns.update.UpdateMessage:
        import dns.tsig  # noqa: PLC0415 - dnspython is slow to import, and options need none of it
        import dns.update  # noqa: PLC0415 - as above

        if not zone:
            raise ChallengeError(
                "the zone of the TXT record is unknown, and an update has to name it",
                hint="Name a resolver that knows the zone with --dns-resolver ADDRESS[:PORT].",
                code=_CODE,
            )
        update = dns.update.UpdateMessage(f"{zone}.")
        if self._key is not None:
            algorithm = (
                "hmac-md5.sig-alg.reg.int"
                if self._key.algorithm == "hmac-md5"
                else self._key.algorithm
            )
            update.use_tsig(dns.tsig.Key(f"{self._key.name}.", self._key.secret, algorithm))
        for each in changes:
            name, value = f"{each.record.name}.", _txt(each.record.value)
            if each.add:
                update.add(name, ttls.get(each.record.name, TTL_SECONDS), value)
            else:
                update.delete(name, value)
        return update

    def _ttls(self, names: Sequence[str]) -> dict[str, int]:
        """Return the TTL of the TXT records at each name that has some; a server that tells nobody
        what it has is no failure.
        """
        import dns.message  # noqa: PLC0415 - as in `_update`

        from certctl.dns.queries import Server  # noqa: PLC0415 - as in `_update`
        from certctl.dns.server_connections import ServerConnection  # noqa: PLC0415 - as in `_update`

        line = ServerConnection(
            Server(self._address, self._port), recurse=False, stopped=lambda: False
        )
        with contextlib.closing(line):
            answers = line.ask(names, "TXT")
        return {
            name: answer.answer[0].ttl
            for name, answer in answers.items()
            if isinstance(answer, dns.message.Message) and answer.answer
        }

    def _send(self, update: dns.update.UpdateMessage, zone: str) -> str:
        """Send an update and return the verdict, a response code, once its signature is checked.

        Raises `ChallengeError`.
        """
        import dns.exception  # noqa: PLC0415 - as in `_update`
        import dns.rcode  # noqa: PLC0415 - as in `_update`

        where = f"{self._host}:{self._port}"
        try:
            answer = self._exchange(update)
        except dns.exception.Timeout as error:
            raise ChallengeError(
                f"{where} did not answer the update of {zone} in {ANSWER_SECONDS:g} s",
                hint="Check that the server is up, and that TCP to its port passes the firewall.",
                code=_CODE,
            ) from error
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or "it closed the connection"
            raise ChallengeError(
                f"cannot send the update of {zone} to {where}: {reason}",
                hint="Check --rfc2136-server, and that the server listens at TCP as well.",
                code=_CODE,
            ) from error
        except dns.exception.DNSException as error:
            raise self._refused_signature(error, zone, where) from error
        verdict = dns.rcode.to_text(answer.rcode())
        if verdict == "NOERROR" and self._key is not None and not answer.had_tsig:
            raise ChallengeError(
                f"{where} answered the signed update of {zone} without a signature",
                hint="Something between here and the server answers in its place.",
                code=_CODE,
            )
        return verdict

    def _exchange(self, update: dns.update.UpdateMessage) -> dns.message.Message:
        """Return the answer of the first of the server's addresses that can be connected to."""
        import socket  # noqa: PLC0415 - as in `_update`

        import dns.query  # noqa: PLC0415 - as in `_update`

        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        for address in addresses[:-1]:
            # `localhost` is ::1 first, and many a name server is at 127.0.0.1 alone.
            with contextlib.suppress(OSError):
                self._address = address
                return dns.query.tcp(update, address, timeout=ANSWER_SECONDS, port=self._port)
        self._address = addresses[-1]
        return dns.query.tcp(update, self._address, timeout=ANSWER_SECONDS, port=self._port)

    def _refused_signature(
        self, error: dns.exception.DNSException, zone: str, where: str
    ) -> ChallengeError:
        reason, hint = _SIGNATURE_PROBLEMS.get(type(error).__name__, _NO_SENSE)
        name = self._key.name if self._key is not None else "(none)"
        algorithm = self._key.algorithm if self._key is not None else "none"
        return ChallengeError(
            f"{where} did not take the update of {zone}: "
            + reason.format(name=name, algorithm=algorithm, error=type(error).__name__),
            hint=hint,
            code=_CODE,
        )

    def _check(self, verdict: str, zone: str) -> None:
        """Raise `Refused` unless the update was made."""
        if verdict == "NOERROR":
            return
        reason, hint = _VERDICTS.get(verdict, ("", "The server's own log says more."))
        raise Refused(
            f"{self._host}:{self._port} refused the update of {zone}: {verdict}{reason}",
            hint=hint,
            code=_CODE,
        )


_WRONG_SECRET = "Compare the key with the server's: the secret must be the same, and the algorithm."  # noqa: S105 - a hint
_WRONG_CLOCK = "Set this machine's clock, and the server's: TSIG allows them to differ by 300 s."

# By the names of dnspython's exceptions, so that none has to be imported for the table's sake.
_SIGNATURE_PROBLEMS: Mapping[str, tuple[str, str]] = {
    "PeerBadKey": (
        "it knows no TSIG key {name} with {algorithm} (BADKEY)",
        "Check --rfc2136-key-name and --rfc2136-key-algorithm against the server's configuration.",
    ),
    "PeerBadSignature": ("the secret of the TSIG key {name} is wrong (BADSIG)", _WRONG_SECRET),
    "PeerBadTime": ("its clock and ours differ too much (BADTIME)", _WRONG_CLOCK),
    "PeerBadTruncation": ("it wants a longer signature (BADTRUNC)", _WRONG_SECRET),
    "BadSignature": ("its answer is signed with another secret than {name}'s", _WRONG_SECRET),
    "BadTime": ("its clock and ours differ too much", _WRONG_CLOCK),
    "BadKey": ("its answer is signed with another key than {name}", _WRONG_SECRET),
    "BadAlgorithm": ("its answer is signed with another algorithm than {algorithm}", _WRONG_SECRET),
    "UnknownTSIGKey": ("its answer is signed with another key than {name}", _WRONG_SECRET),
}
_NO_SENSE = (
    "its answer makes no sense ({error})",
    "See whether --rfc2136-server takes updates, and wants them signed (--rfc2136-key-file).",
)
_VERDICTS: Mapping[str, tuple[str, str]] = {
    "REFUSED": (
        ", this key may not change these names",
        "Allow it in the zone; for BIND: update-policy { grant KEY zonesub TXT; };",
    ),
    "NOTAUTH": (
        ", it is not the primary of this zone",
        "Give the zone's primary with --rfc2136-server; its SOA record names it.",
    ),
    "NOTZONE": (", the name lies outside the zone", "Check the zone's delegation."),
    "NOTIMP": (", it takes no dynamic updates", "Turn them on in the server's configuration."),
    "SERVFAIL": (
        ", it could not write the zone",
        "The server's log says why; often its directory is not writable for its user.",
    ),
}


def _txt(value: str) -> dns.rdata.Rdata:
    """Return a value as it is, whatever a zone file would make of its characters."""
    import dns.rdataclass  # noqa: PLC0415 - as in `_update`
    import dns.rdatatype  # noqa: PLC0415 - as above
    import dns.rdtypes.ANY.TXT  # noqa: PLC0415 - as above

    octets = value.encode("ascii")
    strings = [octets[start : start + 255] for start in range(0, len(octets), 255)]
    return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings or [b""])


def _by_zone(records: Sequence[TxtRecord]) -> Mapping[str, list[TxtRecord]]:
    zones: dict[str, list[TxtRecord]] = {}
    for record in records:
        zones.setdefault(record.zone, []).append(record)
    return zones


def _key(settings: Mapping[str, Value]) -> TsigKey | None:
    name = _text(settings, "dns.rfc2136.key_name")
    algorithm = _text(settings, "dns.rfc2136.key_algorithm")
    path = _text(settings, "dns.rfc2136.key_file")
    if path is not None:
        return tsig_keys.read_key_file(path, name, algorithm)
    secret = _text(settings, "dns.rfc2136.secret")
    if secret is not None:
        return tsig_keys.make_key(secret, name, algorithm, where="CERTCTL_RFC2136_SECRET")
    if name is not None:
        raise ConfigurationError(
            f"the secret of the TSIG key {name} is missing",
            hint="Give its file with --rfc2136-key-file, or CERTCTL_RFC2136_SECRET.",
        )
    return None


def _host_and_port(text: str) -> tuple[str, int]:
    try:
        return split_port(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not a DNS server",
            hint="Give HOST or HOST:PORT, such as ns1.example.com or [2001:db8::53]:5353.",
            code="configuration.value",
        ) from None


def _text(settings: Mapping[str, Value], key: str) -> str | None:
    value = settings.get(key)
    return str(value) if value else None
