"""What of a spec's deployment can be seen to fail before anything is ordered: targets that are not
there, copies that cannot be written, a group that is not there.
"""

from __future__ import annotations

from certctl.errors import CertctlError
from certctl.models import CertificateSpec
from certctl.operations.deploy_steps import check_copies, targets_of
from certctl.operations.run import Run
from certctl.spec import target_of


def check_deployment(spec: CertificateSpec, run: Run) -> None:
    """Return where the certificate could be deployed as its spec says.

    Raises `UsageError` and `ConfigurationError`; warns of options of targets that it does not have.
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
        run.warn(f"what is set for {target} has no effect without --deploy {target}", spec.name)
