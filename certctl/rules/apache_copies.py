"""The file with the virtual hosts of one certificate at port 443.

Each is a copy of the one at port 80, with our marked lines: an ordinary virtual host, which
administrators can change and other programs can read, and whose original stays as it was. A copy
follows its original as long as nobody has edited the file; then only our lines in it change.
"""

from __future__ import annotations

import hashlib
import re

from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import whole_number
from certctl.model.webserver import SecureRequest, ServedFiles
from certctl.rules.apache_lines import INDENT, tls_lines
from certctl.rules.apache_sites import HTTP, HTTPS, VirtualHost
from certctl.rules.apache_syntax import Block, Line, blocks, scan, words
from certctl.rules.configurations import Refused
from certctl.rules.marked_sections import Insertion, TakenOut, edited, restored

_HEAD = re.compile(rb"\A# Written by `certctl secure`[^\n]*\n(?:#[^\n]*\n)*?# copy: (\w+)\n\n")
_EDITED = "edited"
_FORWARDED = {b"x-forwarded-proto": (b"http", b"https"), b"x-forwarded-port": (b"80", b"443")}


@dataclass(frozen=True)
class Copy:
    """A virtual host at port 443 without our lines, with the names that it is for."""

    text: bytes
    names: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """The copies in a file; `edited`: somebody has changed them."""

    every: tuple[Copy, ...] = ()
    edited: bool = False


def existing(source: bytes | None, tag: str) -> Copies:
    """Return the copies in the file as it is."""
    head = _HEAD.match(source) if source is not None else None
    if source is None:
        return Copies()
    body = source[head.end() :] if head else source
    base = restored(body, tag)
    there = blocks(scan(body))
    bounds = [each.opened.start for each in blocks(scan(base))]
    if len(bounds) != len(there) or not bounds:
        return Copies((), head is not None)
    bounds[0] = 0
    texts = [base[start:end] for start, end in zip(bounds, [*bounds[1:], len(base)], strict=True)]
    found = [Copy(text, _names(block)) for text, block in zip(texts, there, strict=True)]
    return Copies(tuple(found), head is None or head[1].decode() != _digest(base))


def written(copies: Copies, wish: SecureRequest, files: ServedFiles, *, http2: bool) -> bytes:
    """Return the file with these copies."""
    base = b"".join(each.text for each in copies.every)
    head = (
        "# Written by `certctl secure`: virtual hosts for port 443, each a copy of one for port 80",
        "# with lines of its own, which are marked. Until somebody edits this file, a copy follows",
        "# its original when certctl secure runs again.",
        f"# To remove it: certctl secure --undo {wish.tag}",
        f"# copy: {_EDITED if copies.edited else _digest(base)}\n\n",
    )
    return "\n".join(head).encode() + b"".join(
        _with_tls(each, wish, files, http2) for each in copies.every
    )


def copied(host: VirtualHost, source: bytes, names: tuple[str, ...]) -> Copy:
    """Return a copy of a virtual host for port 443, without its names. Raises `Refused`."""
    opened, closed = host.block.opened, host.block.closed
    lines = [
        source[each.start : each.end]
        for each in host.block.lines
        if each.name not in {b"servername", b"serveralias"}
    ]
    end = b"\r\n" if source[opened.start : opened.end].endswith(b"\r\n") else b"\n"
    last = source[closed.start : closed.end].strip() + end
    first = f"<VirtualHost {' '.join(addresses(host))}>".encode() + end
    return Copy(b"".join((first, *lines, last)), names)


def addresses(host: VirtualHost) -> list[str]:
    """Return the addresses of a virtual host for port 443: those that it has at port 80. Raises
    `Refused`.
    """
    found = []
    for each in host.block.opened.arguments:
        address, colon, port = each.decode("latin-1").rpartition(":")
        if not colon or whole_number(port) is None:
            raise Refused(
                f"{host.where} answers at every port, since its address ({each.decode('latin-1')})"
                " has none",
                "Write its port, such as <VirtualHost *:80>, and run the command again.",
            )
        if whole_number(port) == HTTP:
            found.append(f"{address}:{HTTPS}")
    return found


def _with_tls(copy: Copy, wish: SecureRequest, files: ServedFiles, http2: bool) -> bytes:
    lines = scan(copy.text)
    (block,) = blocks(lines)
    own = {each.name for each in block.lines}
    lines_ = tls_lines(
        copy.names,
        files,
        hsts=wish.hsts and b"strict-transport-security" not in copy.text.lower(),
        http2=http2 and b"protocols" not in own,
    )
    added = [Insertion(block.opened.end, tuple((INDENT + each).encode() for each in lines_))]
    gone: list[TakenOut] = []
    for line in block.lines:
        replaced = _over_https(line)
        if replaced is not None:
            gone.append(TakenOut(line.start, line.end))
            added.append(Insertion(line.end, replaced))
    return edited(copy.text, wish.tag, added, gone)


def _over_https(line: Line) -> tuple[bytes, ...] | None:
    """Return the lines in place of one that must differ at port 443, None where it need not."""
    if line.name == b"wsgidaemonprocess":
        return ()  # one for both: its name must be unique in the server
    if line.name != b"requestheader":
        return None
    given = words(line.text)
    for at, word in enumerate(given[:-1]):
        plain, secure = _FORWARDED.get(word.lower().rstrip(b":"), (b"", b""))
        if plain and given[at + 1].lower() == plain:
            kept = b" ".join((*given[: at + 1], b'"' + secure + b'"', *given[at + 2 :]))
            return (INDENT.encode() + b"RequestHeader " + kept,)
    return None


def _names(block: Block) -> tuple[str, ...]:
    return tuple(
        word.decode("latin-1").lower()
        for each in block.having(b"servername", b"serveralias")
        for word in each.arguments
    )


def _digest(base: bytes) -> str:
    return hashlib.sha256(base).hexdigest()[:16]
