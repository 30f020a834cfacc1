"""Errors of the development CA as problem documents (RFC 8555 §6.7, RFC 9457).

One exception, raised anywhere and converted to a document at the HTTP layer. These errors are sent
to ACME clients; the errors that certctl shows to users are in `certctl.model.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

PREFIX = "urn:ietf:params:acme:error:"

_STATUS = MappingProxyType(
    {
        "alreadyReplaced": 409,
        "caa": 403,
        "externalAccountRequired": 403,
        "orderNotReady": 403,
        "rateLimited": 429,
        "serverInternal": 500,
        "unauthorized": 403,
        "userActionRequired": 403,
    }
)
"""The HTTP status of a problem type; 400 for all others."""


class Problem(Exception):
    """A refused request, or a failed validation.

    `kind` is the problem type without its URN prefix, `members` are further members of the
    document, `headers` are added to the response.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        status: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
        **members: Any,
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.status = _STATUS.get(kind, 400) if status is None else status
        self.headers = tuple(headers)
        self.members = members

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": PREFIX + self.kind,
            "detail": self.detail,
            "status": self.status,
            **self.members,
        }


def compound(problems: Sequence[tuple[Mapping[str, str], Problem]], summary: str) -> Problem:
    """Combine the problems of several identifiers into one with subproblems (RFC 8555 §6.7.1). A
    single problem is returned without subproblems, with its identifier added.
    """
    if len(problems) == 1:
        identifier, problem = problems[0]
        detail = f"{identifier['value']}: {problem.detail}"
        return Problem(problem.kind, detail, status=problem.status, identifier=dict(identifier))
    kinds = {problem.kind for _, problem in problems}
    kind = kinds.pop() if len(kinds) == 1 else "malformed"
    parts = [{**problem.document(), "identifier": dict(each)} for each, problem in problems]
    return Problem(kind, summary, subproblems=parts)
