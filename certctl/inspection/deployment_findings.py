"""Whether certificates could be deployed: their targets, the targets' configurations, their copies;
for `doctor`.

Each target's own configuration test is run, which does not affect the running service. Nothing is
written, and no certificate is registered as the owner of a copy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from certctl.deploy.copies import check_copy
from certctl.engine.delivery.steps import Target, targets_of
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, Interrupted
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


def _targets(spec: CertificateSpec, known: dict[Hashable, Target], run: Run) -> Iterator[Finding]:
    """Yield why targets of a spec cannot be used; add those that can be to `known`."""
    try:
        targets_of(spec, run, known)
    except Interrupted:
        raise
    except CertctlError as error:
        yield Finding("deploy.target", Severity.ERROR, spec.name, error.message, error.hint)
