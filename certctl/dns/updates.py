"""Dynamic updates (RFC 2136) signed with TSIG (RFC 8945), for the DNS provider `rfc2136`.

Adds and deletes individual values, so that other values at the same name are kept. Updates are sent
over TCP: they are few, and a lost datagram would need a retry.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.tsig
import dns.update

from certctl.dns.batches import Batches, Refused
from certctl.dns.queries import Server
from certctl.dns.server_connections import ServerConnection
from certctl.dns.split_horizon import other_view
from certctl.dns.tsig_keys import TsigKey
from certctl.model.errors import ChallengeError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.validation import TxtRecord
from certctl.rules.cleanup import partly_placed

TTL_SECONDS = 60
CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 10.0
MAX_ADDRESSES = 8
"""Addresses of the server that are tried."""
MAX_CHANGES_PER_UPDATE = 100
"""So many fit into a message even if all names have the maximum length, 255 octets."""

_CODE = "challenge.dns.rfc2136"


@dataclass(frozen=True)
class _Change:
    """A value to add or to delete."""

    record: TxtRecord
    add: bool


class _NotConnected(Exception):
    """No connection to the server could be opened, so that it has made no change."""


class Rfc2136Provider:
    """Writes TXT values with dynamic updates to one server; concurrent changes of several orders to
    a zone are combined in one update.

    `look_up` returns the addresses of the server; each has `answer_seconds` to answer an update.
    """

    def __init__(
        self,
        host: str,
        port: int,
        key: TsigKey | None,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        look_up: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self._host = host
        self._answer_seconds = answer_seconds
        self._look_up = look_up or addresses_of
        self._address = host
        self._port = port
        self._key = key
        self._guard = threading.Lock()
        self._zones: dict[str, Batches[_Change]] = {}

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values. Raises `ChallengeError` with the server's response code."""
        for index, (zone, some) in enumerate(_by_zone(records).items()):
            # Of so many values, a part may have been written in an update of its own.
            with partly_placed(index > 0 or len(some) > MAX_CHANGES_PER_UPDATE):
                self._batches(zone).do([_Change(each, add=True) for each in some])

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Delete the values, continuing after an error; raises the first error at the end."""
        failures: list[ChallengeError] = []
        for zone, some in _by_zone(records).items():
            try:
                self._batches(zone).do([_Change(each, add=False) for each in some])
            except ChallengeError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def add_caa(
        self, zone: str, name: str, records: Sequence[tuple[int, str, str]], *, ttl: int
    ) -> None:
        """Add CAA records at a name, with the TTL of those that are there, if any. Raises
        `ChallengeError` with the server's response code.
        """
        data = [
            dns.rdata.from_text("IN", "CAA", f'{flags} {tag} "{value}"')
            for flags, tag, value in records
        ]
        update = self._update(zone, (), {})
        update.absent(f"{name}.", "CAA")
        for each in data:
            update.add(f"{name}.", ttl, each)
        rcode = self._send(update, zone)
        if rcode == "YXRRSET":
            update = self._update(zone, (), {})
            ttl = self._ttls([name], "CAA").get(name, ttl)
            for each in data:
                update.add(f"{name}.", ttl, each)
            rcode = self._send(update, zone)
        self._check(rcode, zone)

    def _batches(self, zone: str) -> Batches[_Change]:
        with self._guard:
            if zone not in self._zones:
                self._zones[zone] = Batches(
                    lambda changes: self._change(zone, changes), limit=MAX_CHANGES_PER_UPDATE
                )
            return self._zones[zone]

    def _change(self, zone: str, changes: Sequence[_Change]) -> None:
        """Make the changes, keeping the TTL of existing TXT records.

        All records of a name and type have the same TTL (RFC 2181 §5.2), that of the last one
        added. So the first attempt requires that the names have no TXT records; otherwise their
        TTLs are looked up and reused.
        """
        for start in range(0, len(changes), MAX_CHANGES_PER_UPDATE):
            some = changes[start : start + MAX_CHANGES_PER_UPDATE]
            names = list(dict.fromkeys(each.record.name for each in some if each.add))
            update = self._update(zone, some, {})
            for name in names:
                update.absent(f"{name}.", "TXT")
            rcode = self._send(update, zone)
            if rcode == "YXRRSET":
                rcode = self._send(self._update(zone, some, self._ttls(names)), zone)
            self._check(rcode, zone)

    def _update(
        self, zone: str, changes: Sequence[_Change], ttls: Mapping[str, int]
    ) -> dns.update.UpdateMessage:

        if not zone:
            raise ChallengeError(
                "the zone of the TXT record is unknown, and an update needs it",
                hint="Use a resolver that knows the zone: --dns-resolver ADDRESS[:PORT].",
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

    def _ttls(self, names: Sequence[str], kind: str = "TXT") -> dict[str, int]:
        """Return the TTL of the existing records of this kind by name; empty if the server does not
        answer queries.
        """
        connection = ServerConnection(
            Server(self._address, self._port), recurse=False, stopped=lambda: False
        )
        with contextlib.closing(connection):
            answers = connection.ask(names, kind)
        return {
            name: answer.answer[0].ttl
            for name, answer in answers.items()
            if isinstance(answer, dns.message.Message) and answer.answer
        }

    def _send(self, update: dns.update.UpdateMessage, zone: str) -> str:
        """Send an update and return the response code, after verifying the response's signature.

        Raises `ChallengeError`.
        """
        where = f"{self._host}:{self._port}"
        try:
            answer = self._exchange(update)
        except _NotConnected as error:
            unreached = ChallengeError(
                f"cannot send the update of {zone} to {where}: {error}",
                hint="Check --rfc2136-server, that the server is running, and that it accepts TCP"
                " connections.",
                code=_CODE,
            )
            unreached.nothing_placed = True
            raise unreached from error
        except dns.exception.Timeout as error:
            raise ChallengeError(
                f"{where} did not answer the update of {zone} in {self._answer_seconds:g} s",
                hint="Check that the server is running, and that the firewall allows TCP to its"
                " port.",
                code=_CODE,
            ) from error
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or "it closed the connection"
            raise ChallengeError(
                f"cannot send the update of {zone} to {where}: {reason}",
                hint="Check --rfc2136-server, and that the server accepts TCP connections.",
                code=_CODE,
            ) from error
        except dns.exception.DNSException as error:
            raise self._refused_signature(error, zone, where) from error
        rcode = dns.rcode.to_text(answer.rcode())
        if rcode == "NOERROR" and self._key is not None and not answer.had_tsig:
            raise ChallengeError(
                f"{where} answered the signed update of {zone} without a signature",
                hint="Check --rfc2136-server, and that no proxy answers in place of the server.",
                code=_CODE,
            )
        return rcode

    def _exchange(self, update: dns.update.UpdateMessage) -> dns.message.Message:
        """Return the answer from the first address of the server that gives one; the address that
        answered last is tried first.

        An address that accepts no connection, is silent or answers with nonsense is skipped:
        `localhost` resolves to ::1 first, but some name servers listen only on 127.0.0.1. Raises
        the error of the last one, and `dns.tsig.PeerError` of any: that is an answer.
        """
        try:
            addresses = list(self._look_up(self._host))[:MAX_ADDRESSES]
        except OSError as error:
            raise _NotConnected(error.strerror or str(error)) from error
        addresses.sort(key=lambda each: each != self._address)
        sent = False
        for address in addresses[:-1]:
            try:
                return self._exchange_with(address, update)
            except _NotConnected:
                continue
            except (OSError, EOFError, dns.exception.Timeout, dns.exception.FormError):
                sent = True
        try:
            return self._exchange_with(addresses[-1], update)
        except _NotConnected as error:
            if sent:  # an address that was connected may have made the change
                raise ConnectionError(0, str(error)) from error
            raise

    def _exchange_with(self, address: str, update: dns.update.UpdateMessage) -> dns.message.Message:

        try:
            opened = socket.create_connection((address, self._port), CONNECT_SECONDS)
        except TimeoutError as error:
            raise _NotConnected(f"no connection in {CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise _NotConnected(error.strerror or str(error)) from error
        with opened as connection:
            connection.setblocking(False)
            answer = dns.query.tcp(
                update, address, self._answer_seconds, self._port, sock=connection
            )
        self._address = address
        return answer

    def _refused_signature(
        self, error: dns.exception.DNSException, zone: str, where: str
    ) -> ChallengeError:
        reason, hint = _SIGNATURE_PROBLEMS.get(type(error).__name__, _MALFORMED_RESPONSE)
        name = self._key.name if self._key is not None else "(none)"
        algorithm = self._key.algorithm if self._key is not None else "none"
        refused = ChallengeError(
            f"{where} did not accept the update of {zone}: "
            + reason.format(name=name, algorithm=algorithm, error=type(error).__name__),
            hint=hint,
            code=_CODE,
        )
        refused.nothing_placed = type(error).__name__.startswith("Peer")
        return refused

    def _check(self, rcode: str, zone: str) -> None:
        """Raise `Refused` unless the update succeeded."""
        if rcode == "NOERROR":
            return
        reason, hint = _RCODES.get(rcode, ("", "See the server's log for the reason."))
        if rcode in _OTHER_ZONE:
            hint += f" {other_view(zone)}"
        refused = Refused(
            f"{self._host}:{self._port} refused the update of {zone}: {rcode}{reason}",
            hint=hint,
            code=_CODE,
        )
        refused.nothing_placed = True
        raise refused


_WRONG_SECRET = "Compare the key with the server's: secret and algorithm must be the same."  # noqa: S105 - a hint
_WRONG_CLOCK = (
    "Set the clocks of this machine and of the server: TSIG allows a difference of 300 s."
)

# By the names of dnspython's exceptions.
_SIGNATURE_PROBLEMS: Mapping[str, tuple[str, str]] = {
    "PeerBadKey": (
        "it does not know the TSIG key {name} with {algorithm} (BADKEY)",
        "Check --rfc2136-key-name and --rfc2136-key-algorithm against the server's configuration.",
    ),
    "PeerBadSignature": ("the secret of the TSIG key {name} is wrong (BADSIG)", _WRONG_SECRET),
    "PeerBadTime": ("its clock and this machine's differ too much (BADTIME)", _WRONG_CLOCK),
    "PeerBadTruncation": ("it requires a longer signature (BADTRUNC)", _WRONG_SECRET),
    "BadSignature": ("its response is not signed with the secret of {name}", _WRONG_SECRET),
    "BadTime": ("its clock and this machine's differ too much", _WRONG_CLOCK),
    "BadKey": ("its response is not signed with the key {name}", _WRONG_SECRET),
    "BadAlgorithm": ("its response is not signed with the algorithm {algorithm}", _WRONG_SECRET),
    "UnknownTSIGKey": ("its response is not signed with the key {name}", _WRONG_SECRET),
}
_MALFORMED_RESPONSE = (
    "its response is malformed ({error})",
    "Check --rfc2136-server, and whether it needs a TSIG key (--rfc2136-key-file).",
)
# What a server returns that does not have the zone that was found.
_OTHER_ZONE = frozenset({"REFUSED", "NOTAUTH", "NOTZONE", "NXDOMAIN"})
_RCODES: Mapping[str, tuple[str, str]] = {
    "REFUSED": (
        ", this key is not permitted to change these names",
        "Allow it in the zone; for BIND: update-policy { grant KEY zonesub TXT; };",
    ),
    "NOTAUTH": (
        ", it is not the primary of this zone",
        "Set --rfc2136-server to the zone's primary, which its SOA record names.",
    ),
    "NOTZONE": (", the name is outside the zone", "Check the zone's delegation."),
    "NOTIMP": (
        ", it does not support dynamic updates",
        "Enable them in the server's configuration.",
    ),
    "SERVFAIL": (
        ", it could not write the zone",
        "See the server's log; often its user cannot write to the directory of the zone file.",
    ),
}


def addresses_of(host: str) -> tuple[str, ...]:
    """Return the addresses of a host name, in the system's order. Raises `OSError`."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))


def _txt(value: str) -> dns.rdata.Rdata:
    """Return the value's TXT data, without the escapes of the zone file format."""
    octets = value.encode("ascii")
    strings = [octets[start : start + 255] for start in range(0, len(octets), 255)]
    return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings or [b""])


def _by_zone(records: Sequence[TxtRecord]) -> Mapping[str, list[TxtRecord]]:
    zones: dict[str, list[TxtRecord]] = {}
    for record in records:
        zones.setdefault(record.zone, []).append(record)
    return zones
