"""Verify that services present the live version, or that any service's certificate is valid.

A certificate of this home directory is checked by its fingerprint, at the services of its spec or
at its own names. For any other service, the certificate is checked as a browser would; whether this
system trusts it is reported, but is not an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from certctl.deploy.handshake import HandshakeFailed, PresentedChain, handshake, trust_error
from certctl.deploy.probe import (
    ProbeSystem,
    addresses,
    leaf_facts,
    probe_version,
    server_name_of,
)
from certctl.engine.current import current_state_of
from certctl.engine.delivery.steps import likely_services, served_part, targets_of
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.certificate import CertificateFacts, Version
from certctl.model.delivery import ProbeResult
from certctl.model.errors import (
    CertctlError,
    FilesDamaged,
    InspectionFailed,
    Interrupted,
    LockHeld,
    NotServed,
    UnknownCertificate,
    UsageError,
)
from certctl.model.events import Checking, Verified, VerifyFailed
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec, ServiceAddress
from certctl.rules import formats, x509
from certctl.rules.selection import unknown_certificate
from certctl.rules.service_address import (
    TLS_PORT,
    format_service,
    looks_like_service,
    parse_service,
)

_PARALLEL = 16
"""Certificates and services checked in parallel: the time is spent waiting for slow ones."""

_SHOWN_PROBLEMS = 5

_HANDSHAKE_HINT = "Check the host, the port, and whether the service needs /starttls=PROTOCOL."


@dataclass(frozen=True)
class Verification:
    """What one address of a service presents for `server_name`; `problem` is None if it is valid.

    `name` is the certificate's, None for a service that is not in this home directory. `address` is
    "" if the host has none. `facts` are those of the leaf; None if no leaf was presented, or not
    the live one. `fix` solves the problem. `distrusted`: why this system does not trust the
    certificate, "" if it does, None if that was not checked. `key`: the only kind of key that the
    client said it supports, if the certificate has two.
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
    key: str | None = None


@dataclass(frozen=True)
class Verifications:
    """The results in the order requested, and an error for each certificate or service that has a
    problem or could not be checked.
    """

    seen: tuple[Verification, ...]
    errors: tuple[CertctlError, ...]


def verify(run: Run, texts: Sequence[str] = (), *, timeout: float = 0.0) -> Verifications:
    """Check certificates by name, and services (`HOST[:PORT][/starttls=...]`); by default, all
    certificates.

    A certificate that is not served yet is checked again for `timeout` seconds. Raises
    `UnknownCertificate`, `UsageError` and `Interrupted`.
    """
    known = set(run.services.records.names())
    asked = list(dict.fromkeys(texts)) or sorted(known)
    subjects = [each if each in known else _service(each, known) for each in asked]
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="verify") as pool:
        found = list(pool.map(lambda subject: _checked(subject, run, timeout), subjects))
    run.check()
    errors = (error or _error(seen) for seen, error in found)
    return Verifications(
        tuple(each for seen, _ in found for each in seen),
        tuple(each for each in errors if each is not None),
    )


def _checked(
    subject: str | ServiceAddress, run: Run, timeout: float
) -> tuple[list[Verification], CertctlError | None]:
    """Return the results for a certificate or a service, or the error that prevented the check."""
    if run.stop.is_set():
        return [], None
    try:
        if isinstance(subject, str):
            run.services.emit(Checking(subject, run.services.clock.now(), "what is served"))
            return _check_certificate(subject, run, timeout), None
        return _check_service(subject, run), None
    except Interrupted:
        return [], None
    except CertctlError as error:
        error.name = error.name or (
            subject if isinstance(subject, str) else format_service(subject)
        )
        return [], error


# Certificates of this home directory


def _check_certificate(name: str, run: Run, timeout: float) -> list[Verification]:
    spec, live = load(run, name), current_state_of(name, run.services).live
    if live is None:
        here = ServiceAddress(None)
        problem = "there is no certificate yet"
        return [Verification(name, here, "", name, problem=problem, fix=f"certctl renew {name}")]
    system = ProbeSystem(
        run.services.clock, run.stop, run.services.emit, timeout=timeout, name=name
    )
    intermediate = _has_intermediate(live, run)
    served = served_part(live, targets_of(spec, run, {}))
    found = [
        _verification(result, live, intermediate, run.services.clock.now())
        for service, names in services_to_check(
            spec, live.facts.identifiers, likely_services(spec, run)
        )
        for result in probe_version(service, names, served, system)
    ]
    if all(each.problem is None for each in found):
        _record_verified(name, live, run)
    return found


def services_to_check(
    spec: CertificateSpec,
    identifiers: Sequence[Identifier],
    likely: Sequence[ServiceAddress] = (),
) -> list[tuple[ServiceAddress, tuple[str, ...]]]:
    """Return the services that are checked for a certificate, and the names for each.

    These are the services of its spec; if there are none, its targets' `likely` services, unless
    one of them is at port 443; else port 443 of each of its names, of a wildcard only if there is
    no other name.
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
    """Return whether clients need an intermediate: the leaf was not issued directly by a root."""
    try:
        chain = run.services.records.material(live.name, live.number, with_key=False).chain
    except FilesDamaged:
        return False  # its chain is lost; `renew` reports that
    return bool(chain.strip()) and not x509.is_self_issued(chain)


def _verification(
    result: ProbeResult, live: Version, intermediate: bool, now: datetime
) -> Verification:
    problem, fix = _judged(result, live, intermediate, now)
    return Verification(
        live.name,
        result.service,
        result.address,
        result.server_name,
        sha256=result.sha256,
        not_after=result.not_after,
        facts=_facts_of(result, live) if result.error is None else None,
        key=result.key,
        problem=problem,
        fix=fix,
    )


def _facts_of(result: ProbeResult, live: Version) -> CertificateFacts:
    """Return the contents of the certificate that was presented."""
    every = (each.facts for each in live.certificates)
    return next((each for each in every if each.sha256 == result.sha256), live.facts)


def _judged(
    result: ProbeResult, live: Version, intermediate: bool, now: datetime
) -> tuple[str | None, str | None]:
    """Return the problem with what an address presents, and how to fix it."""
    name, end = live.name, live.not_after
    if result.error is not None and result.sha256 is not None:
        return result.error, f"certctl deploy {name}, then: certctl verify {name}"
    if result.error is not None:
        return result.error, (
            f"Check that {format_service(result.service)} can be reached from here, or specify"
            f" where the certificate is served: certctl edit {name} --verify HOST[:PORT]"
        )
    if end <= now:
        return f"it is served, but expired at {end:%Y-%m-%d %H:%M} UTC", f"certctl renew {name}"
    if intermediate and result.chain_length == 1:
        return (
            f"its chain is missing: clients may not know its issuer {live.facts.issuer!r}",
            "Configure the server to use fullchain.pem instead of cert.pem, then: certctl verify "
            + name,
        )
    return None, None


def _record_verified(name: str, live: Version, run: Run) -> None:
    """Record when the live version was seen, unless another process holds the lock."""
    machine = run.services.machine
    try:
        lock = machine.lock(name, timeout=0)
    except LockHeld:
        return
    with lock:
        status = current_state_of(name, run.services)
        if status.live is not None and status.live.number == live.number:
            seen = replace(status.deployment, verified_at=run.services.clock.now())
            machine.save_deployment(name, seen)


# Other services


def _service(text: str, known: set[str]) -> ServiceAddress:
    """Return the service for an argument that is not a certificate's name."""
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


def _check_service(service: ServiceAddress, run: Run) -> list[Verification]:
    found_addresses = addresses(service.host)
    if not found_addresses:
        missing = "it has no address in DNS"
        fix = "Check the spelling, or verify it by its address: certctl verify ADDRESS[:PORT]"
        return [Verification(None, service, "", str(service.host), problem=missing, fix=fix)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(lambda each: _check_address(service, each, run), found_addresses))
    counting = [each for each, missing in found if not missing] or [found[0][0]]
    for each in counting:
        _emit_result(each, run)
    return counting


def _check_address(service: ServiceAddress, address: str, run: Run) -> tuple[Verification, bool]:
    """Return what an address presents, and whether it is unreachable from here."""
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
        return replace(seen, problem=str(error), fix=_HANDSHAKE_HINT), missing
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
        fix=problem and "To list the certificates managed by certctl, run: certctl list",
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
    """Yield the problems that any client would have; the chain of a `trusted` one is complete."""
    if facts.not_after <= now:
        yield f"it expired at {facts.not_after:%Y-%m-%d %H:%M} UTC"
    if facts.not_before > now:
        yield f"it is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC"
    if service.host is not None and not covers(facts, service.host):
        names = ", ".join(each.value for each in facts.identifiers) or "no names"
        yield f"it is for {names}, not for {service.host}"
    if not trusted:
        yield from _chain_problems(shown, facts, now)


def _chain_problems(shown: PresentedChain, facts: CertificateFacts, now: datetime) -> Iterable[str]:
    """Yield the problems of the presented chain."""
    chain = formats.join(formats.to_pem(each) for each in shown.certificates)
    try:
        x509.inspect(
            chain,
            identifiers=facts.identifiers,
            key_sha256=facts.key_sha256,
            # Only the chain is checked here: an expired leaf is reported separately.
            now=min(now, facts.not_after - timedelta(seconds=1)),
            anchors=formats.to_pem(shown.leaf),
        )
    except InspectionFailed as error:
        if error.code == "certificate.refused.chain":
            yield (
                f"its chain is missing: clients may not know its issuer {facts.issuer!r}"
                if len(shown.certificates) == 1
                else "its chain is incomplete or out of order"
            )


def covers(facts: CertificateFacts, host: str) -> bool:
    """Return whether a certificate covers a host (RFC 9525 §6.3); a wildcard matches one label."""
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


def _emit_result(seen: Verification, run: Run) -> None:
    now, service = run.services.clock.now(), format_service(seen.service)
    if seen.problem is None:
        run.services.emit(Verified("", now, service, seen.address, seen.server_name))
    else:
        run.services.emit(
            VerifyFailed("", now, service, seen.address, seen.server_name, seen.problem)
        )


# Errors


def _error(seen: Sequence[Verification]) -> NotServed | None:
    """Return the error for one certificate or service; None if there is no problem."""
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
        f"{name} is not served correctly: {'; '.join(shown)}", hint=bad[0].fix, name=name
    )
