"""Finds the directives of an nginx configuration file, with the offset of every one of them.

It works on bytes, since files are edited at these offsets, and follows the reader of nginx
(ngx_conf_read_token): quotes and comments count only at the start of a word, a backslash hides the
next byte, `${` opens no block. It knows no directive except those with Lua in their braces; what
directives mean is in `certctl.rules.nginx_sites`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from certctl.model.lazy_dataclass import dataclass

_SPACE = b" \t\r\n"
_LUA = b"_by_lua_block"
_LUA_LONG_BRACKET = re.compile(rb"\[(=*)\[")
_ESCAPES = {
    b'"': b'"',
    b"'": b"'",
    b"\\": b"\\",
    b"t": b"\t",
    b"r": b"\r",
    b"n": b"\n",
}
_ESCAPE = re.compile(rb"\\([\"'\\trn])")


class SyntaxProblem(Exception):
    """The file cannot be read as nginx would; the text says why, `line` where."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


@dataclass(frozen=True)
class Directive:
    """One directive: its name and arguments without quotes, and where it is.

    `line` is that of its first word, from 1. `start` is the offset of that word, `end` the offset
    after the `;` or `}`. A block has `opened`, the offset after its `{`, and the directives in it.
    """

    name: bytes
    arguments: tuple[bytes, ...]
    line: int
    start: int
    end: int
    opened: int | None = None
    children: tuple[Directive, ...] = ()

    def named(self, *names: bytes) -> Iterator[Directive]:
        """Yield the directives directly in this block that have one of these names."""
        return (each for each in self.children if each.name in names)


def scan(source: bytes) -> tuple[Directive, ...]:
    """Return the directives of a file. Raises `SyntaxProblem` where nginx would not load it either,
    as far as that can be seen without knowing the directives.
    """
    return _Scanner(source).file()


def walk(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    """Yield these directives and all that are in their blocks, in the order of the file."""
    for each in directives:
        yield each
        yield from walk(each.children)


@dataclass(frozen=True)
class _Word:
    text: bytes
    start: int


class _Scanner:
    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = 0
        self._breaks = [found.start() for found in re.finditer(rb"\n", source)]

    def file(self) -> tuple[Directive, ...]:
        found, closed = self._directives()
        if closed:
            raise SyntaxProblem('unexpected "}"', self._line(self._at - 1))
        return found

    def _directives(self) -> tuple[tuple[Directive, ...], bool]:
        """Return the directives up to the end of the block, and whether a `}` ended it."""
        found: list[Directive] = []
        words: list[_Word] = []
        while True:
            self._skip()
            if self._at >= len(self._source):
                if words:
                    raise SyntaxProblem(
                        'unexpected end of file, expecting ";" or "}"', self._line(self._at)
                    )
                return tuple(found), False
            byte = self._source[self._at : self._at + 1]
            if byte == b"}":
                if words:
                    raise SyntaxProblem('unexpected "}"', self._line(self._at))
                self._at += 1
                return tuple(found), True
            if byte in {b";", b"{"}:
                if not words:
                    raise SyntaxProblem(f'unexpected "{byte.decode()}"', self._line(self._at))
                self._at += 1
                found.append(self._directive(words, block=byte == b"{"))
                words = []
                continue
            words.append(self._word())

    def _directive(self, words: list[_Word], *, block: bool) -> Directive:
        first, opened = words[0], self._at
        children: tuple[Directive, ...] = ()
        if block:
            if first.text.endswith(_LUA):
                self._skip_lua(opened)
            else:
                children, closed = self._directives()
                if not closed:
                    raise SyntaxProblem(
                        'unexpected end of file, expecting "}"', self._line(first.start)
                    )
        return Directive(
            first.text,
            tuple(each.text for each in words[1:]),
            self._line(first.start),
            first.start,
            self._at,
            opened if block else None,
            children,
        )

    def _skip(self) -> None:
        """Go to the next byte that is neither space nor in a comment."""
        source, size = self._source, len(self._source)
        while self._at < size:
            byte = source[self._at]
            if byte in _SPACE:
                self._at += 1
            elif byte == 0x23:  # `#`
                end = source.find(b"\n", self._at)
                self._at = size if end < 0 else end + 1
            else:
                return

    def _word(self) -> _Word:
        start = self._at
        quote = self._source[start : start + 1]
        if quote in {b'"', b"'"}:
            return self._quoted(start, quote)
        source, size = self._source, len(self._source)
        while self._at < size:
            byte = source[self._at : self._at + 1]
            if byte == b"\\" or (byte == b"$" and source[self._at + 1 : self._at + 2] == b"{"):
                self._at += 2
            elif byte in b" \t\r\n;{":
                break
            else:
                self._at += 1
        self._at = min(self._at, size)
        return _Word(_unescaped(source[start : self._at]), start)

    def _quoted(self, start: int, quote: bytes) -> _Word:
        source, size = self._source, len(self._source)
        self._at += 1
        while self._at < size and source[self._at : self._at + 1] != quote:
            self._at += 2 if source[self._at : self._at + 1] == b"\\" else 1
        if self._at >= size:
            raise SyntaxProblem(
                f"unexpected end of file, expecting {quote.decode()}", self._line(start)
            )
        word = _Word(_unescaped(source[start + 1 : self._at]), start)
        self._at += 1
        after = source[self._at : self._at + 1]
        if after and after not in b" \t\r\n;{)":
            raise SyntaxProblem(
                f'unexpected "{after.decode("latin-1")}" after a quote', self._line(self._at)
            )
        return word

    def _skip_lua(self, opened: int) -> None:
        """Go behind the `}` of a block of Lua. Braces in strings and comments do not count."""
        source, size, depth = self._source, len(self._source), 1
        while self._at < size:
            byte = source[self._at : self._at + 1]
            if source.startswith(b"--", self._at):
                self._at += 2
                bracket = _LUA_LONG_BRACKET.match(source, self._at)
                self._at = self._after_long(bracket) if bracket else self._after(b"\n")
            elif byte in {b'"', b"'"}:
                self._skip_lua_string(byte)
            elif bracket := _LUA_LONG_BRACKET.match(source, self._at):
                self._at = self._after_long(bracket)
            else:
                self._at += 1
                depth += {b"{": 1, b"}": -1}.get(byte, 0)
                if depth == 0:
                    return
        raise SyntaxProblem("unexpected end of file in a block of Lua", self._line(opened - 1))

    def _skip_lua_string(self, quote: bytes) -> None:
        source, size = self._source, len(self._source)
        self._at += 1
        while self._at < size and source[self._at : self._at + 1] not in {quote, b"\n"}:
            self._at += 2 if source[self._at : self._at + 1] == b"\\" else 1
        self._at += 1

    def _after_long(self, bracket: re.Match[bytes]) -> int:
        self._at = bracket.end()
        return self._after(b"]" + bracket[1] + b"]")

    def _after(self, text: bytes) -> int:
        end = self._source.find(text, self._at)
        return len(self._source) if end < 0 else end + len(text)

    def _line(self, offset: int) -> int:
        return bisect_left(self._breaks, offset) + 1


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], text)
