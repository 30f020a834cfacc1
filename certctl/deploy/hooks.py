"""Hooks and reload commands: lists the deploy hooks of a certificate, runs one hook, and reports
its failure.

The order (all deploy hooks, then each distinct reload command once) is set in `operations`.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from threading import Event as StopEvent

from certctl.model.errors import HookFailed, Interrupted
from certctl.model.events import EventSink, HookFinished, HookStarted
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock, Tree
from certctl.model.spec import CertificateSpec
from certctl.model.text import escaped, output_lines
from certctl.system.commands import Obstacle, cause_of_status
from certctl.system.process import Completed
from certctl.system.process import run as run_process

SHOWN_LINES = 20
"""How many lines of a failed hook's output its error includes."""

_SHOWN_COLUMNS = 150
_SHOWN_COMMAND = 500


@dataclass(frozen=True)
class Hook:
    """What to run for an event: a shell command line, or an executable with its arguments."""

    event: str
    command: str | tuple[str, ...]

    @property
    def line(self) -> str:
        """The command as one would type it in a shell."""
        return self.command if isinstance(self.command, str) else shlex.join(self.command)


@dataclass(frozen=True)
class HookSystem:
    """What running a hook needs from the run: the clock, the event sink, the stop event.

    Without `stop`, a hook runs to its end even if the run is stopped (post hooks need this).
    """

    clock: Clock
    emit: EventSink
    stop: StopEvent | None = None


def deploy_hooks(spec: CertificateSpec, tree: Tree) -> tuple[Hook, ...]:
    """Return the hooks that run once for each version: `hooks/deploy.d` in byte order, then the
    spec's own.

    Raises `ConfigurationError` for executables that other users could have modified.
    """
    shared = tuple(Hook("deploy", (each,)) for each in tree.hooks("deploy"))
    own = spec.deploy.deploy_hook
    return (*shared, Hook("deploy", own)) if own else shared


def run_hook(
    hook: Hook,
    environment: Mapping[str, str],
    *,
    timeout: float,
    run: HookSystem,
    name: str = "",
) -> None:
    """Run a hook for at most `timeout` seconds; `name` is the name of its certificate, if any.

    Raises `HookFailed` with the end of its output if it did not exit with status 0 in time, and
    `Interrupted` if the run was stopped before or during the hook, which then counts as failed.
    """
    if run.stop is not None and run.stop.is_set():
        raise _interrupted(hook, name, "was not started")
    run.emit(HookStarted(name, run.clock.now(), hook.event, hook.line))
    completed = run_process(hook.command, environment=environment, timeout=timeout, stop=run.stop)
    run.emit(
        HookFinished(
            name,
            run.clock.now(),
            hook.event,
            hook.line,
            completed.exit_status,
            completed.seconds,
        )
    )
    if completed.stopped:
        raise _interrupted(hook, name, "was interrupted")
    if completed.timed_out or completed.exit_status != 0:
        cause = cause_of_status(hook.command, completed.exit_status, environment)
        why = f"\n  {cause.text}" if cause is not None else ""
        raise HookFailed(
            f"the {_kind(hook)} {_outcome(completed, timeout)}: {_shown(hook)}{why}"
            + _output(completed),
            hint=_hint(hook, name, completed, cause),
            name=name or None,
        )


def _interrupted(hook: Hook, name: str, what: str) -> Interrupted:
    return Interrupted(
        f"the {_kind(hook)} {what}: {_shown(hook)}",
        hint=_how_to_retry(hook, name),
        name=name or None,
    )


def _shown(hook: Hook) -> str:
    return escaped(hook.line, _SHOWN_COMMAND)


def _kind(hook: Hook) -> str:
    return f"{hook.event} hook" if hook.event in {"pre", "deploy", "post"} else hook.event


def _outcome(completed: Completed, timeout: float) -> str:
    if completed.timed_out:
        return f"took longer than {timeout:g} s and was terminated"
    if completed.exit_status < 0:
        return f"was terminated by {_signal_name(-completed.exit_status)}"
    return f"failed with exit status {completed.exit_status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _output(completed: Completed) -> str:
    lines = output_lines(completed.output, most=SHOWN_LINES, longest=_SHOWN_COLUMNS)
    return "".join(f"\n  {line}" for line in lines or ["(no output)"])


def _hint(hook: Hook, name: str, completed: Completed, cause: Obstacle | None) -> str:
    retry = _how_to_retry(hook, name)
    if completed.timed_out:
        return f"If it needs more time, increase --hook-timeout. {retry}"
    return retry if cause is None else f"{cause.fix} {retry}"


def _how_to_retry(hook: Hook, name: str) -> str:
    if hook.event in {"pre", "post"}:
        return "Correct the hook, then run it again: certctl renew"
    return f"Run it again: certctl deploy {name or '--pending'}"
