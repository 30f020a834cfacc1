"""TXT records that the user changes by hand, as instructed at the terminal.

Without a terminal the provider fails, with a hint to choose another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules.options import Option

OPTIONS: tuple[Option, ...] = ()

_LOCK = "manual"


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:  # noqa: ARG001 - it has no settings
    """Return the provider."""
    return ManualProvider(system)


class ManualProvider:
    """Instructs the user to change the DNS, one order at a time, and waits for confirmation."""

    def __init__(self, system: ProviderSystem) -> None:
        self._system = system

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Have the records added. Raises `ChallengeError` without a terminal."""
        self._instruct(
            "Add these records to the DNS, and keep others at the same name. After Enter, certctl\n"
            "waits until every authoritative name server has them, which can take some minutes.",
            records,
        )

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Have the records removed. Raises `ChallengeError` without a terminal."""
        self._instruct("Remove these records from the DNS:", records)

    def _instruct(self, instruction: str, records: Sequence[TxtRecord]) -> None:
        lines = [f'  {each.name}.  TXT  "{each.value}"' for each in records]
        with self._system.provider_locks.hold(_LOCK):
            done = self._system.instruct("\n".join([instruction, "", *lines, ""]))
        if not done:
            raise ChallengeError(
                "the DNS provider manual needs a terminal",
                hint="Run it in a terminal, without --json; or choose a provider that writes the"
                " records: certctl dns list",
                code="challenge.dns.manual",
            )
