"""The one way in which tests call certctl: in this process, or as a process of its own.

Both take the same arguments and give the same result, so that a test may be run either way. What a
command prints is captured; nothing here knows what it should have printed.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from certctl.cli.environment import Environment
from certctl.cli.main import group, run
from tests.support.streams import Terminal


@dataclass(frozen=True)
class Finished:
    """What a command came to."""

    exit_status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """The one document on standard output; fails where there is more, or something else."""
        return json.loads(self.stdout)


def certctl(
    *arguments: str,
    home: Path,
    stdin: str = "",
    variables: Mapping[str, str] | None = None,
    directory: Path | None = None,
    terminal: bool = False,
) -> Finished:
    """Run a command in this process; with `terminal`, its streams say that they are one."""
    kind = Terminal if terminal else io.StringIO
    stdout, stderr = kind(), kind()
    environment = Environment(
        stdin=kind(stdin),
        stdout=stdout,
        stderr=stderr,
        variables=_variables(home, variables),
        directory=directory or Path.cwd(),
        user_id=os.geteuid(),
    )
    # Click prints help and version to the streams of the process.
    with redirect_stdout(stdout), redirect_stderr(stderr):
        exit_status = run(arguments, environment)
    return Finished(exit_status, stdout.getvalue(), stderr.getvalue())


def certctl_process(
    *arguments: str,
    home: Path,
    stdin: str = "",
    variables: Mapping[str, str] | None = None,
    directory: Path | None = None,
    interpreter: Sequence[str] = (),
) -> Finished:
    """Run `python -m certctl` with these arguments; `interpreter`: options of Python itself."""
    done = subprocess.run(
        [sys.executable, *interpreter, "-m", "certctl", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=_variables(home, variables),
        cwd=directory,
        timeout=60,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def _variables(home: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "CERTCTL_HOME": str(home), **(more or {})}


def every_command(
    command: click.Command = group, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command and subcommand with all its options, and what one types to call it."""
    name = command.name if parent else ""
    context = click.Context(command, parent, info_name=name, **command.context_settings)
    command.get_params(context)  # those of plug-ins come when they are asked for
    yield context.command_path.strip(), command
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None, f"{each} is listed, and there is none"
            yield from every_command(found, context)
