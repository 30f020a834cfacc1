"""The live check: connects to every address of a service for every name, until all of them present
the expected leaf certificate or the timeout expires.

The fingerprint is compared and trust is not checked, so certificates of private CAs work as well.
A reload takes time to come into effect, so failed checks are repeated with growing pauses.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event as StopEvent

from certctl.deploy.handshake import TIMEOUT, HandshakeFailed, KeyKind, PresentedChain, handshake
from certctl.model.certificate import CertificateFacts, Version
from certctl.model.delivery import ProbeResult
from certctl.model.errors import InspectionFailed, Interrupted
from certctl.model.events import EventSink, Verified, VerifyFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock
from certctl.model.spec import ServiceAddress
from certctl.rules import x509
from certctl.rules.service_address import format_service

DEFAULT_TIMEOUT = 30.0
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3.0

THIS_MACHINE = ("127.0.0.1", "::1")
"""The addresses of a service without a host; one where nothing listens is ignored."""

WILDCARD_LABEL = "certctl-probe"
"""The label that replaces `*` in the SNI of a wildcard name; unlikely to have its own server."""

_PARALLEL = 16


@dataclass(frozen=True)
class ProbeSystem:
    """What a probe needs from its run: the clock, the stop event, the event sink.

    `timeout`: seconds after which failed checks are no longer repeated; 0 checks once. `name`: the
    certificate's name, for the events. `connection_timeout`: seconds that one connection may take.
    """

    clock: Clock
    stop: StopEvent
    emit: EventSink
    timeout: float = DEFAULT_TIMEOUT
    name: str = ""
    connection_timeout: float = TIMEOUT


@dataclass(frozen=True)
class _Check:
    """One name at one address, with the latest result. `nothing_listens`: no route to the address,
    or connection refused on this machine.
    """

    address: str
    name: str
    server_name: str | None
    result: ProbeResult | None = None
    nothing_listens: bool = False


@dataclass(frozen=True)
class _Expected:
    """The leaf that is expected: its digest (None: any), the kind of key that the client supports,
    and the digests of all certificates of the version, if there are two.
    """

    sha256: str | None
    kind: KeyKind = KeyKind.ANY
    either: frozenset[str] = frozenset()


def probe_version(
    service: ServiceAddress,
    server_names: Sequence[str],
    version: Version,
    system: ProbeSystem,
) -> list[ProbeResult]:
    """Return what `probe` does for a version. If it has two certificates, each of them must be
    presented to clients that support only its kind of key.
    """
    if version.second is None:
        return probe(service, server_names, version.facts.sha256, system)
    every = frozenset(each.facts.sha256 for each in version.certificates)
    if service.host is not None and not addresses(service.host):
        return probe(service, server_names, version.facts.sha256, system)
    return [
        result
        for each in version.certificates
        for result in _probe(
            service,
            server_names,
            _Expected(each.facts.sha256, KeyKind[each.family.upper()], every),
            system,
        )
    ]


def probe(
    service: ServiceAddress,
    server_names: Sequence[str],
    expected_sha256: str | None,
    system: ProbeSystem,
) -> list[ProbeResult]:
    """Return the result for each address of `service` and each name, ordered by address, then by
    name; never empty.

    A result without `error` is a success: the SHA-256 of the leaf is `expected_sha256`, or that is
    None, in which case each address is checked once and any leaf will do. The names are those of a
    certificate: the `*` of a wildcard is replaced by `WILDCARD_LABEL`, and no SNI is sent for an IP
    address. Without names, the host's own name is used.

    Addresses to which this machine has no route are left out if another address was reached. Sends
    an event for each result. Raises `Interrupted`.
    """
    return _probe(service, server_names, _Expected(expected_sha256), system)


def _probe(
    service: ServiceAddress,
    server_names: Sequence[str],
    expected: _Expected,
    system: ProbeSystem,
) -> list[ProbeResult]:
    names = tuple(dict.fromkeys(server_names)) or (service.host or "localhost",)
    timeout = system.timeout if expected.sha256 is not None else 0.0
    started = system.clock.monotonic()
    pause = FIRST_PAUSE
    checks: list[_Check] = []
    with ThreadPoolExecutor(_PARALLEL) as pool:
        while True:
            checks = checks or _initial_checks(service, names)
            checks = list(pool.map(lambda check: _run(check, service, expected, system), checks))
            results = _relevant_results(checks) or [_unresolved(service, names[0], system)]
            spent = system.clock.monotonic() - started
            if spent >= timeout or all(each.error is None for each in results):
                _emit(results, system)
                return results
            if system.clock.wait(system.stop, min(pause, timeout - spent)):
                raise _interrupted(service, system)
            pause = min(2 * pause, LONGEST_PAUSE)


def addresses(host: str | None) -> tuple[str, ...]:
    """Return all IPv4 and IPv6 addresses of a host, without duplicates; empty if it has none."""
    if host is None:
        return THIS_MACHINE
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


def server_name_of(name: str) -> str | None:
    """Return the SNI (RFC 6066 §3) for a name of a certificate; None for an IP address."""
    if name.startswith("*."):
        return f"{WILDCARD_LABEL}{name[1:]}"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name
    return None


def leaf_facts(chain: PresentedChain) -> CertificateFacts:
    """Return the contents of the leaf. Raises `InspectionFailed` if it cannot be parsed."""
    return x509.facts(ssl.DER_cert_to_PEM_cert(chain.leaf).encode("ascii"))


def _initial_checks(service: ServiceAddress, names: Sequence[str]) -> list[_Check]:
    return [
        _Check(address, name, server_name_of(name))
        for address in addresses(service.host)
        for name in names
    ]


def _run(
    check: _Check, service: ServiceAddress, expected: _Expected, system: ProbeSystem
) -> _Check:
    """Return the check with a new result, or unchanged if it has succeeded already."""
    if check.result is not None and check.result.error is None:
        return check
    if system.stop.is_set():
        raise _interrupted(service, system)
    only = expected.kind.only
    result = ProbeResult(service, check.address, check.name, system.clock.now(), key=only)
    try:
        chain = _presented_chain(check, service, expected.kind, system)
    except HandshakeFailed as error:
        nothing = error.unreachable or (error.refused and service.host is None)
        if only is None or nothing:
            return replace(check, result=replace(result, error=str(error)), nothing_listens=nothing)
        return replace(check, result=_without_limit(result, str(error), check, expected, system))
    compared = _compared(result, chain, check, expected, system)
    if compared.error is not None and only is not None:
        compared = replace(compared, error=f"{_to_only(only)}, {compared.error}")
    return replace(check, result=compared, nothing_listens=False)


def _without_limit(
    result: ProbeResult, reason: str, check: _Check, expected: _Expected, system: ProbeSystem
) -> ProbeResult:
    """Return the result where a client that supports only one kind of key got no certificate.

    Such a client cannot speak TLS 1.3 here. Where a server speaks nothing else, it is enough that
    it presents one of the two certificates.
    """
    failed = replace(result, error=f"no certificate {_to_only(str(result.key))}: {reason}")
    try:
        chain = _presented_chain(check, result.service, KeyKind.ANY, system)
    except HandshakeFailed:
        return failed
    if chain.protocol != "TLSv1.3" or _speaks_tls12(check, result.service, system):
        return failed
    sha256 = hashlib.sha256(chain.leaf).hexdigest()
    if sha256 in expected.either:
        return _compared(result, chain, check, replace(expected, sha256=sha256), system)
    return _compared(result, chain, check, expected, system)


def _speaks_tls12(check: _Check, service: ServiceAddress, system: ProbeSystem) -> bool:
    """Return whether a server presents any certificate up to TLS 1.2."""
    for kind in (KeyKind.ECDSA, KeyKind.RSA):
        with suppress(HandshakeFailed):
            _presented_chain(check, service, kind, system)
            return True
    return False


def _to_only(kind: str) -> str:
    return f"to clients that support only {kind.upper()}"


def _presented_chain(
    check: _Check, service: ServiceAddress, kind: KeyKind, system: ProbeSystem
) -> PresentedChain:
    return handshake(
        check.address,
        service.port,
        server_name=check.server_name,
        starttls=service.starttls,
        kind=kind,
        seconds=system.connection_timeout,
    )


def _compared(
    result: ProbeResult,
    chain: PresentedChain,
    check: _Check,
    expected: _Expected,
    system: ProbeSystem,
) -> ProbeResult:
    """Return the result of comparing the leaf of a chain with the expected one."""
    sha256 = hashlib.sha256(chain.leaf).hexdigest()
    result = replace(result, chain_length=len(chain.certificates))
    try:
        facts = leaf_facts(chain)
    except InspectionFailed as error:
        reason = None if sha256 == expected.sha256 else error.message
        return replace(result, sha256=sha256, error=reason)
    result = replace(result, sha256=sha256, not_after=facts.not_after)
    wanted = expected.sha256
    if wanted is None or sha256 == wanted:
        return result
    if expected.kind is KeyKind.ANY and _serves_with_other_key_type(
        wanted, facts, check, result.service, system
    ):
        return replace(result, sha256=wanted)
    return replace(result, error=_wrong_certificate(facts))


def _serves_with_other_key_type(
    expected: str,
    facts: CertificateFacts,
    check: _Check,
    service: ServiceAddress,
    system: ProbeSystem,
) -> bool:
    """Return whether the server presents the expected leaf to clients that support only the other
    key type: it may have an RSA and an ECDSA certificate for the same names.
    """
    kind = KeyKind.RSA if facts.key_type.startswith("ecdsa") else KeyKind.ECDSA
    try:
        chain = _presented_chain(check, service, kind, system)
    except HandshakeFailed:
        return False
    return hashlib.sha256(chain.leaf).hexdigest() == expected


def _wrong_certificate(facts: CertificateFacts) -> str:
    values = [each.value for each in facts.identifiers]
    names = ", ".join(values[:3]) + (f" and {len(values) - 3} more" if len(values) > 3 else "")
    return (
        f"another certificate is served: serial {facts.serial}, valid until"
        f" {facts.not_after:%Y-%m-%d %H:%M} UTC, for {names or 'no name'}"
    )


def _relevant_results(checks: Sequence[_Check]) -> list[ProbeResult]:
    """Return the results without those of addresses where nothing listens; if nothing listens
    anywhere, return the first one.
    """
    reached = [each for each in checks if not each.nothing_listens] or checks[:1]
    return [each.result for each in reached if each.result is not None]


def _unresolved(service: ServiceAddress, name: str, system: ProbeSystem) -> ProbeResult:
    reason = "the host has no address in DNS"
    return ProbeResult(service, "", name, system.clock.now(), error=reason)


def _emit(results: list[ProbeResult], system: ProbeSystem) -> None:
    for each in results:
        service, now = format_service(each.service), system.clock.now()
        if each.error is None:
            system.emit(Verified(system.name, now, service, each.address, each.server_name))
        else:
            system.emit(
                VerifyFailed(system.name, now, service, each.address, each.server_name, each.error)
            )


def _interrupted(service: ServiceAddress, system: ProbeSystem) -> Interrupted:
    return Interrupted(
        f"stopped while checking which certificate {format_service(service)} serves",
        hint="Run the check again: certctl verify",
        name=system.name or None,
    )
