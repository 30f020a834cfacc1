"""Whether a zone fails DNSSEC validation: a resolver that validates answers SERVFAIL, unless it is
asked not to check (the CD bit, RFC 4035 §3.2.2).

CAs must validate, so that such a name cannot be issued for. A resolver that does not validate
cannot show it.
"""

from __future__ import annotations

from collections.abc import Iterator

from certctl.dns.resolver import Resolver
from certctl.model.run import Finding, Severity


def dnssec_findings(name: str, resolver: Resolver) -> Iterator[Finding]:
    """Yield a finding if a resolver refuses the answers for a name because they are not validly
    signed. Raises `Interrupted`.
    """
    for kind in ("A", "CAA"):
        server = resolver.refuses_signatures(name, kind)
        if server is not None:
            yield Finding(
                "dns.dnssec",
                Severity.ERROR,
                name,
                f"its zone fails DNSSEC validation: the resolver {server} answers {kind} queries"
                " with SERVFAIL, but not if it is told not to validate",
                "Sign the zone again, or correct or remove the DS record at its parent. To see what"
                f" is wrong: delv {name} {kind}",
            )
            return
