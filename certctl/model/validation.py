"""What solvers and DNS providers work with.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import ChallengeSpec


@dataclass(frozen=True)
class PersistentRecord:
    """What the TXT record of a persistent validation (dns-persist-01) must allow.

    It must name one of the `issuers` and the account, by any of `account_uris` (preferred first),
    for `domain`, and with `wildcard` also for its subdomains.
    """

    domain: str
    issuers: tuple[str, ...]
    account_uris: tuple[str, ...]
    wildcard: bool = False


@dataclass(frozen=True)
class Task:
    """What a solver needs to complete a challenge (RFC 8555 §8). `persistent_record` is set for
    dns-persist-01, which has no token. `deadline` is when the order is given up, as a time of the
    clock's `monotonic`.
    """

    identifier: Identifier
    type: str
    token: str
    key_authorization: str
    account_url: str
    certificate: str
    persistent_record: PersistentRecord | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Placement:
    """Where a challenge response is placed.

    Plain data, written to the journal before the response is placed, so that a later run can clean
    up.
    """

    solver: str
    certificate: str
    identifier: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class CleanupState:
    """The failed attempts to remove a response: how many, since when, when the next one is due, and
    the last error.
    """

    failures: int = 0
    since: datetime | None = None
    retry_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True)
class Leftover:
    """A journal entry: placements of an earlier run, the settings needed to remove them, and the
    attempts to do so that failed.
    """

    entry: str
    challenge: ChallengeSpec
    placements: tuple[Placement, ...]
    state: CleanupState = CleanupState()


@dataclass(frozen=True)
class TxtRecord:
    """One TXT value; `name` is absolute without the trailing dot, `zone` is the zone that has it.

    `credentials` is the name of the credentials to write it with, if not those of the certificate.
    `token` and `key_authorization` are those of the challenge (RFC 8555 §8.4), empty if the value
    is not derived from one.
    """

    name: str
    value: str
    zone: str
    domain: str
    credentials: str = ""
    token: str = ""
    key_authorization: str = ""
