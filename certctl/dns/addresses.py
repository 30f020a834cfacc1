"""Parses server addresses: HOST or HOST:PORT, and IPv6 addresses with or without brackets."""

from __future__ import annotations

import ipaddress
import re

from certctl.model.errors import ConfigurationError

DNS_PORT = 53

_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?\Z")
_PLAIN = re.compile(r"([^\[\]:]+)(?::([0-9]{1,5}))?\Z")
_BARE_IPV6 = re.compile(r"([^\[\]]*:[^\[\]]*:[^\[\]]*)()\Z")


def split_port(text: str) -> tuple[str, int]:
    """Return host and port; the default port is 53. Raises ValueError."""
    found = _BRACKETED.match(text) or _PLAIN.match(text) or _BARE_IPV6.match(text)
    if found is None:
        raise ValueError(text)
    host, port = found[1], int(found[2] or DNS_PORT)
    if not 0 < port < 65536:
        raise ValueError(text)
    return host, port


def check_server(text: str) -> tuple[str, int]:
    """Return the IP address and port of a resolver. A host name is not accepted, since looking it
    up would need a resolver.

    Raises `ConfigurationError` if `text` is neither `ADDRESS` nor `ADDRESS:PORT`.
    """
    try:
        address, port = split_port(text)
        return str(ipaddress.ip_address(address)), port
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not the address of a DNS resolver",
            hint="Use ADDRESS or ADDRESS:PORT, such as 192.0.2.53 or [2001:db8::53]:5353.",
            code="configuration.value",
        ) from None
