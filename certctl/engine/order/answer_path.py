"""Tries the path of HTTP-01 answers again after a deployment, since what was deployed to, or what
was configured meanwhile, may have broken it: a redirect, a proxy, a port that is taken now.

The next renewal would fail for it, weeks later. Only this machine's own servers are tried: what
they answer here, they answer to a CA.
"""

from __future__ import annotations

from collections.abc import Iterator

from certctl.ca.directories import DEV
from certctl.dns.hosts import Host, is_of_this_machine, look_up
from certctl.dns.resolver import Resolver
from certctl.engine.order.challenge_self_test import ChallengeSelfTest, self_test_challenges
from certctl.engine.run import Run
from certctl.model.ca import ChallengeType
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.run import Finding, Outcome
from certctl.model.spec import CertificateSpec

_TRIED = frozenset({"standalone", "webroot", "stateless"})
_BROKEN = frozenset({"answer.wrong", "answer.setup"})


def try_answer_path(spec: CertificateSpec, outcome: Outcome | None, run: Run) -> None:
    """Warn if the names of a certificate that was just deployed cannot be validated by HTTP-01 any
    more. Raises `Interrupted`.
    """
    if outcome is None or outcome.deploy is None or not outcome.deploy.deployed:
        return
    if not (spec.deploy.targets or spec.deploy.reload) or spec.ca == DEV:
        return
    try:
        broken = [each for each in _findings(spec, run) if each.code in _BROKEN]
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


def _findings(spec: CertificateSpec, run: Run) -> Iterator[Finding]:
    challenge = run.challenge(spec)
    # Between a pre and a post hook the port may be free; now it is not.
    hooks = spec.deploy.pre_hook or run.services.tree.hooks("pre")
    if challenge.method not in _TRIED or (challenge.method == "standalone" and hooks):
        return
    if run.solver(challenge).challenge_types[0] != ChallengeType.HTTP_01:
        return
    endpoint = run.endpoint(spec.ca, spec.ca_bundle)
    resolver = Resolver(challenge.dns_resolver or endpoint.dns, run.stop)
    hosts = {each.value: _here(each, resolver) for each in spec.identifiers}
    yield from self_test_challenges(
        ChallengeSelfTest(spec, challenge, hosts, endpoint.http_port), run
    )


def _here(identifier: Identifier, resolver: Resolver) -> Host:
    """Return the addresses of a name at this machine; in place of those of a router or a load
    balancer in front of it, the loopback address.
    """
    if identifier.type is IdentifierType.IP:
        found: tuple[str, ...] = (identifier.value,)
    else:
        found = look_up(identifier.base, resolver).addresses
    own = [each if is_of_this_machine(each) else "127.0.0.1" for each in found]
    return Host(identifier.value, addresses=tuple(dict.fromkeys(own)))
