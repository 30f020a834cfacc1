"""Hooks and reloads: which there are for an event, and how one is run and its failure told.

The order of things (all deploy hooks, then each distinct reload once) belongs to operations.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event as StopEvent

from certctl.errors import HookFailed, Interrupted
from certctl.events import EventSink, HookFinished, HookStarted
from certctl.models import CertificateSpec
from certctl.ports import Clock, Tree
from certctl.system.process import WORKING_DIRECTORY, Completed
from certctl.system.process import run as run_process

SHOWN_LINES = 20
"""Lines of a failed hook's output that its error has."""

_SHOWN_COLUMNS = 200
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class Hook:
    """What to run at an event: a shell command line, or an executable with its arguments."""

    event: str
    command: str | tuple[str, ...]

    @property
    def line(self) -> str:
        """The command as a person would type it into a shell."""
        return self.command if isinstance(self.command, str) else shlex.join(self.command)


@dataclass(frozen=True)
class HookSystem:
    """What running a hook needs of the run: time for its events, where they go, the stop event.

    Without `stop`, a hook that must follow another comes to its end though the run was stopped.
    """

    clock: Clock
    emit: EventSink
    stop: StopEvent | None = None


def deploy_hooks(spec: CertificateSpec, tree: Tree) -> tuple[Hook, ...]:
    """Return what runs once for each version: `hooks/deploy.d` in byte order, then the spec's own.

    Raises `ConfigurationError` for executables that others could have changed.
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
    """Run a hook to its end, `timeout` seconds at most; `name` is its certificate's, if it has one.

    Raises `HookFailed` with the end of its output where it did not end with status 0 in time, and
    `Interrupted` where the run was stopped before or meanwhile: it is then owed like one that
    failed.
    """
    if run.stop is not None and run.stop.is_set():
        raise _cut_off(hook, name, "was not begun")
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
        raise _cut_off(hook, name, "was cut off")
    if completed.timed_out or completed.exit_status != 0:
        raise HookFailed(
            f"the {_kind(hook)} {_ending(completed, timeout)}: {hook.line}{_shown(completed)}",
            hint=_hint(hook, name, completed),
            name=name or None,
        )


def _cut_off(hook: Hook, name: str, what: str) -> Interrupted:
    return Interrupted(
        f"the {_kind(hook)} {what}: {hook.line}", hint=_again(hook, name), name=name or None
    )


def _kind(hook: Hook) -> str:
    return f"{hook.event} hook" if hook.event in {"pre", "deploy", "post"} else hook.event


def _ending(completed: Completed, timeout: float) -> str:
    if completed.timed_out:
        return f"took longer than {timeout:g} s and was ended"
    if completed.exit_status < 0:
        return f"was ended by {_signal_name(-completed.exit_status)}"
    return f"ended with exit status {completed.exit_status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shown(completed: Completed) -> str:
    lines = [_printable(line) for line in completed.output.splitlines() if line.strip()]
    if not lines:
        return "\n  (it printed nothing)"
    left_out = ["..."] if len(lines) > SHOWN_LINES else []
    return "".join(f"\n  {line}" for line in [*left_out, *lines[-SHOWN_LINES:]])


def _printable(line: str) -> str:
    """Return a line of output that cannot steer a terminal."""
    plain = _ESCAPE_SEQUENCE.sub("", line.expandtabs()).rstrip()
    safe = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in plain)
    return safe if len(safe) <= _SHOWN_COLUMNS else f"{safe[:_SHOWN_COLUMNS]}..."


def _hint(hook: Hook, name: str, completed: Completed) -> str:
    again = _again(hook, name)
    if completed.timed_out:
        return f"If it needs more time, give it with --hook-timeout. {again}"
    if completed.exit_status == 126:
        return f"Is it executable (chmod +x)? {again}"
    if completed.exit_status == 127:
        return f"Give the whole path: hooks start in {WORKING_DIRECTORY}, as under cron. {again}"
    return again


def _again(hook: Hook, name: str) -> str:
    if hook.event in {"pre", "post"}:
        return "Put it right, then run it again: certctl renew"
    return f"Run it again: certctl deploy {name or '--pending'}"
