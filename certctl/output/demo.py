"""The demonstration as a picture that changes on a terminal, and as plain lines elsewhere.

It shows whatever steps it is told of: a title, the parts of the picture that are at work, facts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from certctl.output.console import Output

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_TO_BE_SEEN = 0.25
"""Seconds for which a step stays on a terminal, at least after its last fact."""

_PICTURE = (
    (("visitor", " visitors "), ("", " ── TLS ──▶ "), ("proxy", " proxy "),
     ("", " ── HTTP ──▶ "), ("application", " application ")),
    (("", "                          ▲"),),
    (("", "                          │ certificate, key, reload"),),
    (("", "                    "), ("certctl", "   certctl   "), ("", " ◀── ACME ──▶ "),
     ("ca", "  CA  ")),
)  # fmt: skip


class DemoStep(Protocol):
    """A step, as far as it is shown."""

    @property
    def title(self) -> str:
        """One line."""
        ...

    @property
    def parts(self) -> AbstractSet[str]:
        """The parts of the picture that are at work."""
        ...


class Lines:
    """Steps as lines of standard output, each as soon as it is known."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._steps = 0

    def begin(self, step: DemoStep) -> None:
        """Print the step's title."""
        self._steps += 1
        self._print(f"{self._steps}. {step.title}")

    def report(self, fact: str) -> None:
        """Print a fact below its step."""
        self._print(f"   {fact}")

    def end(self) -> None:
        """Nothing is left to print."""

    def _print(self, text: str) -> None:
        if not (self._output.quiet or self._output.json):
            self._output.stdout.write(f"{text}\n")
            self._output.stdout.flush()


class Picture:
    """The picture with its steps, drawn in place; the steps and facts stay when it ends."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._steps_shown: list[tuple[DemoStep, list[str]]] = []
        self._ended = False

    def begin(self, step: DemoStep) -> None:
        """Move on to a step."""
        if self._steps_shown:
            time.sleep(_TO_BE_SEEN)
        self._steps_shown.append((step, []))
        self._draw()

    def report(self, fact: str) -> None:
        """Show a fact below its step."""
        self._steps_shown[-1][1].append(fact)
        self._draw()

    def end(self) -> None:
        """Show that the last step has ended."""
        time.sleep(_TO_BE_SEEN)
        self._ended = True
        self._draw()

    def _draw(self) -> None:
        self._live.update(self._rendered(), refresh=True)

    def _rendered(self) -> RenderableType:
        from rich.text import Text  # noqa: PLC0415 - a picture is drawn already

        working = set() if self._ended else self._steps_shown[-1][0].parts
        shown = Text("\n")
        for line in _PICTURE:
            shown.append("  ")
            for part, words in line:
                style = (
                    "dim" if not part else "bold black on cyan" if part in working else "reverse"
                )
                shown.append(words, style)
            shown.append("\n")
        shown.append("\n")
        for number, (step, facts) in enumerate(self._steps_shown, 1):
            done = self._ended or number < len(self._steps_shown)
            shown.append("✔ " if done else "▸ ", "green" if done else "bold cyan")
            shown.append(f"{step.title}\n", "" if done else "bold")
            for fact in facts if self._ended or not done else facts[-1:]:
                shown.append(f"  {fact}\n", "dim")
        return shown


@contextmanager
def display_for(output: Output) -> Iterator[Lines | Picture]:
    """Give what shows the demonstration on this output."""
    if not output.terminal or output.json or output.quiet or not output.live:
        yield Lines(output)
        return
    from rich.live import Live  # noqa: PLC0415 - only a terminal needs it

    with Live(console=output.console(), auto_refresh=False, vertical_overflow="crop") as live:
        yield Picture(live)
