"""A test of a DNS provider: a throwaway record is written where a challenge's would be, seen at
every authoritative server, and removed; each step is timed. No CA hears of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from certctl.errors import CertctlError, Interrupted, UsageError
from certctl.models import CertificateSpec, Identifier, Placement, Value
from certctl.names import default_certificate_name, parse_identifiers
from certctl.operations.authorize import remove_leftovers
from certctl.operations.challenge_self_test import throwaway_task
from certctl.operations.run import Run
from certctl.operations.specs import changed, find, new


@dataclass(frozen=True)
class Step:
    """A step with the seconds that it took; `done` is False for the one that failed."""

    what: str
    seconds: float
    detail: str
    done: bool = True


@dataclass
class DnsTestResult:
    """What came of it: where the record was (`name`, `zone`), with whose credentials (None: those
    of the options), which servers were asked, and what went wrong.
    """

    domain: str
    name: str | None = None
    zone: str | None = None
    credentials: str | None = None
    servers: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)
    errors: list[CertctlError] = field(default_factory=list)


def run_dns_test(domain: str, given: Mapping[str, Value], run: Run) -> DnsTestResult:
    """Try how the records of a name would be written: as its certificate does, else as `given` and
    the settings say. Nothing stays behind; what a kill leaves is removed by the next run.

    Raises `UsageError` where no DNS provider is meant, `LockHeld`, and `StoreError`.
    """
    (identifier,) = parse_identifiers([domain])
    spec = _spec(identifier, given, run)
    if spec.challenge.method != "dns":
        raise UsageError(
            f"no DNS provider is given for {domain}",
            hint=f"certctl dns test {domain} --dns PROVIDER; certctl dns list has them all.",
            code="usage.dns_provider",
        )
    run.lock(spec.name, timeout=run.services.settings.seconds("lock_timeout"))
    try:
        remove_leftovers(spec.name, run)
        return _try(identifier, spec, run)
    finally:
        run.release(spec.name)


def _spec(identifier: Identifier, given: Mapping[str, Value], run: Run) -> CertificateSpec:
    there = find(run, None, (identifier,))
    if there is not None:
        return changed(run, there, there.identifiers, given)
    return new(run, default_certificate_name((identifier,), ()), (identifier,), given)


def _try(identifier: Identifier, spec: CertificateSpec, run: Run) -> DnsTestResult:
    result = DnsTestResult(identifier.value)
    challenge, journal = run.challenge(spec), run.services.store.journal
    solver = run.solver(challenge)
    placements: list[Placement] = []
    with _step("find the zone", result, run) as told:
        placement = solver.plan(throwaway_task(identifier, solver, spec.name))
        placements.append(placement)
        data = placement.data
        result.name, result.zone = data["name"], data["zone"] or None
        result.credentials = data.get("credentials") or challenge.dns_credentials
        told.append(f"{result.name} in the zone {result.zone or '(unknown)'}")
    if not placements:
        return result
    entry = journal.record_placements(challenge, placements)
    try:
        with _step("write", result, run) as told:
            solver.present(placements)
            told.append(_writer(result, challenge.dns_provider))
        if not result.errors:
            with _step("see", result, run) as told:
                result.servers = _servers(result.zone, challenge.dns_resolver, run)
                solver.wait(placements)
                asked = not challenge.dns_skip_propagation
                told.append(f"at {', '.join(result.servers)}" if asked else "no server was asked")
    finally:
        with _step("remove", result, run):
            solver.cleanup(placements)
            journal.remove(entry)
    return result


@contextmanager
def _step(what: str, result: DnsTestResult, run: Run) -> Iterator[list[str]]:
    """Time a step, and keep its failure; what the caller appends is told of it."""
    clock = run.services.clock
    begun, told = clock.monotonic(), list[str]()
    try:
        yield told
    except Interrupted:
        raise
    except CertctlError as error:
        result.errors.append(error)
        result.steps.append(Step(what, clock.monotonic() - begun, "failed", done=False))
    else:
        result.steps.append(Step(what, clock.monotonic() - begun, "; ".join(told)))


def _writer(result: DnsTestResult, provider: str | None) -> str:
    return f"with the credentials {result.credentials}" if result.credentials else f"by {provider}"


def _servers(zone: str | None, resolver: str | None, run: Run) -> tuple[str, ...]:
    if zone is None:
        return ()
    from certctl.dns.resolver import Resolver  # noqa: PLC0415 - dnspython is slow to import
    from certctl.dns.zones import name_servers  # noqa: PLC0415 - as above

    return tuple(str(each) for each in name_servers(zone, Resolver(resolver, run.stop)))
