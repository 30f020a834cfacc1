"""Doctor: find and explain what would make an issuance or a renewal fail. It is purely diagnostic,
unless it is asked to remove leftovers.

Each check is in the module of what it checks, and returns findings. This module selects the checks,
runs them in parallel and sorts the findings. For a name without a certificate it checks the spec
that `issue` would create.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from functools import partial
from pathlib import Path

from certctl.ca.directories import ca_kind, label
from certctl.deploy.hook_checks import alert_findings, command_findings, directory_findings
from certctl.dns.caa import caa_findings
from certctl.dns.dnssec import dnssec_findings
from certctl.dns.hosts import Host, address_findings, look_up
from certctl.dns.resolver import Resolver
from certctl.dns.tlsa import tlsa_findings
from certctl.engine.order.challenge_self_test import (
    ChallengeSelfTest,
    challenge_type,
    self_test_challenges,
)
from certctl.engine.run import Run
from certctl.engine.specs import at_ca, changed, find, load, new
from certctl.inspection.certificate_findings import state_findings, window_findings
from certctl.inspection.deployment_findings import deployment_findings
from certctl.inspection.doctor_cas import CaAccount, CaChecks
from certctl.inspection.import_findings import import_findings
from certctl.inspection.leftover_findings import leftover_findings
from certctl.inspection.machine_findings import (
    schedule_findings,
    space_findings,
    version_findings,
)
from certctl.inspection.scheduled import MachineContext
from certctl.inspection.secured_findings import secured_findings
from certctl.model.ca import ChallengeType
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.events import Checking
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import certificate_name, default_certificate_name, parse_identifier
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.store.home.permissions import permission_findings
from certctl.system.space import disk_space_at

MAX_CERTIFICATES = 100
"""How many certificates' names are checked if none are given."""

_PARALLEL = 8
_NAMES = "its names"
_ORDER = tuple(Severity)


@dataclass(frozen=True)
class DoctorRequest:
    """A request to `doctor`: the names of certificates or domain names, all certificates if empty;
    the options given; whether temporary files that killed runs left are removed (`fix`); whether
    the challenge self-test presents responses (`write`; None: if names are given, and in any case
    where that is a file in a directory of a web server).
    Without names, the names of the first `max_certificates` certificates only are checked.
    """

    names: tuple[str, ...] = ()
    given: Mapping[str, Value] = field(default_factory=dict)
    write: bool | None = None
    context: MachineContext = field(default_factory=MachineContext)
    max_certificates: int = MAX_CERTIFICATES
    fix: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """All findings, errors first, and the number of certificates whose names were checked; `tried`
    is what was checked, in the order of an issuance.
    """

    findings: tuple[Finding, ...]
    certificates: int
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class Tried:
    """Something that was checked; `worst` is the severity of the worst problem, None for none.
    `subject` is "" for the machine.
    """

    subject: str
    what: str
    worst: Severity | None


@dataclass(frozen=True)
class _Subject:
    """A certificate to check; `exists` is whether it has a spec in the store."""

    spec: CertificateSpec
    exists: bool


def diagnose(request: DoctorRequest, run: Run) -> Diagnosis:
    """Run all checks and return the findings. Raises `Interrupted`, and `UsageError` for an invalid
    name.
    """
    subjects, findings = _subjects(request, run)
    selected = subjects if request.names else subjects[: request.max_certificates]
    checks = _checks(request, subjects, selected, run)
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="doctor") as pool:
        findings += state_findings([each.spec.name for each in subjects if each.exists], run)
        found_by = list(pool.map(lambda check: _run_check(check, run), checks))
    findings += [each for found in found_by for each in found]
    tried = [
        each for check, found in zip(checks, found_by, strict=True) for each in _tried(check, found)
    ]
    if len(selected) < len(subjects):
        findings.append(_not_all(len(selected), len(subjects)))
    run.check()
    ordered = sorted(dict.fromkeys(findings), key=lambda each: _ORDER.index(each.severity))
    return Diagnosis(tuple(ordered), len(selected), tuple(tried))


_CHALLENGE = "the challenge"
_PARTS: Mapping[str, tuple[str, ...]] = {
    "DNS": ("dns.lookup", "dns.nxdomain", "dns.no_address", "dns.private", "dns.elsewhere"),
    "DNSSEC": ("dns.dnssec",),
    "CAA": ("caa.",),
    _CHALLENGE: ("answer.", "challenge.", "dns.write", "dns.propagation"),
}
"""What is checked of the names of a certificate, by the codes of its findings."""


def _tried(check: _Check, found: Sequence[Finding]) -> list[Tried]:
    """Return what a check has tried; that of names has parts."""
    if check.what != _NAMES:
        return [Tried(check.name, check.what, _worst(found))]
    failed = [each for each in found if each.code == "doctor.failed"]
    parts = {
        part: _worst([*failed, *(each for each in found if each.code.startswith(codes))])
        for part, codes in _PARTS.items()
    }
    seen = any(each.code.startswith(_PARTS[_CHALLENGE]) for each in found)
    if parts[_CHALLENGE] is None and not seen and any(each.code == "dns.lookup" for each in found):
        parts[_CHALLENGE] = Severity.WARNING  # no address at which it could be tried
    return [Tried(check.name, part, worst) for part, worst in parts.items()]


def _worst(found: Sequence[Finding]) -> Severity | None:
    problems = [each.severity for each in found if each.severity is not Severity.INFO]
    return min(problems, key=_ORDER.index, default=None)


# Checks


@dataclass(frozen=True)
class _Check:
    """A check of the certificate `name` ("" for a check of the machine); `what` is a phrase that
    says what is checked.
    """

    name: str
    what: str
    findings: Callable[[], Iterable[Finding]]


def _run_check(check: _Check, run: Run) -> list[Finding]:
    """Return the findings of a check; if the check itself fails, that is a finding, too."""
    if run.stop.is_set():
        return []
    run.services.emit(Checking(check.name, run.services.clock.now(), check.what))
    findings: list[Finding] = []
    try:
        findings.extend(check.findings())
    except Interrupted:
        return []
    except CertctlError as error:
        findings.append(
            Finding(
                "doctor.failed",
                Severity.WARNING,
                check.name or check.what,
                f"{check.what} could not be checked: {error.message}",
                error.hint,
            )
        )
    return findings


def _checks(
    request: DoctorRequest,
    subjects: Sequence[_Subject],
    selected: Sequence[_Subject],
    run: Run,
) -> list[_Check]:
    """Return the checks of the machine, of each CA and of each certificate; `selected` are those
    whose names and CAs are checked.
    """
    context, home = request.context, Path(run.services.tree.home)
    specs = [each.spec for each in subjects]
    existing = [each.spec for each in subjects if each.exists]
    write = True if request.write is None and request.names else request.write
    failure_hook = run.services.settings.text("on_failure_hook")
    cas = CaChecks(run)
    checks = [
        _Check("", "the home directory", lambda: permission_findings(home, existing)),
        _Check("", "leftovers", lambda: leftover_findings(run, remove=request.fix)),
        _Check("", "the hooks", lambda: directory_findings(home)),
        _Check("", "the disk", lambda: space_findings(home, disk_space_at(home))),
        _Check("", "the failure hook", lambda: alert_findings(failure_hook, context.variables)),
        _Check("", "the deployment", lambda: deployment_findings(specs, run)),
        _Check("", "the web servers", lambda: secured_findings(run)),
        _Check("", "imported certificates", lambda: import_findings(run)),
        _Check("", "the windows", lambda: window_findings(existing, run)),
        _Check("", "the schedule", lambda: schedule_findings(context, existing, run)),
        _Check("", "the versions", version_findings),
    ]
    asked: dict[CaAccount, bool] = {}
    for each in selected:
        for ca in each.spec.cas:
            ca_account = _ca_account(at_ca(run, each.spec, ca))
            asked[ca_account] = asked.get(ca_account, False) or bool(each.spec.fallback_cas)
    for ca_account, needed in asked.items():
        what = f"the CA {label(ca_account[0])}"
        checks.append(_Check("", what, partial(cas.findings, ca_account, needed=needed)))
    for each in selected:
        check = partial(_names_findings, each.spec, cas, run, write=write)
        checks.append(_Check(each.spec.name, _NAMES, check))
    for each in subjects:
        commands = partial(command_findings, each.spec, context.variables)
        checks.append(_Check(each.spec.name, "its hooks", commands))
    return checks


def _ca_account(spec: CertificateSpec) -> CaAccount:
    return spec.ca, spec.ca_bundle, spec.account


# The names of a certificate


def _names_findings(
    spec: CertificateSpec, cas: CaChecks, run: Run, *, write: bool | None
) -> Iterator[Finding]:
    """Yield what would keep the CA from reaching the names of a certificate or from issuing for
    them, and the findings of the challenge self-test, which presents responses only with `write`,
    by default only where that is a file for a web server.
    """
    challenge, endpoint = run.challenge(spec), run.endpoint(spec.ca, spec.ca_bundle)
    resolver = Resolver(challenge.dns_resolver or endpoint.dns, run.stop)
    each_ca = [at_ca(run, spec, ca) for ca in spec.cas]
    for asked in each_ca:
        yield from cas.profile(asked)
    kind = challenge_type(challenge, run)
    hosts: dict[str, Host] = {}
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="doctor-names") as pool:
        if not kind.startswith("dns"):
            for host in pool.map(lambda each: _host(each, resolver), spec.identifiers):
                hosts[host.name] = host
        issuances = [cas.issuance_request(asked, kind) for asked in each_ca]
        named = [each for each in spec.identifiers if each.type is IdentifierType.DNS]
        bases = list(dict.fromkeys(each.base for each in named))
        for bogus in pool.map(lambda each: list(dnssec_findings(each, resolver)), bases):
            yield from bogus
        for issuance in issuances:
            if issuance is not None:
                check = partial(caa_findings, request=issuance, resolver=resolver)
                for found in pool.map(check, named):
                    yield from found
        if spec.fallback_cas:
            ports = [443, *(each.port for each in spec.deploy.verify)]
            of_ports = partial(tlsa_findings, ports=list(dict.fromkeys(ports)), resolver=resolver)
            for pinned in pool.map(lambda each: list(of_ports(each)), bases):
                yield from pinned
    public = ca_kind(spec.ca) != "private" and endpoint.http_port is None
    for host in hosts.values():
        yield from address_findings(host, public=public)
    if kind == ChallengeType.DNS_PERSIST_01:
        return  # the content of its record is known only once the CA has sent the challenge
    write = challenge.method == "webroot" if write is None else write
    port = endpoint.tls_alpn_port if kind == ChallengeType.TLS_ALPN_01 else endpoint.http_port
    first = issuances[0]
    account_url = (first.account_url if first is not None else None) or ""
    thumbprint = cas.thumbprint(each_ca[0])
    yield from self_test_challenges(
        ChallengeSelfTest(each_ca[0], challenge, hosts, port, write, account_url, thumbprint), run
    )


def _host(identifier: Identifier, resolver: Resolver) -> Host:
    if identifier.type is IdentifierType.IP:
        return Host(identifier.value, addresses=(identifier.value,))
    return look_up(identifier.base, resolver)


# Selection of certificates


def _subjects(request: DoctorRequest, run: Run) -> tuple[list[_Subject], list[Finding]]:
    """Return the certificates to check, and a finding for each whose spec cannot be read."""
    known = run.services.records.names()
    subjects: list[_Subject] = []
    unreadable: list[Finding] = []
    for text in request.names or known:
        name = text if text in known else _existing_certificate(text, run)
        if name is None:
            subjects.append(_Subject(_new_spec(text, request, run), exists=False))
            continue
        try:
            spec = load(run, name)
            if request.given:
                spec = changed(run, spec, spec.identifiers, request.given)
            subjects.append(_Subject(spec, exists=True))
        except CertctlError as error:
            fix = error.hint or f"certctl show {name}"
            unreadable.append(
                Finding("certificate.unreadable", Severity.ERROR, name, error.message, fix)
            )
    return subjects, unreadable


def _existing_certificate(text: str, run: Run) -> str | None:
    """Return the existing certificate that `issue` would use for a domain name; None if it would
    create one. Raises `InvalidIdentifier`.
    """
    found = find(run, None, (parse_identifier(text),))
    return None if found is None else found.name


def _new_spec(text: str, request: DoctorRequest, run: Run) -> CertificateSpec:
    """Return the spec that `issue` would create for a domain name. Raises `InvalidIdentifier`."""
    identifiers = (parse_identifier(text),)
    name = certificate_name(default_certificate_name(identifiers, ()))
    return new(run, name, identifiers, request.given)


def _not_all(checked: int, total: int) -> Finding:
    return Finding(
        "doctor.not_all",
        Severity.INFO,
        "names",
        f"the names of only {checked} of {total} certificates were checked",
        "To check others: certctl doctor NAME...",
    )
