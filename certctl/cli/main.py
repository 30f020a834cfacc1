"""The command line: finds the command, runs it, prints its result, and returns the exit status.

Commands are imported when they are called, so that `--help` and `--version` start fast. One
handler prints every error. A traceback is a bug; `--debug` shows it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from certctl.cli.environment import Environment, of_this_process
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Group, common_parameters
from certctl.model.errors import (
    CertctlError,
    Declined,
    ExitStatus,
    Interrupted,
    UsageError,
    unexpected,
)
from certctl.output.console import PrintableStream, terminal_text
from certctl.output.document import Result
from certctl.rules.paths import is_utf8, shown_bytes
from certctl.version import VERSION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = MappingProxyType(
    {
        "issue": "Obtain a certificate for these names, and deploy it.",
        "secure": "Serve these names over HTTPS from the web server that runs here.",
        "renew": "Renew certificates that are due, and retry pending deployments.",
        "plan": "Show what apply, or the next renew, would do.",
        "apply": "Make all certificates as a file says.",
        "list": "List certificates and their state.",
        "show": "Show everything about certificates.",
        "explain": "Explain when and why certificates are renewed.",
        "edit": "Change the names or options of certificates, and reissue them.",
        "schema": "Print the JSON Schema of the files of plan and apply.",
        "revoke": "Revoke certificates.",
        "deploy": "Deploy the live version of certificates again.",
        "export": "Export a certificate in another format.",
        "snippet": "Print what to paste into a web server's configuration.",
        "verify": "Check that the right certificates are being served.",
        "import": "Take certificates over from certbot, acme.sh and others.",
        "schedule": "Run renew every hour, with systemd or cron.",
        "check": "Check certificates and services, for Nagios-like monitoring.",
        "report": "Write a page about all certificates that a browser opens.",
        "metrics": "Print metrics for Prometheus, or write them to a file.",
        "doctor": "Find problems that would make an issuance or a renewal fail.",
        "dns": "Test DNS providers, and create persistent and CAA records.",
        "rollback": "Make an older version of a certificate live again.",
        "delete": "Delete certificates and their files.",
        "register": "Register an account with a CA, or find an existing one.",
        "account": "Show, update, deactivate or forget accounts, and roll over keys.",
        "demo": "Watch certctl issue, deploy, renew and revoke certificates.",
        "dev-ca": "Run an ACME CA for development, or have this machine trust it.",
        "completion": "Print the completion script of a shell.",
        "help": "Show the help of certctl, or of a command.",
    }
)
"""Every command with its summary for `--help`; each is a module of `certctl.cli.commands`."""


_SUGGESTION = re.compile(r"(.*?) \(?Did you mean (.*?)\)?", re.DOTALL)
"""Click's messages that suggest one option, or in parentheses several."""


class LazyGroup(Group):
    """The top-level command. It imports a subcommand when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - Click's signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"certctl.cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands or options that start with `incomplete`; imports no command."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for a shell only

        commands = [
            CompletionItem(name, help=summary)
            for name, summary in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - Click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


_EPILOG = """\b
Examples:
  certctl secure example.com www.example.com
  certctl issue example.com --webroot /var/www/html --deploy apache
  certctl issue '*.example.com' --dns rfc2136 --rfc2136-server 192.0.2.53
  certctl renew
  certctl help issue
"""


@click.group(
    cls=LazyGroup,
    name="certctl",
    epilog=_EPILOG,
    params=common_parameters(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, prog_name="certctl", message="%(prog)s %(version)s")
def group() -> None:
    """Obtain, renew and deploy TLS certificates from an ACME CA such as Let's Encrypt."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that this process was called with, and return its exit status."""
    # Warnings of these libraries are for programmers; what they mean for a user is in our errors.
    warnings.filterwarnings("ignore", module=r"(urllib3|requests)(\.|\Z)")
    return run(sys.argv[1:] if arguments is None else arguments, of_this_process())


def run(arguments: Sequence[str], environment: Environment) -> int:
    """Run a command in an environment and return its exit status; raises nothing."""
    invocation = Invocation(
        environment,
        arguments=tuple(arguments),
        json="--json" in arguments,
        json_lines="--json-lines" in arguments,
    )
    try:
        result = _call(arguments, invocation)
        if result is None:
            environment.stdout.flush()
            return int(ExitStatus.DONE)
        invocation.output.finish(invocation.command, result)
        return int(result.exit_status)
    except BrokenPipeError:
        return _output_failed(None, environment)
    except OSError as error:
        return _output_failed(error, environment)


def _output_failed(error: OSError | None, environment: Environment) -> int:
    """Return the exit status of a command whose output could not be written; `error` is None if
    the reader closed the pipe.
    """
    with suppress(OSError):
        if error is not None:
            environment.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
            environment.stderr.flush()
    _discard_buffered_output(environment)
    return int(ExitStatus.FAILED)


def _discard_buffered_output(environment: Environment) -> None:
    """Prevent a second failure when the interpreter flushes standard output at exit."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, environment.stdout.fileno())
        os.close(null)


def _call(arguments: Sequence[str], invocation: Invocation) -> Result | None:
    """Return the command's result, also if it fails; None if it printed its output itself."""
    try:
        _require_text(arguments)
        returned: Any = group.main(
            list(arguments), prog_name="certctl", standalone_mode=False, obj=invocation
        )
    except click.exceptions.NoArgsIsHelpError as error:
        invocation.environment.stderr.write(f"{terminal_text(error.format_message())}\n")
        return Result(exit_status=ExitStatus.USAGE)
    except click.ClickException as error:
        return _failed(_translated(error, invocation), invocation)
    except Declined:
        return Result(lines=["Nothing was changed."])
    except CertctlError as error:
        return _failed(error, invocation)
    except (KeyboardInterrupt, click.Abort):
        return _failed(Interrupted("stopped"), invocation)
    except OSError as error:
        if not invocation.command:  # help or version, which Click prints itself
            raise
        return _failed(unexpected(error), invocation)
    except Exception as error:  # noqa: BLE001 - the one handler at the top
        return _failed(unexpected(error), invocation)
    return returned if isinstance(returned, Result) else None


def _require_text(arguments: Sequence[str]) -> None:
    """Raise `UsageError` if an argument is not UTF-8: it could not be saved in any file."""
    for each in arguments:
        if not is_utf8(each):
            raise UsageError(
                f"the argument {shown_bytes(each)} is not valid UTF-8",
                hint="Rename the file, or correct the encoding of the terminal or script.",
                code="usage.encoding",
            )


def _failed(error: CertctlError, invocation: Invocation) -> Result:
    if invocation.debug:
        import traceback  # noqa: PLC0415 - slow to import, and only for a bug

        stream = PrintableStream(invocation.environment.stderr)
        stream.write("".join(traceback.format_exception(error)))
    return invocation.failed(error)


def _commands_with(option: str) -> list[str]:
    """Return the commands that have an option."""
    context = click.Context(group)
    found = ((name, group.get_command(context, name)) for name in COMMANDS)
    return [
        f"certctl {name}"
        for name, command in found
        if command is not None and any(option in each.opts for each in command.params)
    ]


def _translated(error: click.ClickException, invocation: Invocation) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "certctl"
    invocation.command = path.partition(" ")[2]
    if isinstance(error, click.NoSuchOption):
        from certctl.rules.certbot_words import answer_for_flag  # noqa: PLC0415 - for a mistake

        if (answer := answer_for_flag(error.option_name)) is not None:
            return answer
    message = " ".join(error.format_message().split())  # of one line each
    found = _SUGGESTION.fullmatch(message)
    if found is not None:
        message = found[1]
    message = message.rstrip(".").replace("is not a valid integer range", "is not a whole number")
    hint = f"Did you mean {found[2]}" if found is not None else f"{path} --help"
    if isinstance(error, click.NoSuchOption) and (others := _commands_with(error.option_name)):
        hint = f"It is an option of {', '.join(others)}."
    return UsageError(message[:1].lower() + message[1:], hint=hint)
