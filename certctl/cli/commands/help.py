"""`certctl help`: the help of certctl or of a command, as `--help` prints it."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from certctl.cli.parameters import Command, examples, help_of_command, no_such_command
from certctl.model.errors import UsageError
from certctl.output.document import Result


def _subcommands(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the commands that begin like this, after those that the command line has already."""
    words = context.params.get(parameter.name or "") or ()
    try:
        command, found = _command(context.find_root(), words)
    except UsageError:
        return []
    return command.shell_complete(found, incomplete) if isinstance(command, click.Group) else []


@click.command(
    "help",
    cls=Command,
    epilog=examples(
        "certctl help",
        "certctl help issue",
        "certctl help account show",
    ),
)
@click.argument("words", nargs=-1, metavar="[COMMAND...]", shell_complete=_subcommands)
@click.pass_context
def command(context: click.Context, words: Sequence[str]) -> Result:
    """Show the help of certctl, or of a command, as its --help does."""
    found, own = _command(context.find_root(), words)
    text = help_of_command(found, own)
    return Result({"command": " ".join(words), "text": text}, [text])


def _command(root: click.Context, words: Sequence[str]) -> tuple[click.Command, click.Context]:
    """Return the command of these words and a context for it. Raises `UsageError`."""
    command, context = root.command, root
    for word in words:
        if not isinstance(command, click.Group):
            raise UsageError(
                f"{context.command_path} has no subcommands", hint=f"{context.command_path} --help"
            )
        found = command.get_command(context, word)
        if found is None:
            raise no_such_command(word, command.list_commands(context), context.command_path)
        command, context = found, click.Context(found, context, info_name=word)
    return command, context
