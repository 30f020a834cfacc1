"""The values of settings and their sources; parsing and checking of values.

`certctl.config` reads them from the file, the environment and the command line.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum

from certctl.model.errors import CertctlError, ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value
from certctl.rules.credentials import EMPTY, DnsCredentials
from certctl.rules.options import OPTIONS, Kind, Option

OWN_KEYS = frozenset(option.key for option in OPTIONS)
"""The keys of built-in options, without those of plug-ins."""


class Source(StrEnum):
    """Where a value came from, in ascending order of precedence."""

    FILE = "certctl.toml"
    ENVIRONMENT = "environment"
    SPEC = "spec"
    FLAG = "flag"


class OptionTable(Mapping[str, Option]):
    """Options by key, loaded lazily: each of `more` is called, in order, when a key is not found.

    Most commands do not need the options of plug-ins, and finding plug-ins takes time.
    """

    def __init__(
        self,
        known: Iterable[Option] = OPTIONS,
        *more: Callable[[], Iterable[Option]],
    ) -> None:
        self._known = {option.key: option for option in known}
        self._more = deque(more)
        self._guard = threading.Lock()

    def __getitem__(self, key: str) -> Option:
        while key not in self._known and self._more:
            self._ask_for_more()
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._complete())

    def __len__(self) -> int:
        return len(self._complete())

    def of_variable(self, variable: str) -> Option | None:
        """Return the option that an environment variable sets, or None."""
        while True:
            known = self._known.values()
            found = next((each for each in known if each.environment == variable), None)
            if found is not None or not self._more:
                return found
            self._ask_for_more()

    def _complete(self) -> dict[str, Option]:
        while self._more:
            self._ask_for_more()
        return self._known

    def _ask_for_more(self) -> None:
        with self._guard:
            if self._more:
                self._known |= {option.key: option for option in self._more[0]()}
                self._more.popleft()


@dataclass(frozen=True)
class Settings:
    """The values that were given, each with its source; the table provides the defaults.

    `dns` has the DNS credentials by name and by zone.
    """

    values: Mapping[str, Value] = field(default_factory=dict, repr=False)
    sources: Mapping[str, Source] = field(default_factory=dict)
    table: Mapping[str, Option] = field(default_factory=OptionTable, repr=False)
    dns: DnsCredentials = field(default=EMPTY, repr=False)

    def value(self, key: str) -> Value:
        """Return the value, or else the default. Raises KeyError for an unknown key."""
        return self.values.get(key, self.table[key].default)

    def text(self, key: str) -> str | None:
        """Return a text or path option."""
        value = self.value(key)
        return None if value is None else str(value)

    def required_text(self, key: str) -> str:
        """Return a text option that has a default."""
        return str(self.value(key))

    def words(self, key: str) -> tuple[str, ...]:
        """Return the values of an option of which several may be given, in their order."""
        value = self.value(key)
        return value if isinstance(value, tuple) else () if value is None else (str(value),)

    def one_word(self, key: str) -> str:
        """Return the value of such an option where only one can be used: the first by default.
        Raises `UsageError` if several were given on the command line.
        """
        words = tuple(dict.fromkeys(self.words(key)))
        if len(words) > 1 and self.sources.get(key) is Source.FLAG:
            flag = self.table[key].flag
            raise UsageError(
                f"this command takes one {flag}, but {len(words)} were given",
                hint=f"Run it for each of them: {flag} {words[0]}",
                code="usage.several",
            )
        return words[0]

    def integer(self, key: str) -> int:
        """Return an integer option."""
        return int(self._number(key))

    def seconds(self, key: str) -> float:
        """Return a duration in seconds."""
        return float(self._number(key))

    def _number(self, key: str) -> int | float:
        value = self.value(key)
        if not isinstance(value, int | float):
            raise TypeError(f"{key} is not a number")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean option."""
        return self.value(key) is True

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list option."""
        value = self.value(key)
        return value if isinstance(value, tuple) else ()

    def given(self, *sources: Source) -> dict[str, Value]:
        """Return the values that came from one of `sources`."""
        return {
            key: value for key, value in self.values.items() if self.sources.get(key) in sources
        }

    def over(self, values: Mapping[str, Value], source: Source) -> Settings:
        """Return these settings, overridden by `values`."""
        return replace(
            self,
            values={**self.values, **values},
            sources={**self.sources, **dict.fromkeys(values, source)},
        )

    def spec_digest(self) -> str:
        """Return a digest of the values from `certctl.toml` that specs inherit."""
        inherited = {
            key: value for key, value in self.given(Source.FILE).items() if self.table[key].in_spec
        }
        return hashlib.sha256(json.dumps(inherited, sort_keys=True).encode()).hexdigest()[:16]


def parse(option: Option, text: str) -> Value:
    """Return the value of `option` that `text` (from the environment or a flag) represents.

    Raises `ConfigurationError` with the option and the values that it accepts.
    """
    if option.several and "," in text:
        return check(option, [part.strip() for part in text.split(",") if part.strip()])
    match option.kind:
        case Kind.BOOLEAN:
            if text.lower() in {"1", "true", "yes", "on"}:
                return True
            if text.lower() in {"0", "false", "no", "off", ""}:
                return False
            raise _wrong(option, text)
        case Kind.TEXTS:
            return check(option, [part.strip() for part in text.split(",") if part.strip()])
        case Kind.INTEGER:
            return check(option, _number(option, text))
        case Kind.SECONDS:
            return check(option, _seconds(option, text))
        case _:
            return check(option, text)


def check(option: Option, value: object) -> Value:
    """Return `value` (from a TOML file) in its normal form. Raises `ConfigurationError`."""
    if option.several and isinstance(value, list | tuple):
        return _several(option, value)
    if option.canonical is not None:
        return _canonical(option, option.canonical, value)
    return _of_kind(option, value)


def _several(option: Option, values: Sequence[object]) -> Value:
    """Return the only value of a list, or all of them, each in its normal form."""
    if not values or any(isinstance(each, list | tuple) for each in values):
        raise _wrong(option, values)
    found = tuple(dict.fromkeys(str(check(option, each)) for each in values))
    if len(found) == 1:
        return found[0]
    try:
        if option.together is not None:
            option.together(found)
    except CertctlError as error:
        raise ConfigurationError(
            f"{option.key}: {error.message}", hint=error.hint, code="configuration.value"
        ) from error
    return found


def _of_kind(option: Option, value: object) -> Value:
    match option.kind, value:
        case Kind.BOOLEAN, bool():
            return value
        case Kind.TEXTS, str():
            return (value,)
        case Kind.TEXTS, list() | tuple() if all(isinstance(each, str) for each in value):
            return tuple(value)
        case Kind.INTEGER, int() if _within(option, value):
            return value
        case Kind.SECONDS, int() | float() if _within(option, value):
            return float(value)
        case Kind.SECONDS, str():
            return check(option, _seconds(option, value))
        case Kind.CHOICE, str() if value.lower() in option.choices:
            return value.lower()  # CAs write ES256 and RSA-2048 in their documentation
        case Kind.TEXT | Kind.PATH, str() if "\0" not in value and "\n" not in value:
            return value
    raise _wrong(option, value)


def _canonical(option: Option, canonical: Callable[[object], str], value: object) -> Value:
    """Return `value` in its normal form; empty strings in a list are dropped."""
    try:
        if option.kind is not Kind.TEXTS:
            return canonical(value)
        several = value if isinstance(value, list | tuple) else (value,)
        return tuple(dict.fromkeys(canonical(each) for each in several if each != ""))
    except CertctlError as error:
        raise ConfigurationError(
            f"{option.key}: {error.message}", hint=error.hint, code="configuration.value"
        ) from error


def _within(option: Option, value: float) -> bool:
    return not isinstance(value, bool) and option.minimum <= value <= option.maximum


def unknown(key: str, known: Iterable[str], where: str) -> ConfigurationError:
    """Return the error for an unknown key, with the closest match as a hint."""
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"Did you mean {near[0]}?" if near else "All settings are listed by: man certctl.toml"
    return ConfigurationError(
        f"{where}: unknown setting {key!r}", hint=hint, code="configuration.unknown_key"
    )


def flatten(document: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a TOML document by dotted key; a table that is itself the value of a
    built-in option is not flattened.
    """
    leaves: dict[str, object] = {}

    def walk(prefix: str, node: Mapping[str, object]) -> None:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if isinstance(value, Mapping) and key not in OWN_KEYS:
                walk(f"{key}.", value)
            else:
                leaves[key] = value

    walk("", document)
    return leaves


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)\Z")
_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float | None:
    """Return the duration `text` (90, 90s, 5m, 2h or 1d) in seconds; None if it is invalid."""
    found = _DURATION.match(text.strip())
    return None if found is None else float(found[1]) * _UNIT[found[2]]


def _seconds(option: Option, text: str) -> float:
    found = duration(text)
    if found is None:
        raise _wrong(option, text)
    return found


def _number(option: Option, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _wrong(option, text) from None


def _wrong(option: Option, value: object) -> ConfigurationError:
    given = "the given value" if option.secret else repr(value)
    expected = {
        Kind.BOOLEAN: "true or false",
        Kind.INTEGER: f"a whole number from {option.minimum:.0f} to {option.maximum:.0f}",
        Kind.SECONDS: f"a duration of at least {option.minimum:g} s and at most "
        f"{option.maximum // 86400:.0f} d, such as 90, 5m, 2h or 1d",
        Kind.CHOICE: "one of " + ", ".join(option.choices),
        Kind.TEXTS: "a list of strings",
    }.get(option.kind, "a line of text")
    return ConfigurationError(
        f"{option.key}: {given} is not {expected}",
        hint=_right(option, value),
        code="configuration.value",
    )


def _right(option: Option, value: object) -> str:
    near = difflib.get_close_matches(str(value).lower(), option.choices, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    if option.default is None or isinstance(option.default, bool | tuple):
        return "Every setting is described by: man certctl.toml"
    default = option.default
    shown = f"{default:g}" if isinstance(default, float) else default
    return f"Correct it, or leave it out for the default, {shown}."
