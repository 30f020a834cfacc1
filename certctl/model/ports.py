"""The protocols (interfaces) that operations use; adapters implement them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from threading import Event as StopEvent
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from certctl.model.ca import Endpoint
from certctl.model.certificate import Version
from certctl.model.delivery import (
    CertificateFiles,
    Delivery,
)
from certctl.model.importing import ImportRecord, TakenSchedule
from certctl.model.run import RunSummary
from certctl.model.spec import CopySpec, ServiceAddress
from certctl.model.validation import Placement, Task, TxtRecord


class Clock(Protocol):
    """The clock; nothing else in certctl reads the system time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""
        ...

    def wait(self, stop: StopEvent, seconds: float) -> bool:
        """Sleep until `stop` is set or `seconds` have passed; return whether it is set."""
        ...


class LockPort(Protocol):
    """Locks a port among all certctl processes of a home directory."""

    def __call__(self, port: int, *, queue: bool, timeout: float) -> HeldLock:
        """Return the lock, or with `queue` the lock of the queue; see `certctl.store.machine`."""
        ...


class Ask(Protocol):
    """Asks the user at the terminal a yes/no question."""

    def __call__(self, question: str) -> bool | None:
        """Return the answer, or None if there is no terminal."""
        ...


class Instruct(Protocol):
    """Asks the user at the terminal to do something by hand."""

    def __call__(self, instruction: str, /) -> bool:
        """Show it; return True once confirmed as done, False if there is no terminal."""
        ...


class EndpointFactory(Protocol):
    """Runs a CA for the duration of a context, such as the development CA in this process."""

    def __call__(self) -> AbstractContextManager[Endpoint]:
        """Return a context manager that yields the endpoint."""
        ...


class Solver(Protocol):
    """Completes challenges, several at a time: `present`, `cleanup`, and two waits in between.

    Several orders may call `present`, `wait`, `wait_for_validation` and `cleanup` concurrently.
    """

    @property
    def challenge_types(self) -> Sequence[str]:
        """The challenge types that it supports, such as `http-01`; the preferred one first."""
        ...

    def plan(self, task: Task) -> Placement:
        """Return where the response will be placed. Changes nothing; may query DNS or disk."""
        ...

    def present(self, placements: Sequence[Placement]) -> None:
        """Place the responses. If this raises, call `cleanup` to remove those already placed."""
        ...

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once the CA would see the responses. Raises `ChallengeError` if that takes too
        long.
        """
        ...

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return once the CA's requests have arrived, so that polling makes sense; return at once
        if the solver cannot observe them. Never raises.
        """
        ...

    def cleanup(self, placements: Sequence[Placement]) -> None:
        """Remove only these responses. Idempotent; another process may have placed them."""
        ...

    def close(self) -> None:
        """Release sockets and other resources. Idempotent."""
        ...


class DnsProvider(Protocol):
    """Adds and removes TXT values. Other values of the same name are never touched."""

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values."""
        ...

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Remove the values; a value that is already gone is not an error."""
        ...


@runtime_checkable
class SeesUse(Protocol):
    """A deploy target that can tell from the program's configuration what it uses, and whether it
    runs.
    """

    def unused(self, deliveries: Sequence[Delivery]) -> Mapping[str, str]:
        """Return, by certificate, the lines that are missing in the configuration of a program that
        uses no files of it. Empty if all are used, or if that cannot be told. Never raises.
        """
        ...

    def stopped(self) -> bool:
        """Return whether the program is known not to run. Never raises."""
        ...


@runtime_checkable
class NamesFiles(Protocol):
    """A deploy target that can tell which files the program's configuration names."""

    def names_path(self, path: str) -> bool:
        """Return whether the configuration names files below a directory. Never raises."""
        ...


@runtime_checkable
class ServesOneKey(Protocol):
    """A deploy target of a program that serves only one certificate for a name, so that of two keys
    it gets the first.
    """

    @property
    def serves_one_key(self) -> bool:
        """True."""
        ...


@runtime_checkable
class CaaWriter(Protocol):
    """A DNS provider that can also add CAA records."""

    def add_caa(
        self, zone: str, name: str, records: Sequence[tuple[int, str, str]], *, ttl: int
    ) -> None:
        """Add records (flags, tag, value) at a name; those that are there stay. Raises
        `certctl.model.errors.ChallengeError`.
        """
        ...


class Alert(Protocol):
    """Sends notifications about scheduled runs. Both methods raise `AlertFailed`; an alert may
    implement only one of them.
    """

    def failed(self, summary: RunSummary) -> bool:
        """Report failures; return False if this alert never reports failures."""
        ...

    def succeeded(self, summary: RunSummary) -> None:
        """Report a successful run; called after each one."""
        ...


class DeployTarget(Protocol):
    """A program on this machine that serves certificates.

    One instance handles all certificates of a run that have the same settings for the program.
    """

    def copies(self, delivery: Delivery) -> Sequence[CopySpec]:
        """Return the copies that the program needs in addition to the files in `live`."""
        ...

    def test(self) -> None:
        """Test the program's configuration and the files it names. Raises
        `certctl.model.errors.CertctlError` if it is invalid or cannot be tested.
        """
        ...

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        """Make the program serve these certificates; called once for all of them, after the test.
        Raises `certctl.model.errors.CertctlError`.
        """
        ...

    def services(self) -> Sequence[ServiceAddress]:
        """Return the addresses on which the program probably listens; empty if unknown. Never
        raises.
        """
        ...


class HeldLock(Protocol):
    """A lock that is held; a context manager that releases it at the end."""

    def __enter__(self) -> Self:
        """Return the lock itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        ...

    def release(self) -> None:
        """Release the lock. Idempotent."""
        ...


class Imports(Protocol):
    """What was taken over from other clients, with what is needed to undo it."""

    def all(self) -> Sequence[ImportRecord]:
        """Return the records of all certificates, sorted by name."""
        ...

    def unfinished(self) -> Sequence[str]:
        """Return the names of certificates whose hand-over, or its undoing, was interrupted."""
        ...

    def find(self, name: str) -> ImportRecord | None:
        """Return the record of a certificate; None if it was not taken over."""
        ...

    def save(self, record: ImportRecord) -> None:
        """Save a record, before the step that it describes."""
        ...

    def drop(self, name: str) -> None:
        """Delete a record. Idempotent."""
        ...

    def save_credentials(self, name: str, provider: str, values: Mapping[str, str]) -> None:
        """Save credentials of a DNS provider under a name, for `challenge.dns_credentials`."""
        ...

    def schedules(self) -> Sequence[TakenSchedule]:
        """Return the schedules of other clients that were turned off."""
        ...

    def save_schedules(self, schedules: Sequence[TakenSchedule]) -> None:
        """Save the schedules that are turned off."""
        ...


class Tree(Protocol):
    """The files in the home directory that other programs read or that users install."""

    @property
    def home(self) -> str:
        """The home directory."""
        ...

    def files(self, version: Version) -> CertificateFiles:
        """Return the paths of a version's files, and its certificate's live directory."""
        ...

    def hooks(self, event: str) -> Sequence[str]:
        """Return the executables in `hooks/EVENT.d`, sorted by byte value. Raises
        `ConfigurationError` if one has unsafe permissions.
        """
        ...
