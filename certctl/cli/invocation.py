"""One call of certctl: what Click collected from the command line, and the person at the terminal.

The Click layer ends here; `certctl.cli.session` turns an invocation into a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from certctl.cli.environment import Environment
from certctl.errors import CertctlError
from certctl.models import Value
from certctl.output.console import Output
from certctl.output.document import Result


def failed(error: CertctlError) -> Result:
    """Return what a command comes to that ended with an error."""
    return Result(errors=(error,), exit_status=error.exit_status)


@dataclass
class Invocation:
    """What Click collects while it parses; commands read it and open a run.

    `failed` makes the result of an error; a command whose callers expect other words replaces it.
    """

    environment: Environment
    command: str = ""
    home: str | None = None
    json: bool = False
    json_lines: bool = False
    quiet: bool = False
    verbose: int = 0
    debug: bool = False
    yes: bool = False
    flags: dict[str, Value] = field(default_factory=dict)
    failed: Callable[[CertctlError], Result] = failed

    @property
    def output(self) -> Output:
        """Return the streams as the flags want them."""
        environment = self.environment
        return Output(
            environment.stdout,
            environment.stderr,
            environment.variables,
            json=self.json,
            json_lines=self.json_lines,
            quiet=self.quiet,
            verbosity=self.verbose,
        )

    @property
    def interactive(self) -> bool:
        """Whether a person at a terminal can be asked."""
        return self.environment.stdin.isatty() and not (self.json or self.json_lines)

    def ask(self, question: str) -> bool | None:
        """Put a question to the person at the terminal; None where there is nobody."""
        if not self.interactive:
            return None
        stderr = self.environment.stderr
        while True:
            stderr.write(f"{question} [y/N] ")
            stderr.flush()
            answer = self.environment.stdin.readline().strip().lower()
            if answer in {"y", "yes"}:
                return True
            if answer in {"", "n", "no"}:
                return False

    def instruct(self, instruction: str) -> bool:
        """Show the person at the terminal what to do, and wait until they press Enter; False where
        there is nobody.
        """
        if not self.interactive:
            return False
        stderr = self.environment.stderr
        stderr.write(f"\n{instruction}\nPress Enter when it is done: ")
        stderr.flush()
        return bool(self.environment.stdin.readline())

    def confirm(self, question: str) -> bool | None:
        """Return whether `--yes` or the person at the terminal agrees; None where nobody can."""
        return True if self.yes else self.ask(question)
