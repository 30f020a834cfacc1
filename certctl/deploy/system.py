"""What a deploy target can use: running commands, sending signals, and finding out whether systemd
or an init script runs a service.

A target chooses the program and its arguments; time limits, the environment, events and error
messages are handled here.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.hooks import Hook, HookSystem, run_hook
from certctl.model.delivery import Delivery
from certctl.model.errors import ConfigurationError, HookFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CopySpec
from certctl.model.values import Value
from certctl.system.process import Completed, clean_environment
from certctl.system.process import run as run_process

SYSTEMD = Path("/run/systemd/system")
INIT_SCRIPTS = Path("/etc/init.d")

_QUERY_TIMEOUT = 20.0
"""Seconds that a command may take that only reads something."""


def text(settings: Mapping[str, Value], key: str) -> str | None:
    """Return one of a target's settings as text; None if it is not set."""
    value = settings.get(key)
    return str(value) if value else None


class LiveFilesTarget:
    """Base class of targets whose server reads the files in `live` and so needs no copies."""

    def copies(self, delivery: Delivery) -> Sequence[CopySpec]:  # noqa: ARG002 - never any
        """Return no copies."""
        return ()


@dataclass(frozen=True)
class TargetSystem:
    """The run, and the time limit for one command of a target, in seconds."""

    hooks: HookSystem
    timeout: float = 300

    def program(self, *names: str, given: str | None, flag: str | None = None) -> str:
        """Return the path of a program: the one `given`, or the first of `names` found in PATH or
        in the sbin directories.

        Raises `ConfigurationError` (`deploy.target_missing`) with a hint that mentions `flag`.
        """
        path = clean_environment(os.environ)["PATH"]
        for name in [given] if given else names:
            found = shutil.which(name, path=path)
            if found is not None:
                return found
        remedy = "deploy with --reload COMMAND" if flag is None else f"give its path: {flag} FILE"
        raise ConfigurationError(
            f"{given} is not an executable program"
            if given
            else f"{names[0]} is not installed on this machine",
            hint=f"Install it, or {remedy}",
            code="deploy.target_missing",
        )

    def file(self, path: str, flag: str) -> str:
        """Return `path` if the file exists. Raises `ConfigurationError` (`deploy.target_missing`)
        if it does not.
        """
        if Path(path).exists():
            return path
        raise ConfigurationError(
            f"{path} does not exist",
            hint=f"Give its path: {flag} PATH",
            code="deploy.target_missing",
        )

    def test(self, *command: str) -> None:
        """Run a configuration test. Raises `HookFailed` (`deploy.test_failed`) with its output."""
        try:
            self._run("configuration test", command)
        except HookFailed as error:
            raise HookFailed(
                error.message,
                hint="Correct the configuration, then run: certctl deploy --pending",
                code="deploy.test_failed",
            ) from error

    def reload(self, *command: str) -> None:
        """Run the command that makes a server read its files again. Raises `HookFailed`."""
        self._run("reload", command)

    def query(self, *command: str, limit: int = 65536) -> Completed:
        """Run a command that changes nothing and return its output, also that of standard output
        alone, at most the last `limit` bytes; a failure does not raise.
        """
        return run_process(
            command,
            environment={},
            timeout=_QUERY_TIMEOUT,
            stop=self.hooks.stop,
            limit=limit,
            separate_stdout=True,
        )

    def signal(self, number: signal.Signals, pid_file: str, flag: str) -> None:
        """Send a signal to the process of a PID file. Raises `HookFailed` if it is not running."""
        pid = self.pid(pid_file)
        if pid is None:
            raise HookFailed(
                f"the reload failed: {pid_file} does not contain the PID of a running process",
                hint=f"Check that the server is running. If its PID file is elsewhere: {flag} FILE",
                code="deploy.not_running",
            )
        try:
            os.kill(pid, number)
        except OSError as error:
            raise HookFailed(
                f"the reload failed: {number.name} cannot be sent to process {pid}:"
                f" {error.strerror}",
                hint="Run certctl as root or as the user of that process.",
            ) from error

    def pid(self, pid_file: str) -> int | None:
        """Return the process ID from a PID file; None if no such process is running."""
        try:
            pid = int(Path(pid_file).read_text(encoding="ascii").split()[0])
            os.kill(pid, 0)
        except PermissionError:
            return pid
        except (OSError, ValueError, IndexError):
            return None
        return pid if pid > 1 else None

    def service(self, name: str) -> Sequence[str] | None:
        """Return the command that reloads the service `name`: systemd's if systemd runs it, else
        the init script's if that reports it as running; None if neither does.
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
