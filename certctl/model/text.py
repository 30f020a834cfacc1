"""Makes untrusted text safe to display, log and store: printable, and of bounded length.

All text from a CA, a DNS server, a certificate, a program, a file name or the command line goes
through one of these functions. Unprintable characters are control characters (which can control a
terminal), line and paragraph separators, invisible and bidirectional formatting characters (which
make one text look like another), and unpaired surrogates (which cannot be encoded).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LINE = 1000
"""The maximum length of quoted text in a message, in characters."""

MESSAGE = 4000
"""The maximum length of a message or hint, in characters."""

NAME = 255
"""The maximum length of a name, such as a wildcard domain name (RFC 1035 §3.1)."""

WORD = 100
"""The maximum length of a protocol keyword, such as a status."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_KEPT_IN_LINES = "\n\t"


def printable(text: object, longest: int = LINE) -> str:
    """Return untrusted text as one line, truncated to `longest` characters; "" if it is not a
    string. Line breaks and unprintable characters become spaces.

    For prose, and for names that are only displayed.
    """
    if not isinstance(text, str):
        return ""
    # Truncate first, so that a megabyte of text is not processed.
    head = text[: 4 * longest]
    line = " ".join("".join(each if each.isprintable() else " " for each in head).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def escaped(text: str, longest: int | None = MESSAGE, *, lines: bool = False) -> str:
    r"""Return text of at most `longest` characters with unprintable characters as escapes, such as
    `\x1b`; a longer text loses its middle. `longest` None: a text of any length is returned whole.
    `lines`: line breaks and tabs remain.

    For commands, file names and what a user typed, where a difference must stay visible: two
    different texts are never returned as the same valid name. Applied twice, it changes nothing.
    """
    kept = _KEPT_IN_LINES if lines else ""
    ends = _ends(text, longest)
    if ends.isprintable():
        return ends
    return _ends("".join([_escape(each, kept) for each in ends]), longest)


def quoted(text: str, longest: int = NAME) -> str:
    """Return what a user typed in quotes, escaped."""
    return f"'{escaped(text, longest)}'"


def whole_number(text: str, digits: int = 9) -> int | None:
    """Return the number that a text of ASCII digits is; None for any other one, and for more than
    `digits` of them: `int` refuses some thousands, and `str.isdigit` takes characters such as `²`.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        return None
    return int(text)


def safe_json(document: str) -> str:
    r"""Return a JSON document with unprintable characters as `\u` escapes, which decode to the same
    values; its line breaks remain.
    """
    if document.replace("\n", "").isprintable():
        return document
    return "".join(
        each if each.isprintable() or each == "\n" else json_escape(each) for each in document
    )


def json_escape(character: str) -> str:
    r"""Return a character as JSON escapes it, such as `\u00e9`."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def output_lines(output: str, *, most: int, longest: int) -> list[str]:
    """Return the last `most` non-empty lines of a program's output without terminal sequences, each
    of at most `longest` characters; the first is "..." if there are more.
    """
    lines = [_output_line(each, longest) for each in output.splitlines() if each.strip()]
    return ["...", *lines[-most:]] if len(lines) > most else lines


def texts(values: object, longest: int = NAME, most: int = 100) -> Iterator[str]:
    """Yield those of the first `most` values of a list that are printable strings of at most
    `longest` characters; nothing if it is not a list.
    """
    for each in values[:most] if isinstance(values, list) else ():
        if isinstance(each, str) and each and len(each) <= longest and each.isprintable():
            yield each


def _ends(text: str, longest: int | None) -> str:
    if longest is None or len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[len(text) - tail :]}"


def _escape(character: str, kept: str) -> str:
    if character.isprintable() or character in kept:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _output_line(line: str, longest: int) -> str:
    plain = _ESCAPE_SEQUENCE.sub("", line.expandtabs()).rstrip()
    safe = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in plain)
    return safe if len(safe) <= longest else f"{safe[:longest]}..."
