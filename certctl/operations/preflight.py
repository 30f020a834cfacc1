"""Checks of a spec's deployment before anything is ordered: missing targets, copies that cannot be
written, a missing group.
"""

from __future__ import annotations

from certctl.errors import CertctlError
from certctl.models import CertificateSpec
from certctl.operations.deploy_steps import check_copies, targets_of
from certctl.operations.run import Run
from certctl.spec import target_of


def check_deployment(spec: CertificateSpec, run: Run) -> None:
    """Raise `UsageError` or `ConfigurationError` if the certificate could not be deployed.

    Warns of options for targets that the spec does not use.
    """
    try:
        run.services.store.check_access(spec)
        targets_of(spec, run, {})
        check_copies(spec, run)
    except CertctlError as error:
        error.name = error.name or spec.name
        raise
    unused = {target_of(key) for key in spec.chosen} - {None, *spec.deploy.targets}
    for target in sorted(str(each) for each in unused):
        run.warn(f"the options for {target} have no effect without --deploy {target}", spec.name)
