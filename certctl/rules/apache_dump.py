"""What Apache says about its configuration (`-t -D DUMP_VHOSTS`, `DUMP_INCLUDES` and others)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field

from certctl.model.lazy_dataclass import dataclass

_HEADS = re.compile(
    r"^(Included configuration files:|VirtualHost configuration:|Loaded Modules:|ServerRoot: .*)$",
    re.MULTILINE,
)
_INCLUDED = re.compile(r"^( *)\((\*|\d+)\) (.+)$", re.MULTILINE)
_NAMED_PLACE = re.compile(r"^(\S+):(\d+|\*)\s+is a NameVirtualHost$")
_SINGLE = re.compile(r"^(\S+):(\d+|\*)\s+(\S+) \((.+):(\d+)\)$")
_NAMED = re.compile(r"^\s+port (?:\d+|\*) namevhost (\S+) \((.+):(\d+)\)$")
_ALIAS = re.compile(r"^\s+(wild )?alias (\S+)$")


@dataclass(frozen=True)
class IncludedFile:
    """A file that Apache reads, and the line of the file that includes it; 0 for the main file."""

    path: str
    parent: str
    line: int


@dataclass(frozen=True)
class Host:
    """A virtual host at one address, with the names by which it is found there."""

    address: str
    port: int
    """0 for every port."""
    file: str
    line: int
    names: tuple[str, ...]
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dump:
    """Files in the order in which they are read, virtual hosts in that in which they are asked."""

    files: tuple[IncludedFile, ...]
    hosts: tuple[Host, ...]
    modules: frozenset[str]
    """Names without `_module`."""
    defines: frozenset[str]
    server_root: str
    pid_file: str


def parse(text: str) -> Dump:
    """Return what the output says; parts that are missing are empty."""
    pieces = _HEADS.split(text)
    parts: dict[str, str] = {}
    for head, body in zip(pieces[1::2], pieces[2::2], strict=True):
        parts[head.partition(":")[0]] = f"{head}\n{body}"
    run = parts.get("ServerRoot", "")
    return Dump(
        tuple(_files(parts.get("Included configuration files", ""))),
        tuple(_hosts(parts.get("VirtualHost configuration", ""))),
        frozenset(re.findall(r"^ (\S+)_module ", parts.get("Loaded Modules", ""), re.MULTILINE)),
        frozenset(re.findall(r"^Define: ([^\s=]+)", run, re.MULTILINE)),
        _value(run, "ServerRoot"),
        _value(run, "PidFile"),
    )


def _value(text: str, key: str) -> str:
    found = re.search(rf'^{key}: "(.*)"$', text, re.MULTILINE)
    return found[1] if found else ""


def _files(text: str) -> Iterator[IncludedFile]:
    parents: list[str] = []
    for indent, line, path in _INCLUDED.findall(text):
        depth = max(len(indent) // 2 - 1, 0)
        del parents[depth:]
        yield IncludedFile(path, parents[-1] if parents else "", 0 if line == "*" else int(line))
        parents.append(path)


@dataclass
class _Entry:
    place: tuple[str, int]
    file: str
    line: int
    names: list[str]
    patterns: list[str] = field(default_factory=list)


def _hosts(text: str) -> Iterator[Host]:
    place: tuple[str, int] | None = None
    found: list[_Entry] = []
    for line in text.splitlines():
        if named := _NAMED_PLACE.match(line):
            place = named[1], _port(named[2])
        elif single := _SINGLE.match(line):
            address = single[1], _port(single[2])
            found.append(_Entry(address, single[4], int(single[5]), [single[3].lower()]))
        elif (entry := _NAMED.match(line)) and place is not None:
            found.append(_Entry(place, entry[2], int(entry[3]), [entry[1].lower()]))
        elif (alias := _ALIAS.match(line)) and found:
            (found[-1].patterns if alias[1] else found[-1].names).append(alias[2].lower())
    for each in found:
        yield Host(*each.place, each.file, each.line, tuple(each.names), tuple(each.patterns))


def _port(text: str) -> int:
    return 0 if text == "*" else int(text)
