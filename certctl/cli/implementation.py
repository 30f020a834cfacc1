"""The seam between what can be typed and what is then done.

A module of `cli.commands` declares a command: its arguments, options and help. The function that
does it is in a module of `cli.actions`, which is loaded when the command is called, with all that
it needs. So `--help`, completion and errors of usage load nothing else, and the modules below the
seam import what they use at their top.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import click

from certctl.cli.invocation import Invocation


def implemented_by(
    target: str, *, first: str | None = None
) -> Callable[[Callable[[], None]], Callable[..., Any]]:
    """Return a decorator for the declaration of a command, whose name and help are those of the
    decorated function. `target` is the function that is called, as MODULE:FUNCTION; it is passed
    the invocation and the command's arguments by their names. So is the function `first`, before
    the module of `target` is imported: it opens a connection that the command needs, which is
    closed in the end.
    """

    def decorate(declared: Callable[[], None]) -> Callable[..., Any]:
        @functools.wraps(declared)
        def call(**given: Any) -> Any:
            invocation = click.get_current_context().find_object(Invocation)
            opened = implementation(first)(invocation, **given) if first is not None else None
            try:
                return implementation(target)(invocation, **given)
            finally:
                if opened is not None:
                    opened.close()

        call.target = target  # type: ignore[attr-defined]  # for the test of all targets
        return call

    return decorate


def implementation(target: str) -> Callable[..., Any]:
    """Import the module of a target, and return its function."""
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
