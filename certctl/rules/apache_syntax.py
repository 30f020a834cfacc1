"""The lines of an Apache configuration file, with the offset and the sections of every one.

It works on bytes, since files are edited at these offsets, and follows Apache's reader
(ap_cfg_getline): a backslash at the end joins lines, also in a comment; a directive is the first
word. It knows no directive but sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from certctl.model.lazy_dataclass import dataclass

_WORD = re.compile(rb'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'|(\S+)')
_ESCAPED = re.compile(rb"\\([\\\"'])")


@dataclass(frozen=True)
class Line:
    """One directive, or the first or last line of a section.

    `number` is that of its last physical line, as Apache counts; `end` the offset after its line
    end. `name` is in lower case, that of sections with `<` or `</`, that of a comment or an empty
    line empty. `sections`: those around it, each with its arguments.
    """

    number: int
    start: int
    end: int
    name: bytes
    text: bytes
    sections: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """The words after the name, without quotes."""
        return words(self.text)


@dataclass(frozen=True)
class Block:
    """A virtual host: its first and last line, and those between."""

    opened: Line
    closed: Line
    lines: tuple[Line, ...]

    def having(self, *names: bytes) -> list[Line]:
        """Return the lines with these directives, in sections too."""
        return [each for each in self.lines if each.name in names]

    def within(self, line: Line) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
        """Return the sections of the block around a line that limit it to some requests."""
        inner = line.sections[len(self.opened.sections) + 1 :]
        return tuple(each for each in inner if not each[0].startswith(b"if") or each[0] == b"if")


def words(text: bytes) -> tuple[bytes, ...]:
    """Return the words of a directive's arguments, without quotes."""
    return tuple(
        _ESCAPED.sub(rb"\1", next(each for each in found.groups() if each is not None))
        for found in _WORD.finditer(text)
    )


def scan(source: bytes) -> tuple[Line, ...]:
    """Return every line of a file."""
    found: list[Line] = []
    sections: list[tuple[bytes, tuple[bytes, ...]]] = []
    for number, start, end, text in _logical(source):
        name, _, rest = _split(text)
        if name.startswith(b"</") and sections:
            sections.pop()
        found.append(Line(number, start, end, name, rest, tuple(sections)))
        if name.startswith(b"<") and not name.startswith(b"</"):
            sections.append((name[1:], words(rest)))
    return tuple(found)


def blocks(lines: tuple[Line, ...]) -> tuple[Block, ...]:
    """Return the virtual hosts among the lines of a file, in their order."""
    found: list[Block] = []
    opened: int | None = None
    for at, line in enumerate(lines):
        if line.name == b"<virtualhost":
            opened = at
        elif line.name == b"</virtualhost" and opened is not None:
            found.append(Block(lines[opened], line, lines[opened + 1 : at]))
            opened = None
    return tuple(found)


def unmarked(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """Return lines without those that `certctl secure` has added, for whatever certificate."""
    found: list[Line] = []
    inside = False
    for each in lines:
        ours = not each.name and each.text.startswith(b"#certctl")
        if ours and each.text.startswith(b"#certctl begin "):
            inside = True
        if not (inside or ours):
            found.append(each)
        if ours and each.text.startswith(b"#certctl end "):
            inside = False
    return tuple(found)


def _split(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the name in lower case, and the rest, without the bracket of a section."""
    if text.startswith(b"#"):
        return b"", b"", text
    found = re.match(rb"</?[^\s>]*|\S+", text)
    name = found[0].lower() if found else b""
    rest = text[len(name) :].strip()
    if name.startswith(b"<"):
        rest = rest.removesuffix(b">").strip()
    return name, b" ", rest


def _logical(source: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield each line, joined with those that continue it: number, start, end, text."""
    start, at, number, parts = 0, 0, 0, list[bytes]()
    for physical in re.findall(rb"[^\n]*\n|[^\n]+\Z", source):
        number += 1
        at += len(physical)
        body = physical.removesuffix(b"\n").removesuffix(b"\r")
        if body.endswith(b"\\") and physical.endswith(b"\n"):
            parts.append(body[:-1])
            continue
        yield number, start, at, b"".join((*parts, body)).strip()
        start, parts = at, []
    if parts:
        yield number, start, at, b"".join(parts).strip()
