"""Tries the path of HTTP-01 answers again after a deployment, since what was deployed to, or what
was configured meanwhile, may have broken it: a redirect, a proxy, a port that is taken now.

The next renewal would fail for it, weeks later. Only this machine's own servers are tried: what
they answer here, they answer to a CA.
"""

from __future__ import annotations

from certctl.ca.directories import DEV
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec

_BROKEN = frozenset({"answer.wrong", "answer.setup", "answer.stateless"})


def try_answer_path(spec: CertificateSpec, outcome: Outcome | None, run: Run) -> None:
    """Warn if the names of a certificate that was just deployed cannot be validated by HTTP-01 any
    more. Raises `Interrupted`.
    """
    if outcome is None or outcome.deploy is None or not outcome.deploy.deployed:
        return
    if not (spec.deploy.targets or spec.deploy.reload) or spec.ca == DEV:
        return
    # dnspython is slow to import, and most issuances deploy to no server
    from certctl.engine.order.answer_path_findings import path_findings  # noqa: PLC0415

    try:
        broken = [each for each in path_findings(spec, run) if each.code in _BROKEN]
    except Interrupted:
        raise
    except CertctlError:
        return  # it was not tried: nothing is known
    for each in broken[:1]:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        run.warn(
            f"the next renewal will fail, since {each.subject} cannot be validated any more:"
            f" {each.message}{more}; correct that, then check it with: certctl doctor {spec.name}",
            spec.name,
        )
