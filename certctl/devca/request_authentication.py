"""Authenticates signed requests (RFC 8555 §6.2 to §6.5) before they are processed."""

from __future__ import annotations

from typing import Any

from certctl.devca import jws
from certctl.devca.jws import Message, PublicKey
from certctl.devca.problems import Problem
from certctl.devca.records import Account
from certctl.devca.state import State
from certctl.devca.wire import Request
from certctl.model.lazy_dataclass import dataclass

JOSE_JSON = "application/jose+json"
SIGNED_BY_JWK = frozenset({"new-account"})
"""Resources whose requests carry their key as `jwk`; `revoke-certificate` accepts both forms."""

SIGNED_BY_EITHER = frozenset({"revoke-certificate"})


@dataclass(frozen=True)
class Call:
    """An authenticated request; `account` is None if it was signed by a `jwk`."""

    request: Request
    message: Message
    key: PublicKey
    account: Account | None
    content: dict[str, Any] | None

    @property
    def arguments(self) -> tuple[str, ...]:
        """The parts of the path after the resource."""
        return self.request.segments[1:]

    @property
    def signer(self) -> Account:
        """The account that signed."""
        if self.account is None:  # `authenticate` rejects these requests
            raise Problem("malformed", "this request must identify the account by kid")
        return self.account

    def url(self, resource: str, *parts: object) -> str:
        """Return the URL of a resource, at the host that the client used."""
        return url(self.request, resource, *parts)

    def fields(self) -> dict[str, Any]:
        """Return the payload of a request that must have one."""
        if self.content is None:
            raise Problem("malformed", "this request requires a payload")
        return self.content

    def read_only(self) -> None:
        """Reject a payload in a POST-as-GET (RFC 8555 §6.3)."""
        if self.message.payload:
            raise Problem("malformed", "a POST-as-GET must have an empty payload")


def url(request: Request, resource: str, *parts: object) -> str:
    """Return the URL of a resource, at the host that the client used."""
    return "/".join([request.base, resource, *map(str, parts)])


def authenticate(state: State, request: Request) -> Call:
    """Return the authenticated request; raises `Problem`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JOSE_JSON:
        raise Problem("malformed", f"the Content-Type must be {JOSE_JSON}", status=415)
    message = jws.read(jws.parse_json(request.body, "the body"))
    protected = message.protected
    # used up even if the request fails: a nonce is valid for one request
    nonce_is_good = state.nonces.spend(protected.get("nonce"))
    if protected.get("url") != request.url:
        raise Problem("unauthorized", "the url in the header differs from the request's URL")
    if ("jwk" in protected) == ("kid" in protected):
        raise Problem("malformed", "the header must have either a jwk or a kid")
    account = None
    if "jwk" in protected:
        if request.resource not in SIGNED_BY_JWK | SIGNED_BY_EITHER:
            raise Problem("malformed", "this request must identify the account by kid")
        key = jws.public_key(protected["jwk"])
    else:
        if request.resource in SIGNED_BY_JWK:
            raise Problem("malformed", "this request must carry its key as jwk")
        account = _account(state, protected["kid"])
        key = state.keys.get(account.thumbprint) or jws.public_key(account.jwk)
        state.keys[key.thumbprint] = key
    jws.verify(message, key)
    if not nonce_is_good:
        raise Problem("badNonce", "the nonce is unknown or was already used")
    if account is not None and account.status != "valid":
        raise Problem("unauthorized", f"the account is {account.status}")
    return Call(request, message, key, account, message.content())


def _account(state: State, kid: object) -> Account:
    """Return the account of a URL, ignoring its port, which may differ after a restart."""
    path = kid.rpartition("/account/") if isinstance(kid, str) else ("", "", "")
    account = state.records.get(Account, path[2]) if path[1] else None
    if account is None:
        raise Problem("accountDoesNotExist", "there is no such account")
    return account
