"""`certctl completion`: a shell's completion script."""

from __future__ import annotations

import click

from certctl.cli.implementation import implemented_by
from certctl.cli.parameters import Command, examples


@click.command(
    "completion",
    cls=Command,
    epilog=examples(
        "certctl completion zsh > /usr/local/share/zsh/site-functions/_certctl",
        "certctl completion fish > ~/.config/fish/completions/certctl.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@implemented_by("certctl.cli.actions.completion:run")
def command() -> None:
    """Print the completion script of a shell.

    With it, Tab completes commands, options, and the names of certificates. For bash, put the
    line `eval "$(certctl completion bash)"` into ~/.bashrc. Packages of certctl install these
    scripts themselves.
    """
