"""dns-persist-01 (draft-ietf-acme-dns-persist): validation with a persistent TXT record.

This module only reads. It checks that all authoritative servers have the record before the CA does,
because a failed validation counts against the CA's rate limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certctl.challenges.system import SolverSystem
from certctl.dns import authoritative_txt
from certctl.dns.record_names import check_name
from certctl.dns.shared_lookups import DnsLookups
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, Interrupted, PropagationTimeout
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import PersistentRecord, Placement, Task
from certctl.rules import persistent_validation
from certctl.rules.options import Option

NAME = "dns-persist"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: the settings named `challenge.*` are in `certctl.rules.options`."""

CODE = "challenge.dns.persist"
_PAUSE_SECONDS = 1.0
_MAX_SHOWN = 3


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that queries the DNS with the spec's settings."""
    return DnsPersistSolver(challenge, system)


class DnsPersistSolver:
    """Answers dns-persist-01 challenges with records that already exist."""

    def __init__(self, challenge: ChallengeSpec, system: SolverSystem) -> None:
        self._challenge = challenge
        self._system = system
        self._lookups = DnsLookups(challenge, system.clock, system.stop)

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.DNS_PERSIST_01,)

    def plan(self, task: Task) -> Placement:
        """Return the contents that the record must have. Raises `ChallengeError`."""
        self._lookups.note_deadline(task)
        record = task.persistent_record
        if record is None:
            raise ChallengeError(
                f"{task.identifier}: the challenge is {task.type}, not dns-persist-01", code=CODE
            )
        check_name(persistent_validation.record_name(record.domain))
        return Placement(
            solver=NAME,
            certificate=task.certificate,
            identifier=task.identifier.value,
            data={
                "domain": record.domain,
                "issuers": " ".join(record.issuers),
                "account_uris": " ".join(record.account_uris),
                "wildcard": "yes" if record.wildcard else "",
            },
        )

    def present(self, placements: Sequence[Placement]) -> None:
        """Do nothing: the record must exist already, and `wait` checks that it does."""

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once all authoritative servers have a record for each placement.

        Does not wait for a record that no server has, since certctl does not write it. Raises
        `ChallengeError` with the required record, and `Interrupted`.
        """
        if self._challenge.dns_skip_propagation:
            return
        clock, order_ends = self._system.clock, self._lookups.deadline(placements)
        deadline = clock.monotonic() + self._challenge.dns_propagation_timeout
        deadline = deadline if order_ends is None else min(deadline, order_ends)
        for record in dict.fromkeys(map(_record, placements)):
            while not self._is_published(record, order_ends, last=clock.monotonic() >= deadline):
                if self._system.clock.wait(self._system.stop, _PAUSE_SECONDS):
                    raise Interrupted("stopped while looking up a record in DNS")

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: certctl cannot observe queries to the name servers."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        """Do nothing: the record is persistent."""

    def close(self) -> None:
        self._lookups.close()

    def _is_published(
        self, record: PersistentRecord, deadline: float | None, *, last: bool
    ) -> bool:
        """Return whether all servers have the record. Raises `ChallengeError` if none has it, or if
        some do not have it and this is the `last` check.
        """
        name = persistent_validation.record_name(record.domain)
        _, readings = authoritative_txt.read(name, self._lookups.zones, deadline)
        now = self._system.clock.now()
        have = [
            each
            for each in authoritative_txt.without_unreachable_family(readings)
            if each.values is not None
            and persistent_validation.satisfied(tuple(each.values), record, now)
        ]
        if len(have) == len(authoritative_txt.without_unreachable_family(readings)):
            return True
        if have and not last:
            return False
        problems = "; ".join(
            f"{each.name_server} {_describe(each.values, each.problem, record, now)}"
            for each in [each for each in readings if each not in have][:_MAX_SHOWN]
        )
        wanted = persistent_validation.text_of(record)
        raise PropagationTimeout(
            f"there is no valid dns-persist-01 record for {record.domain} at {name}: {problems};"
            f' it should be TXT "{wanted}"',
            hint=f"Add the record, or have certctl write it: certctl dns persist"
            f" {'--wildcard ' if record.wildcard else ''}{record.domain} --dns PROVIDER",
            code=CODE,
            on_some=bool(have),
        )


def _describe(
    values: frozenset[str] | None, problem: str | None, record: PersistentRecord, now: datetime
) -> str:
    if values is None:
        return f"cannot be queried ({problem})"
    flaws = [
        f"has {text!r}, but {why}"
        for text in sorted(values)
        if (why := persistent_validation.mismatch(text, record, now))
    ]
    return ", ".join(flaws[:_MAX_SHOWN]) or "has no such record"


def _record(placement: Placement) -> PersistentRecord:
    data = placement.data
    return PersistentRecord(
        data["domain"],
        tuple(data["issuers"].split(" ")),
        tuple(data["account_uris"].split(" ")),
        wildcard=bool(data["wildcard"]),
    )
