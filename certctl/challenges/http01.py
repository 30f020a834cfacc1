"""The rules of HTTP-01 (RFC 8555 §8.3) that all its solvers share. Nothing here opens a file or a
socket.
"""

from __future__ import annotations

import re

from certctl.errors import ChallengeError
from certctl.models import ChallengeType, Placement, Task

DIRECTORIES = (".well-known", "acme-challenge")
PREFIX = "/.well-known/acme-challenge/"

# RFC 8555 §8.1: base64url without padding. The limit leaves room for a temporary file's name.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")


def check_task(task: Task) -> None:
    """Raise `ChallengeError` where HTTP-01 cannot answer the task."""
    if task.type != ChallengeType.HTTP_01:
        raise ChallengeError(
            f"{task.identifier}: the challenge is {task.type}, not http-01", code="challenge.http"
        )
    if task.identifier.wildcard:
        raise ChallengeError(
            f"{task.identifier}: http-01 cannot prove control of a wildcard",
            hint="Prove it through the DNS: --dns PROVIDER.",
            code="challenge.http.wildcard",
        )
    checked_token(task.token)


def checked_token(token: str) -> str:
    """Return `token` where it is safe as a file name; raises `ChallengeError` otherwise.

    The token comes from the CA: without this check, a hostile one could write anywhere.
    """
    if _TOKEN.match(token) is None:
        raise ChallengeError(
            f"the CA sent a challenge token that RFC 8555 §8.1 does not allow: {token[:80]!r}",
            code="challenge.http.token",
        )
    return token


def placement(solver: str, task: Task, *, identifier: str | None = None, **data: str) -> Placement:
    """Return the placement of an HTTP-01 answer, with `data` beside the token and the answer."""
    return Placement(
        solver=solver,
        certificate=task.certificate,
        identifier=identifier or task.identifier.value,
        data={"token": task.token, "key_authorization": task.key_authorization, **data},
    )
