"""One invocation of certctl: the options that Click parsed, and questions to the user.

The Click layer ends here; `certctl.cli.session` turns an invocation into a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from certctl.cli.environment import Environment
from certctl.model.ca import OpenedConnection
from certctl.model.errors import CertctlError
from certctl.model.events import EventSink
from certctl.model.values import Value
from certctl.output.console import Output, terminal_text, wrapped
from certctl.output.document import Result
from certctl.rules.selection import Selection


def failed(error: CertctlError) -> Result:
    """Return the result of a command that ended with an error."""
    return Result(errors=(error,), exit_status=error.exit_status)


@dataclass
class Invocation:
    """Filled by Click while it parses; commands read it and open a run.

    `arguments` are those of the process before they were parsed. `failed` returns the result for an
    error; a command whose callers expect another format replaces it. `warns` says whether to print
    a warning, None to print all. `opened` is a connection to the CA that the command will need, if
    it is known. `sinks` get the events of the run too.
    """

    environment: Environment
    command: str = ""
    arguments: tuple[str, ...] = ()
    home: str | None = None
    json: bool = False
    json_lines: bool = False
    quiet: bool = False
    verbose: int = 0
    debug: bool = False
    yes: bool = False
    flags: dict[str, Value] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    failed: Callable[[CertctlError], Result] = failed
    warns: Callable[[str], bool] | None = None
    opened: OpenedConnection | None = None
    sinks: tuple[EventSink, ...] = ()

    @property
    def output(self) -> Output:
        """The output streams, configured by the flags."""
        environment = self.environment
        return Output(
            environment.stdout,
            environment.stderr,
            environment.variables,
            json=self.json,
            json_lines=self.json_lines,
            quiet=self.quiet,
            verbosity=self.verbose,
            warns=self.warns,
        )

    @property
    def interactive(self) -> bool:
        """Whether questions can be asked: standard input is a terminal, and no JSON is printed."""
        return self.environment.stdin.isatty() and not (self.json or self.json_lines)

    def ask(self, question: str) -> bool | None:
        """Return the user's answer to a yes/no question; None if nobody can be asked."""
        if not self.interactive:
            return None
        stderr = self.environment.stderr
        while True:
            stderr.write(f"{self._wrapped(question)} [y/N] ")
            stderr.flush()
            answer = self.environment.stdin.readline().strip().lower()
            if answer in {"y", "yes"}:
                return True
            if answer in {"", "n", "no"}:
                return False
            question = "Please answer y or n."

    def instruct(self, instruction: str) -> bool:
        """Show the user what to do, and wait for Enter. Return False if nobody can be asked."""
        if not self.interactive:
            return False
        stderr = self.environment.stderr
        stderr.write(f"\n{terminal_text(instruction)}\nPress Enter when it is done: ")
        stderr.flush()
        return bool(self.environment.stdin.readline())

    def _wrapped(self, text: str) -> str:
        """Return a question as standard error shows it."""
        shown = terminal_text(text)
        terminal = self.environment.stderr.isatty()
        return wrapped(shown, self.output.width) if terminal else shown

    def confirm(self, question: str) -> bool | None:
        """Return whether `--yes` was given or the user agrees; None if nobody can be asked."""
        return True if self.yes else self.ask(question)
