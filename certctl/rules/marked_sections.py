"""Marked changes in a language that allows comments only on lines of their own, such as Apache's.

What is added stands between `#certctl begin TAG` and `#certctl end TAG`; what is taken out of use
stays as a comment, as in `marked_lines`. `restored` returns the original bytes. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from certctl.model.lazy_dataclass import dataclass
from certctl.rules import marked_lines

_MARK = re.compile(rb"[ \t]*#certctl (begin|end) (\S+)[ \t]*\r?\n?\Z")
_INDENT = re.compile(rb"[ \t]*")


@dataclass(frozen=True)
class Insertion:
    """Lines, without line ends, to add at `at`, the start of a line; `tag`, if not that of the
    other changes.
    """

    at: int
    lines: tuple[bytes, ...]
    tag: str | None = None


@dataclass(frozen=True)
class TakenOut:
    """Whole lines, from `start` to `end`, to take out of use."""

    start: int
    end: int


def edited(
    source: bytes, tag: str, insertions: Sequence[Insertion], taken_out: Sequence[TakenOut] = ()
) -> bytes:
    """Return a file with these changes, which must not overlap. The file's own line end is used."""
    end_of_line = b"\r\n" if source[: source.find(b"\n") + 1].endswith(b"\r\n") else b"\n"
    pieces = [
        (each.at, each.at, _section(each.lines, each.tag or tag, end_of_line))
        for each in insertions
        if each.lines
    ]
    pieces += [
        (each.start, each.end, _commented(source[each.start : each.end], tag)) for each in taken_out
    ]
    result, at = [], 0
    for start, end, piece in sorted(pieces, key=lambda piece: piece[:2]):
        result += [source[at:start], piece]
        at = end
    return b"".join((*result, source[at:]))


def restored(source: bytes, tag: str) -> bytes:
    """Return a file without the changes that are marked with `tag`. A section whose end is gone
    loses its first line only.
    """
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", source)
    kept: list[bytes] = []
    at = 0
    while at < len(lines):
        mark = _MARK.match(lines[at])
        if mark is None or mark[2].decode("latin-1") != tag:
            kept.append(lines[at])
        elif mark[1] == b"begin":
            at = _end(lines, at, mark[2])
        at += 1
    return marked_lines.restored(b"".join(kept), tag)


def tags(source: bytes) -> set[str]:
    """Return the tags of the lines and sections in a file that are marked."""
    found = (_MARK.match(each) for each in re.findall(rb"[^\n]*\n|[^\n]+\Z", source))
    return marked_lines.tags(source) | {each[2].decode("latin-1") for each in found if each}


def _end(lines: Sequence[bytes], begin: int, tag: bytes) -> int:
    """Return the index of the last line of a section, `begin` if its end is gone."""
    for at in range(begin + 1, len(lines)):
        mark = _MARK.match(lines[at])
        if mark is not None:
            return at if (mark[1], mark[2]) == (b"end", tag) else begin
    return begin


def _section(lines: Sequence[bytes], tag: str, end_of_line: bytes) -> bytes:
    found = _INDENT.match(lines[0])
    indent = found[0] if found else b""
    marks = [b"%s#certctl %s %s" % (indent, each, tag.encode()) for each in (b"begin", b"end")]
    return b"".join(each + end_of_line for each in (marks[0], *lines, marks[1]))


def _commented(text: bytes, tag: str) -> bytes:
    found = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+\Z", text):
        body = line.rstrip(b"\r\n")
        bare = body.lstrip(b" \t")
        indent = body[: len(body) - len(bare)]
        end = line[len(body) :]
        found.append(b"%s#certctl# %s #certctl %s%s" % (indent, bare, tag.encode(), end))
    return b"".join(found)
