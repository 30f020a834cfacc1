"""What another ACME client keeps on this machine, in words that all importers share.

Frozen dataclasses of standard-library types; paths are those that the machine's programs use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from certctl.model.certificate import CertificateFacts, Material
from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value


class Readiness(StrEnum):
    """Whether certctl can take a certificate over: at once, after one question, or not."""

    READY = "ready"
    TO_SETTLE = "to settle"
    NOT_MOVED = "not moved"


@dataclass(frozen=True)
class Question:
    """What certctl does not know or cannot keep, and the option that settles it; `setting` is the
    key that must be given, if it is one in particular.
    """

    message: str
    option: str
    setting: str | None = None


@dataclass(frozen=True)
class FoundAccount:
    """An account of another client, with its key as PEM.

    `ca` is the directory URL and `url` the account's URL, None if the client does not record it.
    `key_kind` describes the key, `key_type` is certctl's account key type, None if it has none.
    `problem` says why the account cannot be used.
    """

    client: str
    id: str
    ca: str | None
    url: str | None
    key_file: str
    key_kind: str | None = None
    key_type: str | None = None
    contact: tuple[str, ...] = ()
    key: bytes | None = field(default=None, repr=False)
    problem: str | None = None


@dataclass(frozen=True)
class FoundFiles:
    """The paths from which programs read a certificate; None for a file that does not exist."""

    fullchain: str | None = None
    privkey: str | None = None
    cert: str | None = None
    chain: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that exist."""
        return tuple(each for each in (self.fullchain, self.privkey, self.cert, self.chain) if each)


@dataclass(frozen=True)
class StopRenewal:
    """How another client is kept from renewing one certificate: its configuration `path` is renamed
    to `aside`, or the line of `path` that contains `line` is commented out.
    """

    path: str
    aside: str | None = None
    line: str | None = None


@dataclass(frozen=True)
class FoundCertificate:
    """A certificate of another client, and what its configuration says in certctl's settings.

    `conf` is the file that makes the client renew it. `options` has certctl's settings by key, and
    `credentials` the DNS provider with its credentials. `method` describes how names were
    validated, None if the client does not record it. `accounts` has the URLs of the accounts that
    may have ordered it; `key_file` is the account's key where no URL is recorded. `why` says why
    it is not moved; with `by_name` it is moved if it is named. `owner` is the user other than root
    to whom the directory `owned` belongs, which has the client's files. No link of its files leads
    out of `within`. `new_name` is what certctl is to call it, if not `name`.
    """

    client: str
    name: str
    home: str
    files: FoundFiles
    readiness: Readiness
    within: str | None = None
    new_name: str | None = None
    conf: str | None = None
    stop: StopRenewal | None = None
    lock: str | None = None
    ca: str | None = None
    account_url: str | None = None
    account_key_file: str | None = None
    account_candidates: tuple[str, ...] = ()
    facts: CertificateFacts | None = None
    material: Material | None = field(default=None, repr=False)
    names_wanted: tuple[str, ...] = ()
    method: str | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    credentials: tuple[str, Mapping[str, str]] | None = field(default=None, repr=False)
    autorenew: bool = True
    key_mode: int | None = None
    key_group: int | None = None
    questions: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    why: str | None = None
    by_name: bool = False
    history: tuple[Material, ...] = field(default=(), repr=False)
    archive: str | None = None
    csr: bytes | None = None
    owner: int | None = None
    owned: str | None = None

    @property
    def id(self) -> str:
        """The name with its client, which tells certificates of two clients apart."""
        return f"{self.client}:{self.name}"


@dataclass(frozen=True)
class FoundHook:
    """An executable in a hook directory of the client; `runs` is False if the client skips it."""

    event: str
    path: str
    runs: bool


@dataclass(frozen=True)
class FoundSchedule:
    """A cron line, a timer or a service that runs the client; `enabled` if it is in use.

    `command` is its command line, and `environment` the variables that are set for it.
    """

    client: str
    where: str
    kind: str
    command: str
    enabled: bool = True
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class FoundReader:
    """A program's configuration file that names a file of the client, in a line of it."""

    program: str
    file: str
    line: int
    path: str


@dataclass(frozen=True)
class FoundClient:
    """One home of another client. `problems` has a line for each file that cannot be understood.

    `owner` is the user other than root to whom it belongs; `untrusted` says who else could have
    written it.
    """

    client: str
    home: str
    version: str | None = None
    accounts: tuple[FoundAccount, ...] = ()
    certificates: tuple[FoundCertificate, ...] = ()
    hooks: tuple[FoundHook, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    untrusted: str | None = None
    owner: int | None = None
    report_only: bool = False


@dataclass(frozen=True)
class FoundMachine:
    """What other clients have on this machine, what runs them, and who reads their files."""

    clients: tuple[FoundClient, ...] = ()
    schedules: tuple[FoundSchedule, ...] = ()
    readers: tuple[FoundReader, ...] = ()
    mounts: tuple[str, ...] = ()


class ImportState(StrEnum):
    """How far an import is: the other client renews the certificate before the first step of
    `HANDING_OVER` that touches its configuration, and again after the last one of `GIVING_BACK`.
    When `PREPARING`, nothing is changed yet but that the other client's lock may be held.
    """

    PREPARING = "preparing"
    HANDING_OVER = "handing over"
    DONE = "done"
    GIVING_BACK = "giving back"


@dataclass(frozen=True)
class TakenPath:
    """A path that programs read, as it was before it became a link to certctl's file of `kind`
    (`fullchain`, `privkey`, `cert`, `chain`): a link to `target`, or a file with `content`.
    """

    path: str
    kind: str
    target: str | None = None
    content: bytes | None = field(default=None, repr=False)
    mode: int = 0o600
    owner: int = 0
    group: int = 0


@dataclass(frozen=True)
class ImportRecord:
    """A certificate that was taken over, with all that is needed to finish or to undo that.

    `certificate` is certctl's name, `name` the other client's. `stop` is how the client is kept
    from renewing it, None if it does not; `lock` is the client's own lock, and `lineage` the
    directory that hooks know. `files` are the client's files, below `within` if not `home`, and
    `taken_sha256` is the digest of the certificate that was taken over; `given_back` is the number
    under which the newest one goes back. Files below `owned` belong to the user `owner`, and are
    changed with the permissions of that user.
    """

    client: str
    name: str
    home: str
    certificate: str
    state: ImportState
    identifiers: tuple[str, ...]
    choices: Mapping[str, Value]
    files: FoundFiles
    taken_sha256: str
    taken_at: datetime
    stop: StopRenewal | None = None
    lock: str | None = None
    lineage: str | None = None
    archive: str | None = None
    account_key_file: str | None = None
    paths: tuple[TakenPath, ...] = ()
    given_back: str | None = None
    owner: int | None = None
    owned: str | None = None
    within: str | None = None

    def acting(self, path: str | None) -> int | None:
        """Return the user as whom a file is changed; None for root."""
        owned = None if self.owned is None else f"{self.owned.rstrip('/')}/"
        below = owned is not None and path is not None and path.startswith(owned)
        return self.owner if below else None


@dataclass(frozen=True)
class TakenSchedule:
    """A schedule of another client that `--finish` turned off, and how: `rename` or `systemd`."""

    client: str
    where: str
    how: str
    aside: str | None = None


@dataclass(frozen=True)
class TakenSchedules:
    """The schedules of other clients that are turned off."""

    schedules: tuple[TakenSchedule, ...] = ()
