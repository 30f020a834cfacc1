"""A terminal for pictures: what a command shows on one of a given width, and that as HTML.

It knows what certctl writes: lines, carriage returns, erasing, and colours of the basic palette.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

_CONTROL = re.compile(r"\x1b\[(?P<arguments>[0-9;?]*)(?P<what>[A-Za-z])")


@dataclass(frozen=True)
class Theme:
    """Colours of a terminal: the background, the text, and the eight of the palette."""

    name: str
    background: str
    text: str
    palette: tuple[str, ...]


# Those of GNOME Terminal and xterm, whose light backgrounds make yellow and cyan hard to read.
DARK = Theme(
    "dark",
    "#171421",
    "#d0cfcc",
    ("#171421", "#c01c28", "#26a269", "#a2734c", "#12488b", "#a347ba", "#2aa1b3", "#d0cfcc"),
)
LIGHT = Theme(
    "light",
    "#ffffff",
    "#171421",
    ("#000000", "#cd0000", "#00cd00", "#cdcd00", "#0000ee", "#cd00cd", "#00cdcd", "#e5e5e5"),
)


@dataclass
class Screen:
    """The lines of a terminal that is as high as needed. A cell is a character and its style."""

    columns: int
    lines: list[list[tuple[str, str]]] = field(default_factory=lambda: [[]])
    at: int = 0
    style: str = ""

    def write(self, text: str) -> None:
        """Show text, with its control sequences."""
        position = 0
        for found in _CONTROL.finditer(text):
            self._characters(text[position : found.start()])
            self._control(found["what"], found["arguments"])
            position = found.end()
        self._characters(text[position:])

    def _control(self, what: str, arguments: str) -> None:
        if what == "m":
            self.style = "" if arguments in {"", "0"} else arguments
        elif what == "K":
            line = self.lines[-1]
            del line[0 if arguments == "2" else self.at :]

    def _characters(self, text: str) -> None:
        for each in text:
            if each == "\r":
                self.at = 0
            elif each == "\n":
                self.lines.append([])
            elif unicodedata.category(each) in {"Mn", "Me", "Cf"} and self.at:
                character, style = self.lines[-1][self.at - 1]
                self.lines[-1][self.at - 1] = (character + each, style)
            else:
                self._put(each)

    def _put(self, character: str) -> None:
        wide = unicodedata.east_asian_width(character) in "WF"
        if self.at + 1 + wide > self.columns:
            self.lines.append([])
            self.at = 0
        line = self.lines[-1]
        line += [(" ", "")] * (self.at - len(line))
        line[self.at : self.at + 1 + wide] = [(character, self.style), *([("", "")] * wide)]
        self.at += 1 + wide

    def html(self, theme: Theme) -> str:
        """Return the lines as HTML."""
        return "\n".join("".join(_spans(line, theme)) for line in self.lines).rstrip()


def _spans(line: Sequence[tuple[str, str]], theme: Theme) -> Iterator[str]:
    for character, style in line:
        wide = unicodedata.east_asian_width(character[:1] or " ") in "WF"
        rules = _rules(style, theme) + ("display:inline-block;width:2ch;" if wide else "")
        yield f'<span style="{rules}">{escape(character)}</span>' if rules else escape(character)


def _rules(style: str, theme: Theme) -> str:
    rules = ""
    for each in style.split(";") if style else ():
        if each == "1":
            rules += "font-weight:bold;"
        elif each == "2":
            rules += "opacity:.6;"
        elif each == "4":
            rules += "text-decoration:underline;"
        elif re.fullmatch("3[0-7]", each):
            rules += f"color:{theme.palette[int(each) - 30]};"
    return rules


def document(screens: Sequence[str], theme: Theme, columns: int) -> str:
    """Return screens, each of which is HTML, one below the other on a page."""
    shown = "<hr>".join(f"<pre>{each}</pre>" for each in screens)
    return f"""<!doctype html><meta charset="utf-8"><style>
body{{margin:0;padding:12px;background:{theme.background};color:{theme.text}}}
pre{{margin:0;width:{columns}ch;font:13px/1.25 "DejaVu Sans Mono",monospace}}
hr{{border:0;border-top:1px dashed #888;width:{columns}ch;margin:8px 0}}
pre,hr{{font-size:13px;font-family:"DejaVu Sans Mono",monospace}}
</style>{shown}
"""


def recorded(
    command: Sequence[str],
    columns: int,
    *,
    typed: bytes = b"",
    variables: Mapping[str, str] | None = None,
    while_running: Callable[[str], None] | None = None,
) -> str:
    """Run a command on a terminal of this width, and return all that it writes. `typed` is what a
    user answers; `while_running` is called with what came so far.
    """
    leader, follower = pty.openpty()
    environment = {
        **os.environ,
        "COLUMNS": str(columns),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        **(variables or {}),
    }
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    os.write(leader, typed)
    said = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the last process that had the terminal has ended
            break
        if not chunk:
            break
        said += chunk
        if while_running is not None:
            while_running(said.decode(errors="ignore"))
    process.wait()
    os.close(leader)
    return said.decode()
