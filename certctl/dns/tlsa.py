"""TLSA records (DANE, RFC 6698) that name a CA: with them, another CA's certificate is rejected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dns.rdatatype
from dns.rdtypes.ANY.TLSA import TLSA

from certctl.dns.resolver import Resolver
from certctl.model.errors import ChallengeError
from certctl.model.run import Finding, Severity

_NAMES_A_CA = frozenset({0, 2})
"""The certificate usages PKIX-TA and DANE-TA (RFC 7218)."""


def tlsa_findings(name: str, ports: Sequence[int], resolver: Resolver) -> Iterator[Finding]:
    """Yield a finding if TLSA records of a name name a CA, for a certificate with several CAs.
    Records that cannot be looked up are no finding. Raises `Interrupted`.
    """
    for port in ports:
        owner = f"_{port}._tcp.{name}"
        try:
            answer = resolver.ask(owner, "TLSA")
        except ChallengeError:
            continue
        usages = sorted(
            {
                each.usage
                for rrset in answer.answer
                if rrset.rdtype == dns.rdatatype.TLSA
                for each in rrset
                if isinstance(each, TLSA)
            }
            & _NAMES_A_CA
        )
        if usages:
            yield Finding(
                "dns.tlsa",
                Severity.WARNING,
                name,
                f"the TLSA records of {owner} name a CA (usage {' and '.join(map(str, usages))}):"
                " clients that check them reject a certificate of another of its CAs",
                "Publish a record for each of the CAs, or records of the key (usage 3, selector 1)"
                " with --reuse-key.",
            )
