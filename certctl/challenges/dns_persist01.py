"""dns-persist-01, a draft of the IETF: a TXT record that was made once and stands for good.

Nothing is written or removed here. It is looked whether the record stands at every authoritative
server, since a CA that looks in vain counts that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certctl import persistent_validation
from certctl.challenges.system import SolverSystem
from certctl.dns.shared_lookups import DnsLookups
from certctl.errors import ChallengeError, Interrupted
from certctl.models import ChallengeSpec, ChallengeType, PersistentRecord, Placement, Task
from certctl.options import Option
from certctl.ports import Solver

NAME = "dns-persist"
OPTIONS: tuple[Option, ...] = ()
"""None of its own: the settings named `challenge.*` stand in `certctl.options`."""

CODE = "challenge.dns.persist"
_PAUSE = 1.0
_SHOWN = 3


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver that looks where the spec says."""
    return DnsPersistSolver(challenge, system)


class DnsPersistSolver:
    """Answers dns-persist-01 challenges by records that stand already."""

    def __init__(self, challenge: ChallengeSpec, system: SolverSystem) -> None:
        self._challenge = challenge
        self._system = system
        self._inquiry = DnsLookups(challenge, system.clock, system.stop)

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.DNS_PERSIST_01,)

    def plan(self, task: Task) -> Placement:
        """Return what the record must allow; it stands, or it does not."""
        record = task.persistent_record
        if record is None:
            raise ChallengeError(
                f"{task.identifier}: the challenge is {task.type}, not dns-persist-01", code=CODE
            )
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
        """Do nothing: the record stands, or `wait` says that it does not."""

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once every authoritative server has a record for each placement.

        One that no server has is not waited for: nobody is about to write it. Raises
        `ChallengeError` with the record that is wanted, and `Interrupted`.
        """
        if self._challenge.dns_skip_propagation:
            return
        deadline = self._system.clock.monotonic() + self._challenge.dns_propagation_timeout
        for record in dict.fromkeys(map(_record, placements)):
            while not self._stands(record, last=self._system.clock.monotonic() >= deadline):
                if self._system.clock.wait(self._system.stop, _PAUSE):
                    raise Interrupted("stopped while looking for a record in the DNS")

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: who asks the name servers cannot be seen from here."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        """Do nothing: the record is there to stay."""

    def close(self) -> None:
        self._inquiry.close()

    def _stands(self, record: PersistentRecord, *, last: bool) -> bool:
        """Return whether every server has the record. Raises where none has it, and where some lack
        it and this was the last look.
        """
        from certctl.dns import authoritative_txt  # noqa: PLC0415 - dnspython is slow to import

        name = persistent_validation.record_name(record.domain)
        _, readings = authoritative_txt.read(name, self._inquiry.zones)
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
        lacks = "; ".join(
            f"{each.name_server} {_what(each.values, each.problem, record, now)}"
            for each in [each for each in readings if each not in have][:_SHOWN]
        )
        wanted = persistent_validation.text_of(record)
        raise ChallengeError(
            f"the record that proves control of {record.domain} does not stand at {name}: {lacks};"
            f' it should be TXT "{wanted}"',
            hint=f"Add it, or have certctl write it: certctl dns persist"
            f" {'--wildcard ' if record.wildcard else ''}{record.domain} --dns PROVIDER",
            code=CODE,
        )


def _what(
    values: frozenset[str] | None, problem: str | None, record: PersistentRecord, now: datetime
) -> str:
    if values is None:
        return f"cannot be asked ({problem})"
    flaws = [
        f"has {text!r}, but {why}"
        for text in sorted(values)
        if (why := persistent_validation.mismatch(text, record, now))
    ]
    return ", ".join(flaws[:_SHOWN]) or "has none"


def _record(placement: Placement) -> PersistentRecord:
    data = placement.data
    return PersistentRecord(
        data["domain"],
        tuple(data["issuers"].split(" ")),
        tuple(data["account_uris"].split(" ")),
        wildcard=bool(data["wildcard"]),
    )
