"""Runs hooks that place and remove answers to challenges, one call at a time, as their protocol has
it. A call is judged by its exit status, and explained where it failed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from certctl.errors import ChallengeError, Interrupted
from certctl.hook_protocols import HookAction, HookAnswer, HookCall, HookProtocol, hook_calls
from certctl.system import process

_SHOWN_CHARACTERS = 2000


@dataclass(frozen=True)
class HookSettings:
    """What all calls have in common: what the hook is in errors (`the DNS hook`), their code, what
    to try by hand, and how many seconds each call may take.
    """

    what: str
    code: str
    hint: str
    timeout: float


class AnswerHooks:
    """Runs `hook` for answers; `cleanup_hook` removes them where it is given."""

    def __init__(
        self,
        hook: str,
        cleanup_hook: str | None,
        protocol: HookProtocol,
        manner: HookSettings,
        stop: threading.Event,
    ) -> None:
        self._hook = hook
        self._cleanup_hook = cleanup_hook
        self._protocol = protocol
        self._manner = manner
        self._stop = stop
        # Such commands often edit one zone file: one at a time, as other clients call them.
        self._one_at_a_time = threading.Lock()
        self._printed: dict[tuple[str, str, str], str] = {}

    def present(self, answers: Sequence[HookAnswer]) -> None:
        """Run the hook for the answers, in order. Raises `ChallengeError` at the first failure, and
        `Interrupted`.
        """
        for call in hook_calls(self._protocol, HookAction.PRESENT, answers):
            with self._one_at_a_time:
                printed = self._run(HookAction.PRESENT, call, answers, self._stop)
                for position in call.positions:
                    self._printed[_key(answers[position])] = printed

    def cleanup(self, answers: Sequence[HookAnswer]) -> None:
        """Run the hook for the answers, whatever becomes of each; raises the first failure.

        An interrupted run cleans up too, so that only the time limit ends these calls.
        """
        if self._protocol is HookProtocol.CERTBOT and self._cleanup_hook is None:
            return  # as with certbot: the hook only places answers, and was never asked to remove
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
        """Return what the command printed on standard output."""
        first = answers[call.positions[0]]
        environment = dict(call.environment)
        if action is HookAction.CLEANUP:
            printed = [self._printed.pop(_key(answers[each]), "") for each in call.positions]
            environment["CERTBOT_AUTH_OUTPUT"] = printed[0].strip()
        completed = process.run(
            self._command(action, call),
            environment=environment,
            arguments=call.arguments,
            timeout=self._manner.timeout,
            stop=stop,
            separate_stdout=True,
        )
        if completed.stopped:
            raise Interrupted(f"{self._manner.what} was stopped while it worked on {first.subject}")
        if completed.exit_status == 0 and not completed.timed_out:
            return completed.printed
        raise self._failed(f"{action} {first.subject}", completed)

    def _command(self, action: HookAction, call: HookCall) -> str:
        command = self._hook
        if action is HookAction.CLEANUP and self._cleanup_hook is not None:
            command = self._cleanup_hook
        # The arguments go to the last command of the line.
        return command.rstrip("; \t") + ' "$@"' if call.arguments else command

    def _failed(self, doing: str, completed: process.Completed) -> ChallengeError:
        manner = self._manner
        how = (
            f"was ended after {completed.seconds:.0f} s, its time limit"
            if completed.timed_out
            else f"failed with exit status {completed.exit_status}"
        )
        said = completed.output.strip()[-_SHOWN_CHARACTERS:]
        longer = " (or give it longer: --hook-timeout)." if completed.timed_out else "."
        return ChallengeError(
            f"{manner.what} ({doing}) {how}"
            + (f"; it said: {said}" if said else " and said nothing"),
            hint=manner.hint + longer,
            code=manner.code,
        )


def _key(answer: HookAnswer) -> tuple[str, str, str]:
    return answer.domain, answer.record, answer.value
