"""What a CA has and says: accounts, orders, authorizations, renewal windows and rate limits.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass

if TYPE_CHECKING:
    import ssl


class AccountKeyType(StrEnum):
    """Key types for accounts, by JWS algorithm (RFC 7518 §3.1)."""

    ES256 = "es256"
    ES384 = "es384"
    RS256 = "rs256"


class ChallengeType(StrEnum):
    """Challenge types that certctl supports."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"
    DNS_ACCOUNT_01 = "dns-account-01"
    DNS_PERSIST_01 = "dns-persist-01"
    TLS_ALPN_01 = "tls-alpn-01"


class RevocationReason(StrEnum):
    """The reasons of RFC 5280 §5.3.1 that a subscriber may give."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"

    @property
    def number(self) -> int:
        """The numeric CRLReason."""
        return {
            RevocationReason.UNSPECIFIED: 0,
            RevocationReason.KEY_COMPROMISE: 1,
            RevocationReason.AFFILIATION_CHANGED: 3,
            RevocationReason.SUPERSEDED: 4,
            RevocationReason.CESSATION_OF_OPERATION: 5,
        }[self]


@dataclass(frozen=True)
class Proxy:
    """The proxy that is set: its URL, `direct` for none, None for the environment's; and
    `USER:PASSWORD`.
    """

    url: str | None = None
    credentials: str | None = field(default=None, repr=False)


class OpenedConnection(Protocol):
    """A verified connection to one server, opened before anything needs it."""

    url: str
    roots: str | None

    def take(self, host: str, port: int) -> ssl.SSLSocket | None:
        """Return the connection if it is to this server; None from the second call on."""
        ...

    def close(self) -> None:
        """Close the connection if nobody has taken it."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """How to reach a CA; the ports and the resolver are set only for a CA on this machine.

    `moves`: the CA may listen on a different port each time; the paths of its URLs stay the same.
    `opened` is a connection that is being opened already, if any.
    """

    directory_url: str
    ca_bundle: str | None = None
    http_port: int | None = None
    tls_alpn_port: int | None = None
    dns: str | None = None
    moves: bool = False
    proxy: Proxy = field(default_factory=Proxy)
    opened: OpenedConnection | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Account:
    """An account at a CA (RFC 8555 §7.1.2); `id` is the name of its directory in the store.

    `key_changed` is when its key was last changed, None if it has its first one.
    """

    id: str
    directory_url: str
    url: str
    key_type: AccountKeyType
    contact: tuple[str, ...] = ()
    status: str = "valid"
    terms_of_service: str | None = None
    created: datetime | None = None
    ca_bundle: str | None = None
    key_changed: datetime | None = None


@dataclass(frozen=True)
class Challenge:
    """A challenge of an authorization (RFC 8555 §7.1.5); `error` is the CA's explanation.

    The last three fields are for dns-persist-01 (a draft): the CA's issuer domain names, the
    account URI if the CA states one, and whether the record names the account by a hash.
    """

    type: str
    url: str
    status: str
    token: str | None = None
    error: str | None = None
    issuers: tuple[str, ...] = ()
    account_uri: str | None = None
    hashed: bool = False


@dataclass(frozen=True)
class Authorization:
    """An authorization for one identifier (RFC 8555 §7.1.4).

    `identifier` includes the `*.` that the CA reports separately, as `wildcard`.
    """

    url: str
    identifier: Identifier
    status: str
    challenges: tuple[Challenge, ...] = ()

    def challenge(self, type: str) -> Challenge | None:  # noqa: A002 - RFC 8555's word
        """Return the challenge of that type, or None if the CA does not offer it."""
        return next((each for each in self.challenges if each.type == type), None)


@dataclass(frozen=True)
class Order:
    """An ACME order (RFC 8555 §7.1.3); `retry_after` is in seconds, from the last response."""

    url: str
    status: str
    identifiers: tuple[Identifier, ...]
    authorization_urls: tuple[str, ...]
    finalize_url: str | None = None
    certificate_url: str | None = None
    error: str | None = None
    error_type: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class SuggestedWindow:
    """The renewal window that a CA suggested (RFC 9773 §4.2).

    `retry_after` is in seconds, already clamped as RFC 9773 §4.3.2 recommends.
    """

    start: datetime
    end: datetime
    retry_after: float
    explanation_url: str | None = None


class LimitedAction(StrEnum):
    """What a CA's rate limits count."""

    ACCOUNT = "account"
    ORDER = "order"
    CERTIFICATE = "certificate"
    FAILURE = "failed_authorization"


@dataclass(frozen=True)
class LedgerEntry:
    """An action that counts against a CA's rate limits.

    `renewal`: a certificate for the same names existed. `replaces`: the CA accepted the order as a
    replacement of a certificate (RFC 9773 §5).
    """

    action: LimitedAction
    at: datetime
    identifiers: tuple[str, ...] = ()
    renewal: bool = False
    replaces: bool = False
