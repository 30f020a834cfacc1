"""Tries the path of HTTP-01 answers again after a deployment, since what was deployed to, or what
was configured meanwhile, may have broken it: a redirect, a proxy, a port that is taken now.

The next renewal would fail for it, weeks later. Only this machine's own servers are tried: what
they answer here, they answer to a CA. Once in a run, when everything is deployed, and for a bounded
number of certificates; a run that deploys nothing does not come here.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.ca.directories import DEV
from certctl.engine.parallel import in_parallel
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.run import Finding, Outcome
from certctl.model.spec import CertificateSpec
from certctl.rules.answer_paths import worth_trying

_BROKEN = frozenset({"answer.wrong", "answer.setup", "answer.stateless", "challenge.setup"})
_THREADS = 8
_TOLD = 5
"""Certificates that are warned of one by one."""
_SECONDS = 15.0
"""After this time no further certificate is begun."""


def try_answer_paths(outcomes: Sequence[Outcome], run: Run) -> None:
    """Warn if the names of certificates that were just deployed to a server cannot be validated by
    HTTP-01 any more. Raises `Interrupted`.
    """
    deployed = [each.name for each in outcomes if each.deploy is not None and each.deploy.deployed]
    chosen = worth_trying([spec for name in deployed if (spec := _concerned(name, run))])
    if not chosen:
        return
    until = run.services.clock.monotonic() + _SECONDS

    def tried(spec: CertificateSpec) -> tuple[str, list[Finding]]:
        late = run.services.clock.monotonic() > until
        return spec.name, [] if late else _broken(spec, run)

    found = dict(in_parallel(tried, chosen, threads=_THREADS))
    broken = {name: findings for name, findings in found.items() if findings}
    for name in sorted(broken)[:_TOLD]:
        _warn(name, broken[name], run)
    if len(broken) > _TOLD:
        run.warn(
            f"the next renewal will fail for {len(broken) - _TOLD} more certificates that cannot be"
            " validated any more; for all of them, run: certctl doctor"
        )


def _concerned(name: str, run: Run) -> CertificateSpec | None:
    """Return the spec of a certificate that a server was reloaded for, None for another one."""
    try:
        spec = run.services.records.spec(name)
    except CertctlError:  # it was deleted, or edited meanwhile
        return None
    reloaded = spec.deploy.targets or spec.deploy.reload
    return spec if reloaded and spec.ca != DEV else None


def _broken(spec: CertificateSpec, run: Run) -> list[Finding]:
    # dnspython is slow to import, and most issuances deploy to no server
    from certctl.engine.order.answer_path_findings import path_findings  # noqa: PLC0415

    try:
        return [each for each in path_findings(spec, run) if each.code in _BROKEN]
    except Interrupted:
        raise
    except CertctlError:
        return []  # it was not tried: nothing is known


def _warn(name: str, findings: Sequence[Finding], run: Run) -> None:
    first, more = findings[0], len(findings) - 1
    also = f" (and {more} more)" if more else ""
    run.warn(
        f"the next renewal will fail, since {first.subject} cannot be validated any more:"
        f" {first.message}{also}; correct that, then check it with: certctl doctor {name}",
        name,
    )
