"""The CAs that certctl knows by name, and what a directory URL reveals about its CA.

Standard library only, because listing certificates imports it too. `client` fetches directories.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

from certctl.model.errors import UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.urls import is_loopback, without_password

CaKind = Literal["public", "staging", "private"]


@dataclass(frozen=True)
class KnownCa:
    """A CA that `--ca` accepts by name. `eab`: it requires an external account binding (RFC 8555
    §7.3.4).
    """

    name: str
    url: str
    staging_url: str | None
    eab: bool
    title: str


DEV = "dev"
"""The name, used in place of a URL, of the CA inside this process, whose port may change."""

KNOWN_CAS: tuple[KnownCa, ...] = (
    KnownCa(
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        eab=False,
        title="Let's Encrypt",
    ),
    KnownCa(
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        eab=False,
        title="Let's Encrypt (staging: not trusted by browsers)",
    ),
    KnownCa(
        "zerossl",
        "https://acme.zerossl.com/v2/DV90",
        None,
        eab=True,
        title="ZeroSSL",
    ),
    KnownCa(
        "google",
        "https://dv.acme-v02.api.pki.goog/directory",
        "https://dv.acme-v02.test-api.pki.goog/directory",
        eab=True,
        title="Google Trust Services",
    ),
    KnownCa(
        "sslcom",
        "https://acme.ssl.com/sslcom-dv-ecc",
        None,
        eab=True,
        title="SSL.com",
    ),
    KnownCa(
        "actalis",
        "https://acme-api.actalis.com/acme/directory",
        None,
        eab=True,
        title="Actalis",
    ),
    KnownCa(
        DEV,
        DEV,
        DEV,
        eab=False,
        title="development CA in this process",
    ),
)


def directory_url(text: str) -> str:
    """Return the directory URL for `text`, which is the name of a known CA or a URL.

    A URL must be https, or http if its host is a loopback address. Scheme and host are returned in
    lower case. Raises `UsageError`, suggesting the closest known name.
    """
    wanted = text.strip()
    known = _by_name(wanted.lower())
    if known is not None:
        return known.url
    if "://" not in wanted:
        raise _unknown(wanted)
    parts = _split(wanted)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise UsageError(
            f"{wanted} is not encrypted: anyone on the network path could impersonate the CA",
            hint=f"Use https://{wanted.split('://', 1)[1]} instead.",
            code="usage.ca",
        )
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path, parts.query, ""))


def directory_urls(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the directory URLs of the CAs of one certificate, in their order.

    Raises `UsageError` if a CA is given twice, in whichever spelling, or if they have not the same
    standing: a name that a private CA certifies must not reach the public logs of certificates,
    and a certificate of a staging directory or of the development CA is never trusted.
    """
    urls = tuple(directory_url(each) for each in texts)
    if len(urls) == 1:
        return urls
    known: dict[str, str] = {}
    for url in urls:
        before = known.get(_spelling(url))
        if before is not None:
            raise UsageError(
                f"the CA {label(url)} is given twice",
                hint=f"Give each CA once: --ca {as_typed(before)}",
                code="usage.ca",
            )
        known[_spelling(url)] = url
    kinds = {url: _standing(url) for url in urls}
    other = next((url for url in urls if kinds[url] != kinds[urls[0]]), None)
    if other is not None:
        raise UsageError(
            f"{label(urls[0])} is a {kinds[urls[0]]} CA, and {label(other)} is a {kinds[other]}"
            " one: a certificate of one cannot take the place of the other's",
            hint="List CAs of the same kind, or issue a separate certificate with --name NAME.",
            code="usage.ca",
        )
    return urls


def _spelling(url: str) -> str:
    """Return what is the same for all spellings of a directory URL."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}?{parts.query}"


def _standing(url: str) -> str:
    return "development" if url == DEV else ca_kind(url)


def staging_url(url: str) -> str | None:
    """Return the staging directory of the CA with this directory URL, or None. A staging directory
    is its own.
    """
    if ca_kind(url) == "staging":
        return url
    return next((each.staging_url for each in KNOWN_CAS if each.url == url), None)


def label(url: str) -> str:
    """Return the name of the CA with this directory URL: its known name, or its host."""
    return next((each.name for each in KNOWN_CAS if each.url == url), None) or (
        urlsplit(url).netloc or url
    )


def as_typed(url: str) -> str:
    """Return the `--ca` value for the CA with this directory URL: its known name, or the URL."""
    return next((each.name for each in KNOWN_CAS if each.url == url), url)


def label_with_kind(label: str, *, public: bool) -> str:
    """Return a CA's label for a table: the label of a CA that browsers do not trust says so."""
    if (
        public
        or not label
        or any(label == each.name == "letsencrypt-staging" for each in KNOWN_CAS)
    ):
        return label
    staging = {urlsplit(each.staging_url).netloc for each in KNOWN_CAS if each.staging_url}
    return f"{label} (staging)" if label in staging else f"{label} (private)"


def ca_kind(url: str) -> CaKind:
    """Return whether the CA with this directory URL is a known `public` CA, which browsers trust, a
    known `staging` CA, or any other (`private`).
    """
    if any(url == each.staging_url for each in KNOWN_CAS):
        return "staging"
    return "public" if any(url == each.url for each in KNOWN_CAS) else "private"


def is_for_local_names(url: str) -> bool:
    """Return whether the CA with this directory URL may issue for names of a local network: not if
    it is a public CA, which must not (CA/Browser Forum Baseline Requirements §7.1.4.2).
    """
    return url == DEV or ca_kind(url) == "private"


def _by_name(name: str) -> KnownCa | None:
    return next((each for each in KNOWN_CAS if each.name == name), None)


def _unknown(text: str) -> UsageError:
    names = [each.name for each in KNOWN_CAS]
    near = difflib.get_close_matches(text.lower(), names, n=1)
    hint = f"Known CAs: {', '.join(names)}. For any other, give its directory URL, https://..."
    return UsageError(
        f"there is no CA named {without_password(text)!r}",
        hint=f"Did you mean {near[0]}? {hint}" if near else hint,
        code="usage.ca",
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or parts.scheme not in {"http", "https"}
        or "@" in parts.netloc
        or parts.fragment
        or not url.isprintable()
        or " " in url
    ):
        shown = without_password(url)
        why = "" if shown == url else ": it must not contain a user name or a password"
        raise UsageError(
            f"{shown!r} is not the URL of an ACME directory{why}",
            hint="Give a URL such as https://ca.example/acme/directory.",
            code="usage.ca",
        )
    return parts
