"""Runs hooks that place and remove challenge responses, one call at a time, with the arguments and
variables of their protocol. A call succeeds if its exit status is 0.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from certctl.model.errors import ChallengeError, ConfigurationError, Interrupted
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import printable
from certctl.rules.cleanup import partly_placed
from certctl.rules.hook_protocols import HookAction, HookAnswer, HookCall, HookProtocol, hook_calls
from certctl.system import process
from certctl.system.commands import Obstacle, cause_of_status, obstacle

_SHOWN_CHARACTERS = 2000
_NEVER_RAN = (126, 127)
"""The shell's exit statuses for a command that cannot be run, or is not found."""


@dataclass(frozen=True)
class HookSettings:
    """What all calls have in common: the hook's name in errors (`the DNS hook`), the errors' code
    and hint, the time limit of each call in seconds, and the flags that set the two commands.
    """

    description: str
    code: str
    hint: str
    timeout: float
    flags: tuple[str, str]


class AnswerHooks:
    """Runs `hook` to place responses and, without a `cleanup_hook`, also to remove them."""

    def __init__(
        self,
        hook: str,
        cleanup_hook: str | None,
        protocol: HookProtocol,
        settings: HookSettings,
        stop: threading.Event,
    ) -> None:
        self._hook = hook
        self._cleanup_hook = cleanup_hook
        self._protocol = protocol
        self._settings = settings
        self._stop = stop
        # Hooks often edit a single zone file, so run one at a time, as other clients do.
        self._one_at_a_time = threading.Lock()
        self._printed: dict[tuple[str, str, str], str] = {}

    def present(self, answers: Sequence[HookAnswer]) -> None:
        """Run the hook for the responses, in order. Raises `ChallengeError` at the first failure,
        and `Interrupted`.
        """
        calls = hook_calls(self._protocol, HookAction.PRESENT, answers)
        for index, call in enumerate(calls):
            with self._one_at_a_time, partly_placed(index > 0):
                printed = self._run(HookAction.PRESENT, call, answers, self._stop)
                for position in call.positions:
                    self._printed[_key(answers[position])] = printed

    def cleanup(self, answers: Sequence[HookAnswer]) -> None:
        """Run the hook for all responses, even after a failure; raises the first failure.

        Only the time limit ends these calls, since an interrupted run must clean up too.
        """
        if self._protocol is HookProtocol.CERTBOT and self._cleanup_hook is None:
            return  # as in certbot: without a cleanup hook, nothing is removed
        failures: list[ChallengeError] = []
        for call in hook_calls(self._protocol, HookAction.CLEANUP, answers):
            with self._one_at_a_time:
                try:
                    self._run(HookAction.CLEANUP, call, answers, None)
                except ChallengeError as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def _run(
        self,
        action: HookAction,
        call: HookCall,
        answers: Sequence[HookAnswer],
        stop: threading.Event | None,
    ) -> str:
        """Return the command's standard output."""
        first = answers[call.positions[0]]
        environment = dict(call.environment)
        if action is HookAction.CLEANUP:
            printed = [self._printed.pop(_key(answers[each]), "") for each in call.positions]
            environment["CERTBOT_AUTH_OUTPUT"] = printed[0].strip()
        completed = process.run(
            self._command(action, call),
            environment=environment,
            arguments=call.arguments,
            timeout=self._settings.timeout,
            stop=stop,
            separate_stdout=True,
        )
        if completed.stopped:
            raise Interrupted(
                f"{self._settings.description} was stopped while working on {first.subject}"
            )
        if completed.exit_status == 0 and not completed.timed_out:
            return completed.printed
        cause = cause_of_status(self._command(action, call), completed.exit_status, environment)
        raise self._failed(f"{action} {first.subject}", completed, cause)

    def require_runnable(self) -> None:
        """Raise `ConfigurationError` if a command cannot start, before anything depends on it."""
        flags = self._settings.flags
        for flag, command in zip(flags, (self._hook, self._cleanup_hook), strict=True):
            problem = None if command is None else obstacle(command)
            if problem is not None:
                raise ConfigurationError(
                    f"{self._settings.description} cannot be run: {problem.text}",
                    hint=f"{problem.fix} The command is set with {flag}.",
                    code=f"{self._settings.code}.cannot_run",
                )

    def _command(self, action: HookAction, call: HookCall) -> str:
        command = self._hook
        if action is HookAction.CLEANUP and self._cleanup_hook is not None:
            command = self._cleanup_hook
        # The arguments are passed to the last command of the line.
        return command.rstrip("; \t") + ' "$@"' if call.arguments else command

    def _failed(
        self, doing: str, completed: process.Completed, cause: Obstacle | None
    ) -> ChallengeError:
        settings = self._settings
        how = (
            f"was terminated after {completed.seconds:.0f} s, its time limit"
            if completed.timed_out
            else f"failed with exit status {completed.exit_status}"
        )
        if cause is not None:
            how = f"{how}: {cause.text}"
        output = printable(completed.output.strip()[-_SHOWN_CHARACTERS:], _SHOWN_CHARACTERS)
        longer = " Or set a longer limit with --hook-timeout." if completed.timed_out else ""
        failed = ChallengeError(
            f"{settings.description} ({doing}) {how}"
            + (f"; output: {output}" if output else " without output"),
            hint=f"{settings.hint}.{longer}" if cause is None else cause.fix,
            code=settings.code,
        )
        failed.nothing_placed = completed.exit_status in _NEVER_RAN and not completed.timed_out
        return failed


def _key(answer: HookAnswer) -> tuple[str, str, str]:
    return answer.domain, answer.record, answer.value
