"""HTTP requests and responses of the development CA as plain values.

Knows neither ACME nor sockets; `listener` converts between these and bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from certctl.model.lazy_dataclass import dataclass

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True)
class Request:
    """One HTTP request; `base` is `https://HOST:PORT` as sent by the client, header names are in
    lower case.
    """

    method: str
    base: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    from_loopback: bool = True

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path; the first one is the resource name."""
        return tuple(part for part in self.path.split("/") if part)

    @property
    def resource(self) -> str:
        """The resource name; empty for the root."""
        return self.segments[0] if self.segments else ""

    @property
    def url(self) -> str:
        """The URL as sent by the client."""
        return self.base + self.target


@dataclass(frozen=True)
class Reply:
    """An HTTP response. `lost` closes the connection instead of sending it; `drip` is a pause in
    seconds after every few bytes of the body.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    lost: bool = False
    drip: float = 0

    def adding(self, *headers: tuple[str, str]) -> Reply:
        """Return the reply with additional headers."""
        return replace(self, headers=(*self.headers, *headers))


def json_reply(
    status: int, document: Any, *headers: tuple[str, str], media: str = "application/json"
) -> Reply:
    """Return a reply with a JSON body."""
    body = json.dumps(document).encode() + b"\n"
    return Reply(status, body, (("Content-Type", media), *headers))


def link(url: str, relation: str) -> tuple[str, str]:
    """Return a `Link` header (RFC 8288)."""
    return ("Link", f'<{url}>;rel="{relation}"')
