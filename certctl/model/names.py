"""Identifiers and certificate names, parsed once here and trusted everywhere else.

A DNS name is converted to lower-case A-labels (RFC 5890), an IP address to its canonical form (RFC
8738 §3). A certificate's name is also a file name, so only names that pass `certificate_name` ever
become part of a path.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from certctl.model.errors import InvalidIdentifier, UsageError
from certctl.model.identifiers import Identifier, IdentifierType

MAX_COMMON_NAME = 64

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_EMOJI_MODIFIERS = frozenset("\ufe0f\u200d\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_CERTIFICATE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")


def parse_identifier(text: str) -> Identifier:
    """Return the identifier for a DNS name (IDN and `*.` allowed), an IPv4 or an IPv6 address.

    A name may have a single label, for which only private CAs issue: `single_labels` finds these.
    Raises `InvalidIdentifier` with the reason.
    """
    stripped = text.strip()
    if not stripped:
        raise InvalidIdentifier("a name is empty", hint="Give a name such as example.com.")
    address = _address(stripped)
    if address is not None:
        return Identifier(IdentifierType.IP, address)
    return Identifier(IdentifierType.DNS, _dns_name(stripped))


def parse_identifiers(texts: Iterable[str]) -> tuple[Identifier, ...]:
    """Return the identifiers in the given order without duplicates. Each of `texts` may have
    several names, separated by commas.
    """
    split = (part for text in texts for part in text.split(",") if part.strip())
    return tuple(dict.fromkeys(parse_identifier(part) for part in split))


def single_labels(identifiers: Iterable[Identifier]) -> tuple[str, ...]:
    """Return the names without a dot, such as `printer` and `*.printer`, which mean something on a
    local network only.
    """
    return tuple(
        each.value
        for each in identifiers
        if each.type is IdentifierType.DNS and "." not in each.base
    )


def common_name(value: object) -> str:
    """Return a name for the subject of a certificate in its canonical form; "" stays as it is.

    Raises `InvalidIdentifier` if it is not a name, or too long (RFC 5280 appendix A.1).
    """
    if not isinstance(value, str):
        raise InvalidIdentifier(f"{value!r} is not a name")
    if not value.strip():
        return ""
    name = parse_identifier(value).value
    if len(name) > MAX_COMMON_NAME:
        raise InvalidIdentifier(
            f"{name} is {len(name)} characters long; a common name can have {MAX_COMMON_NAME}",
            hint="Use a shorter one of the names.",
        )
    return name


def common_name_for(wanted: str | None, identifiers: Sequence[Identifier]) -> str | None:
    """Return the common name for an order of these names, which may lack the wanted one: the CA
    insists on one, so that it is then the first that is short enough. None if none is wanted.
    """
    values = [each.value for each in identifiers]
    if not wanted or wanted in values:
        return wanted or None
    return next((each for each in values if len(each) <= MAX_COMMON_NAME), None)


def email_address(text: str) -> str:
    """Return an email address whose domain is in A-labels, as contacts at a CA have to be; a URL
    stays unchanged.

    Raises `UsageError` if the domain is not a valid internationalised name.
    """
    address = text.strip()
    if not address.isprintable():
        raise UsageError(
            f"{address} is not a valid email address: it has a character that cannot be shown",
            hint="Give an address such as ops@example.com.",
            code="usage.email",
        )
    scheme = "mailto:" if address.lower().startswith("mailto:") else ""
    local, at, domain = address[len(scheme) :].rpartition("@")
    if not at or domain.isascii() or (not scheme and ":" in address):
        return address
    try:
        return f"{scheme}{local}@{_to_a_labels(domain, domain)}"
    except InvalidIdentifier as error:
        raise UsageError(
            f"{address} is not a valid email address: {error.message}",
            hint="Give an address such as ops@example.com.",
            code="usage.email",
        ) from error


def stored_name(text: str) -> str:
    """Return the name under which a certificate that a user named is stored: a name in Unicode in
    A-labels, as `default_certificate_name` chose it; any other text unchanged.
    """
    if text.isascii():
        return text
    try:
        return _to_a_labels(text, text)
    except InvalidIdentifier:
        return ".".join(map(_stored_label, text.split(".")))


def _stored_label(label: str) -> str:
    """Return a label in Unicode as its A-label if that is accepted in a name, as those of emoji
    are; any other one unchanged.
    """
    if label.isascii():
        return label
    found = f"xn--{label.lower().encode('punycode', 'replace').decode('ascii')}"
    return found if _LABEL.match(found) and _is_a_label(found) else label


@lru_cache(maxsize=1024)
def certificate_name(text: str) -> str:
    """Return `text` if it is a safe name for a certificate and its files, a name in Unicode as its
    A-labels. Raises `UsageError`.
    """
    text = stored_name(text)
    if _CERTIFICATE_NAME.match(text) is None or ".." in text:
        raise UsageError(
            f"{text!r} is not a valid certificate name",
            hint="Use only letters, digits, '.', '-' and '_' (--name NAME).",
            code="usage.name",
        )
    return text


def is_certificate_name(text: str) -> bool:
    """Return whether `certificate_name` accepts this text."""
    text = stored_name(text)
    return _CERTIFICATE_NAME.match(text) is not None and ".." not in text


def default_certificate_name(identifiers: tuple[Identifier, ...], taken: Iterable[str]) -> str:
    """Return the name for a new certificate, derived from its first identifier.

    A wildcard gets the suffix `-wildcard` if the plain name is taken. IPv6 addresses are written in
    full with dashes, because colons have a meaning in many configuration files.
    """
    first = identifiers[0]
    name = certificate_name(_file_name(first)[:190])
    if first.wildcard and name in set(taken):
        name = f"{name}-wildcard"
    return name


def display_name(identifier: Identifier) -> str:
    """Return the identifier for display, with A-labels decoded to Unicode if they are valid."""
    if "xn--" not in identifier.value:
        return identifier.value
    import idna  # noqa: PLC0415 - slow to import, and few names need it

    try:
        prefix = "*." if identifier.wildcard else ""
        return prefix + idna.decode(identifier.base)
    except idna.IDNAError:
        return prefix + ".".join(map(_shown_label, identifier.base.split(".")))


def _shown_label(label: str) -> str:
    """Return an A-label of emoji in Unicode, any other label as it is."""
    if not label.startswith("xn--") or not _is_a_label(label):
        return label
    return label.removeprefix("xn--").encode("ascii").decode("punycode")


def unicode_name(name: str) -> str:
    """Return the name of a certificate with its A-labels in Unicode, if they are valid."""
    return display_name(Identifier(IdentifierType.DNS, name))


def reverse_name(identifier: Identifier) -> str:
    """Return the reverse-mapping name of an address, without a trailing dot (RFC 8738 §6)."""
    return ipaddress.ip_address(identifier.value).reverse_pointer


def _file_name(identifier: Identifier) -> str:
    if ":" in identifier.value:
        return ipaddress.ip_address(identifier.value).exploded.replace(":", "-")
    return identifier.base


def _address(text: str) -> str | None:
    if "%" in text:  # an IPv6 zone index, which is only meaningful on this machine
        return None
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        return None


def _dns_name(text: str) -> str:
    name = text.removesuffix(".")
    prefix = "*." if name.startswith("*.") else ""
    base = name.removeprefix("*.")
    if not base.isascii():
        base = _to_a_labels(base, text)
    base = base.lower()
    problem = _problem(base)
    if problem is not None:
        raise InvalidIdentifier(
            f"{text!r} is not a valid domain name or IP address: {problem}", hint=_hint(text)
        )
    return prefix + base


def _to_a_labels(name: str, given: str) -> str:
    import idna  # noqa: PLC0415 - slow to import, and few names need it

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise InvalidIdentifier(
            f"{given!r} is not a valid internationalised domain name: {error}", hint=_hint(given)
        ) from error


def _problem(name: str) -> str | None:
    labels = name.split(".")
    if "*" in name:
        return "a wildcard must be the whole left-most label, as in *.example.com"
    if ":" in name and "%" in name:
        return "an IP address in a certificate cannot have a zone index (%...)"
    if len(name) > 253:
        return f"it is {len(name)} characters long, the maximum is 253"
    bad = next((label for label in labels if _LABEL.match(label) is None), None)
    if bad is not None:
        return (
            f"the label {bad!r} is too long or contains an invalid character"
            if bad
            else "it has an empty label"
        )
    bad = next((each for each in labels if each.startswith("xn--") and not _is_a_label(each)), None)
    if bad is not None:
        return f"the label {bad!r} is not a valid internationalised label (RFC 5890)"
    if labels[-1].isdigit():
        return "its last label is a number, but it is not an IP address"
    return None


def _is_a_label(label: str) -> bool:
    """Return whether a label that starts with `xn--` is the A-label of a Unicode label (RFC 5890
    §2.3.2.1). Emoji are accepted too, although IDNA2008 excludes them: some registries have them,
    and CAs issue for these names.
    """
    import idna  # noqa: PLC0415 - slow to import, and few names need it

    encoded = label.removeprefix("xn--")
    try:
        decoded = encoded.encode("ascii").decode("punycode")
        if decoded.isascii() or decoded.encode("punycode").decode("ascii") != encoded:
            return False
        words = "".join(each for each in decoded if not _is_emoji(each))
        if words:
            idna.check_label(words)
    except (UnicodeError, idna.IDNAError):
        return False
    return True


def _is_emoji(character: str) -> bool:
    return unicodedata.category(character) == "So" or character in _EMOJI_MODIFIERS


def _hint(text: str) -> str:
    if "://" in text:
        host = text.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]
        return f"Give only the host name: {host}"
    if "@" in text:
        return "This looks like an email address. Give it with --email."
    return "Give names such as example.com, *.example.com or 192.0.2.1."
