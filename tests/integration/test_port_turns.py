"""Several certctl processes of one home directory take turns at the HTTP-01 port."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from certctl.challenges.http01_standalone import StandaloneSolver
from certctl.challenges.port_turns import MIN_TURN_SECONDS
from certctl.challenges.system import SolverSystem
from certctl.model.errors import LockHeld
from certctl.model.ports import Clock
from certctl.model.validation import Placement
from certctl.rules.settings import Settings
from certctl.system.clock import SystemClock
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.lab.processes import wait_until
from tests.support.command import certctl
from tests.support.http01 import PATH, http_task, request
from tests.support.local_store import LocalStore
from tests.support.operations import Machine, codes

HOST = "127.0.0.1"


class Solvers(Protocol):
    def __call__(self, clock: Clock) -> StandaloneSolver: ...


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "home", Settings(), SystemClock())


@pytest.fixture
def solver(port: int, store: LocalStore) -> Iterator[Solvers]:
    """Make solvers as runs of one home have them; `clock` is that by which a turn lasts."""
    with ExitStack() as stack:

        def make(clock: Clock) -> StandaloneSolver:
            system = SolverSystem(clock, threading.Event(), lock_port=store.lock_port)
            made = StandaloneSolver(HOST, port, system)
            stack.callback(made.close)
            return made

        yield make


def present(solver: StandaloneSolver, token: str) -> list[Placement]:
    placements = [solver.plan(http_task(token, certificate=token))]
    solver.present(placements)
    return placements


def presenting(solver: StandaloneSolver, token: str) -> threading.Thread:
    thread = threading.Thread(target=present, args=(solver, token), daemon=True)
    thread.start()
    return thread


def is_next_taken(store: LocalStore, port: int) -> bool:
    try:
        store.lock_port(port, queue=True, timeout=0).release()
    except LockHeld:
        return True
    return False


def test_a_long_turn_ends_for_a_waiting_process_and_continues_afterwards(
    solver: Solvers, store: LocalStore, port: int
) -> None:
    clock = SteerableClock()
    busy, other = solver(clock), solver(SystemClock())
    first = present(busy, "first")
    waiting = presenting(other, "other")
    wait_until(lambda: is_next_taken(store, port), "the other queues")
    clock.advance(MIN_TURN_SECONDS)

    late = presenting(busy, "late")
    late.join(0.5)
    assert late.is_alive()
    assert request(port, PATH + "first").status == 200

    busy.cleanup(first)
    waiting.join(10)
    assert request(port, PATH + "other").body == b"other.thumbprint"
    assert late.is_alive()

    other.cleanup([other.plan(http_task("other", certificate="other"))])
    late.join(10)
    assert request(port, PATH + "late").body == b"late.thumbprint"


def test_a_turn_that_has_just_begun_is_not_ended(
    solver: Solvers, store: LocalStore, port: int
) -> None:
    busy = solver(SteerableClock())
    first = present(busy, "first")
    waiting = presenting(solver(SystemClock()), "other")
    wait_until(lambda: is_next_taken(store, port), "the other queues")

    more = present(busy, "more")

    assert request(port, PATH + "more").status == 200
    busy.cleanup([*first, *more])
    waiting.join(10)
    assert request(port, PATH + "other").status == 200


def test_a_turn_lasts_while_no_process_is_waiting(solver: Solvers, port: int) -> None:
    clock = SteerableClock()
    busy = solver(clock)
    present(busy, "first")
    clock.advance(3600)

    present(busy, "more")

    assert request(port, PATH + "first").status == 200


def test_a_process_without_a_turn_names_the_holder_and_waits_only_once(
    tmp_path: Path, port: int
) -> None:
    clock = SteerableClock()
    store = LocalStore(tmp_path / "home", Settings(), clock)
    system = SolverSystem(clock, threading.Event(), lock_port=store.lock_port)
    solver = StandaloneSolver(HOST, port, system)

    with store.lock_port(port, queue=False, timeout=0):
        with pytest.raises(LockHeld, match=f"port {port} is locked by process"):
            present(solver, "a")
        waited = clock.monotonic()
        with pytest.raises(LockHeld):
            present(solver, "b")

    assert waited >= 300
    assert clock.monotonic() == waited
    present(solver, "c")
    assert request(port, PATH + "c").status == 200
    solver.close()


def test_a_renewal_whose_turn_does_not_come_is_no_failure(machine: Machine) -> None:
    machine.issue("a.example")
    with machine.store.lock_port(machine.port, queue=False, timeout=0):
        report = machine.renew(force=True)

        assert (report.exit_status, codes(report)) == (5, ["lock.held"])

    assert machine.status("a.example").renewal_state.failures == 0
    assert machine.renew(force=True).exit_status == 0


def test_an_issuance_whose_turn_does_not_come_says_so(machine: Machine) -> None:
    with machine.store.lock_port(machine.port, queue=False, timeout=0):
        report = machine.issue("a.example")

    assert (report.exit_status, codes(report)) == (5, ["lock.held"])
    assert machine.ca.deactivated == ["a.example"]
    assert machine.issue("a.example").exit_status == 0


def test_a_ca_inside_the_process_needs_no_turn(tmp_path: Path) -> None:
    home = tmp_path / "home"

    finished = certctl("issue", "a.example", "--ca", "dev", home=home)

    assert finished.exit_status == 0
    assert not (home / "locks" / "ports").exists()
