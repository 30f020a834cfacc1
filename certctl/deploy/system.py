"""What a deploy target gets from the run that it works for: commands, and who reloads a service.

A target says which program and which arguments; time limits, clean environments, events and the
words of a failure are made here.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from certctl.deploy.hooks import Hook, HookSystem, run_hook
from certctl.errors import ConfigurationError, HookFailed
from certctl.models import CopySpec, Delivery, Value
from certctl.system.process import Completed, clean_environment
from certctl.system.process import run as run_process

SYSTEMD = Path("/run/systemd/system")
INIT_SCRIPTS = Path("/etc/init.d")

_QUICK = 20.0
"""Seconds for a command that only looks."""


def text(settings: Mapping[str, Value], key: str) -> str | None:
    """Return a text or a path among a target's settings; None where it was not given."""
    value = settings.get(key)
    return str(value) if value else None


class LiveFilesTarget:
    """What most targets are: they read the files in `live`, and want no copies of them."""

    def copies(self, delivery: Delivery) -> Sequence[CopySpec]:  # noqa: ARG002 - it wants none
        """Return nothing."""
        return ()


@dataclass(frozen=True)
class TargetSystem:
    """The run, and how many seconds one command of a target may take."""

    hooks: HookSystem
    timeout: float = 300

    def program(self, *names: str, given: str | None, flag: str | None = None) -> str:
        """Return the path of a program: the one `given`, or the first of `names` in PATH and in the
        sbin directories.

        Raises `ConfigurationError` (`deploy.target_missing`), which names `flag` as the way out.
        """
        path = clean_environment(os.environ)["PATH"]
        for name in [given] if given else names:
            found = shutil.which(name, path=path)
            if found is not None:
                return found
        way = "deploy with --reload COMMAND" if flag is None else f"say where it is: {flag} FILE"
        raise ConfigurationError(
            f"{given} is no program" if given else f"{names[0]} is not installed here",
            hint=f"Install it, or {way}",
            code="deploy.target_missing",
        )

    def file(self, path: str, flag: str) -> str:
        """Return the path of a file that must be there. Raises `ConfigurationError`
        (`deploy.target_missing`).
        """
        if Path(path).exists():
            return path
        raise ConfigurationError(
            f"there is no {path}",
            hint=f"Say where it is: {flag} FILE",
            code="deploy.target_missing",
        )

    def test(self, *command: str) -> None:
        """Run a test of a configuration. Raises `HookFailed` (`deploy.test_failed`) with its
        output.
        """
        try:
            self._run("configuration test", command)
        except HookFailed as error:
            raise HookFailed(
                error.message,
                hint="Correct the configuration, then: certctl deploy --pending",
                code="deploy.test_failed",
            ) from error

    def reload(self, *command: str) -> None:
        """Run what makes a program read its files again. Raises `HookFailed`."""
        self._run("reload", command)

    def query(self, *command: str) -> Completed:
        """Run a command that changes nothing, for what it prints; never raises for what it does."""
        return run_process(command, environment={}, timeout=_QUICK, stop=self.hooks.stop)

    def signal(self, number: signal.Signals, pid_file: str, flag: str) -> None:
        """Send a signal to the process that a file names. Raises `HookFailed` where there is
        none.
        """
        pid = self.pid(pid_file)
        if pid is None:
            raise HookFailed(
                f"the reload failed: {pid_file} names no process that runs",
                hint=f"Is it running? If it writes its number elsewhere: {flag} FILE",
                code="deploy.not_running",
            )
        try:
            os.kill(pid, number)
        except OSError as error:
            raise HookFailed(
                f"the reload failed: {number.name} cannot be sent to process {pid}:"
                f" {error.strerror}",
                hint="Run certctl as root, or as the user of that process.",
            ) from error

    def pid(self, pid_file: str) -> int | None:
        """Return the number of the process that a file names, if it runs."""
        try:
            pid = int(Path(pid_file).read_text(encoding="ascii").split()[0])
            os.kill(pid, 0)
        except PermissionError:
            return pid
        except (OSError, ValueError, IndexError):
            return None
        return pid if pid > 1 else None

    def service(self, name: str) -> Sequence[str] | None:
        """Return the command by which this machine reloads the service `name`: systemd's where it
        runs it, else its init script's where that says that it runs; None where neither does.
        """
        if SYSTEMD.is_dir():
            active = self.query("systemctl", "is-active", "--quiet", name)
            if active.exit_status == 0:
                return ("systemctl", "reload", name)
        script = INIT_SCRIPTS / name
        if os.access(script, os.X_OK) and self.query(str(script), "status").exit_status == 0:
            return (str(script), "reload")
        return None

    def _run(self, what: str, command: Sequence[str]) -> None:
        run_hook(Hook(what, tuple(command)), {}, timeout=self.timeout, run=self.hooks)
