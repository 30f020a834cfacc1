"""Addresses of services, as people write them: `HOST[:PORT][/starttls=PROTOCOL]`.

An IPv6 address with a port stands in brackets. `localhost` is this machine; so is no host at all,
as in `:8443`. Pure: nothing is looked up, and nothing is asked.
"""

from __future__ import annotations

import ipaddress
import re
from types import MappingProxyType

from certctl.errors import InvalidIdentifier, UsageError
from certctl.models import ServiceAddress
from certctl.names import parse_identifier

TLS_PORT = 443

STARTTLS_PORTS = MappingProxyType({"smtp": 25, "imap": 143, "pop3": 110, "ldap": 389})
"""The protocols that change to TLS in the middle, with the port of each (RFC 3207, RFC 9051,
RFC 2595, RFC 4511).
"""

_HINT = (
    "Give HOST, HOST:PORT, [IPV6]:PORT or HOST:PORT/starttls=PROTOCOL with one of "
    f"{', '.join(STARTTLS_PORTS)}; such as www.example.com or mail.example.com:587/starttls=smtp."
)
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?\Z")
_PLAIN = re.compile(r"([^\[\]:]*)(?::([0-9]{1,5}))?\Z")
_LABELS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?\Z")


def parse_service(text: str) -> ServiceAddress:
    """Return the service that `text` names; the port is the protocol's own where none is given.

    Raises `UsageError` (`usage.service`).
    """
    if "://" in text:
        raise _wrong(text, "a URL is no host")
    place, slash, extra = text.strip().partition("/")
    starttls = _protocol(text, extra) if slash else None
    host, port = _split(text, place)
    default = TLS_PORT if starttls is None else STARTTLS_PORTS[starttls]
    return ServiceAddress(_host(text, host), port or default, starttls)


def format_service(service: ServiceAddress) -> str:
    """Return a service as people write it, so that `parse_service` gives it back."""
    host = service.host or "localhost"
    default = TLS_PORT if service.starttls is None else STARTTLS_PORTS.get(service.starttls)
    place = f"[{host}]" if ":" in host else host
    if service.port != default:
        place = f"{place}:{service.port}"
    return place if service.starttls is None else f"{place}/starttls={service.starttls}"


def canonical_service(value: object) -> str:
    """Return a service as it is kept in a spec. Raises `UsageError` (`usage.service`)."""
    return format_service(parse_service(value if isinstance(value, str) else repr(value)))


def looks_like_service(text: str) -> bool:
    """Return whether `text` can only be a service: it has a port, or a protocol."""
    return ":" in text or "/" in text


def _protocol(text: str, extra: str) -> str:
    key, equals, protocol = extra.lower().partition("=")
    if key != "starttls" or not equals or protocol not in STARTTLS_PORTS:
        raise _wrong(text, f"{extra!r} is no protocol to begin with")
    return protocol


def _split(text: str, place: str) -> tuple[str, int | None]:
    found = _BRACKETED.match(place) or _PLAIN.match(place)
    if found is None:
        if _is_address(place):
            return place, None
        raise _wrong(text, "it is no host with a port")
    if found[2] is None:
        if not found[1]:
            raise _wrong(text, "it has no host and no port")
        return found[1], None
    port = int(found[2])
    if not 0 < port < 65536:
        raise _wrong(text, f"{found[2]} is no port")
    return found[1], port


def _host(text: str, host: str) -> str | None:
    """Return the host in its canonical form; None for this machine."""
    lower = host.lower()
    if lower in {"", "localhost", "localhost."}:
        return None
    if "*" in lower:
        raise _wrong(text, "a wildcard is no host")
    if lower.isascii() and "." not in lower and _LABELS.match(lower):
        return lower  # a host of the local network: no name for a certificate, but one to ask
    try:
        return parse_identifier(host).value
    except InvalidIdentifier as error:
        raise _wrong(text, error.message) from None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _wrong(text: str, reason: str) -> UsageError:
    return UsageError(
        f"{text!r} does not say where a certificate is served: {reason}",
        hint=_HINT,
        code="usage.service",
    )
