"""Whether certificates could be deployed: their targets, the configurations of these, their copies;
for `doctor`.

The test of a configuration is the target's own, which loads it and serves nothing with it. Nothing
is written, and no copy's destination is claimed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from certctl.deploy.copies import check_copy
from certctl.errors import CertctlError, Interrupted
from certctl.models import CertificateSpec, Finding, Severity
from certctl.operations.deploy_steps import Target, targets_of
from certctl.operations.run import Run


def deployment_findings(specs: Sequence[CertificateSpec], run: Run) -> Iterator[Finding]:
    """Yield what would keep certificates from being deployed. A target is tested once, however many
    are deployed to it. Raises `Interrupted`.
    """
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
    """Yield why targets of a spec cannot be used; those that can are in `known` then."""
    try:
        targets_of(spec, run, known)
    except Interrupted:
        raise
    except CertctlError as error:
        yield Finding("deploy.target", Severity.ERROR, spec.name, error.message, error.hint)
