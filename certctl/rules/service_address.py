"""Parses service addresses: `HOST[:PORT][/starttls=PROTOCOL]`.

An IPv6 address with a port is written in brackets. `localhost`, or no host as in `:8443`, means
this machine. Pure: no DNS queries and no connections.
"""

from __future__ import annotations

import ipaddress
import re
from types import MappingProxyType

from certctl.model.errors import InvalidIdentifier, UsageError
from certctl.model.names import parse_identifier
from certctl.model.spec import ServiceAddress

TLS_PORT = 443

STARTTLS_PORTS = MappingProxyType({"smtp": 25, "imap": 143, "pop3": 110, "ldap": 389})
"""Protocols with STARTTLS and their default ports (RFC 3207, RFC 9051, RFC 2595, RFC 4511)."""

_HINT = (
    "Give HOST, HOST:PORT, [IPV6]:PORT or HOST:PORT/starttls=PROTOCOL with one of "
    f"{', '.join(STARTTLS_PORTS)}; for example mail.example.com:587/starttls=smtp."
)
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?\Z")
_PLAIN = re.compile(r"([^\[\]:]*)(?::([0-9]{1,5}))?\Z")
_LABELS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?\Z")


def parse_service(text: str) -> ServiceAddress:
    """Return the service described by `text`; the default port is that of the protocol.

    Raises `UsageError` (`usage.service`).
    """
    if "://" in text:
        raise _wrong(text, "it is a URL, not a host")
    host_port, slash, extra = text.strip().partition("/")
    starttls = _protocol(text, extra) if slash else None
    host, port = _split(text, host_port)
    default = TLS_PORT if starttls is None else STARTTLS_PORTS[starttls]
    return ServiceAddress(_host(text, host), port or default, starttls)


def format_service(service: ServiceAddress) -> str:
    """Return a service as a string, the inverse of `parse_service`."""
    host = service.host or "localhost"
    default = TLS_PORT if service.starttls is None else STARTTLS_PORTS.get(service.starttls)
    host_port = f"[{host}]" if ":" in host else host
    if service.port != default:
        host_port = f"{host_port}:{service.port}"
    return host_port if service.starttls is None else f"{host_port}/starttls={service.starttls}"


def canonical_service(value: object) -> str:
    """Return a service in its normal form. Raises `UsageError` (`usage.service`)."""
    return format_service(parse_service(value if isinstance(value, str) else repr(value)))


def looks_like_service(text: str) -> bool:
    """Return whether `text` has a port or a protocol and so can only be a service."""
    return ":" in text or "/" in text


def _protocol(text: str, extra: str) -> str:
    key, equals, protocol = extra.lower().partition("=")
    if key != "starttls" or not equals or protocol not in STARTTLS_PORTS:
        raise _wrong(text, f"{extra!r} is not starttls= and a supported protocol")
    return protocol


def _split(text: str, host_port: str) -> tuple[str, int | None]:
    found = _BRACKETED.match(host_port) or _PLAIN.match(host_port)
    if found is None:
        if _is_address(host_port):
            return host_port, None
        raise _wrong(text, "it is not HOST or HOST:PORT")
    if found[2] is None:
        if not found[1]:
            raise _wrong(text, "the host is missing")
        return found[1], None
    port = int(found[2])
    if not 0 < port < 65536:
        raise _wrong(text, f"{found[2]} is not a valid port")
    return found[1], port


def _host(text: str, host: str) -> str | None:
    """Return the host in its canonical form; None for this machine."""
    lower = host.lower()
    if lower in {"", "localhost", "localhost."}:
        return None
    if "*" in lower:
        raise _wrong(text, "a wildcard cannot be a host")
    if lower.isascii() and "." not in lower and _LABELS.match(lower):
        return lower  # a host name of the local network, which cannot be in a certificate
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
        f"{text!r} is not a valid service address: {reason}",
        hint=_HINT,
        code="usage.service",
    )
