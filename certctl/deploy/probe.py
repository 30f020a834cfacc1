"""Whether a certificate is served: every address of a service is asked for every name, until each
shows the leaf that it should, or the time is over.

The fingerprint decides, not trust: a certificate of a private CA is as good as any other. Reloads
take their time, so what is not there yet is looked for again after short, growing pauses.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event as StopEvent

from certctl import x509
from certctl.deploy.handshake import SECONDS, Kind, NotSeen, Shown, shake_hands
from certctl.errors import InspectionFailed, Interrupted
from certctl.events import EventSink, Verified, VerifyFailed
from certctl.models import CertificateFacts, ProbeResult, ServiceAddress
from certctl.ports import Clock
from certctl.service_address import written

PATIENCE = 30.0
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3.0

THIS_MACHINE = ("127.0.0.1", "::1")
"""Where a service without a host is looked for, as far as anybody listens there."""

MADE_UP_LABEL = "certctl-probe"
"""A wildcard is asked for by a name that it covers and nobody has."""

_PARALLEL = 16


@dataclass(frozen=True)
class ProbeSystem:
    """What a probe needs of its run: time, the stop event, where events go.

    `patience`: seconds until it is no more looked for; 0 looks once. `name` is the certificate's,
    for the events. `seconds`: how long one connection may take.
    """

    clock: Clock
    stop: StopEvent
    emit: EventSink
    patience: float = PATIENCE
    name: str = ""
    seconds: float = SECONDS


@dataclass(frozen=True)
class _Look:
    """One name asked for at one address; `result` is what came of it last."""

    address: str
    asked: str
    server_name: str | None
    result: ProbeResult | None = None
    missing: bool = False


def probe(
    service: ServiceAddress,
    server_names: Sequence[str],
    expected_sha256: str | None,
    system: ProbeSystem,
) -> list[ProbeResult]:
    """Return what was seen at each address of `service` for each name, by address, then by name;
    never empty.

    A result without an `error` is good: the leaf is the one whose SHA-256 is `expected_sha256`, or
    any where that is None, which is looked for once. Names are those of a certificate: `*.` and a
    name is asked for by a made-up label, an address without SNI. Where no name is given, the host
    itself is asked for.

    An address of a family that this machine has no way to is left out if another was reached. Tells
    the sink of each result. Raises `Interrupted`.
    """
    names = tuple(dict.fromkeys(server_names)) or (service.host or "localhost",)
    patience = system.patience if expected_sha256 is not None else 0.0
    started = system.clock.monotonic()
    pause = FIRST_PAUSE
    looks: list[_Look] = []
    with ThreadPoolExecutor(_PARALLEL) as pool:
        while True:
            looks = looks or _first_looks(service, names)
            looks = list(
                pool.map(lambda look: _again(look, service, expected_sha256, system), looks)
            )
            results = _counting(looks) or [_unresolved(service, names[0], system)]
            spent = system.clock.monotonic() - started
            if spent >= patience or all(each.error is None for each in results):
                return _told(results, system)
            if system.clock.wait(system.stop, min(pause, patience - spent)):
                raise _interrupted(service, system)
            pause = min(2 * pause, LONGEST_PAUSE)


def addresses(host: str | None) -> tuple[str, ...]:
    """Return every IPv4 and IPv6 address of a host, each once; empty where it has none."""
    if host is None:
        return THIS_MACHINE
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(place[0]) for _, _, _, _, place in found))


def server_name_of(name: str) -> str | None:
    """Return the SNI (RFC 6066 §3) for a name of a certificate; None for an address, which has
    none.
    """
    if name.startswith("*."):
        return f"{MADE_UP_LABEL}{name[1:]}"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name
    return None


def leaf_facts(shown: Shown) -> CertificateFacts:
    """Return what the leaf says of itself. Raises `InspectionFailed` where it makes no sense."""
    return x509.facts(ssl.DER_cert_to_PEM_cert(shown.leaf).encode("ascii"))


def _first_looks(service: ServiceAddress, names: Sequence[str]) -> list[_Look]:
    return [
        _Look(address, name, server_name_of(name))
        for address in addresses(service.host)
        for name in names
    ]


def _again(
    look: _Look, service: ServiceAddress, expected: str | None, system: ProbeSystem
) -> _Look:
    """Return the look after asking once more, unless it was good already."""
    if look.result is not None and look.result.error is None:
        return look
    if system.stop.is_set():
        raise _interrupted(service, system)
    result = ProbeResult(service, look.address, look.asked, system.clock.now())
    try:
        shown = _shown(look, service, Kind.ANY, system)
    except NotSeen as error:
        missing = error.unreachable or (error.refused and service.host is None)
        return replace(look, result=replace(result, error=str(error)), missing=missing)
    return replace(look, result=_judged(result, shown, look, expected, system), missing=False)


def _shown(look: _Look, service: ServiceAddress, kind: Kind, system: ProbeSystem) -> Shown:
    return shake_hands(
        look.address,
        service.port,
        server_name=look.server_name,
        starttls=service.starttls,
        kind=kind,
        seconds=system.seconds,
    )


def _judged(
    result: ProbeResult, shown: Shown, look: _Look, expected: str | None, system: ProbeSystem
) -> ProbeResult:
    seen = hashlib.sha256(shown.leaf).hexdigest()
    result = replace(result, shown=len(shown.certificates))
    try:
        facts = leaf_facts(shown)
    except InspectionFailed as error:
        reason = None if seen == expected else error.message
        return replace(result, sha256=seen, error=reason)
    result = replace(result, sha256=seen, not_after=facts.not_after)
    if expected is None or seen == expected:
        return result
    if _other_kind_is(expected, facts, look, result.service, system):
        return replace(result, sha256=expected)
    return replace(result, error=_another(facts))


def _other_kind_is(
    expected: str,
    facts: CertificateFacts,
    look: _Look,
    service: ServiceAddress,
    system: ProbeSystem,
) -> bool:
    """Whether the server shows the expected leaf to clients that prefer the other kind of key: one
    may serve two certificates for the same names, and chooses by what a client understands.
    """
    kind = Kind.RSA if facts.key_type.startswith("ecdsa") else Kind.ECDSA
    try:
        shown = _shown(look, service, kind, system)
    except NotSeen:
        return False
    return hashlib.sha256(shown.leaf).hexdigest() == expected


def _another(facts: CertificateFacts) -> str:
    named = [each.value for each in facts.identifiers]
    names = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return (
        f"another certificate is served: serial {facts.serial}, valid until"
        f" {facts.not_after:%Y-%m-%d %H:%M} UTC, for {names or 'no name'}"
    )


def _counting(looks: Sequence[_Look]) -> list[ProbeResult]:
    """Return the results that count: all but those of addresses where nothing can be, unless there
    is no other.
    """
    reached = [each for each in looks if not each.missing] or looks[:1]
    return [each.result for each in reached if each.result is not None]


def _unresolved(service: ServiceAddress, name: str, system: ProbeSystem) -> ProbeResult:
    reason = "it has no address in the DNS"
    return ProbeResult(service, "", name, system.clock.now(), error=reason)


def _told(results: list[ProbeResult], system: ProbeSystem) -> list[ProbeResult]:
    for each in results:
        service, now = written(each.service), system.clock.now()
        if each.error is None:
            system.emit(Verified(system.name, now, service, each.address, each.server_name))
        else:
            system.emit(
                VerifyFailed(system.name, now, service, each.address, each.server_name, each.error)
            )
    return results


def _interrupted(service: ServiceAddress, system: ProbeSystem) -> Interrupted:
    return Interrupted(
        f"stopped while looking at what {written(service)} serves",
        hint="certctl verify",
        name=system.name or None,
    )
