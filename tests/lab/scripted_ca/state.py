"""The scripted CA's state: accounts, orders, authorizations, challenges and certificates (RFC 8555
§7.1), and the authentication of signed requests.

All of it is read and changed under `State.lock`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import josepy

from tests.lab.scripted_ca import jws
from tests.lab.scripted_ca.issuer import Issued, Issuer, Name
from tests.lab.scripted_ca.problems import Problem
from tests.lab.scripted_ca.settings import Settings
from tests.lab.scripted_ca.wire import Request

Resource = TypeVar("Resource")


@dataclass
class Account:
    url: str
    key: josepy.JWK = field(repr=False)
    contact: list[str] = field(default_factory=list)
    status: str = "valid"
    agreed_terms: str | None = None
    eab_kid: str | None = None
    orders: list[str] = field(default_factory=list)

    def key_authorization(self, token: str) -> str:
        """RFC 8555 §8.1."""
        return f"{token}.{jws.b64(self.key.thumbprint())}"


@dataclass
class Challenge:
    url: str
    type: str
    token: str
    authorization_url: str
    status: str = "pending"
    error: dict[str, Any] | None = None

    def json(self) -> dict[str, Any]:
        body = {"type": self.type, "url": self.url, "token": self.token, "status": self.status}
        return body | ({"error": self.error} if self.error else {})


@dataclass
class Authorization:
    url: str
    account_url: str
    identifier: dict[str, str]
    wildcard: bool
    status: str
    expires: str
    challenges: list[Challenge] = field(default_factory=list)
    answered: Challenge | None = None
    polls_left: int = 0

    @property
    def name(self) -> str:
        """The name as ordered: "example.com", "*.example.com", "192.0.2.1"."""
        return ("*." if self.wildcard else "") + self.identifier["value"]


@dataclass
class Order:
    url: str
    finalize_url: str
    account_url: str
    identifiers: list[dict[str, str]]
    authorizations: list[Authorization]
    expires: str
    status: str = "pending"
    profile: str | None = None
    replaces: str | None = None
    error: dict[str, Any] | None = None
    certificate_url: str | None = None
    csr_der: bytes | None = field(default=None, repr=False)
    polls_left: int = 0

    @property
    def names(self) -> tuple[Name, ...]:
        return tuple(f"{one['type']}:{one['value']}" for one in self.identifiers)


@dataclass(frozen=True)
class Revocation:
    certificate: Issued
    reason: int


@dataclass(frozen=True)
class Received:
    """A received request: its resource, and its JWS, parsed but not verified."""

    request: Request
    resource: str
    id: str
    message: jws.Message | None
    malformed: Problem | None
    nonce_is_good: bool

    @property
    def content(self) -> Any:
        """The payload's JSON; None if there is none, or if it is invalid."""
        try:
            return self.message.content if self.message else None
        except Problem:
            return None


@dataclass(frozen=True)
class Signed:
    """A request with a valid signature, nonce and URL. The account is None if the request was
    signed by its jwk (newAccount, revokeCert)."""

    id: str
    url: str
    key: josepy.JWK
    jwk: Any
    content: Any
    account: Account | None

    @property
    def signer(self) -> Account:
        if self.account is None:
            raise Problem("malformed", detail="kid is required here, not jwk")
        return self.account

    @property
    def fields(self) -> dict[str, Any]:
        if not isinstance(self.content, dict):
            raise Problem("malformed", detail="the payload is not a JSON object")
        return self.content


class State:
    def __init__(self, settings: Settings, base_url: str) -> None:
        self.settings = settings
        self.base_url = base_url
        self.lock = threading.RLock()
        self.issuer = Issuer()
        self.nonces: set[str] = set()
        self.accounts: dict[str, Account] = {}
        self.authorizations: dict[str, Authorization] = {}
        self.challenges: dict[str, Challenge] = {}
        self.orders: dict[str, Order] = {}
        self.issued: dict[str, Issued] = {}  # by certificate URL
        self.revoked: list[Revocation] = []
        self.deactivated: list[str] = []  # names of authorizations, as ordered
        self.validations: list[threading.Thread] = []
        self._numbers: dict[str, int] = {}

    def url(self, resource: str, identifier: str = "") -> str:
        """A URL's first segment is the resource's name."""
        return f"{self.base_url}/{resource}" + (f"/{identifier}" if identifier else "")

    def new_url(self, resource: str) -> str:
        self._numbers[resource] = self._numbers.get(resource, 0) + 1
        return self.url(resource, str(self._numbers[resource]))

    def account_with(self, key: josepy.JWK) -> Account | None:
        wanted = key.thumbprint()
        return next((one for one in self.accounts.values() if one.key.thumbprint() == wanted), None)

    def is_revoked(self, issued: Issued) -> bool:
        return any(one.certificate is issued for one in self.revoked)


def existing(resources: dict[str, Resource], url: str) -> Resource:
    if url not in resources:
        raise Problem("malformed", 404, f"there is no {url}")
    return resources[url]


def own(resource: Resource, account_url: str, signed: Signed) -> Resource:
    if account_url != signed.signer.url:
        raise Problem("unauthorized", 403, "it belongs to another account")
    return resource


def in_days(days: float) -> str:
    return timestamp(datetime.now(UTC) + timedelta(days=days))


def timestamp(moment: datetime) -> str:
    """RFC 3339, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def authenticate(state: State, received: Received) -> Signed:
    """Checks content type, nonce, URL, key and signature (RFC 8555 §6.2 to 6.5), and that the
    account exists, is valid, and has agreed to the terms."""
    message = received.message
    content_type = received.request.headers.get("Content-Type")
    if content_type != "application/jose+json":
        raise Problem("malformed", 415, f"content type {content_type}")
    if message is None:
        raise received.malformed or Problem("malformed", detail="no JWS")
    protected = message.protected
    if not received.nonce_is_good:
        raise Problem("badNonce", detail="the nonce is missing, used or unknown")
    if protected.get("url") != received.request.url:
        raise Problem("unauthorized", 403, f"signed for {protected.get('url')}")
    if ("jwk" in protected) == ("kid" in protected):
        raise Problem("malformed", detail="exactly one of jwk and kid is required")
    account = None
    if "kid" in protected:
        account = _account(state, protected["kid"])
        key = account.key
    elif received.resource in ("new-account", "revoke-cert"):
        key = jws.key_from(protected["jwk"])
    else:
        raise Problem("malformed", detail="kid is required here, not jwk")
    jws.verify(message, key, state.settings.signature_algorithms)
    if account and received.resource != "account":
        _require_agreement(state, account)
    return Signed(
        id=received.id,
        url=received.request.url,
        key=key,
        jwk=protected.get("jwk"),
        content=message.content,
        account=account,
    )


def _account(state: State, url: object) -> Account:
    account = state.accounts.get(str(url))
    if account is None:
        raise Problem(*state.settings.unknown_account, f"no account {url}")
    if account.status != "valid":
        raise Problem("unauthorized", 401, f"the account is {account.status}")
    return account


def _require_agreement(state: State, account: Account) -> None:
    terms = state.settings.terms_of_service
    if terms and account.agreed_terms != terms:
        link = ("Link", f'<{terms}>;rel="terms-of-service"')
        raise Problem(
            "userActionRequired", 403, "the terms have changed", headers=(link,), instance=terms
        )
