"""Problem documents (RFC 7807, RFC 8555 §6.7)."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.scripted_ca.wire import Reply

URN = "urn:ietf:params:acme:error:"


def document(kind: str, detail: str = "", **fields: Any) -> dict[str, Any]:
    """A problem document; a bare `kind` such as "badNonce" is one of RFC 8555's. An empty `detail`
    is omitted, as some CAs do."""
    body: dict[str, Any] = {"type": kind if ":" in kind else URN + kind}
    if detail:
        body["detail"] = detail
    return body | fields


class Problem(Exception):
    """An error response of the CA. `fields` are added to the document's type and detail."""

    def __init__(
        self,
        kind: str,
        status: int = 400,
        detail: str = "",
        *,
        headers: tuple[tuple[str, str], ...] = (),
        **fields: Any,
    ) -> None:
        super().__init__(kind, detail)
        self.status = status
        self.document = document(kind, detail, **fields)
        self.headers = headers

    def reply(self) -> Reply:
        body = {**self.document, "status": self.status}
        typed = (("Content-Type", "application/problem+json"), *self.headers)
        return Reply(self.status, json.dumps(body).encode(), typed)
