"""The options that choose certificates by a pattern or a property, shared by many commands.

What they are given is kept in the invocation; `selection_of` returns it with the command's words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import click

from certctl.cli.completion import conditions
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import SELECTION, SectionedOption
from certctl.model.errors import UsageError
from certctl.rules.selection import PROPERTIES, Selection, condition
from certctl.rules.settings import duration

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


ORDERS = ("name", "expires", "renews", "state", "ca")
"""What `list` can sort by, the default first."""


def selection_options(*, everything: bool = True) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds the options of a selection to a command; without `everything`
    all but `--all`.
    """

    def decorate(function: _Decorated) -> _Decorated:
        if everything:
            function = _option("--all", _all, is_flag=True, help="Choose all certificates.")(
                function
            )
        function = _option(
            "--expiring",
            _expiring,
            metavar="DURATION",
            help="Choose those that expire within this time, such as 30d or 12h.",
        )(function)
        function = _option(
            "--failing",
            _failing,
            is_flag=True,
            help="Choose those that fail: not renewed, not deployed, expired, revoked or damaged.",
        )(function)
        function = _option(
            "--where",
            _where,
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=conditions,
            help=f"Choose by {', '.join(PROPERTIES[:-1])} or {PROPERTIES[-1]}; VALUE may be a"
            " pattern. Can be repeated.",
        )(function)
        return _option(
            "--match",
            _match,
            multiple=True,
            metavar="GLOB",
            help="Choose those with a name that matches a pattern, such as '*.example.com'."
            " Can be repeated.",
        )(function)

    return decorate


def selection_of(invocation: Invocation, words: Sequence[str]) -> Selection:
    """Return what these words and the options of the invocation choose."""
    return replace(invocation.selection, words=tuple(dict.fromkeys(words)))


def _option(
    name: str, add: Callable[[Selection, Any], Selection], **attributes: Any
) -> Callable[[_Decorated], _Decorated]:
    def store(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value in (None, (), False):
            return
        invocation = context.find_root().ensure_object(Invocation)
        invocation.selection = add(invocation.selection, value)

    return click.option(
        name,
        cls=SectionedOption,
        common=False,
        section=SELECTION,
        callback=store,
        expose_value=False,
        **attributes,
    )


def _match(selection: Selection, patterns: Sequence[str]) -> Selection:
    if any(not each.strip() for each in patterns):
        raise UsageError(
            "a pattern is empty", hint="Give one such as '*.example.com'.", code="usage.pattern"
        )
    return replace(selection, patterns=tuple(patterns))


def _where(selection: Selection, texts: Sequence[str]) -> Selection:
    return replace(selection, where=tuple(condition(each) for each in texts))


def _failing(selection: Selection, failing: bool) -> Selection:
    return replace(selection, failing=failing)


def _all(selection: Selection, everything: bool) -> Selection:
    return replace(selection, everything=everything)


def _expiring(selection: Selection, text: str) -> Selection:
    seconds = None if text.strip().isdigit() else duration(text)  # 30 seconds, or 30 days?
    try:
        within = None if seconds is None else timedelta(seconds=seconds)
    except OverflowError:
        within = None
    if within is None:
        raise UsageError(
            f"invalid value for '--expiring': {text!r} is not a duration with a unit",
            hint="Give one such as 30d, 12h or 90m.",
            code="usage.duration",
        )
    return replace(selection, expiring=within)
