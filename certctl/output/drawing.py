"""The console of rich, which a live display needs. Loaded once there is something to draw."""

from __future__ import annotations

from typing import Literal, TextIO

from rich.console import Console


def console_on(stream: TextIO, *, coloured: bool) -> Console:
    """Return rich's console on a stream."""
    colour: Literal["auto"] | None = "auto" if coloured else None
    return Console(file=stream, color_system=colour, highlight=False)
