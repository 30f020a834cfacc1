"""Whether what was deployed is served: the last step of a deploy.

Where the spec says where (`--verify`), the certificate must be seen there, at every address and for
every name. Where it does not, it is looked for where the targets are likely to listen, on this
machine. A server may be somewhere else, or not be configured for it yet, so that there only another
version of the same certificate is a failure: it says that the reload had no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certctl.deploy.probe import FIRST_PAUSE, LONGEST_PAUSE, ProbeSystem, probe
from certctl.errors import NotServed
from certctl.events import Event, EventSink, Verified, VerifyFailed
from certctl.models import ProbeResult, ServiceAddress
from certctl.operations.deploy_steps import Rollout, apply_step
from certctl.operations.parallel import in_parallel
from certctl.operations.run import Run
from certctl.service_address import format_service

LOOKS_FOR = 3.0
"""Seconds in which a server that shows nothing of ours may begin to."""

_PARALLEL = 16
_SHOWN = 3


def check_live(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Look for each certificate on the wire, side by side; one that is not served as it should be
    goes on with that error. Raises `Interrupted`.
    """
    seen = dict(
        in_parallel(
            lambda turn: (turn[0], apply_step(turn[1], _looked_for, run)),
            list(enumerate(rollouts)),
            threads=_PARALLEL,
        )
    )
    return [seen[place] for place in range(len(rollouts))]


def _looked_for(rollout: Rollout, run: Run) -> Rollout:
    deploy = rollout.spec.deploy
    if not deploy.probe:
        return rollout
    if deploy.verify:
        return _required(rollout, run)
    services = [each for target in rollout.targets for each in target.plugin.services()]
    return _likely(rollout, list(dict.fromkeys(services)), run) if services else rollout


def _required(rollout: Rollout, run: Run) -> Rollout:
    """Look where the spec says, for as long as it says; all of it has to be good."""
    names, deploy = _names(rollout), rollout.spec.deploy
    system = _system(rollout, run, run.services.emit, deploy.verify_timeout)
    results = [
        result
        for service in deploy.verify
        for result in probe(service, names, rollout.version.facts.sha256, system)
    ]
    return _judged(rollout, results, [each for each in results if each.error is not None])


def _likely(rollout: Rollout, services: Sequence[ServiceAddress], run: Run) -> Rollout:
    """Look where the targets are likely to listen, until the certificate is seen there and no other
    version of it is any more.
    """
    clock, patience = run.services.clock, rollout.spec.deploy.verify_timeout
    names, expected = _names(rollout), rollout.version.facts.sha256
    versions = run.services.store.versions(rollout.name)
    others = {each.facts.sha256 for each in versions} - {expected}
    system = _system(rollout, run, _nobody, 0.0)
    started, pause = clock.monotonic(), FIRST_PAUSE
    while True:
        results = [each for service in services for each in probe(service, names, expected, system)]
        stale = [each for each in results if each.sha256 in others]
        good = [each for each in results if each.error is None]
        spent = clock.monotonic() - started
        left = (patience if stale else min(patience, LOOKS_FOR)) - spent
        if (good and not stale) or left <= 0:
            break
        clock.wait(run.stop, min(pause, left))
        run.check()
        pause = min(2 * pause, LONGEST_PAUSE)
    _tell([*good, *stale], rollout, run)
    if not (good or stale):
        places = ", ".join(format_service(each) for each in services)
        run.warn(
            f"it was not seen at {places}; say where it is served with --verify HOST:PORT, or"
            " --no-verify",
            rollout.name,
        )
    return _judged(rollout, [*good, *stale], stale)


def _judged(
    rollout: Rollout, results: Sequence[ProbeResult], bad: Sequence[ProbeResult]
) -> Rollout:
    rollout = replace(rollout, probes=tuple(results))
    if not bad:
        return rollout
    reasons = list(
        dict.fromkeys(
            f"{format_service(each.service)} ({each.address}) for {each.server_name}: {each.error}"
            for each in bad
        )
    )
    more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
    error = NotServed(
        f"it is not served: {'; '.join([*reasons[:_SHOWN], *more])}",
        hint=f"See what is served: certctl verify {rollout.name}; then: certctl deploy "
        f"{rollout.name}",
        name=rollout.name,
    )
    return replace(rollout, error=error, refused=True)


def _names(rollout: Rollout) -> tuple[str, ...]:
    return tuple(each.value for each in rollout.version.facts.identifiers)


def _system(rollout: Rollout, run: Run, emit: EventSink, patience: float) -> ProbeSystem:
    return ProbeSystem(run.services.clock, run.stop, emit, timeout=patience, name=rollout.name)


def _nobody(_event: Event) -> None:
    """What is only looked at for now is no event yet."""


def _tell(results: Sequence[ProbeResult], rollout: Rollout, run: Run) -> None:
    now, emit = run.services.clock.now(), run.services.emit
    for each in results:
        facts = (rollout.name, now, format_service(each.service), each.address, each.server_name)
        emit(Verified(*facts) if each.error is None else VerifyFailed(*facts, each.error))
