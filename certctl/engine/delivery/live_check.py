"""The live check: whether the deployed version is being served; the last step of a deploy.

With `--verify`, each of the services given must serve it, at every address and for every name.
Without, the check connects to the ports on this machine where the deploy targets are likely to
listen. A server may run elsewhere, or may not use the certificate yet; the check therefore fails
only if another version of the same certificate is served, since the reload then had no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from certctl.deploy.probe import FIRST_PAUSE, LONGEST_PAUSE, ProbeSystem, probe_version
from certctl.engine.delivery.steps import Rollout, apply_step, served_part
from certctl.engine.parallel import in_parallel
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.delivery import ProbeResult
from certctl.model.errors import NotServed
from certctl.model.events import Event, EventSink, Verified, VerifyFailed
from certctl.model.spec import ServiceAddress
from certctl.rules.service_address import format_service

DETECTION_TIME = 3.0
"""Seconds to wait for a server that serves no version of the certificate yet."""

_PARALLEL = 16
_SHOWN = 3


def check_live(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Check in parallel what is served for each certificate; failed checks become the rollout's
    error. Raises `Interrupted`.
    """
    seen = dict(
        in_parallel(
            lambda item: (item[0], apply_step(item[1], _checked, run)),
            list(enumerate(rollouts)),
            threads=_PARALLEL,
        )
    )
    return [seen[place] for place in range(len(rollouts))]


def _checked(rollout: Rollout, run: Run) -> Rollout:
    deploy = rollout.spec.deploy
    if not deploy.probe:
        return rollout
    if deploy.verify:
        return _required(rollout, run)
    services: dict[ServiceAddress, Version] = {}
    for target in rollout.targets:
        version = served_part(rollout.version, [target])
        services |= dict.fromkeys(target.plugin.services(), version)
    return _likely(rollout, services, run) if services else rollout


def _required(rollout: Rollout, run: Run) -> Rollout:
    """Check the services of `--verify` until all serve the version, or its timeout ends."""
    names, deploy = _names(rollout), rollout.spec.deploy
    version = served_part(rollout.version, rollout.targets)
    system = _system(rollout, run, run.services.emit, deploy.verify_timeout)
    results = [
        result
        for service in deploy.verify
        for result in probe_version(service, names, version, system)
    ]
    return _judged(rollout, results, [each for each in results if each.error is not None])


def _likely(rollout: Rollout, services: Mapping[ServiceAddress, Version], run: Run) -> Rollout:
    """Check the targets' likely services, each for its certificates, until one serves the version
    and none an older one, or only one of two certificates.
    """
    clock, timeout = run.services.clock, rollout.spec.deploy.verify_timeout
    names = _names(rollout)
    others = _digests(rollout.held.versions) - _digests([rollout.version])
    system = _system(rollout, run, _discard, 0.0)
    started, pause = clock.monotonic(), FIRST_PAUSE
    while True:
        results = [
            result
            for service, version in services.items()
            for result in probe_version(service, names, version, system)
        ]
        stale = [each for each in results if each.sha256 in others]
        good = [each for each in results if each.error is None]
        lacking = _lacking(results, good)
        bad = [*stale, *(each for each in lacking if each not in stale)]
        spent = clock.monotonic() - started
        left = (timeout if bad else min(timeout, DETECTION_TIME)) - spent
        if (good and not bad) or left <= 0:
            break
        clock.wait(run.stop, min(pause, left))
        run.check()
        pause = min(2 * pause, LONGEST_PAUSE)
    _emit_results([*good, *bad], rollout, run)
    if not (good or bad):
        places = ", ".join(format_service(each) for each in services)
        run.warn(
            f"the certificate is not served at {places}; specify where it is served with --verify"
            " HOST:PORT, or turn the check off with --no-verify",
            rollout.name,
        )
    judged = _judged(rollout, [*good, *bad], bad)
    return judged if stale else replace(judged, refused=False)


def _digests(versions: Sequence[Version]) -> set[str]:
    return {each.facts.sha256 for version in versions for each in version.certificates}


def _lacking(results: Sequence[ProbeResult], good: Sequence[ProbeResult]) -> list[ProbeResult]:
    """Return the results for one of two certificates where a server presents only the other: no
    other version would be presented either.
    """
    served = {(each.service, each.address, each.server_name) for each in good}
    return [
        each
        for each in results
        if each.error is not None and (each.service, each.address, each.server_name) in served
    ]


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
        f"the new certificate is not being served: {'; '.join([*reasons[:_SHOWN], *more])}",
        hint=f"See what is served with `certctl verify {rollout.name}`. Once that is fixed, run: "
        f"certctl deploy {rollout.name}",
        name=rollout.name,
    )
    return replace(rollout, error=error, refused=True)


def _names(rollout: Rollout) -> tuple[str, ...]:
    return tuple(each.value for each in rollout.version.facts.identifiers)


def _system(rollout: Rollout, run: Run, emit: EventSink, timeout: float) -> ProbeSystem:
    return ProbeSystem(run.services.clock, run.stop, emit, timeout=timeout, name=rollout.name)


def _discard(_event: Event) -> None:
    """Drop the events of intermediate checks."""


def _emit_results(results: Sequence[ProbeResult], rollout: Rollout, run: Run) -> None:
    now, emit = run.services.clock.now(), run.services.emit
    for each in results:
        facts = (rollout.name, now, format_service(each.service), each.address, each.server_name)
        emit(Verified(*facts) if each.error is None else VerifyFailed(*facts, each.error))
