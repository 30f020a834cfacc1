"""A process that has imported all of certctl, and forks a child for each command: hundreds of
commands then share the work of starting, and strace sees nothing of Python's imports.

    python -m tests.crash.forked

Reads a request in each line of its standard input, and writes a line for each: how it ended.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_ROOT = Path(__file__).parents[2]
_TIMED_OUT = 1000
"""In place of an exit status."""


class Forked:
    """Runs commands of certctl in children of such a process. `places`: directories at which each
    command sees others, `{home}` being its home. `prefix` starts the process elsewhere.
    """

    def __init__(
        self, scratch: Path, places: dict[str, str], *, prefix: Sequence[str] = ()
    ) -> None:
        self._prefix = prefix
        self._output = scratch / "output"
        self._places = places

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "tests.crash.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(_ROOT)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(
        self, arguments: Sequence[str], home: Path, strace: Sequence[str], seconds: float
    ) -> tuple[int, str]:
        """Run a command to its end, under strace if there are options for it; return its status,
        which is negative for a signal, and its output. Raises AssertionError if it hangs.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "arguments": list(arguments),
            "home": str(home),
            "strace": list(strace),
            "seconds": seconds,
            "output": str(self._output),
            "places": {at: shown.format(home=home) for at, shown in self._places.items()},
        }
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        output = self._output.read_text(errors="replace")
        assert status != _TIMED_OUT, f"{arguments} hangs after {seconds} s:\n{output}"
        return status, output


def serve() -> None:
    """Answer requests until there are no more."""
    from tests.crash.prepared import import_all  # noqa: PLC0415 - only this process needs it

    import_all()
    for line in sys.stdin:
        sys.stdout.write(f"{_answer(json.loads(line))}\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any]) -> int:
    from tests.crash.prepared import is_traced  # noqa: PLC0415 - as above

    child = os.fork()
    if not child:
        _run(request)
    tracer = None
    if request["strace"]:
        os.waitpid(child, os.WUNTRACED)
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", *request["strace"], "-p", str(child)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        while not is_traced(child):
            assert tracer.poll() is None, "strace could not attach"
            signal.sigtimedwait([], 0.001)
        os.kill(child, signal.SIGCONT)
    ended = os.pidfd_open(child)
    try:
        timed_out = not select.select([ended], [], [], request["seconds"])[0]
        if timed_out:
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(ended)
    if tracer is not None:
        tracer.wait()
    return _TIMED_OUT if timed_out else os.waitstatus_to_exitcode(status)


def _run(request: dict[str, Any]) -> None:
    """Be the command, in a process group of its own."""
    from certctl.cli.main import main  # noqa: PLC0415 - as above

    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for to, descriptor in ((0, nothing), (1, output), (2, output)):
        os.dup2(descriptor, to)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - as the command's standard input
    os.environ["CERTCTL_HOME"] = request["home"]
    if request["places"]:
        _mount(request["places"])
    if request["strace"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        status = main(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    finally:
        os._exit(255)


def _mount(places: dict[str, str]) -> None:
    """Show directories elsewhere, in a mount namespace of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    for at, shown, flags in (
        ("/", "none", _MS_REC | _MS_PRIVATE),
        *((at, shown, _MS_BIND) for at, shown in places.items()),
    ):
        mounted = libc.mount(shown.encode(), at.encode(), None, flags, None)
        assert mounted == 0, f"{at}: {os.strerror(ctypes.get_errno())}"


if __name__ == "__main__":
    serve()
