"""Parses command lines of certbot as certbot does: a subcommand anywhere, flags that may be
abbreviated, defaults from `cli.ini`, and `-w` that counts for the `-d` after it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any, NoReturn

from certctl.model.errors import UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import stored_name
from certctl.rules.certbot_flags import FLAGS, OTHER_VERBS, SUBCOMMANDS, Flag, Kind, Takes

_CODE = "usage.certbot"
_WEBROOT, _MAP, _NAME = "-w", "--webroot-map", "-d"
_ORDERED = MappingProxyType(
    {
        "domains": _NAME,
        "ip_addresses": _NAME,
        "webroot_path": _WEBROOT,
        "webroot_map": _MAP,
    }
)
"""The flags whose order counts."""


@dataclass(frozen=True)
class Arguments:
    """A command line of certbot, parsed. `values` has what was given by the place of its flag,
    `flags` the flags themselves, `names` the names in order, and `webroots` the directory of each
    name that has one; `webroot` is that of all others.
    """

    subcommand: str
    values: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    webroots: Mapping[str, str] = field(default_factory=dict)
    webroot: str | None = None
    topic: str | None = None

    def text(self, place: str) -> str | None:
        """Return the value of a flag."""
        found = self.values.get(place)
        return None if found is None else str(found)

    def has(self, place: str) -> bool:
        """Return whether a switch was given, and not its opposite."""
        return self.values.get(place) is True

    def switch(self, place: str) -> bool | None:
        """Return the value of a switch that has an opposite; None if neither was given."""
        found = self.values.get(place)
        return found if isinstance(found, bool) else None


def parse(arguments: Sequence[str], files: Sequence[tuple[str, str]] = ()) -> Arguments:
    """Return the command line, with what `files` say for flags that are not on it; each is a path
    and the text of a file like `cli.ini`, of which later ones come first.

    Raises `UsageError` for what is not a flag of certbot, and for a flag that cannot be honoured.
    """
    subcommand, rest = _subcommand(arguments)
    parser = _parser()
    given = _parsed(parser, rest)
    from_files: list[str] = []
    known = {each.place for each in given.flags}
    for path, text in reversed(files):
        settings = _settings(parser, path, text)
        for place in settings.keys() - known:
            from_files += settings[place]
        known |= settings.keys()
    found = _parsed(parser, [*from_files, *rest]) if from_files else given
    if found.others and subcommand != "help":
        raise _error(f"certbot has no flag or subcommand {found.others[0]}")
    _refuse(found.named)
    if named := found.values.pop("cert_name", None):
        found.values["cert_name"] = stored_name(named)
    names, webroots, webroot = _names(found.ordered)
    topic = found.others[0] if found.others else None
    return Arguments(subcommand, found.values, tuple(found.named), names, webroots, webroot, topic)


def config_files(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the files that the command line names with `--config`."""
    _, rest = _subcommand(arguments)
    found = _parsed(_parser(), rest).values.get("config")
    return () if found is None else (str(found),)


def asks_for_help(arguments: Iterable[str]) -> bool:
    """Return whether the help is wanted, whatever else is said."""
    return any(each in ("-h", "--help") for each in arguments)


def _subcommand(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the subcommand, which can be anywhere, and the other words."""
    rest = list(arguments)
    if asks_for_help(rest):
        return "help", [each for each in rest if each not in ("-h", "--help")]
    for place, word in enumerate(rest):
        verb = OTHER_VERBS.get(word, word)
        if verb in SUBCOMMANDS:
            del rest[place]
            return verb, rest
    return "run", rest


class _Parsed(argparse.Namespace):
    """What argparse fills: flags in their order, and values by place."""

    def __init__(self) -> None:
        super().__init__()
        self.flags: list[Flag] = []
        self.named: list[str] = []
        self.values: dict[str, Any] = {}
        self.ordered: list[tuple[str, str]] = []
        self.others: list[str] = []


class _Record(argparse.Action):
    """Records a flag of the table."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        self.flag: Flag = more.pop("flag")
        super().__init__(option_strings, dest, **more)

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if not isinstance(namespace, _Parsed):
            raise TypeError("the namespace of another parser")
        flag, place = self.flag, self.flag.place
        namespace.flags.append(flag)
        namespace.named.append(option_string or flag.names[0])
        match flag.takes:
            case Takes.NOTHING:
                namespace.values[place] = flag.value
            case Takes.COUNT:
                namespace.values[place] = namespace.values.get(place, 0) + 1
            case Takes.VALUES:
                namespace.values.setdefault(place, []).append(values)
                namespace.ordered.append((_ORDERED[place], str(values)))
            case _:
                namespace.values[place] = values


class _Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError`, and knows no flags but those of the table."""

    def error(self, message: str) -> NoReturn:
        raise _error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="certbot", add_help=False, argument_default=argparse.SUPPRESS)
    for flag in FLAGS:
        takes: dict[str, Any] = {"nargs": 0} if flag.takes in (Takes.NOTHING, Takes.COUNT) else {}
        if flag.takes is Takes.NUMBER:
            takes = {"type": int}
        if flag.choices:
            takes = {"type": str.lower, "choices": flag.choices}
        parser.add_argument(*flag.names, action=_Record, flag=flag, dest=flag.place, **takes)
    return parser


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> _Parsed:
    namespace = _Parsed()
    _, namespace.others = parser.parse_known_args(list(words), namespace)
    return namespace


def _settings(parser: argparse.ArgumentParser, path: str, text: str) -> dict[str, list[str]]:
    """Return the words that a file stands for, by the place of the flag."""
    found: dict[str, list[str]] = {}
    for number, written in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = written.strip()
        if not line or line[0] in "#;[" or line.startswith("---"):
            continue
        key, value = _line(line)
        action = parser._option_string_actions.get(f"--{key.replace('_', '-')}")
        if not isinstance(action, _Record):
            raise _error(f"{path}, line {number}: certbot has no flag --{key}")
        flag, words = action.flag, found.setdefault(action.flag.place, [])
        name = next(each for each in action.option_strings if each.startswith("--"))
        name = f"--{key.replace('_', '-')}" if len(flag.names) > 1 else name
        if flag.takes in (Takes.NOTHING, Takes.COUNT):
            if value.lower() in ("true", "yes", "1", ""):
                words.append(name)
            elif re.fullmatch("[0-9]", value) and flag.takes is Takes.COUNT:
                words.extend([name] * int(value))
            elif value.lower() not in ("false", "no", "0"):
                raise _error(f"{path}, line {number}: {key} must be true or false")
        else:
            values = _list(value) if flag.takes is Takes.VALUES else [value]
            words.extend(f"{name}={each}" for each in values)
        if not words:
            del found[flag.place]
    return found


_COMMENT = re.compile(r"\s+[#;].*\Z")


def _line(line: str) -> tuple[str, str]:
    """Return the key and the value of `key = value`, `key: value`, `key value` or `key`."""
    found = re.match(r"([^\s=:]+)\s*[=:\s]\s*(.*)\Z", line)
    if found is None:
        return line, ""
    key, value = found[1], found[2].strip()
    if value[:1] in "\"'" and value[:1] and (end := value.find(value[0], 1)) > 0:
        return key, value[1:end]
    return key, re.sub(_COMMENT, "", value)


def _list(value: str) -> list[str]:
    """Return the values of `[a, b]`; anything else is one value."""
    if value.startswith("[") and value.endswith("]"):
        return [each.strip().strip("\"'") for each in value[1:-1].split(",") if each.strip()]
    return [value]


def _refuse(named: Iterable[str]) -> None:
    """Raise `UsageError` for the first flag that cannot be honoured."""
    for each in named:
        flag = next(flag for flag in FLAGS if each in flag.names)
        if flag.kind is Kind.REFUSED:
            raise UsageError(
                f"certctl cannot honour {each}", hint=f"{_sentence(flag.text)}.", code=_CODE
            )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].replace("`", "")


def _names(
    ordered: Sequence[tuple[str, str]],
) -> tuple[tuple[str, ...], dict[str, str], str | None]:
    """Return the names, the directory of each that has its own, and that of all others.

    A directory counts for the names after it, up to the next one. Raises `UsageError` for a second
    directory if names came before the first.
    """
    names: dict[str, None] = {}
    by_order: dict[str, str] = {}
    mapped: dict[str, str] = {}
    directory: str | None = None
    names_first = False
    for kind, value in ordered:
        if kind == _WEBROOT:
            if directory is None:
                names_first = bool(names)
            elif names_first:
                raise _error(
                    "with several -w, each counts for the -d after it, so that one of them must"
                    " come before every -d"
                )
            else:
                by_order |= {each: directory for each in names if each not in by_order}
            directory = value
        elif kind == _MAP:
            table = _map(value)
            mapped |= table
            names |= dict.fromkeys(table)
        else:
            names |= dict.fromkeys(_split(value))
    own = {**by_order, **mapped}
    if by_order and directory is not None:
        own = {**dict.fromkeys(names, directory), **own}
    return tuple(names), own, directory


def _map(text: str) -> dict[str, str]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict) or not all(isinstance(each, str) for each in table.values()):
        raise _error('--webroot-map takes a JSON object, such as {"example.com": "/var/www"}')
    return {name: each for names, each in table.items() for name in _split(names)}


def _split(text: str) -> list[str]:
    return [each.strip().lower() for each in text.split(",") if each.strip()]


def _error(message: str) -> UsageError:
    return UsageError(message, hint="certbot --help all", code=_CODE)
