"""What the table of settings says about each of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value

PLUGIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
"""What the name of a plug-in looks like; it need not exist."""


class Kind(Enum):
    """The type of an option's value; `SECONDS` also accepts 90s, 5m, 2h and 1d."""

    TEXT = "TEXT"
    INTEGER = "N"
    SECONDS = "SECONDS"
    BOOLEAN = "true|false"
    TEXTS = "TEXT..."
    PATH = "FILE"
    CHOICE = "CHOICE"


@dataclass(frozen=True)
class Option:
    """One setting.

    `in_spec`: it can be set per certificate. `in_file`: it can be set in `certctl.toml`.
    `canonical` checks a value (of a list, each element) and returns its normal form.
    `brief`: one line for the short help of commands with many options, which lists only the options
    that have one. `only_for`: the challenge method without which it has no effect; `implies`: the
    one that is meant where it is given. `several`: a list of such values is accepted too, in
    an order that matters; a list of one is the same as its only value. `together` checks them.
    """

    key: str
    kind: Kind
    default: Value
    doc: str
    flag: str | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    secret: bool = False
    in_spec: bool = False
    in_file: bool = True
    variable: str | None = None
    minimum: float = 0
    maximum: float = 1e9
    canonical: Callable[[object], str] | None = None
    brief: str = ""
    only_for: str | None = None
    implies: str | None = None
    together: Callable[[tuple[str, ...]], None] | None = None
    several: bool = False

    @property
    def environment(self) -> str:
        """The environment variable that sets it, or an empty string; lists are comma-separated."""
        if self.variable is not None:
            return self.variable
        return "CERTCTL_" + self.key.replace(".", "_").upper()
