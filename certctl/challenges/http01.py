"""The HTTP-01 rules (RFC 8555 §8.3) that all its solvers share; no file or network access."""

from __future__ import annotations

import re

from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError
from certctl.model.validation import Placement, Task

DIRECTORIES = (".well-known", "acme-challenge")
PREFIX = "/.well-known/acme-challenge/"

# RFC 8555 §8.1: base64url without padding. The length limit leaves room for a temporary file name.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")


def check_task(task: Task) -> None:
    """Raise `ChallengeError` if the task cannot be solved with HTTP-01."""
    if task.type != ChallengeType.HTTP_01:
        raise ChallengeError(
            f"{task.identifier}: the challenge is {task.type}, not http-01", code="challenge.http"
        )
    if task.identifier.wildcard:
        raise ChallengeError(
            f"{task.identifier}: http-01 cannot validate a wildcard",
            hint="Use DNS-01 instead: --dns PROVIDER.",
            code="challenge.http.wildcard",
        )
    checked_token(task.token)


def checked_token(token: str) -> str:
    """Return `token` if it is safe as a file name; raise `ChallengeError` otherwise.

    The token comes from the CA: without this check, a malicious CA could write to any path.
    """
    if _TOKEN.match(token) is None:
        raise ChallengeError(
            f"the CA sent an invalid challenge token (RFC 8555 §8.1): {token[:80]!r}",
            code="challenge.http.token",
        )
    return token


def placement(solver: str, task: Task, *, identifier: str | None = None, **data: str) -> Placement:
    """Return the placement of an HTTP-01 answer: the token, the key authorization and `data`."""
    return Placement(
        solver=solver,
        certificate=task.certificate,
        identifier=identifier or task.identifier.value,
        data={"token": task.token, "key_authorization": task.key_authorization, **data},
    )
