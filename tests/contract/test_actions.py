"""Each command has a declaration, which is light, and an action, which is loaded when called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import certctl
from certctl.cli.implementation import implementation
from certctl.cli.main import COMMANDS, group

ACTIONS = Path(certctl.__file__).parent / "cli" / "actions"


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yield each command that does something, with its words."""
    context = click.Context(group)
    for name in COMMANDS:
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from ((f"{name} {word}", each) for word, each in found.commands.items())
        else:
            yield name, found


DECLARED = {words: each for words, each in every_command() if words != "help"}


def target_of(command: click.Command) -> str:
    return str(getattr(command.callback, "target", "none"))


@pytest.mark.parametrize("words", DECLARED)
def test_the_action_of_a_command_takes_its_arguments(words: str) -> None:
    command = DECLARED[words]
    given = {each.name for each in command.params if each.expose_value}

    first, *others = inspect.signature(implementation(target_of(command))).parameters.values()

    assert first.name in {"invocation", "_invocation"}
    if all(each.kind is not each.VAR_KEYWORD for each in others):
        assert {each.name for each in others} == given
    else:
        assert {each.name for each in others if each.kind is not each.VAR_KEYWORD} <= given


def test_every_module_of_actions_is_that_of_a_command() -> None:
    modules = {target_of(each).partition(":")[0] for each in DECLARED.values()}

    assert modules == {
        f"certctl.cli.actions.{path.stem}" for path in ACTIONS.glob("*.py") if path.stem[0] != "_"
    }


def test_help_acts_on_the_declarations_themselves() -> None:
    assert target_of(dict(every_command())["help"]) == "none"
