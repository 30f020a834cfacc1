"""What a certificate is for: DNS names and IP addresses (RFC 8555 §9.7.7, RFC 8738)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class IdentifierType(StrEnum):
    """RFC 8555 §9.7.7 and RFC 8738 §2."""

    DNS = "dns"
    IP = "ip"


@dataclass(frozen=True, order=True)
class Identifier:
    """A DNS name (lower-case A-labels) or an IP address (canonical form) of a certificate."""

    type: IdentifierType
    value: str

    @property
    def wildcard(self) -> bool:
        """Whether this is a wildcard name (`*.example.com`)."""
        return self.value.startswith("*.")

    @property
    def base(self) -> str:
        """The value without a leading `*.`: the name that the CA validates."""
        return self.value.removeprefix("*.")

    def __str__(self) -> str:
        return self.value
