"""What is wrong with the path of HTTP-01 answers to this machine's own servers.

Loaded for the certificates that a server was reloaded for: it looks names up with dnspython.
"""

from __future__ import annotations

from collections.abc import Iterator

from certctl.dns.hosts import Host, is_of_this_machine, look_up
from certctl.dns.resolver import Resolver
from certctl.engine.order.accounts import choose_account
from certctl.engine.order.challenge_self_test import ChallengeSelfTest, self_test_challenges
from certctl.engine.order.stateless import METHOD, thumbprint_of
from certctl.engine.run import Run
from certctl.engine.specs import at_ca
from certctl.model.ca import ChallengeType
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.run import Finding
from certctl.model.spec import CertificateSpec

_TRIED = frozenset({"standalone", "webroot", "stateless"})


def path_findings(spec: CertificateSpec, run: Run) -> Iterator[Finding]:
    """Yield what is wrong with the path to the answers for a certificate; nothing if it cannot be
    tried from this machine.
    """
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
    account = choose_account(run, spec.ca, at_ca(run, spec, spec.ca).account)
    thumbprint = None
    if challenge.method == METHOD and account is not None:
        thumbprint = thumbprint_of(account, run)
    yield from self_test_challenges(
        ChallengeSelfTest(spec, challenge, hosts, endpoint.http_port, thumbprint=thumbprint), run
    )


def _here(identifier: Identifier, resolver: Resolver) -> Host:
    """Return the addresses of a name at this machine; in place of those of a router or a load
    balancer in front of it, and of a name that cannot be looked up now, the loopback address.
    """
    if identifier.type is IdentifierType.IP:
        found: tuple[str, ...] = (identifier.value,)
    else:
        host = look_up(identifier.base, resolver)
        found = host.addresses if host.problem is None else ("127.0.0.1",)
    own = [each if is_of_this_machine(each) else "127.0.0.1" for each in found]
    return Host(identifier.value, addresses=tuple(dict.fromkeys(own)))
