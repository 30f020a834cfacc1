"""Whether certificates could be deployed: their targets, the targets' configurations, their copies;
for `doctor`.

Each target's own configuration test is run, which does not affect the running service. Nothing is
written, and no certificate is registered as the owner of a copy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from certctl.deploy.copies import check_copy
from certctl.engine.current import current_state_of
from certctl.engine.delivery.steps import Target, targets_of
from certctl.engine.delivery.used_files import not_used
from certctl.engine.run import Run
from certctl.model.delivery import Delivery
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.ports import SeesUse
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec


def deployment_findings(specs: Sequence[CertificateSpec], run: Run) -> Iterator[Finding]:
    """Yield what would make deployments fail. Each target is tested once. Raises `Interrupted`."""
    known: dict[Hashable, Target] = {}
    for spec in specs:
        run.check()
        yield from _targets(spec, known, run)
        for copy in spec.deploy.copies:
            try:
                check_copy(copy, spec.name)
            except CertctlError as error:
                yield Finding("deploy.copy", Severity.ERROR, spec.name, error.message, error.hint)
    for target in known.values():
        run.check()
        try:
            target.plugin.test()
        except Interrupted:
            raise
        except CertctlError as error:
            yield Finding("deploy.test", Severity.ERROR, target.name, error.message, error.hint)
            continue
        if isinstance(target.plugin, SeesUse):
            yield from _in_use(target, target.plugin, specs, run)


def _in_use(
    target: Target, plugin: SeesUse, specs: Sequence[CertificateSpec], run: Run
) -> Iterator[Finding]:
    """Yield whether a program is stopped, and the certificates that it is not configured to use."""
    if plugin.stopped():
        yield Finding(
            "deploy.stopped",
            Severity.ERROR,
            target.name,
            f"{target.name} is not running: nothing is served",
            f"Start it, for example: systemctl start {target.name}",
        )
    deliveries = [
        found
        for spec in specs
        if target.name in spec.deploy.targets and (found := _delivery(spec, run)) is not None
    ]
    for name, lines in (plugin.unused(deliveries) if deliveries else {}).items():
        error = not_used(name, target.name, lines)
        yield Finding("deploy.not_used", Severity.ERROR, name, error.message, error.hint)


def _delivery(spec: CertificateSpec, run: Run) -> Delivery | None:
    """Return the live version as it would be deployed; None if there is none that can be read."""
    try:
        live = current_state_of(spec.name, run.services).live
        if live is None:
            return None
        material = run.services.records.material(spec.name, live.number, with_key=False)
    except CertctlError:
        return None  # it has a finding of its own
    return Delivery(live, run.services.tree.files(live), material)


def _targets(spec: CertificateSpec, known: dict[Hashable, Target], run: Run) -> Iterator[Finding]:
    """Yield why targets of a spec cannot be used; add those that can be to `known`."""
    try:
        targets_of(spec, run, known)
    except Interrupted:
        raise
    except CertctlError as error:
        yield Finding("deploy.target", Severity.ERROR, spec.name, error.message, error.hint)
