"""Server processes for tests: started in a group of their own, awaited, and surely ended.

Knows nothing of what a server does; its output is kept in a file and shown when it fails.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.01
SHOWN_OUTPUT_BYTES = 4_000


class ServerFailed(Exception):
    """A server did not start or ended early; the message carries the end of its output."""


class ServerProcess:
    """One server process, from `start` to `stop`, as a context manager that stops it.

    `command` is run with `environment` added to a minimal environment; `ready` says whether the
    server answers yet, and is asked until it does.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.output_file = directory / f"{self.name}.log"
        self._command = [*_ends_with_its_parent(), *command]
        self._directory = directory
        self._ready = ready
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the server and return once it is ready. Raises `ServerFailed`."""
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        try:
            self._await_readiness(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the whole process group: politely, then by force. Does nothing the second time."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        # Children that outlived their parent are still members of its group.
        _signal_group(process.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The process id, which is the process group's id too."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """Return everything that the server has written."""
        if not self.output_file.exists():
            return ""
        return self.output_file.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _await_readiness(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if process.poll() is not None:
                raise ServerFailed(
                    f"{self.name} ended with status {process.returncode}{self._end()}"
                )
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} is not ready after {START_SECONDS} s{self._end()}")
            time.sleep(POLL_SECONDS)
        # The port may have been answered by somebody else while ours failed to bind it.
        if process.poll() is not None:
            raise ServerFailed(f"{self.name} ended with status {process.returncode}{self._end()}")

    def _end(self) -> str:
        return f"; its output ends:\n{self.output()[-SHOWN_OUTPUT_BYTES:]}"


class LabServer:
    """What starts and stops `_server`, the process of a server, as its context begins and ends."""

    _server: ServerProcess

    def output(self) -> str:
        """Return the server's log."""
        return self._server.output()

    def start(self) -> None:
        """Start it again after `stop`."""
        self._server.start()

    def stop(self) -> None:
        """Stop it; leaving the context then does nothing."""
        self._server.stop()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 20.0) -> None:
    """Return once `condition` holds. Raises `TimeoutError`, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for: {what}")
        time.sleep(POLL_SECONDS)


def _signal_group(group: int, number: signal.Signals) -> None:
    # Gone already, or (macOS) only a zombie is left of it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _ends_with_its_parent() -> list[str]:
    """Return a command prefix that ends a server even when the test process is killed."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
