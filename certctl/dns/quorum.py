"""How many authoritative servers of a zone must have a record before a CA is told to look."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from certctl.errors import ConfigurationError

_QUORUM = re.compile(r"([0-9]{1,4})(%?)\Z")


@dataclass(frozen=True)
class Quorum:
    """How many authoritative servers of a zone must have a record: `share` of them (0 to 1), or
    `number` where that is given.
    """

    share: float = 1
    number: int | None = None

    def of(self, servers: int) -> int:
        """Return how many of so many servers must have it; at least one."""
        wanted = self.number if self.number is not None else math.ceil(self.share * servers - 1e-9)
        return max(1, min(wanted, servers))

    def __str__(self) -> str:
        if self.number is not None:
            return str(self.number)
        return "all" if self.share == 1 else f"{self.share:.0%}"


def parse_quorum(text: str) -> Quorum:
    """Return the quorum that `all`, a number or a percentage means. Raises `ConfigurationError`."""
    found = _QUORUM.match(text.strip())
    if text.strip().lower() == "all":
        return Quorum()
    if found and found[2] and 0 < int(found[1]) <= 100:
        return Quorum(share=int(found[1]) / 100)
    if found and not found[2] and int(found[1]) > 0:
        return Quorum(number=int(found[1]))
    raise ConfigurationError(
        f"{text!r} is no number of DNS servers",
        hint="Give --dns-propagation-quorum all, a number such as 2, or a share such as 60%.",
        code="configuration.value",
    )
