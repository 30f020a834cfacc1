"""Adds lines to somebody else's configuration file, takes lines out of use, and undoes both.

Pure functions on bytes. What is added ends with `#certctl TAG`, and what is taken out of use stays
as a comment, `#certctl# … #certctl TAG`, so that people see whose it is, and so that `restored`
needs nothing but the file: it returns the original bytes, and where the file was edited in the
meantime, it removes no more than the marked lines. The tag is a certificate's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from certctl.model.lazy_dataclass import dataclass

CATCH_ALL = "*"
"""The tag of what all certificates share, such as a block for names without a certificate."""

_MARK = b"#certctl"
_COMMENTED = re.compile(rb"([ \t]*)#certctl#([<>|]?) (.*) #certctl (\S+)\Z", re.DOTALL)
_ADDED = re.compile(rb".*#certctl (\S+)([ \t]*)\Z", re.DOTALL)
_CONTINUED = re.compile(rb"[ \t]*#certctl\+ (\S+)\Z")
"""A line after which the rest of the line above the added ones goes on."""


@dataclass(frozen=True)
class Addition:
    """Lines, without line ends, to add at the offset `at`, which is not inside a word; `tag`, if
    not that of the other changes.
    """

    at: int
    lines: tuple[bytes, ...]
    tag: str | None = None


@dataclass(frozen=True)
class Removal:
    """The bytes of a directive, from `start` to `end`, to take out of use; `tag` as above."""

    start: int
    end: int
    tag: str | None = None


def edited(
    source: bytes, tag: str, additions: Sequence[Addition], removals: Sequence[Removal] = ()
) -> bytes:
    """Return a file with these changes, which must not overlap. The file's own line end is used."""
    end_of_line = _end_of_line(source)
    pieces = [
        (each.at, each.at, _added(source, each, each.tag or tag, end_of_line)) for each in additions
    ]
    pieces += [_taken_out(source, each, each.tag or tag, end_of_line) for each in removals]
    result, at = [], 0
    for start, end, piece in sorted(pieces, key=lambda piece: piece[:2]):
        result += [source[at:start], piece]
        at = end
    return b"".join((*result, source[at:]))


def restored(source: bytes, tag: str) -> bytes:
    """Return a file without the changes that are marked with `tag`."""
    kept: list[bytes] = []
    was_ours = False
    for line in _lines(source):
        body, end = _without_end(line)
        commented, continued = _COMMENTED.match(body), _CONTINUED.match(body)
        if commented and commented[4].decode("latin-1") == tag:
            if commented[2] in {b"<", b"|"}:
                _drop_line_end(kept)
            kept.append(commented[1] + commented[3])
            kept.append(b"" if commented[2] in {b">", b"|"} else end)
            was_ours = True
        elif continued and continued[1].decode("latin-1") == tag:
            # Where somebody added a line before it, that line must not swallow the next one.
            if was_ours:
                _drop_line_end(kept)
        elif (added := _ADDED.match(body)) and not commented and added[1].decode("latin-1") == tag:
            if kept:
                _drop_line_end(kept)
                kept.append(added[2] + end)
            was_ours = True
        else:
            kept += [body, end]
            was_ours = False
    return b"".join(kept)


def tags(source: bytes) -> set[str]:
    """Return the tags of the lines in a file that are marked."""
    found = (_ADDED.match(line.rstrip(b"\r\n")) for line in _lines(source))
    return {each[1].decode("latin-1") for each in found if each is not None}


def mentions_mark(source: bytes) -> bool:
    """Return whether a file may have marked lines."""
    return _MARK in source


def _lines(source: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", source)


def _end_of_line(source: bytes) -> bytes:
    first = source.find(b"\n")
    return b"\r\n" if first > 0 and source[first - 1 : first] == b"\r" else b"\n"


def _added(source: bytes, addition: Addition, tag: str, end_of_line: bytes) -> bytes:
    marked = [b"%s %s %s" % (each, _MARK, tag.encode()) for each in addition.lines]
    rest = source[addition.at :].partition(b"\n")[0]
    if rest.strip():
        marked += [b"%s+ %s" % (_MARK, tag.encode()), b""]
    return end_of_line.join((b"", *marked))


def _taken_out(
    source: bytes, removal: Removal, tag: str, end_of_line: bytes
) -> tuple[int, int, bytes]:
    """Return the range that a comment replaces, and the comment."""
    line = source.rfind(b"\n", 0, removal.start) + 1
    indent = source[line : removal.start]
    after = _line_break(source, removal.end)
    alone = not indent.strip() and source[removal.end : after].strip()[:1] in {b"", b"#"}
    end = after if alone else removal.end
    texts = [_without_end(each) for each in _lines(source[removal.start : end])]
    kinds = [b""] * len(texts)
    if not alone:
        kinds[0], kinds[-1] = b"<", b">"
        if len(texts) == 1:
            kinds[0] = b"|"
    commented = b"".join(
        b"%s#%s %s %s %s%s" % (_MARK, kind, text, _MARK, tag.encode(), own_end)
        for kind, (text, own_end) in zip(kinds, texts, strict=True)
    )
    if not alone:
        commented = end_of_line + commented + end_of_line
    return removal.start, end, commented


def _without_end(line: bytes) -> tuple[bytes, bytes]:
    """Return a line, and its line end."""
    body = line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line
    return body, line[len(body) :]


def _line_break(source: bytes, at: int) -> int:
    """Return the offset of the line end at or after `at`, or the file's end."""
    end = source.find(b"\n", at)
    if end < 0:
        return len(source)
    return end - 1 if source[end - 1 : end] == b"\r" and end - 1 >= at else end


def _drop_line_end(kept: list[bytes]) -> None:
    """Remove the last line end."""
    while kept and not kept[-1]:
        kept.pop()
    if kept:
        kept[-1] = kept[-1].removesuffix(b"\n").removesuffix(b"\r")
