"""How many authoritative servers of a zone must have a record before the CA may validate it."""

from __future__ import annotations

import math
import re

from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass

_QUORUM = re.compile(r"([0-9]{1,4})(%?)\Z")


@dataclass(frozen=True)
class Quorum:
    """How many authoritative servers of a zone must have a record: `number` if it is set, otherwise
    `share` of them (0 to 1).
    """

    share: float = 1
    number: int | None = None

    def of(self, servers: int) -> int:
        """Return how many of `servers` must have the record; at least one."""
        needed = self.number if self.number is not None else math.ceil(self.share * servers - 1e-9)
        return max(1, min(needed, servers))

    def __str__(self) -> str:
        if self.number is not None:
            return str(self.number)
        return "all" if self.share == 1 else f"{self.share:.0%}"


def parse_quorum(text: str) -> Quorum:
    """Return the quorum for `all`, a number or a percentage. Raises `ConfigurationError`."""
    found = _QUORUM.match(text.strip())
    if text.strip().lower() == "all":
        return Quorum()
    if found and found[2] and 0 < int(found[1]) <= 100:
        return Quorum(share=int(found[1]) / 100)
    if found and not found[2] and int(found[1]) > 0:
        return Quorum(number=int(found[1]))
    raise ConfigurationError(
        f"{text!r} is not a valid number or share of DNS servers",
        hint="Set --dns-propagation-quorum to all, a number such as 2, or a share such as 60%.",
        code="configuration.value",
    )
