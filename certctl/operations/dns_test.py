"""Test a DNS provider: write a throwaway record at the name of a challenge record, check that every
authoritative server has it, and remove it. Each step is timed. No CA is involved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field

from certctl.dns.resolver import Resolver
from certctl.dns.zones import name_servers
from certctl.engine.order.authorize import remove_leftovers
from certctl.engine.order.challenge_self_test import throwaway_task
from certctl.engine.run import Run
from certctl.engine.specs import changed, find, new
from certctl.model.errors import CertctlError, Interrupted, UsageError
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import default_certificate_name, parse_identifiers
from certctl.model.spec import CertificateSpec
from certctl.model.validation import Placement
from certctl.model.values import Value


@dataclass(frozen=True)
class Step:
    """A step with the seconds that it took; `done` is False if it failed."""

    what: str
    seconds: float
    detail: str
    done: bool = True


@dataclass
class DnsTestResult:
    """The result of a DNS test: the record's `name` and `zone`, the label of the `credentials` used
    (None: those of the options), the name servers that were queried, and the errors.
    """

    domain: str
    name: str | None = None
    zone: str | None = None
    credentials: str | None = None
    servers: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)
    errors: list[CertctlError] = field(default_factory=list)


def run_dns_test(domain: str, given: Mapping[str, Value], run: Run) -> DnsTestResult:
    """Test the DNS provider of a name: that of its certificate with the options `given`, or, if it
    has none, that of `given` and the settings. The record is always removed, after a crash by the
    next run.

    Raises `UsageError` if no DNS provider is configured, `LockHeld`, and `StoreError`.
    """
    (identifier,) = parse_identifiers([domain])
    spec = _spec(identifier, given, run)
    if spec.challenge.method != "dns":
        raise UsageError(
            f"no DNS provider is configured for {domain}",
            hint="To list the providers: certctl dns list. To test one of them: certctl dns test"
            f" {domain} --dns PROVIDER",
            code="usage.dns_provider",
        )
    run.hold(spec.name, timeout=run.services.settings.seconds("lock_timeout"))
    try:
        remove_leftovers(spec.name, run)
        return _run_steps(identifier, spec, run)
    finally:
        run.release(spec.name)


def _spec(identifier: Identifier, given: Mapping[str, Value], run: Run) -> CertificateSpec:
    existing = find(run, None, (identifier,))
    if existing is not None:
        return changed(run, existing, existing.identifiers, given)
    return new(run, default_certificate_name((identifier,), ()), (identifier,), given)


def _run_steps(identifier: Identifier, spec: CertificateSpec, run: Run) -> DnsTestResult:
    result = DnsTestResult(identifier.value)
    challenge, records = run.challenge(spec), run.services.records
    solver = run.solver(challenge)
    placements: list[Placement] = []
    with _step("find zone", result, run) as details:
        placement = solver.plan(throwaway_task(identifier, solver, spec.name))
        placements.append(placement)
        data = placement.data
        result.name, result.zone = data["name"], data["zone"] or None
        result.credentials = data.get("credentials") or challenge.dns_credentials
        details.append(f"{result.name} in the zone {result.zone or '(unknown)'}")
    if not placements:
        return result
    entry = records.place(challenge, placements)
    try:
        with _step("write", result, run) as details:
            solver.present(placements)
            details.append(_writer(result, challenge.dns_provider))
        if not result.errors:
            with _step("check", result, run) as details:
                result.servers = _servers(result.zone, challenge.dns_resolver, run)
                solver.wait(placements)
                queried = not challenge.dns_skip_propagation
                details.append(f"at {', '.join(result.servers)}" if queried else "not checked")
    finally:
        if any(each.nothing_placed for each in result.errors):
            with suppress(CertctlError):
                solver.cleanup(placements)
            records.settle(entry)
        else:
            with _step("remove", result, run):
                solver.cleanup(placements)
                records.settle(entry)
    return result


@contextmanager
def _step(what: str, result: DnsTestResult, run: Run) -> Iterator[list[str]]:
    """Time a step and record its error. The caller appends the details to be shown for it."""
    clock = run.services.clock
    started, details = clock.monotonic(), list[str]()
    try:
        yield details
    except Interrupted:
        raise
    except CertctlError as error:
        result.errors.append(error)
        result.steps.append(Step(what, clock.monotonic() - started, "failed", done=False))
    else:
        result.steps.append(Step(what, clock.monotonic() - started, "; ".join(details)))


def _writer(result: DnsTestResult, provider: str | None) -> str:
    return f"with the credentials {result.credentials}" if result.credentials else f"by {provider}"


def _servers(zone: str | None, resolver: str | None, run: Run) -> tuple[str, ...]:
    if zone is None:
        return ()
    return tuple(str(each) for each in name_servers(zone, Resolver(resolver, run.stop)))
