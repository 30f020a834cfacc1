"""Turns problem documents (RFC 7807, RFC 8555 §6.7) and other unsuccessful responses into certctl's
errors.

Reading a body never fails, even if it is JSON of any shape, a proxy's HTML, or empty. Text that
reaches a message is printable and of bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from certctl.ca.retry_after import retry_after
from certctl.model.errors import (
    AccountError,
    AccountPaused,
    AcmeError,
    BadResponse,
    CaUnavailable,
    EabRequired,
    RateLimited,
    TermsChanged,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import NAME, WORD, printable, quoted
from certctl.rules.waiting import again

if TYPE_CHECKING:
    from requests import Response

URN = "urn:ietf:params:acme:error:"

MAX_URL_LENGTH = 2000
_MAX_SUBPROBLEMS = 20
_URL = re.compile(r"https://[^\s<>\"']+")
_PAUSED = re.compile(r"unpause|paused|temporarily prevented", re.IGNORECASE)


class Resource(StrEnum):
    """The kinds of requests (RFC 8555 §7.1), as messages name them."""

    DIRECTORY = "the directory request"
    NEW_NONCE = "the nonce request"
    NEW_ACCOUNT = "the account registration"
    ACCOUNT = "the account request"
    KEY_CHANGE = "the account key rollover"
    NEW_ORDER = "the new order"
    ORDER = "the order status request"
    AUTHORIZATION = "the authorization status request"
    DEACTIVATION = "the authorization deactivation"
    CHALLENGE = "the challenge response"
    FINALIZE = "the certificate signing request"
    CERTIFICATE = "the certificate download"
    REVOCATION = "the revocation request"
    RENEWAL_INFO = "the renewal information request"


_ACCOUNT_RESOURCES = frozenset(
    {Resource.NEW_ACCOUNT, Resource.ACCOUNT, Resource.KEY_CHANGE, Resource.NEW_ORDER}
)

_HINTS: Mapping[str, str] = {
    "badCSR": "The CA may accept another key type (--key-type).",
    "badPublicKey": "The CA may accept another key type (--key-type, --account-key-type).",
    "badRevocationReason": "Give another reason with --reason, or omit it.",
    "badSignatureAlgorithm": "Register with another account key type (--account-key-type).",
    "caa": "A CAA record of the domain forbids this CA. Change it, or use another CA (--ca).",
    "invalidContact": "Check the addresses given with --email.",
    "invalidProfile": "Choose a profile that the CA offers, or none.",
    "rejectedIdentifier": "The CA does not issue for that name. Another CA may (--ca).",
    "unsupportedContact": "Check the addresses given with --email.",
    "unsupportedIdentifier": "The CA does not issue for names of that type. Another CA may (--ca).",
}


@dataclass(frozen=True)
class Problem:
    """A parsed problem document; `type` is without RFC 8555's prefix.

    `url` is the first URL in the detail, complete even if `detail` was truncated. `identifiers` has
    the value and the CA's text for each subproblem (RFC 8555 §6.7.1).
    """

    type: str | None = None
    detail: str = ""
    url: str | None = None
    instance: str | None = None
    identifiers: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The CA's explanation in one line; empty if it gave none."""
        parts = [self.detail] if self.detail else []
        parts += [f"{value}: {said}" if value else said for value, said in self.identifiers]
        return printable("; ".join(parts)) or (self.type or "")


def problem(document: object) -> Problem:
    """Return the problem in `document`, which may be JSON of any shape."""
    if not isinstance(document, Mapping):
        return Problem(detail=printable(document))
    detail = document.get("detail")
    found = _URL.search(detail[: 4 * MAX_URL_LENGTH]) if isinstance(detail, str) else None
    return Problem(
        type=printable(document.get("type"), WORD).removeprefix(URN) or None,
        detail=printable(detail) or printable(document.get("title")),
        url=web_url(found[0].rstrip(".,;:)")) if found else None,
        instance=web_url(document.get("instance")),
        identifiers=tuple(_subproblems(document.get("subproblems"))),
    )


def problem_in(response: Response) -> Problem:
    """Return the problem in a response's body; an empty one if the body is not JSON."""
    try:
        return problem(response.json())
    except (ValueError, RecursionError):
        return Problem()


def error_from(
    response: Response, resource: Resource, now: datetime, ca: str | None = None
) -> AcmeError:
    """Return the error for an unsuccessful response, with the CA's own explanation.

    `ca` is what a user would type to choose this CA; commands in hints then name it.
    """
    said = problem_in(response)
    status = response.status_code
    wait = retry_after(response.headers, now)
    host = urlsplit(response.url or "").netloc
    kind = _kind(said, status, resource, wait)
    if kind is BadResponse:
        message = f"{host} redirected {resource} (HTTP status {status}), which RFC 8555 forbids"
        target = web_url(response.headers.get("Location"))
        hint = f"It redirects to {target}." if target else None
        return BadResponse(message, status=status, hint=hint)
    verb = "could not process" if kind is CaUnavailable else "refused"
    named = f" [{said.type}]" if said.type and said.type != said.text else ""
    return kind(
        f"{host} {verb} {resource}: {said.text or _phrase(status)}{named}",
        type=said.type,
        status=status,
        retry_after=wait,
        reasons=[(value, text) for value, text in said.identifiers if value],
        hint=_hint(said, kind, response, resource, f" --ca {ca}" if ca else "", again(now, wait)),
    )


def _kind(said: Problem, status: int, resource: Resource, wait: float | None) -> type[AcmeError]:
    if status < 400:
        return BadResponse
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return CaUnavailable  # whatever its type: Let's Encrypt sends `rateLimited` when overloaded
    if status == 429 or (said.type == "rateLimited" and status < 500):
        # Let's Encrypt reports a paused account as a rate limit without Retry-After.
        return AccountPaused if wait is None and _PAUSED.search(said.detail) else RateLimited
    by_type: dict[str | None, type[AcmeError]] = {
        "userActionRequired": TermsChanged,
        "externalAccountRequired": EabRequired,
        "accountDoesNotExist": AccountError,
    }
    if said.type in by_type:
        return by_type[said.type]
    if said.type == "unauthorized" and resource in _ACCOUNT_RESOURCES:
        return AccountError
    return CaUnavailable if status >= 500 else AcmeError


def _hint(
    said: Problem,
    kind: type[AcmeError],
    response: Response,
    resource: Resource,
    chosen: str,
    again: str | None,
) -> str | None:
    if kind is AccountPaused:
        return (
            f"Unpause it at {said.url}, then run the command again."
            if said.url
            else "Look for a message from the CA on how to unpause it."
        )
    if kind is TermsChanged:
        terms = said.instance or _link(response, "terms-of-service") or said.url
        where = f"Read {terms}, then" if terms else "Read the CA's terms of service, then"
        if resource is Resource.NEW_ACCOUNT:
            return f"{where} run the command again with --agree-tos."
        return f"{where} run: certctl account update --agree-tos{chosen}"
    if kind is EabRequired:
        return (
            "Get a key identifier and an HMAC key from the CA, and pass them with --eab-kid and "
            "--eab-hmac-key-file."
        )
    if kind is RateLimited:
        help_url = _link(response, "help")
        sentences = [f"Try again {again}." if again else "", f"See {help_url}." if help_url else ""]
        return " ".join(each for each in sentences if each) or None
    if kind is AccountError:
        return _account_hint(said, resource, chosen)
    return _asked_for(said, resource, chosen) or _HINTS.get(said.type or "")


_COMMON_NAME = re.compile(r"\bcommon ?name\b|\bCN\b|\bsubject (?:is|must|may|DN)\b", re.IGNORECASE)
_CONTACT = re.compile(
    r"\bcontacts?\b(?! (?:us|support|sales|your|the|our|customer|administrators?|admin)\b)"
    r"|\be-?mail(?: address)?(?:es)?\b",
    re.IGNORECASE,
)
_MAY_ASK_FOR_MORE = frozenset({None, "badCSR", "invalidContact", "malformed", "unsupportedContact"})


def _asked_for(said: Problem, resource: Resource, chosen: str) -> str | None:
    """Return the hint for a problem whose text asks for something that the request lacked, whatever
    its type: CAs say `malformed` or `badCSR` for an account without a contact.
    """
    if said.type not in _MAY_ASK_FOR_MORE:
        return None
    if _CONTACT.search(said.text):
        if resource is Resource.NEW_ACCOUNT:
            return "Check the addresses given with --email, or give one."
        return f"Give the account a contact: certctl account update --email ADDRESS{chosen}"
    if resource is Resource.FINALIZE and _COMMON_NAME.search(said.text):
        return "If the CA insists on a common name, give one of the names: --common-name NAME"
    return None


def _account_hint(said: Problem, resource: Resource, chosen: str) -> str | None:
    if said.type == "accountDoesNotExist":
        return f"Register an account with this CA: certctl register{chosen}"
    if resource is Resource.NEW_ACCOUNT:
        return None
    return (
        "The account may no longer be valid. To check its status at the CA, run: certctl account"
        f" show --refresh{chosen}"
    )


def _phrase(status: int) -> str:
    try:
        return f"HTTP status {status}, {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP status {status}"


def _subproblems(document: object) -> list[tuple[str, str]]:
    if not isinstance(document, list):
        return []
    found = []
    for each in document[:_MAX_SUBPROBLEMS]:
        if isinstance(each, Mapping):
            identifier = each.get("identifier")
            value = (
                printable(identifier.get("value"), NAME) if isinstance(identifier, Mapping) else ""
            )
            # Subproblems are not nested; following nested ones could recurse without end.
            found.append((value, problem({**each, "subproblems": None}).text))
    return found


def _link(response: Response, relation: str) -> str | None:
    """Return the first URL of a `Link` header with that relation (RFC 8288) that a person can be
    asked to open.
    """
    return next((each for each in links(response, relation) if web_url(each)), None)


def links(response: Response, relation: str) -> tuple[str, ...]:
    """Return the URLs of a response's `Link` headers with that relation (RFC 8288), at most ten."""
    header = response.headers.get("Link", "")
    found = []
    for target, parameters in _LINK.findall(header):
        relations = _REL.search(parameters)
        if relations is not None and relation in relations[1].lower().split():
            url = _url(target.strip())
            if url is not None:
                found.append(url)
    return tuple(found[:10])


_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_REL = re.compile(r";\s*rel\s*=\s*\"?([^\";,]+)", re.IGNORECASE)


def web_url(text: object) -> str | None:
    """Return `text` if it is a URL that a person can be asked to open in a browser: http or https,
    printable, of bounded length, and with a host; None for any other, such as `javascript:`.
    """
    url = _url(text)
    try:
        parts = urlsplit(url or "")
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    return url if usable else None


def shown_terms(terms: str) -> str:
    """Return the terms of service as a message shows them: a URL to open, or else in quotes."""
    return web_url(terms) or f"{quoted(terms)}, which is not a web address"


def _url(text: object) -> str | None:
    """Return `text` if it is printable, without spaces and short enough to show as a URL."""
    if not isinstance(text, str) or len(text) > MAX_URL_LENGTH or not text.isprintable():
        return None
    return text if text and " " not in text else None
