"""Shows the demo as a live diagram on a terminal, and as plain lines elsewhere.

A step has a title, observations, and the parts of the diagram that are active.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.live import Live
from rich.text import Text

from certctl.output.console import Output, terminal_text
from certctl.output.drawing import console_on

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_MINIMUM_SECONDS = 0.25
"""How long a step stays on a terminal after its last observation, at least."""

_DIAGRAM = (
    (("visitor", " visitors "), ("", " ── TLS ──▶ "), ("proxy", " proxy "),
     ("", " ── HTTP ──▶ "), ("application", " application ")),
    (("", "                          ▲"),),
    (("", "                          │ certificate, key, reload"),),
    (("", "                    "), ("certctl", "   certctl   "), ("", " ◀── ACME ──▶ "),
     ("ca", "  CA  ")),
)  # fmt: skip


class DemoStep(Protocol):
    """What is shown of a step."""

    @property
    def title(self) -> str:
        """The title, on one line."""
        ...

    @property
    def parts(self) -> AbstractSet[str]:
        """The parts of the diagram that are active."""
        ...


class Lines:
    """Prints the steps as lines on standard output, as they happen."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._steps = 0

    def begin(self, step: DemoStep) -> None:
        """Print the step's title."""
        self._steps += 1
        self._print(f"{self._steps}. {step.title}")

    def report(self, observation: str) -> None:
        """Print an observation below its step."""
        self._print(f"   {observation}")

    def end(self) -> None:
        """Do nothing: everything has been printed."""

    def _print(self, text: str) -> None:
        if not (self._output.quiet or self._output.json):
            self._output.stdout.write(f"{terminal_text(text)}\n")
            self._output.stdout.flush()


class Diagram:
    """The diagram with the steps below it, redrawn in place; the final state stays visible."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._steps_shown: list[tuple[DemoStep, list[str]]] = []
        self._ended = False

    def begin(self, step: DemoStep) -> None:
        """Show that a step begins."""
        if self._steps_shown:
            time.sleep(_MINIMUM_SECONDS)
        self._steps_shown.append((step, []))
        self._draw()

    def report(self, observation: str) -> None:
        """Show an observation below its step."""
        self._steps_shown[-1][1].append(observation)
        self._draw()

    def end(self) -> None:
        """Show that the last step has ended."""
        time.sleep(_MINIMUM_SECONDS)
        self._ended = True
        self._draw()

    def _draw(self) -> None:
        self._live.update(self._rendered(), refresh=True)

    def _rendered(self) -> RenderableType:
        active = set() if self._ended else self._steps_shown[-1][0].parts
        picture = Text("\n")
        for line in _DIAGRAM:
            picture.append("  ")
            for part, words in line:
                style = "dim" if not part else "bold black on cyan" if part in active else "reverse"
                picture.append(words, style)
            picture.append("\n")
        picture.append("\n")
        for number, (step, observations) in enumerate(self._steps_shown, 1):
            done = self._ended or number < len(self._steps_shown)
            picture.append("✔ " if done else "▸ ", "green" if done else "bold cyan")
            picture.append(f"{step.title}\n", "" if done else "bold")
            for observation in observations if self._ended or not done else observations[-1:]:
                picture.append(f"  {observation}\n", "dim")
        return picture


@contextmanager
def display_for(output: Output) -> Iterator[Lines | Diagram]:
    """Yield the display for this output."""
    if not output.terminal or output.json or output.quiet or not output.live:
        yield Lines(output)
        return
    with Live(
        console=console_on(output.stdout, coloured=output.colour(output.stdout)),
        auto_refresh=False,
        vertical_overflow="crop",
    ) as live:
        yield Diagram(live)
