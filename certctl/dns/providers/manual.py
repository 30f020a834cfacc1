"""TXT records by hand: the person at the terminal is shown each, and waited for.

Never in a run that nobody watches: it fails with what to choose instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.dns.system import ProviderSystem
from certctl.errors import ChallengeError
from certctl.models import TxtRecord, Value
from certctl.options import Option
from certctl.ports import DnsProvider

OPTIONS: tuple[Option, ...] = ()

_TURN = "manual"


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:  # noqa: ARG001 - it has none
    """Return the provider."""
    return ManualProvider(system)


class ManualProvider:
    """Shows what is to be done in the DNS, one order at a time, until somebody says it is done."""

    def __init__(self, system: ProviderSystem) -> None:
        self._system = system

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Have the records added. Raises `ChallengeError` where nobody is there."""
        self._have("Add these records to the DNS, and leave others at the same name:", records)

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Have the records removed. Raises `ChallengeError` where nobody is there."""
        self._have("Remove these records from the DNS again:", records)

    def _have(self, what: str, records: Sequence[TxtRecord]) -> None:
        lines = [f'  {each.name}.  TXT  "{each.value}"' for each in records]
        with self._system.provider_locks.hold(_TURN):
            done = self._system.instruct("\n".join([what, "", *lines, ""]))
        if not done:
            raise ChallengeError(
                "the DNS provider manual needs a person at a terminal, and nobody is there",
                hint="Run it in a terminal, without --json; or have a provider write the records:"
                " certctl dns list",
                code="challenge.dns.manual",
            )
