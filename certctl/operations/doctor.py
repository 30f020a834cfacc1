"""Doctor: what would stop an issuance or a renewal, found beforehand; it explains, and blocks
nothing.

Each check lives near what it checks and returns findings; here they are chosen, run side by side,
and put into order. Certificates that are not there yet are looked at as `issue` would make them.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from threading import Lock

from certctl.ca import health
from certctl.ca.client import AcmeClient
from certctl.ca.directories import label, standing
from certctl.deploy.hook_checks import command_findings, folder_findings
from certctl.dns.caa import Asking, caa_finding
from certctl.dns.hosts import Host, address_findings, look_up
from certctl.dns.resolver import Resolver
from certctl.errors import AcmeError, CertctlError, Interrupted
from certctl.events import Checking
from certctl.models import (
    Account,
    CertificateSpec,
    ChallengeSpec,
    ChallengeType,
    Finding,
    IdentifierType,
    Severity,
    Value,
)
from certctl.names import certificate_name, default_certificate_name, parse_identifier
from certctl.operations.accounts import choose_account
from certctl.operations.overview import CertificateView, overview
from certctl.operations.rehearse_control import Rehearsal, rehearse_control
from certctl.operations.run import Run
from certctl.operations.specs import changed, load, new
from certctl.store.permissions import permission_findings
from certctl.system.space import Space, space_at
from certctl.system.timers import Timer, own_crontab, timers_for
from certctl.version import VERSION

MANY = 100
"""Certificates whose names are looked up where nobody asked for any by name."""

RUN_EXPECTED = timedelta(days=2)
"""How long `renew` may not have run by itself before that is a finding."""

LITTLE_SPACE = 100 * 1024 * 1024
NO_SPACE = 10 * 1024 * 1024
FEW_FILES = 1000

_PARALLEL = 8
_COMMAND = "certctl"
_RENEWING = (_COMMAND, "renew")
_LIBRARIES = ("acme", "cryptography", "dnspython", "requests")
_ORDER = tuple(Severity)


@dataclass(frozen=True)
class Machine:
    """What `doctor` knows of the world around it: the caller's variables, the root of the file
    system that cron and systemd read, and whether this user's own crontab is asked for.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")
    ask_crontab: bool = True


@dataclass(frozen=True)
class Examination:
    """What `doctor` is asked: names of certificates, or of those to be; options for the latter;
    whether throwaway answers are put in place (None: where names are given).
    """

    names: tuple[str, ...] = ()
    given: Mapping[str, Value] = field(default_factory=dict)
    write: bool | None = None
    machine: Machine = field(default_factory=Machine)


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


def examine(examination: Examination, run: Run) -> Diagnosis:
    """Return what was found. Raises `Interrupted`, and `UsageError` for what is no name."""
    subjects, unreadable = _subjects(examination, run)
    write = examination.write if examination.write is not None else bool(examination.names)
    looked_at = subjects if examination.names else subjects[:MANY]
    authorities = _Authorities(run)
    checks = [
        *_checks_of_the_machine(examination.machine, subjects, run),
        *(
            _Check("", f"the CA {label(ca)}", authorities.check(ca, bundle, wanted))
            for ca, bundle, wanted in dict.fromkeys(_authority_of(each.spec) for each in looked_at)
        ),
        *(
            _Check(each.spec.name, "its names", _names_check(each.spec, authorities, run, write))
            for each in looked_at
        ),
        *(
            _Check(each.spec.name, "its hooks", _hooks_check(each.spec, examination.machine))
            for each in subjects
        ),
    ]
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="doctor") as pool:
        found = [*unreadable, *_states(subjects, run)]
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


def _checks_of_the_machine(
    machine: Machine, subjects: Sequence[_Subject], run: Run
) -> list[_Check]:
    home = Path(run.services.tree.home)
    specs = [each.spec for each in subjects if each.there]
    return [
        _Check("", "the home folder", lambda: permission_findings(home, specs)),
        _Check("", "the hooks", lambda: folder_findings(home)),
        _Check("", "the disk", lambda: _space_findings(home, space_at(home))),
        _Check("", "the schedule", lambda: _schedule_findings(machine, run, bool(specs))),
        _Check("", "the versions", _versions),
    ]


def _names_check(
    spec: CertificateSpec, authorities: _Authorities, run: Run, write: bool
) -> Callable[[], Iterator[Finding]]:
    """Return the check of where the names of a certificate lead, of their CAA records, and, with
    `write`, of whether an answer can be put in place.
    """

    def check() -> Iterator[Finding]:
        challenge = run.challenge(spec)
        endpoint = run.endpoint(spec.ca, spec.ca_bundle)
        resolver = Resolver(challenge.dns_resolver or endpoint.dns, run.stop)
        over_http = challenge.method in {"standalone", "webroot"}
        hosts: dict[str, Host] = {}
        asking = authorities.asking(spec, _challenge_type(challenge))
        yield from authorities.profile(spec)
        public = standing(spec.ca) != "private" and endpoint.http_port is None
        for each in spec.identifiers:
            run.check()
            if each.type is IdentifierType.IP:
                hosts[each.value] = Host(each.value, addresses=(each.value,))
            elif over_http:
                hosts[each.value] = look_up(each.base, resolver)
            if over_http:
                yield from address_findings(hosts[each.value], public=public)
            if asking is not None and each.type is IdentifierType.DNS:
                found = caa_finding(each, asking, resolver)
                if found is not None:
                    yield found
        # The record of dns-persist-01 cannot be told before the CA names what it must say.
        if write and challenge.method != "dns-persist":
            yield from rehearse_control(
                Rehearsal(
                    spec,
                    challenge,
                    hosts,
                    port=endpoint.http_port or 80,
                    account_url=(asking.account_url if asking else None) or "",
                ),
                run,
            )

    return check


def _hooks_check(spec: CertificateSpec, machine: Machine) -> Callable[[], Iterator[Finding]]:
    return lambda: command_findings(spec, machine.variables)


class _Authorities:
    """The CAs of this examination: each is asked once, by whichever check comes first; one that
    cannot be reached is not tried again.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._guard = Lock()
        self._unreached: dict[tuple[str, str | None], AcmeError] = {}

    def _reached(self, ca: str, bundle: str | None) -> AcmeClient:
        """Return a connection to a CA that has given its directory. Raises `AcmeError`."""
        with self._guard:
            client = self._run.client(ca, bundle)
            if (ca, bundle) in self._unreached:
                raise self._unreached[ca, bundle]
            try:
                _ = client.directory
            except AcmeError as error:
                self._unreached[ca, bundle] = error
                raise
            return client

    def check(
        self, ca: str, bundle: str | None, wanted: str | None
    ) -> Callable[[], Iterator[Finding]]:
        """Return the check of a CA and of our account there."""

        def check() -> Iterator[Finding]:
            account = choose_account(self._run, ca, wanted)
            try:
                client = self._reached(ca, bundle)
            except AcmeError as error:
                yield health.unreachable(ca, error)
                return
            now = self._run.services.clock.now()
            yield from health.directory_findings(client, ca, account, now)
            if account is not None:
                signing = self._run.client(ca, bundle, account)
                yield from health.account_findings(signing, account)

        return check

    def asking(self, spec: CertificateSpec, method: str) -> Asking | None:
        """Return who would order a certificate; None where the CA cannot be reached, which is told
        of by itself.
        """
        try:
            identities = self._reached(spec.ca, spec.ca_bundle).directory.caa_identities
        except AcmeError:
            return None
        account = self._account(spec)
        return Asking(label(spec.ca), identities, account.url if account else None, method)

    def profile(self, spec: CertificateSpec) -> Iterator[Finding]:
        """Yield whether the CA offers the profile that a certificate wants."""
        with suppress(AcmeError):
            yield from health.profile_findings(self._reached(spec.ca, spec.ca_bundle), spec)

    def _account(self, spec: CertificateSpec) -> Account | None:
        try:
            return choose_account(self._run, spec.ca, spec.account)
        except CertctlError:
            return None


def _authority_of(spec: CertificateSpec) -> tuple[str, str | None, str | None]:
    return spec.ca, spec.ca_bundle, spec.account


def _challenge_type(challenge: ChallengeSpec) -> str:
    by_method = {
        "dns": challenge.dns_challenge,
        "dns-persist": ChallengeType.DNS_PERSIST_01,
        "tls-alpn": ChallengeType.TLS_ALPN_01,
    }
    return by_method.get(challenge.method, ChallengeType.HTTP_01)


# Which certificates are meant


def _subjects(examination: Examination, run: Run) -> tuple[list[_Subject], list[Finding]]:
    """Return the certificates to look at, and a finding for each whose spec cannot be read."""
    known = run.services.store.names()
    subjects: list[_Subject] = []
    unreadable: list[Finding] = []
    for name in examination.names or known:
        if name not in known:
            subjects.append(_Subject(_to_be(name, examination, run), there=False))
            continue
        try:
            spec = load(run, name)
            if examination.given:
                spec = changed(run, spec, spec.identifiers, examination.given)
            subjects.append(_Subject(spec, there=True))
        except CertctlError as error:
            fix = error.hint or f"certctl show {name}"
            unreadable.append(
                Finding("certificate.unreadable", Severity.ERROR, name, error.message, fix)
            )
    return subjects, unreadable


def _to_be(text: str, examination: Examination, run: Run) -> CertificateSpec:
    """Return the spec of a certificate that is not there yet. Raises `InvalidIdentifier`."""
    identifiers = (parse_identifier(text),)
    name = certificate_name(default_certificate_name(identifiers, ()))
    return new(run, name, identifiers, examination.given)


# How the certificates are


def _states(subjects: Sequence[_Subject], run: Run) -> Iterator[Finding]:
    for view in overview(run, [each.spec.name for each in subjects if each.there]):
        found = _STATES.get(view.state)
        if found is not None:
            yield found(view)


def _expired(view: CertificateView) -> Finding:
    end = f"{view.live.not_after:%Y-%m-%d %H:%M} UTC" if view.live else ""
    return Finding(
        "certificate.expired",
        Severity.ERROR,
        view.name,
        f"it expired at {end}{_last_error(view)}",
        f"certctl renew {view.name}",
    )


def _revoked(view: CertificateView) -> Finding:
    return Finding(
        "certificate.revoked",
        Severity.ERROR,
        view.name,
        "its live version is revoked",
        f"certctl renew {view.name}, or: certctl delete {view.name}",
    )


def _missing(view: CertificateView) -> Finding:
    return Finding(
        "certificate.missing",
        Severity.WARNING,
        view.name,
        f"it is wanted, but was never issued{_last_error(view)}",
        f"certctl renew {view.name}",
    )


def _failing(view: CertificateView) -> Finding:
    hint = view.last_error.hint if view.last_error else None
    return Finding(
        "certificate.failing",
        Severity.ERROR,
        view.name,
        f"its renewal fails{_last_error(view)}",
        hint or f"certctl renew {view.name}",
    )


def _owed(view: CertificateView) -> Finding:
    return Finding(
        "certificate.owed",
        Severity.ERROR,
        view.name,
        f"what is live was not deployed{_last_error(view)}",
        f"certctl deploy {view.name}",
    )


def _stopped(view: CertificateView) -> Finding:
    return Finding(
        "certificate.stopped",
        Severity.INFO,
        view.name,
        f"it is not renewed by itself: {view.why}",
        f"certctl renew {view.name}",
    )


_STATES: Mapping[str, Callable[[CertificateView], Finding]] = {
    "expired": _expired,
    "revoked": _revoked,
    "missing": _missing,
    "failing": _failing,
    "owed": _owed,
    "stopped": _stopped,
}


def _last_error(view: CertificateView) -> str:
    return f": {view.last_error.message}" if view.last_error else ""


def _not_all(looked_at: int, there: int) -> Finding:
    return Finding(
        "doctor.not_all",
        Severity.INFO,
        "names",
        f"the names of {looked_at} of {there} certificates were looked up",
        "Look at others by name: certctl doctor NAME...",
    )


# How the machine is


def _space_findings(home: Path, space: Space | None) -> Iterator[Finding]:
    if space is None:
        return
    if space.free < LITTLE_SPACE:
        yield Finding(
            "disk.space",
            Severity.ERROR if space.free < NO_SPACE else Severity.WARNING,
            str(home),
            f"{space.free // (1024 * 1024)} MiB are free on its file system",
            "Free some; a certificate with its key takes 20 KiB, the log grows.",
        )
    if space.files is not None and space.files < FEW_FILES:
        yield Finding(
            "disk.files",
            Severity.ERROR if space.files < FEW_FILES // 10 else Severity.WARNING,
            str(home),
            f"its file system has room for {space.files} more files (inodes)",
            "Remove many small files there (df -i tells).",
        )


def _schedule_findings(machine: Machine, run: Run, certificates: bool) -> Iterator[Finding]:
    """Yield whether `renew` runs by itself, as far as there is anything to renew."""
    if not certificates:
        return
    timers = _timers(machine)
    latest = max(run.services.store.history().runs, default=None)
    idle = None if latest is None else run.services.clock.now() - latest
    if idle is not None and idle < RUN_EXPECTED:
        return  # whatever it is that runs it, it does
    if not timers:
        yield Finding(
            "schedule.missing",
            Severity.WARNING,
            "renew",
            "nothing runs `certctl renew` from time to time: no systemd timer, no cron job was"
            f" found{_lately(idle)}",
            "certctl schedule install",
        )
        return
    for each in timers:
        if not each.enabled:
            yield Finding(
                "schedule.disabled",
                Severity.WARNING,
                each.where,
                "this timer is there, but not enabled",
                f"systemctl enable --now {Path(each.where).name}",
            )
    if any(each.enabled for each in timers):
        yield Finding(
            "schedule.idle",
            Severity.INFO if idle is None else Severity.WARNING,
            next(each.where for each in timers if each.enabled),
            f"it should run `certctl renew`{_lately(idle) or ', which has not run by itself yet'}",
            "See the log of cron or of the timer (journalctl -u certctl), and that its home"
            " folder is this one.",
        )


def _timers(machine: Machine) -> list[Timer]:
    home = machine.variables.get("HOME")
    units = Path(home) / ".config" / "systemd" / "user" if home else None
    own = own_crontab(_RENEWING) if machine.ask_crontab else None
    return [
        *timers_for(_RENEWING, root=machine.root, user_units=units),
        *([own] if own is not None else []),
    ]


def _lately(idle: timedelta | None) -> str:
    return "" if idle is None else f", and it last ran by itself {idle.days} days ago"


def _versions() -> Iterator[Finding]:
    libraries = ", ".join(f"{each} {_version(each)}" for each in _LIBRARIES)
    yield Finding(
        "versions",
        Severity.INFO,
        _COMMAND,
        f"certctl {VERSION}, Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, {libraries};"
        f" {os.uname().sysname} {os.uname().release}",
    )


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "(unknown)"
