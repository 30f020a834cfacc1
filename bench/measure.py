"""Measures the cost of a command: elapsed time, CPU time, peak memory, and HTTP requests."""

from __future__ import annotations

import compileall
import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """The cost of a command: elapsed seconds, CPU seconds (including child processes), the peak
    memory of the command itself in MiB, and requests to the CA if they were counted.
    """

    seconds: float
    cpu: float
    memory: float
    requests: int = 0


class Memory(threading.Thread):
    """Polls a process's peak memory; the value from `wait4` would include this program's memory."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._status = Path(f"/proc/{pid}/status")
        self.peak = 0.0

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while found := re.search(r"VmHWM:\s+(\d+)", self._status.read_text()):
                self.peak = int(found[1]) / 1024
                time.sleep(0.005)


def cost(
    command: Sequence[str], *, requests: Callable[[], int] = lambda: 0, **variables: str
) -> Cost:
    """Run a command and return its cost; a failure aborts the benchmark. `requests` returns how
    many requests the CA has received so far.
    """
    before = requests()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    memory = Memory(process.pid)
    memory.start()
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    memory.join()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} failed:\n{output[-2000:]}")
    return Cost(seconds, used.ru_utime + used.ru_stime, memory.peak, requests() - before)


def precompile() -> None:
    """Compile certctl's modules to bytecode, as an installation would."""
    compileall.compile_dir(Path(__file__).resolve().parent.parent / "certctl", quiet=1)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure separately."""
    return Cost(
        statistics.median(each.seconds for each in costs),
        statistics.median(each.cpu for each in costs),
        statistics.median(each.memory for each in costs),
        int(statistics.median(each.requests for each in costs)),
    )
