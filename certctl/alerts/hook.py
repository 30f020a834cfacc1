"""A command of the user's that is run when a run failed (`on_failure_hook`); facts reach it by
environment only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from certctl.alerts.loading import AlertSystem
from certctl.alerts.messages import body, cut
from certctl.errors import AlertFailed
from certctl.events import HookFinished, HookStarted
from certctl.models import RunSummary
from certctl.ports import Alert
from certctl.settings import Settings
from certctl.system.process import run

EVENT = "failure"
_SHOWN = 300


def create(settings: Settings, system: AlertSystem) -> Alert:
    """Return the alert; it takes as long as any hook may."""
    timeout = settings.seconds("deploy.hook_timeout")
    return FailureHook(settings.required_text("on_failure_hook"), timeout, system)


def variables(summary: RunSummary) -> dict[str, str]:
    """Return what the command is told. Lists are separated by spaces, each entry once;
    `CERTCTL_FAILURES` is JSON. Each is bounded; JSON that would be cut has fewer entries.
    """
    names = dict.fromkeys(each.name for each in summary.failures if each.name)
    codes = dict.fromkeys(each.code for each in summary.failures)
    return {
        "CERTCTL_EVENT": EVENT,
        "CERTCTL_EXIT_STATUS": str(summary.exit_status),
        "CERTCTL_FAILED_CERTS": cut(" ".join(names)),
        "CERTCTL_ERROR_CODES": " ".join(codes),
        "CERTCTL_MESSAGE": body(summary),
        "CERTCTL_FAILURES": _as_json(summary),
    }


class FailureHook:
    """Implements `certctl.ports.Alert`."""

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
        """Return why the command failed; None where it did not."""
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
        ending = (
            f"took longer than {self._timeout:g} s"
            if done.timed_out
            else f"ended with exit status {done.exit_status}"
        )
        said = " ".join(each for each in done.output.split() if each.isprintable())[-_SHOWN:]
        return f"the on_failure_hook {ending}: {self._command}" + (f" ({said})" if said else "")


def _as_json(summary: RunSummary) -> str:
    failures = [asdict(each) for each in summary.failures]
    while failures:
        text = json.dumps(failures)
        if cut(text) == text:
            return text
        del failures[len(failures) // 2 :]
    return "[]"
