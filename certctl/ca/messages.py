"""Parses a CA's responses from JSON into the classes of `models` (RFC 8555 §7.1).

Tolerant where CAs may differ: unknown fields, statuses and challenge types are accepted. Strict
where certctl acts on a value: an invalid URL, string or identifier is a `BadResponse`.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from certctl.ca.problems import MAX_URL_LENGTH, Resource, links, problem, web_url
from certctl.model.ca import Authorization, Challenge, Order
from certctl.model.errors import BadResponse
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import NAME, WORD, printable, texts

if TYPE_CHECKING:
    from requests import Response

JsonObject = Mapping[str, object]

_MAX_TEXT_LENGTH = 4096
"""The longest URL or token that is accepted."""

_INVALID_STATUSES = frozenset({"deactivated", "expired", "revoked"})
"""Order statuses that some CAs use in place of `invalid` (RFC 8555 §7.1.6), copied from their
authorizations.
"""


@dataclass(frozen=True)
class Directory:
    """A CA's resource URLs and metadata (RFC 8555 §7.1.1).

    `urls` are keyed by the RFC's names. `profiles` maps names to descriptions; `renewal_info` is
    the URL for renewal information (RFC 9773 §4.1), None if the CA has none. `issuers` and
    `account_hash_prefix` are for dns-persist-01 (a draft).
    """

    urls: Mapping[str, str]
    terms_of_service: str | None = None
    website: str | None = None
    caa_identities: tuple[str, ...] = ()
    external_account_required: bool = False
    profiles: Mapping[str, str] = field(default_factory=dict)
    renewal_info: str | None = None
    issuers: tuple[str, ...] = ()
    account_hash_prefix: str | None = None


@dataclass(frozen=True)
class AccountState:
    """An account's state at the CA (RFC 8555 §7.1.2); `created` if this request created it."""

    url: str
    status: str
    contact: tuple[str, ...] = ()
    created: bool = False


def json_object(response: Response, resource: Resource) -> JsonObject:
    """Return the JSON object in a response. Raises `BadResponse` if there is none."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        raise bad_response(response, resource, "with something that is not JSON") from None
    if not isinstance(document, dict):
        raise bad_response(response, resource, "with something that is not a JSON object")
    return document


def bad_response(response: Response, resource: Resource, how: str) -> BadResponse:
    """Return the error for an unusable response; `how` completes "the CA responded ..."."""
    host = urlsplit(response.url or "").netloc
    return BadResponse(f"{host} responded to {resource} {how}", status=response.status_code)


def location(response: Response, resource: Resource) -> str:
    """Return the URL in the `Location` header. Raises `BadResponse` if it is missing."""
    target = _joined(response.url or "", response.headers.get("Location"))
    if target is None:
        raise bad_response(response, resource, "without a Location header")
    return target


def alternates(response: Response) -> tuple[str, ...]:
    """Return the URLs of other chains for the same certificate (RFC 8555 §7.4.2)."""
    joined = (_joined(response.url or "", each) for each in links(response, "alternate"))
    return tuple(each for each in joined if each is not None)


def directory(response: Response) -> Directory:
    """Return the CA's directory. Raises `BadResponse` if a URL needed for orders is missing."""
    document = json_object(response, Resource.DIRECTORY)
    urls = {key: value for key, value in document.items() if _is_url(value)}
    missing = [each for each in ("newNonce", "newAccount", "newOrder") if each not in urls]
    if missing:
        error = bad_response(
            response,
            Resource.DIRECTORY,
            f"with something that is not an ACME directory: {missing[0]} is missing",
        )
        error.hint = "Check the CA's directory URL (--ca)."
        raise error
    given = document.get("meta")
    meta: JsonObject = given if isinstance(given, dict) else {}
    return Directory(
        urls={key: str(value) for key, value in urls.items()},
        # Any text: where there are terms, they must be agreed to. Pebble's are a data: URL.
        terms_of_service=printable(meta.get("termsOfService"), MAX_URL_LENGTH) or None,
        website=web_url(meta.get("website")),
        caa_identities=_texts(meta.get("caaIdentities")),
        external_account_required=meta.get("externalAccountRequired") is True,
        profiles=_profiles(meta.get("profiles")),
        renewal_info=_text(urls.get("renewalInfo")),
        issuers=_texts(meta.get("issuerDomainNames")),
        account_hash_prefix=_text(meta.get("accountHashPrefix")),
    )


def account(response: Response, url: str, resource: Resource) -> AccountState:
    """Return the account in a response; a missing status means `valid`."""
    document = json_object(response, resource)
    return AccountState(
        url=url,
        status=_word(document.get("status")) or "valid",
        contact=_texts(document.get("contact")),
        created=response.status_code == 201,
    )


def order(
    response: Response,
    url: str,
    *,
    resource: Resource = Resource.ORDER,
    known: Order | None = None,
    retry_after: float | None = None,
) -> Order:
    """Return the order in a response. `known` is the previous or requested order; it supplies the
    fields that a CA omits. Raises `BadResponse` for identifiers that were not requested, and for
    missing ones unless the order is invalid: some CAs then list only those that were validated.
    """
    document = json_object(response, resource)
    status = _word(document.get("status"))
    if status is None:
        raise bad_response(response, resource, "with an order that has no status")
    if status in _INVALID_STATUSES:
        status = "invalid"
    identifiers = tuple(
        identifier(each, response, resource) for each in _list(document.get("identifiers"))
    )
    if known and known.identifiers and identifiers:
        wrong = {*identifiers} - {*known.identifiers}
        if status != "invalid":
            wrong |= {*known.identifiers} - {*identifiers}
        if wrong:
            names = printable(", ".join(sorted(each.value for each in wrong)))
            raise bad_response(
                response, resource, f"with an order for different names: {names} differ"
            )
        identifiers = known.identifiers
    joined = (_joined(url, each) for each in _list(document.get("authorizations")))
    authorizations = tuple(dict.fromkeys(each for each in joined if each is not None))
    ordered = max(len(identifiers), len(known.identifiers) if known else 0)
    if ordered and len(authorizations) > ordered:
        raise bad_response(
            response,
            resource,
            f"with an order that has {len(authorizations)} authorizations for {ordered} names",
        )
    return Order(
        url=url,
        status=status,
        identifiers=identifiers or (known.identifiers if known else ()),
        authorization_urls=authorizations or (known.authorization_urls if known else ()),
        finalize_url=_joined(url, document.get("finalize"))
        or (known.finalize_url if known else None),
        certificate_url=_joined(url, document.get("certificate")),
        error=error_text(document.get("error")),
        error_type=problem(document.get("error")).type,
        retry_after=retry_after,
    )


def authorization(response: Response, url: str) -> Authorization:
    """Return the authorization in a response (RFC 8555 §7.1.4)."""
    document = json_object(response, Resource.AUTHORIZATION)
    status = _word(document.get("status"))
    if status is None:
        raise bad_response(
            response, Resource.AUTHORIZATION, "with an authorization that has no status"
        )
    plain = identifier(document.get("identifier"), response, Resource.AUTHORIZATION)
    wildcard = document.get("wildcard") is True and not plain.wildcard
    challenges = (challenge(each, url) for each in _list(document.get("challenges")))
    return Authorization(
        url=url,
        identifier=Identifier(plain.type, f"*.{plain.value}") if wildcard else plain,
        status=status,
        challenges=tuple(each for each in challenges if each is not None),
    )


def challenge(document: object, base: str) -> Challenge | None:
    """Return one challenge of any type; None if it has no type or no URL, since it cannot be
    completed then.
    """
    if not isinstance(document, dict):
        return None
    kind, url = _word(document.get("type")), _joined(base, document.get("url"))
    if kind is None or url is None:
        return None
    # The spelling of this member distinguishes the two forms of dns-persist-01.
    hashed = "issuerDomainNames" in document
    issuers = document.get("issuerDomainNames" if hashed else "issuer-domain-names")
    return Challenge(
        type=kind,
        url=url,
        status=_word(document.get("status")) or "pending",
        token=_text(document.get("token")),
        error=error_text(document.get("error")),
        issuers=_texts(issuers),
        account_uri=_text(document.get("accounturi")),
        hashed=hashed,
    )


def identifier(document: object, response: Response, resource: Resource) -> Identifier:
    """Return an identifier in its canonical form. Raises `BadResponse` for one that certctl cannot
    have requested.
    """
    kind = document.get("type") if isinstance(document, dict) else None
    value = document.get("value") if isinstance(document, dict) else None
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= NAME:
        if kind == IdentifierType.DNS:
            return Identifier(IdentifierType.DNS, value.lower().removesuffix("."))
        if kind == IdentifierType.IP:
            return Identifier(IdentifierType.IP, _address(value))
    what = f"{printable(kind, WORD)} {printable(value, NAME)}".strip() or "an empty one"
    raise bad_response(response, resource, f"with an identifier that was not requested: {what}")


def error_text(document: object) -> str | None:
    """Return the text and type of the `error` of an order or a challenge; None without one."""
    if document is None:
        return None
    found = problem(document)
    named = f" [{found.type}]" if found.type and found.type != found.text else ""
    return f"{found.text}{named}" if found.text else "an error without details"


_PEM_BLOCK = re.compile(rb"-----BEGIN ([^-\r\n]*)-----([^-]*)-----END \1-----")
_CERTIFICATE = b"CERTIFICATE"
_MAX_CHAIN = 20
"""Certificates in a chain. Public CAs send up to four; clients refuse a handshake with hundreds."""


def chain(response: Response) -> bytes:
    """Return the certificates of a download as PEM (RFC 8555 §9.1), without text between them.

    Raises `BadResponse` for any other PEM block and for a truncated download.
    """
    body = response.content
    blocks = _PEM_BLOCK.findall(body)
    if (
        not blocks
        or len(blocks) != body.count(b"-----BEGIN ")
        or body.count(b"-----END ") != len(blocks)
    ):
        raise bad_response(
            response, Resource.CERTIFICATE, "with something that is not a PEM certificate chain"
        )
    if len(blocks) > _MAX_CHAIN:
        raise bad_response(
            response,
            Resource.CERTIFICATE,
            f"with a chain of {len(blocks)} certificates; at most {_MAX_CHAIN} are accepted",
        )
    unexpected = next((label for label, _ in blocks if label != _CERTIFICATE), None)
    if unexpected is not None:
        named = printable(unexpected.decode("ascii", "replace"))
        raise bad_response(
            response, Resource.CERTIFICATE, f"with a PEM block that is not a certificate: {named}"
        )
    return b"".join(_certificate(text, response) for _, text in blocks)


def _certificate(text: bytes, response: Response) -> bytes:
    try:
        usable = len(b64decode(b"".join(text.split()), validate=True)) > 0
    except ValueError:
        usable = False
    if not usable:
        raise bad_response(
            response, Resource.CERTIFICATE, "with a certificate that is not valid base64"
        )
    joined = b"".join(text.split())
    lines = [joined[start : start + 64] for start in range(0, len(joined), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return value


def _is_url(value: object) -> bool:
    return (_text(value) or "").startswith(("https://", "http://"))


def _text(value: object) -> str | None:
    """Return a value that certctl sends back or compares, such as a URL or a token, unchanged."""
    return next(texts([value], longest=_MAX_TEXT_LENGTH), None)


def _word(value: object) -> str | None:
    """Return a keyword, such as a status, which may be shown."""
    text = value if isinstance(value, str) and value.isprintable() else ""
    return printable(text, WORD) or None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(texts(value))


def _profiles(value: object) -> dict[str, str]:
    """Return the profiles with their descriptions. Raises nothing: a bad one cannot be chosen."""
    if not isinstance(value, dict):
        return {}
    names = texts([*value], longest=WORD)
    return {name: printable(value[name]) for name in names}


def _list(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


def _joined(base: str, value: object) -> str | None:
    text = _text(value)
    try:
        return None if text is None else urljoin(base, text)
    except ValueError:
        return None
