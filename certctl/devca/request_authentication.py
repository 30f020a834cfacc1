"""Who is asking: a signed request is checked (RFC 8555 §6.2 to §6.5) before anybody answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from certctl.devca import jws
from certctl.devca.jws import Message, PublicKey
from certctl.devca.problems import Problem
from certctl.devca.records import Account
from certctl.devca.state import State
from certctl.devca.wire import Request

JOSE_JSON = "application/jose+json"
SIGNED_BY_JWK = frozenset({"new-account"})
"""Resources whose requests are signed by the key itself; `revoke-certificate` takes both."""

SIGNED_BY_EITHER = frozenset({"revoke-certificate"})


@dataclass(frozen=True)
class Call:
    """A signed request that was let in; `account` is None where the key signed for itself."""

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
        if self.account is None:  # authenticate lets none of these in
            raise Problem("malformed", "this request is signed for an account, by kid")
        return self.account

    def url(self, resource: str, *parts: object) -> str:
        """Return the URL of a resource, at the host that the client knows."""
        return url(self.request, resource, *parts)

    def fields(self) -> dict[str, Any]:
        """Return the payload of a request that must have one."""
        if self.content is None:
            raise Problem("malformed", "this request wants a payload")
        return self.content

    def read_only(self) -> None:
        """Refuse a payload where there is nothing but to read (RFC 8555 §6.3)."""
        if self.message.payload:
            raise Problem("malformed", "a POST-as-GET has an empty payload")


def url(request: Request, resource: str, *parts: object) -> str:
    """Return the URL of a resource, at the host that the client knows."""
    return "/".join([request.base, resource, *map(str, parts)])


def authenticate(state: State, request: Request) -> Call:
    """Return the call that a request makes; raises `Problem`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JOSE_JSON:
        raise Problem("malformed", f"the Content-Type is {JOSE_JSON}", status=415)
    message = jws.read(jws.parse_json(request.body, "the body"))
    protected = message.protected
    # spent whatever comes next: a nonce is good for one request
    nonce_is_good = state.nonces.spend(protected.get("nonce"))
    if protected.get("url") != request.url:
        raise Problem("unauthorized", "the header's url is not that of the request")
    if ("jwk" in protected) == ("kid" in protected):
        raise Problem("malformed", "the header has either a jwk or a kid")
    account = None
    if "jwk" in protected:
        if request.resource not in SIGNED_BY_JWK | SIGNED_BY_EITHER:
            raise Problem("malformed", "this request is signed for an account, by kid")
        key = jws.public_key(protected["jwk"])
    else:
        if request.resource in SIGNED_BY_JWK:
            raise Problem("malformed", "this request carries its key, as jwk")
        account = _account(state, protected["kid"])
        key = state.keys.get(account.thumbprint) or jws.public_key(account.jwk)
        state.keys[key.thumbprint] = key
    jws.verify(message, key)
    if not nonce_is_good:
        raise Problem("badNonce", "the nonce is unknown, or was used already")
    if account is not None and account.status != "valid":
        raise Problem("unauthorized", f"the account is {account.status}")
    return Call(request, message, key, account, message.content())


def _account(state: State, kid: object) -> Account:
    """Return the account of a URL, by its path alone: after a restart the port may be another."""
    path = kid.rpartition("/account/") if isinstance(kid, str) else ("", "", "")
    account = state.records.get(Account, path[2]) if path[1] else None
    if account is None:
        raise Problem("accountDoesNotExist", "there is no such account")
    return account
