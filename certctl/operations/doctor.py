"""Doctor: what would stop an issuance or a renewal, found beforehand; it explains, and blocks
nothing.

Each check lives near what it checks and returns findings; here they are chosen, run side by side,
and put into order. Certificates that are not there yet are looked at as `issue` would make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from certctl.ca.directories import ca_kind, label
from certctl.deploy.hook_checks import alert_findings, command_findings, directory_findings
from certctl.dns.caa import caa_findings
from certctl.dns.hosts import Host, address_findings, look_up
from certctl.dns.resolver import Resolver
from certctl.errors import CertctlError, Interrupted
from certctl.events import Checking
from certctl.models import (
    CertificateSpec,
    ChallengeType,
    Finding,
    Identifier,
    IdentifierType,
    Severity,
    Value,
)
from certctl.names import certificate_name, default_certificate_name, parse_identifier
from certctl.operations.certificate_findings import state_findings
from certctl.operations.challenge_self_test import (
    ChallengeSelfTest,
    challenge_type,
    self_test_challenges,
)
from certctl.operations.deployment_findings import deployment_findings
from certctl.operations.doctor_cas import CaAccount, CaChecks
from certctl.operations.machine_findings import (
    MachineContext,
    schedule_findings,
    space_findings,
    version_findings,
)
from certctl.operations.run import Run
from certctl.operations.specs import changed, find, load, new
from certctl.store.permissions import permission_findings
from certctl.system.space import disk_space_at

MANY = 100
"""Certificates whose names are looked up where nobody asked for any by name."""

_PARALLEL = 8
_ORDER = tuple(Severity)


@dataclass(frozen=True)
class DoctorRequest:
    """What `doctor` is asked: names of certificates, or of those to be; options for the latter;
    whether throwaway answers are put in place (None: where names are given). Where no names are,
    those of the first `most` certificates are looked up.
    """

    names: tuple[str, ...] = ()
    given: Mapping[str, Value] = field(default_factory=dict)
    write: bool | None = None
    context: MachineContext = field(default_factory=MachineContext)
    most: int = MANY


@dataclass(frozen=True)
class Diagnosis:
    """All findings, errors first, and how many certificates were looked at."""

    findings: tuple[Finding, ...]
    certificates: int


@dataclass(frozen=True)
class _Subject:
    """A certificate to look at; `there` is whether it has a spec in the store."""

    spec: CertificateSpec
    there: bool


def diagnose(request: DoctorRequest, run: Run) -> Diagnosis:
    """Return what was found. Raises `Interrupted`, and `UsageError` for what is no name."""
    subjects, found = _subjects(request, run)
    looked_at = subjects if request.names else subjects[: request.most]
    checks = _checks(request, subjects, looked_at, run)
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="doctor") as pool:
        found += state_findings([each.spec.name for each in subjects if each.there], run)
        for some in pool.map(lambda check: _run_check(check, run), checks):
            found += some
    if len(looked_at) < len(subjects):
        found.append(_not_all(len(looked_at), len(subjects)))
    run.check()
    ordered = sorted(dict.fromkeys(found), key=lambda each: _ORDER.index(each.severity))
    return Diagnosis(tuple(ordered), len(looked_at))


# Checks, and what runs them


@dataclass(frozen=True)
class _Check:
    """A check of the certificate `name`, or of none; `what` is a phrase for the screen."""

    name: str
    what: str
    findings: Callable[[], Iterable[Finding]]


def _run_check(check: _Check, run: Run) -> list[Finding]:
    """Return what a check found; one that cannot be made is a finding itself."""
    if run.stop.is_set():
        return []
    run.services.emit(Checking(check.name, run.services.clock.now(), check.what))
    found: list[Finding] = []
    try:
        found.extend(check.findings())
    except Interrupted:
        return []
    except CertctlError as error:
        found.append(
            Finding(
                "doctor.failed",
                Severity.WARNING,
                check.name or check.what,
                f"{check.what} could not be looked at: {error.message}",
                error.hint,
            )
        )
    return found


def _checks(
    request: DoctorRequest,
    subjects: Sequence[_Subject],
    looked_at: Sequence[_Subject],
    run: Run,
) -> list[_Check]:
    """Return what is to be checked: of the machine, of each CA, and of each certificate."""
    context, home = request.context, Path(run.services.tree.home)
    specs = [each.spec for each in subjects]
    there = [each.spec for each in subjects if each.there]
    write = request.write if request.write is not None else bool(request.names)
    failed = run.services.settings.text("on_failure_hook")
    cas = CaChecks(run)
    checks = [
        _Check("", "the home directory", lambda: permission_findings(home, there)),
        _Check("", "the hooks", lambda: directory_findings(home)),
        _Check("", "the disk", lambda: space_findings(home, disk_space_at(home))),
        _Check("", "the failure hook", lambda: alert_findings(failed, context.variables)),
        _Check("", "the deployment", lambda: deployment_findings(specs, run)),
        _Check("", "the schedule", lambda: schedule_findings(context, there, run)),
        _Check("", "the versions", version_findings),
    ]
    for ca_account in dict.fromkeys(_ca_account(each.spec) for each in looked_at):
        what = f"the CA {label(ca_account[0])}"
        checks.append(_Check("", what, partial(cas.findings, ca_account)))
    for each in looked_at:
        check = partial(_names_findings, each.spec, cas, run, write=write)
        checks.append(_Check(each.spec.name, "its names", check))
    for each in subjects:
        commands = partial(command_findings, each.spec, context.variables)
        checks.append(_Check(each.spec.name, "its hooks", commands))
    return checks


def _ca_account(spec: CertificateSpec) -> CaAccount:
    return spec.ca, spec.ca_bundle, spec.account


# The names of a certificate


def _names_findings(
    spec: CertificateSpec, cas: CaChecks, run: Run, *, write: bool
) -> Iterator[Finding]:
    """Yield what would keep the CA from coming to the names of a certificate, from issuing for
    them, and, with `write`, us from putting an answer in place.
    """
    challenge, endpoint = run.challenge(spec), run.endpoint(spec.ca, spec.ca_bundle)
    resolver = Resolver(challenge.dns_resolver or endpoint.dns, run.stop)
    yield from cas.profile(spec)
    kind = challenge_type(challenge, run)
    hosts: dict[str, Host] = {}
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="doctor-names") as pool:
        if not kind.startswith("dns"):
            for host in pool.map(lambda each: _host(each, resolver), spec.identifiers):
                hosts[host.name] = host
        asking = cas.issuance_request(spec, kind)
        named = [each for each in spec.identifiers if each.type is IdentifierType.DNS]
        if asking is not None:
            for found in pool.map(lambda each: caa_findings(each, asking, resolver), named):
                yield from found
    public = ca_kind(spec.ca) != "private" and endpoint.http_port is None
    for host in hosts.values():
        yield from address_findings(host, public=public)
    if kind == ChallengeType.DNS_PERSIST_01:
        return  # its record cannot be told before the CA names what it must say
    port = endpoint.tls_alpn_port if kind == ChallengeType.TLS_ALPN_01 else endpoint.http_port
    account_url = (asking.account_url if asking is not None else None) or ""
    yield from self_test_challenges(
        ChallengeSelfTest(spec, challenge, hosts, port, write, account_url), run
    )


def _host(identifier: Identifier, resolver: Resolver) -> Host:
    if identifier.type is IdentifierType.IP:
        return Host(identifier.value, addresses=(identifier.value,))
    return look_up(identifier.base, resolver)


# Which certificates are meant


def _subjects(request: DoctorRequest, run: Run) -> tuple[list[_Subject], list[Finding]]:
    """Return the certificates to look at, and a finding for each whose spec cannot be read."""
    known = run.services.store.names()
    subjects: list[_Subject] = []
    unreadable: list[Finding] = []
    for text in request.names or known:
        name = text if text in known else _meant_by(text, run)
        if name is None:
            subjects.append(_Subject(_to_be(text, request, run), there=False))
            continue
        try:
            spec = load(run, name)
            if request.given:
                spec = changed(run, spec, spec.identifiers, request.given)
            subjects.append(_Subject(spec, there=True))
        except CertctlError as error:
            fix = error.hint or f"certctl show {name}"
            unreadable.append(
                Finding("certificate.unreadable", Severity.ERROR, name, error.message, fix)
            )
    return subjects, unreadable


def _meant_by(text: str, run: Run) -> str | None:
    """Return the certificate that `issue` would take up for a name, None where it would make one.
    Raises `InvalidIdentifier`.
    """
    found = find(run, None, (parse_identifier(text),))
    return None if found is None else found.name


def _to_be(text: str, request: DoctorRequest, run: Run) -> CertificateSpec:
    """Return the spec of a certificate that is not there yet. Raises `InvalidIdentifier`."""
    identifiers = (parse_identifier(text),)
    name = certificate_name(default_certificate_name(identifiers, ()))
    return new(run, name, identifiers, request.given)


def _not_all(looked_at: int, there: int) -> Finding:
    return Finding(
        "doctor.not_all",
        Severity.INFO,
        "names",
        f"the names of {looked_at} of {there} certificates were looked up",
        "Look at others by name: certctl doctor NAME...",
    )
