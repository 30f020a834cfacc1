"""Verify: whether what is live is what visitors see, and what services that are not ours show.

A certificate of ours is looked for by its fingerprint, wherever its spec says that it is served, or
under its own names. Of any other service the certificate is judged by itself, as a visitor's
browser would; whether this system trusts it is said, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certctl import formats, x509
from certctl.deploy.handshake import HandshakeFailed, PresentedChain, handshake, trust_error
from certctl.deploy.probe import ProbeSystem, addresses, leaf_facts, probe, server_name_of
from certctl.errors import (
    CertctlError,
    InspectionFailed,
    Interrupted,
    LockHeld,
    NotServed,
    UnknownCertificate,
    UsageError,
)
from certctl.events import Checking, Verified, VerifyFailed
from certctl.models import (
    CertificateFacts,
    CertificateSpec,
    Identifier,
    ProbeResult,
    ServiceAddress,
    Version,
)
from certctl.operations.deploy_steps import likely_services
from certctl.operations.run import Run
from certctl.operations.specs import load, unknown_certificate
from certctl.service_address import TLS_PORT, format_service, looks_like_service, parse_service

_PARALLEL = 16
"""Certificates and services that are looked at side by side: what takes time is who does not
answer.
"""

_SHOWN_PROBLEMS = 5

_NOT_SEEN = "Is it the right host and port, and a protocol with /starttls=... where it needs one?"


@dataclass(frozen=True)
class Verification:
    """What one address of a service shows to who asks for `server_name`; `problem` is None where it
    is good.

    `name` is our certificate's, None for a service that is not ours. `address` is "" where the
    service has none. `facts` are those of the leaf; None where none was seen, or another one than
    ours. `fix` is what to do about the problem. `distrusted`: why this system does not trust it, ""
    where it does, None where that was not asked.
    """

    name: str | None
    service: ServiceAddress
    address: str
    server_name: str
    sha256: str | None = None
    not_after: datetime | None = None
    facts: CertificateFacts | None = None
    problem: str | None = None
    fix: str | None = None
    distrusted: str | None = None


@dataclass(frozen=True)
class Verifications:
    """All that was seen, in the order asked for, and an error for each certificate or service that
    is not as it should be, or that could not be looked for.
    """

    seen: tuple[Verification, ...]
    errors: tuple[CertctlError, ...]


def verify(run: Run, texts: Sequence[str] = (), *, patience: float = 0.0) -> Verifications:
    """Look at certificates of ours by name, and at services (`HOST[:PORT][/starttls=...]`); at all
    certificates of ours where nothing is named.

    What is not there yet is looked for again for `patience` seconds. Raises `UnknownCertificate`,
    `UsageError` and `Interrupted`.
    """
    known = set(run.services.store.names())
    asked = list(dict.fromkeys(texts)) or sorted(known)
    subjects = [each if each in known else _service(each, known) for each in asked]
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="verify") as pool:
        found = list(pool.map(lambda subject: _looked_at(subject, run, patience), subjects))
    run.check()
    errors = (error or _error(seen) for seen, error in found)
    return Verifications(
        tuple(each for seen, _ in found for each in seen),
        tuple(each for each in errors if each is not None),
    )


def _looked_at(
    subject: str | ServiceAddress, run: Run, patience: float
) -> tuple[list[Verification], CertctlError | None]:
    """Return what was seen of a certificate or a service, or why nothing could be looked for."""
    if run.stop.is_set():
        return [], None
    try:
        if isinstance(subject, str):
            run.services.emit(Checking(subject, run.services.clock.now(), "what is served"))
            return _ours(subject, run, patience), None
        return _others(subject, run), None
    except Interrupted:
        return [], None
    except CertctlError as error:
        error.name = error.name or (
            subject if isinstance(subject, str) else format_service(subject)
        )
        return [], error


# Certificates of ours


def _ours(name: str, run: Run, patience: float) -> list[Verification]:
    spec, live = load(run, name), run.services.store.status(name).live
    if live is None:
        here = ServiceAddress(None)
        problem = "there is no certificate yet, so it cannot be served"
        return [Verification(name, here, "", name, problem=problem, fix=f"certctl renew {name}")]
    system = ProbeSystem(
        run.services.clock, run.stop, run.services.emit, timeout=patience, name=name
    )
    intermediate = _has_intermediate(live, run)
    found = [
        _of_ours(result, live, intermediate, run.services.clock.now())
        for service, names in places(spec, live.facts.identifiers, likely_services(spec, run))
        for result in probe(service, names, live.facts.sha256, system)
    ]
    if all(each.problem is None for each in found):
        _remember(name, live, run)
    return found


def places(
    spec: CertificateSpec,
    identifiers: Sequence[Identifier],
    likely: Sequence[ServiceAddress] = (),
) -> list[tuple[ServiceAddress, tuple[str, ...]]]:
    """Return where a certificate for `identifiers` is looked for, and by which names.

    That is where its spec says. Else it is where its targets are `likely` to listen, if none of
    them serves the Web: no port 443 belongs to a mail server. Else it is port 443 of each of its
    names, as visitors find it, a wildcard only where there is no other.
    """
    names = tuple(each.value for each in identifiers)
    services = spec.deploy.verify
    if not services and TLS_PORT not in {each.port for each in likely}:
        services = tuple(dict.fromkeys(likely))
    if services:
        return [(service, names) for service in services]
    hosts = [each for each in identifiers if not each.wildcard] or list(identifiers)
    return [(ServiceAddress(each.base), (each.value,)) for each in hosts]


def _has_intermediate(live: Version, run: Run) -> bool:
    """Return whether visitors need more than the leaf: no root issued it directly."""
    chain = run.services.store.material(live.name, live.number).chain
    return bool(chain.strip()) and not x509.is_self_issued(chain)


def _of_ours(result: ProbeResult, live: Version, intermediate: bool, now: datetime) -> Verification:
    problem, fix = _judged(result, live, intermediate, now)
    return Verification(
        live.name,
        result.service,
        result.address,
        result.server_name,
        sha256=result.sha256,
        not_after=result.not_after,
        facts=live.facts if result.error is None else None,
        problem=problem,
        fix=fix,
    )


def _judged(
    result: ProbeResult, live: Version, intermediate: bool, now: datetime
) -> tuple[str | None, str | None]:
    """Return what is wrong with what an address shows, and what to do about it."""
    name, end = live.name, live.facts.not_after
    if result.error is not None and result.sha256 is not None:
        return result.error, f"certctl deploy {name}, then: certctl verify {name}"
    if result.error is not None:
        return result.error, (
            f"See that {format_service(result.service)} can be reached from here; or say where it"
            f" is served: certctl edit {name} --verify HOST[:PORT]"
        )
    if end <= now:
        return f"it is served, but expired at {end:%Y-%m-%d %H:%M} UTC", f"certctl renew {name}"
    if intermediate and result.chain_length == 1:
        return (
            f"its chain is missing: clients may not know {live.facts.issuer!r}, which issued it",
            f"Let the server read fullchain.pem in place of cert.pem, then: certctl verify {name}",
        )
    return None, None


def _remember(name: str, live: Version, run: Run) -> None:
    """Note when the live version was seen; not where another process works on the certificate."""
    store = run.services.store
    try:
        lease = store.lock(name, timeout=0)
    except LockHeld:
        return
    with lease:
        status = store.status(name)
        if status.live is not None and status.live.number == live.number:
            seen = replace(status.deployment, verified_at=run.services.clock.now())
            store.save_deployment(name, seen)


# Services that are not ours


def _service(text: str, known: set[str]) -> ServiceAddress:
    """Return the service that is meant by what is no certificate's name."""
    if not looks_like_service(text) and "." not in text and text != "localhost":
        raise unknown_certificate(text, known)
    try:
        return parse_service(text)
    except UsageError as error:
        if looks_like_service(text):
            raise
        raise UnknownCertificate(
            f"{text!r} is neither a certificate nor a host", hint=error.hint, name=text
        ) from error


def _others(service: ServiceAddress, run: Run) -> list[Verification]:
    places = addresses(service.host)
    if not places:
        missing = "it has no address in the DNS"
        fix = "Check its spelling, or name its address: certctl verify ADDRESS[:PORT]"
        return [Verification(None, service, "", str(service.host), problem=missing, fix=fix)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(lambda place: _look(service, place, run), places))
    counting = [each for each, missing in found if not missing] or [found[0][0]]
    for each in counting:
        _tell(each, run)
    return counting


def _look(service: ServiceAddress, address: str, run: Run) -> tuple[Verification, bool]:
    """Return what an address shows, and whether nothing can be expected of it from here."""
    asked = service.host or "localhost"
    seen = Verification(None, service, address, asked)
    run.check()
    try:
        shown = handshake(
            address,
            service.port,
            server_name=server_name_of(asked),
            starttls=service.starttls,
        )
    except HandshakeFailed as error:
        missing = error.unreachable or (error.refused and service.host is None)
        return replace(seen, problem=str(error), fix=_NOT_SEEN), missing
    try:
        facts = leaf_facts(shown)
    except InspectionFailed as error:
        return replace(seen, problem=error.message, fix=error.hint), False
    now = run.services.clock.now()
    distrusted = _distrusted(service, address, asked)
    problem = "; ".join(_problems(service, shown, facts, now, trusted=distrusted == "")) or None
    seen = replace(
        seen,
        sha256=facts.sha256,
        not_after=facts.not_after,
        facts=facts,
        problem=problem,
        fix=problem and "certctl list shows which certificates are ours.",
        distrusted=distrusted,
    )
    return seen, False


def _problems(
    service: ServiceAddress,
    shown: PresentedChain,
    facts: CertificateFacts,
    now: datetime,
    *,
    trusted: bool,
) -> Iterable[str]:
    """Yield what visitors would stumble over, whomever they trust; what is `trusted` has all the
    chain that it needs.
    """
    if facts.not_after <= now:
        yield f"it expired at {facts.not_after:%Y-%m-%d %H:%M} UTC"
    if facts.not_before > now:
        yield f"it is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC"
    if service.host is not None and not covers(facts, service.host):
        names = ", ".join(each.value for each in facts.identifiers) or "no name"
        yield f"it is for {names}, not for {service.host}"
    if not trusted:
        yield from _chain_problems(shown, facts, now)


def _chain_problems(shown: PresentedChain, facts: CertificateFacts, now: datetime) -> Iterable[str]:
    """Yield what is wrong with the chain of a leaf that is not its own issuer."""
    chain = formats.join(formats.to_pem(each) for each in shown.certificates)
    try:
        x509.inspect(
            chain,
            identifiers=facts.identifiers,
            key_sha256=facts.key_sha256,
            # Only the chain is asked about: an expired leaf is told of by itself.
            now=min(now, facts.not_after - timedelta(seconds=1)),
            anchors=formats.to_pem(shown.leaf),
        )
    except InspectionFailed as error:
        if error.code == "certificate.refused.chain":
            yield (
                f"its chain is missing: clients may not know {facts.issuer!r}, which issued it"
                if len(shown.certificates) == 1
                else "its chain is out of order, or does not link"
            )


def covers(facts: CertificateFacts, host: str) -> bool:
    """Return whether a certificate is for a host (RFC 9525 §6.3): a wildcard stands for one
    label.
    """
    parent = host.partition(".")[2]
    return any(
        each.value == host or (each.wildcard and each.base == parent) for each in facts.identifiers
    )


def _distrusted(service: ServiceAddress, address: str, asked: str) -> str | None:
    try:
        reason = trust_error(address, service.port, server_name=asked, starttls=service.starttls)
    except HandshakeFailed:
        return None
    return reason or ""


def _tell(seen: Verification, run: Run) -> None:
    now, service = run.services.clock.now(), format_service(seen.service)
    if seen.problem is None:
        run.services.emit(Verified("", now, service, seen.address, seen.server_name))
    else:
        run.services.emit(
            VerifyFailed("", now, service, seen.address, seen.server_name, seen.problem)
        )


# Errors


def _error(seen: Sequence[Verification]) -> NotServed | None:
    """Return what is wrong with one certificate or one service, None where nothing is."""
    bad = [each for each in seen if each.problem is not None]
    if not bad:
        return None
    name = bad[0].name
    reasons = list(dict.fromkeys(f"{format_service(each.service)}: {each.problem}" for each in bad))
    more = len(reasons) - _SHOWN_PROBLEMS
    shown = reasons[:_SHOWN_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
    if name is None:
        return NotServed("; ".join(shown), hint=bad[0].fix)
    return NotServed(
        f"{name} is not served as it should be: {'; '.join(shown)}", hint=bad[0].fix, name=name
    )
