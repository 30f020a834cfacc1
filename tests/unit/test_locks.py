"""Locks between real processes and threads."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certctl.model.errors import Interrupted, LockHeld, StoreError
from certctl.system.clock import SystemClock
from certctl.system.locks import FileLock, acquire, holder
from tests.lab.clock import SteerableClock
from tests.unit.store_samples import REPOSITORY

HOLD = """
import sys, threading
from pathlib import Path
from certctl.system.locks import acquire
from certctl.system.clock import SystemClock
acquire(Path(sys.argv[1]), exclusive=sys.argv[2] == "exclusive", timeout=0, clock=SystemClock(),
        subject="it")
print("locked", flush=True)
sys.stdin.readline()
"""

LINUX = Path("/proc/locks").exists()


def lock(path: Path, *, exclusive: bool = True, timeout: float = 0) -> FileLock:
    return acquire(
        path, exclusive=exclusive, timeout=timeout, clock=SystemClock(), subject="example.com"
    )


@contextmanager
def another_process(path: Path, kind: str = "exclusive") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is told to end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


def release(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_a_lock_that_another_process_holds_names_that_process(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock") as other:
        with pytest.raises(LockHeld) as caught:
            lock(tmp_path / "lock")
        assert "example.com is locked by" in caught.value.message
        assert caught.value.hint is not None
        assert caught.value.pid == (other.pid if LINUX else None)
        assert holder(tmp_path / "lock") == caught.value.pid


def test_a_second_process_waits_for_the_lock(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock") as other:
        threading.Timer(0.2, release, [other]).start()
        with lock(tmp_path / "lock", timeout=30):
            assert other.wait(30) == 0


def test_a_holder_that_is_killed_leaves_no_stale_lock(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        lock(tmp_path / "lock").release()
    assert (tmp_path / "lock").exists()


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with lock(tmp_path / "lock", timeout=60):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == 1
    with lock(tmp_path / "lock"), pytest.raises(LockHeld) as caught:
        lock(tmp_path / "lock")
    assert caught.value.pid == (os.getpid() if LINUX else None)


def test_shared_locks_coexist_and_exclude_an_exclusive_one(tmp_path: Path) -> None:
    with (
        another_process(tmp_path / "lock", "shared"),
        lock(tmp_path / "lock", exclusive=False),
        pytest.raises(LockHeld),
    ):
        lock(tmp_path / "lock")
    lock(tmp_path / "lock").release()


def test_an_exclusive_lock_excludes_shared_ones(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock"), pytest.raises(LockHeld):
        lock(tmp_path / "lock", exclusive=False)


def test_releasing_twice_does_not_release_the_lock_of_another_holder(tmp_path: Path) -> None:
    first = lock(tmp_path / "lock")
    first.release()
    with lock(tmp_path / "lock"):
        first.release()
        with pytest.raises(LockHeld):
            lock(tmp_path / "lock")


def test_waiting_ends_when_the_run_is_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with lock(tmp_path / "lock"), pytest.raises(Interrupted):
        acquire(
            tmp_path / "lock",
            exclusive=True,
            timeout=60,
            clock=SystemClock(),
            subject="example.com",
            stop=stop,
        )


def test_waiting_ends_after_the_timeout_and_says_so(tmp_path: Path) -> None:
    clock = SteerableClock()
    with lock(tmp_path / "lock"), pytest.raises(LockHeld, match=r"\(waited 60 s\)"):
        acquire(tmp_path / "lock", exclusive=True, timeout=60, clock=clock, subject="example.com")
    assert sum(clock.waits) == pytest.approx(60)
    assert max(clock.waits) <= 0.25


def test_a_removed_lock_file_neither_blocks_nor_admits_two_holders(
    tmp_path: Path,
) -> None:
    with another_process(tmp_path / "lock"):
        (tmp_path / "lock").unlink()
        with lock(tmp_path / "lock"), pytest.raises(LockHeld):
            lock(tmp_path / "lock")


def test_a_lock_file_is_never_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(StoreError, match="cannot open the lock file"):
        lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    program = HOLD.replace(
        'print("locked", flush=True)',
        "import subprocess\n"
        "print(subprocess.Popen(['sleep', '60'], close_fds=False).pid, flush=True)",
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "lock", "exclusive"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as holding:
        assert holding.stdout is not None
        child = int(holding.stdout.readline())
        try:
            holding.kill()
            holding.wait()
            lock(tmp_path / "lock").release()
        finally:
            os.kill(child, signal.SIGKILL)
