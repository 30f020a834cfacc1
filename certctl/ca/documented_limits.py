"""The rate limits that known CAs document: requests per second, and requests per week or hour.

A CA missing here documents no limits that certctl could respect. The CA always has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from types import MappingProxyType

from certctl.ca.directories import label
from certctl.ca.problems import Resource
from certctl.ca.rate_limiter import Rate
from certctl.model.ca import LimitedAction
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.rate_limits import Limit, Per, RegisteredDomain

_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class DocumentedLimits:
    """The limits of one CA: request rates by resource (`others` is shared by the remaining ones),
    and `limits` on orders, certificates and accounts.
    """

    rates: Mapping[Resource, Rate] = field(default_factory=dict)
    others: Rate | None = None
    limits: tuple[Limit, ...] = ()


def documented_limits(directory_url: str) -> DocumentedLimits:
    """Return the documented limits of the CA with this directory URL; none for an unknown CA."""
    return _BY_NAME.get(label(directory_url), DocumentedLimits())


def registered_domains() -> RegisteredDomain:
    """Return a function that maps a name to its registered domain, using the public suffix list
    bundled with its library. An address, or a name without one, maps to itself.
    """
    from publicsuffixlist import (  # noqa: PLC0415 - slow to load, and few CAs need it
        PublicSuffixList,
    )

    suffixes = PublicSuffixList()

    def found(value: str) -> str:
        is_address = ":" in value or value.rpartition(".")[2].isdigit()
        return value if is_address else suffixes.privatesuffix(value) or value

    return found


def _letsencrypt(
    *,
    accounts: int,
    orders: int,
    certificates: int,
    same: int,
    failures: int,
    new_order: Rate,
    others: Rate,
) -> DocumentedLimits:
    """https://letsencrypt.org/docs/rate-limits/ and .../docs/staging-environment/."""
    return DocumentedLimits(
        rates={
            Resource.NEW_NONCE: Rate(20, 10),
            Resource.NEW_ACCOUNT: Rate(5, 15),
            Resource.NEW_ORDER: new_order,
            Resource.REVOCATION: Rate(10, 100),
            Resource.RENEWAL_INFO: Rate(1000, 100),
            Resource.DIRECTORY: Rate(40, 40),
        },
        others=others,
        limits=(
            Limit("new accounts", LimitedAction.ACCOUNT, Per.CA, accounts, 3 * _HOUR),
            Limit("new orders", LimitedAction.ORDER, Per.ACCOUNT, orders, 3 * _HOUR),
            Limit("new certificates", LimitedAction.CERTIFICATE, Per.DOMAIN, certificates, _WEEK),
            Limit(
                "certificates for the same names", LimitedAction.CERTIFICATE, Per.SET, same, _WEEK
            ),
            Limit("failed authorizations", LimitedAction.FAILURE, Per.IDENTIFIER, failures, _HOUR),
        ),
    )


_BY_NAME: Mapping[str, DocumentedLimits] = MappingProxyType(
    {
        "letsencrypt": _letsencrypt(
            accounts=10,
            orders=300,
            certificates=50,
            same=5,
            failures=5,
            new_order=Rate(300, 200),
            others=Rate(250, 125),
        ),
        "letsencrypt-staging": _letsencrypt(
            accounts=50,
            orders=1_500,
            certificates=30_000,
            same=30_000,
            failures=60,
            new_order=Rate(20, 40),
            others=Rate(20, 20),
        ),
    }
)
