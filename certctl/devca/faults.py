"""Fault injection: misbehavior of a CA on request.

This module decides which fault a request gets; `service` applies it to the response.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from random import Random
from typing import Any, Literal

from certctl.model.errors import UsageError
from certctl.model.lazy_dataclass import dataclass

Kind = Literal["bad-nonce", "server-error", "unavailable", "rate-limited", "lost-reply"]

PERCENTAGES: tuple[Kind, ...] = (
    "bad-nonce",
    "server-error",
    "unavailable",
    "rate-limited",
    "lost-reply",
)


@dataclass(frozen=True)
class Faults:
    """The active faults. The first five are percentages of requests.

    `times` limits how many requests get one of those in total, None for no limit. `resources` names
    the affected resources (`new-order`, `finalize`, ...); empty means all except the directory and
    newNonce. `retry_after` is the header sent with refusals; `html` sends them as HTML pages;
    `drip` is the pause in seconds after every few bytes of each body; `wrong_chain` serves a chain
    with the wrong intermediate.
    """

    bad_nonce: float = 0
    server_error: float = 0
    unavailable: float = 0
    rate_limited: float = 0
    lost_reply: float = 0
    retry_after: str | None = None
    html: bool = False
    drip: float = 0
    wrong_chain: bool = False
    times: int | None = None
    resources: tuple[str, ...] = ()

    def with_value(self, name: str, value: Any) -> Faults:
        """Return a copy with one fault changed. The value is text such as `"20"` from a command
        line, or has the right type already. Raises `UsageError`.
        """
        key = name.replace("-", "_")
        known = {each.name for each in fields(self)}
        if key not in known:
            shown = ", ".join(sorted(each.replace("_", "-") for each in known))
            raise UsageError(f"there is no fault {name!r}", hint=f"The faults are: {shown}.")
        return replace(self, **{key: _converted(name, key, value)})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Faults:
        """Return the faults of a JSON object. Raises `UsageError`."""
        found = cls()
        for name, value in values.items():
            found = found.with_value(name, value)
        return found

    def to_mapping(self) -> dict[str, Any]:
        """Return the faults in the form that `from_mapping` reads."""
        return {each.name.replace("_", "-"): getattr(self, each.name) for each in fields(self)}


def parse_fault(text: str, faults: Faults) -> Faults:
    """Return `faults` with the fault in `NAME=VALUE` changed. Raises `UsageError`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            f"{text!r} is not a valid fault", hint="Give NAME=VALUE, such as bad-nonce=20."
        )
    return faults.with_value(name.strip(), value.strip())


def _converted(name: str, key: str, value: Any) -> Any:
    refusal = UsageError(f"{name}={value} is not valid", hint=_hint(key))
    match key:
        case "retry_after":
            return None if value is None or value == "" else str(value)
        case "html" | "wrong_chain":
            if str(value).lower() in {"1", "true", "yes", "on"}:
                return True
            if str(value).lower() in {"0", "false", "no", "off"}:
                return False
            raise refusal
        case "resources":
            parts = value.split(",") if isinstance(value, str) else value
            if not isinstance(parts, list | tuple):
                raise refusal
            return tuple(str(part) for part in parts if part)
        case "times":
            if value is None:
                return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise refusal from None
    highest = {"times": 1_000_000_000, "drip": 3600}.get(key, 100)
    if isinstance(value, bool) or not 0 <= number <= highest:
        raise refusal
    return int(number) if key == "times" else number


def _hint(key: str) -> str:
    hints = {
        "html": "Give true or false.",
        "wrong_chain": "Give true or false.",
        "drip": "Give seconds, such as 0.05.",
        "times": "Give a number of requests.",
        "resources": "Give names separated by commas, such as new-order,finalize.",
    }
    return hints.get(key, "Give a percentage from 0 to 100.")


class FaultSelector:
    """Decides at random which requests get a fault, and counts them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._guard = threading.Lock()
        self._faults: Faults | None = None
        self._count = 0

    def select(self, faults: Faults, resource: str) -> Kind | None:
        """Return the fault for a request to `resource`, if any."""
        excluded = resource in {"directory", "new-nonce", "manage"}
        if excluded if not faults.resources else resource not in faults.resources:
            return None
        with self._guard:
            if faults is not self._faults:
                self._faults, self._count = faults, 0
            if faults.times is not None and self._count >= faults.times:
                return None
            for kind in PERCENTAGES:
                percent = float(getattr(faults, kind.replace("-", "_")))
                if percent and self._random.random() * 100 < percent:
                    self._count += 1
                    return kind
        return None
