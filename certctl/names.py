"""Identifiers and certificate names: parsed here, once, and trusted everywhere else.

A DNS name becomes lower-case A-labels (RFC 5890), an address its canonical text (RFC 8738 §3). A
certificate's name is a file name too, so that nothing but what `certificate_name` lets through
ever becomes part of a path.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from certctl.errors import InvalidIdentifier, UsageError
from certctl.models import Identifier, IdentifierType

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_CERTIFICATE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")


def parse_identifier(text: str) -> Identifier:
    """Return the identifier that `text` names: a DNS name (IDN and `*.` allowed), an IPv4 or an
    IPv6 address.

    Raises `InvalidIdentifier` with the reason.
    """
    stripped = text.strip()
    if not stripped:
        raise InvalidIdentifier("an empty name was given", hint="Give a name such as example.com.")
    address = _address(stripped)
    if address is not None:
        return Identifier(IdentifierType.IP, address)
    return Identifier(IdentifierType.DNS, _dns_name(stripped))


def parse_identifiers(texts: Iterable[str]) -> tuple[Identifier, ...]:
    """Return the identifiers in the order given, each once. `texts` may hold several names split
    by commas.
    """
    split = (part for text in texts for part in text.split(",") if part.strip())
    return tuple(dict.fromkeys(parse_identifier(part) for part in split))


def certificate_name(text: str) -> str:
    """Return `text` where it is a safe name for a certificate and its files; raises `UsageError`
    otherwise.
    """
    if _CERTIFICATE_NAME.match(text) is None or ".." in text:
        raise UsageError(
            f"{text!r} cannot be the name of a certificate",
            hint="Use letters, digits, '.', '-' and '_' (--name NAME).",
            code="usage.name",
        )
    return text


def default_certificate_name(identifiers: tuple[Identifier, ...], taken: Iterable[str]) -> str:
    """Return the name of a new certificate: its first identifier's, `-wildcard` added where that
    is taken.

    An IPv6 address is written out in full with dashes, since a colon means something in many
    configuration files.
    """
    first = identifiers[0]
    name = certificate_name(_file_name(first)[:190])
    if first.wildcard and name in set(taken):
        name = f"{name}-wildcard"
    return name


def display_name(identifier: Identifier) -> str:
    """Return the identifier as people write it: A-labels are shown as Unicode where they decode."""
    if "xn--" not in identifier.value:
        return identifier.value
    import idna  # noqa: PLC0415 - slow to import, and few names need it

    try:
        prefix = "*." if identifier.wildcard else ""
        return prefix + idna.decode(identifier.base)
    except idna.IDNAError:
        return identifier.value


def reverse_name(identifier: Identifier) -> str:
    """Return the reverse-mapping name of an address, without a trailing dot (RFC 8738 §6)."""
    return ipaddress.ip_address(identifier.value).reverse_pointer


def _file_name(identifier: Identifier) -> str:
    if ":" in identifier.value:
        return ipaddress.ip_address(identifier.value).exploded.replace(":", "-")
    return identifier.base


def _address(text: str) -> str | None:
    if "%" in text:  # a zone, which is this machine's affair and no certificate's
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
            f"{text!r} is not a name that a certificate can have: {problem}", hint=_hint(text)
        )
    return prefix + base


def _to_a_labels(name: str, given: str) -> str:
    import idna  # noqa: PLC0415 - slow to import, and few names need it

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise InvalidIdentifier(
            f"{given!r} is not a valid internationalised name: {error}", hint=_hint(given)
        ) from error


def _problem(name: str) -> str | None:
    labels = name.split(".")
    if "*" in name:
        return "a wildcard stands for the whole left-most label only, as in *.example.com"
    if ":" in name and "%" in name:
        return "the zone of an address means something on one machine only"
    if len(name) > 253:
        return f"it has {len(name)} characters, 253 are allowed"
    if len(labels) < 2:
        return "it has no dot"
    bad = next((label for label in labels if _LABEL.match(label) is None), None)
    if bad is not None:
        return (
            f"the label {bad!r} is empty, too long, or has a character that is not allowed"
            if bad
            else "it has an empty label"
        )
    if labels[-1].isdigit():
        return "it ends in a number but is no address"
    return None


def _hint(text: str) -> str:
    if "://" in text:
        host = text.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]
        return f"Give the host name alone: {host}"
    if "@" in text:
        return "This looks like an e-mail address; give it with --email."
    return "Give names such as example.com, *.example.com or 192.0.2.1."
