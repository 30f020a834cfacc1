"""Runs the user's command after a failed run (`on_failure_hook`); data is passed in its environment
only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from certctl.alerts.loading import AlertSystem
from certctl.alerts.messages import body, truncated
from certctl.model.errors import AlertFailed
from certctl.model.events import HookFinished, HookStarted
from certctl.model.ports import Alert
from certctl.model.run import RunSummary
from certctl.model.text import escaped, output_lines
from certctl.rules.settings import Settings
from certctl.system.commands import cause_of_status
from certctl.system.process import run

EVENT = "failure"
_SHOWN_LINES = 20
_SHOWN_COLUMNS = 300


def create(settings: Settings, system: AlertSystem) -> Alert:
    """Return the alert; `deploy.hook_timeout` is its time limit, too."""
    timeout = settings.seconds("deploy.hook_timeout")
    return FailureHook(settings.required_text("on_failure_hook"), timeout, system)


def variables(summary: RunSummary) -> dict[str, str]:
    """Return the command's environment variables. Lists are separated by spaces and have no
    duplicates; `CERTCTL_FAILURES` is JSON. All are limited in size; too long a JSON list is
    shortened by entries.
    """
    names = dict.fromkeys(each.name for each in summary.failures if each.name)
    codes = dict.fromkeys(each.code for each in summary.failures)
    return {
        "CERTCTL_EVENT": EVENT,
        "CERTCTL_EXIT_STATUS": str(summary.exit_status),
        "CERTCTL_FAILED_CERTS": truncated(" ".join(names)),
        "CERTCTL_ERROR_CODES": " ".join(codes),
        "CERTCTL_MESSAGE": body(summary),
        "CERTCTL_FAILURES": _as_json(summary),
    }


class FailureHook:
    """Implements `certctl.model.ports.Alert`."""

    def __init__(self, command: str, timeout: float, system: AlertSystem) -> None:
        self._command = command
        self._timeout = timeout
        self._system = system

    def failed(self, summary: RunSummary) -> bool:
        problem = self._run(variables(summary))
        if problem is not None:
            raise AlertFailed(problem)
        return True

    def succeeded(self, summary: RunSummary) -> None:
        pass

    def _run(self, environment: Mapping[str, str]) -> str | None:
        """Run the command; return why it failed, or None if it succeeded."""
        system = self._system
        system.emit(HookStarted("", system.clock.now(), EVENT, self._command))
        done = run(self._command, environment=environment, timeout=self._timeout, stop=system.stop)
        system.emit(
            HookFinished(
                *("", system.clock.now(), EVENT, self._command),
                exit_status=done.exit_status,
                seconds=done.seconds,
            )
        )
        if done.exit_status == 0 and not done.timed_out:
            return None
        outcome = (
            f"took longer than {self._timeout:g} s"
            if done.timed_out
            else f"failed with exit status {done.exit_status}"
        )
        cause = cause_of_status(self._command, done.exit_status, environment)
        if cause is not None:
            outcome = f"{outcome} ({cause.text})"
        output = " ".join(output_lines(done.output, most=_SHOWN_LINES, longest=_SHOWN_COLUMNS))[
            -_SHOWN_COLUMNS:
        ]
        return f"the on_failure_hook {outcome}: {escaped(self._command)}" + (
            f" ({output})" if output else ""
        )


def _as_json(summary: RunSummary) -> str:
    failures = [asdict(each) for each in summary.failures]
    while failures:
        text = json.dumps(failures)
        if truncated(text) == text:
            return text
        del failures[len(failures) // 2 :]
    return "[]"
