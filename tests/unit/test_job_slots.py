"""Slots for orders: none stays empty while somebody waits, and the most urgent comes first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from certctl.engine.job_slots import PrioritySemaphore

LONG = 20.0


class Waiters:
    """Threads that wait for a slot each, and keep it once they have it."""

    def __init__(self, slots: PrioritySemaphore) -> None:
        self._slots = slots
        self._arrived = threading.Condition()
        self._threads: list[threading.Thread] = []
        self.served: list[int] = []

    def wait(self, rank: int) -> None:
        """Let one more wait, and return once it does."""
        before = self._waiting()
        thread = threading.Thread(target=self._take, args=(rank,), daemon=True)
        self._threads.append(thread)
        thread.start()
        while self._waiting() == before and thread.is_alive():
            thread.join(0.001)

    def served_after(self, count: int) -> list[int]:
        """The ranks of those that have a slot, once there are `count` of them, or after a while."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.served) >= count, LONG)
            return list(self.served)

    def _waiting(self) -> int:
        return len(self._slots._waiting)

    def _take(self, rank: int) -> None:
        self._slots.acquire(rank)
        with self._arrived:
            self.served.append(rank)
            self._arrived.notify_all()


@contextmanager
def taken(number: int) -> Iterator[PrioritySemaphore]:
    """Slots that are all taken."""
    slots = PrioritySemaphore(number)
    for _ in range(number):
        slots.acquire(0)
    yield slots


def test_slots_that_are_free_are_taken_without_waiting() -> None:
    with taken(3):
        pass


@pytest.mark.parametrize("number", [2, 8])
def test_slots_that_become_free_at_the_same_moment_are_all_taken(number: int) -> None:
    """The first waiter is woken for all of them, and has to wake the next."""
    for _ in range(25):
        with taken(number) as slots:
            waiters = Waiters(slots)
            for rank in range(number):
                waiters.wait(rank)
            for _ in range(number):
                slots.release()

            assert sorted(waiters.served_after(number)) == list(range(number))


def test_the_most_urgent_waiter_is_served_first_whenever_it_came() -> None:
    with taken(1) as slots:
        waiters = Waiters(slots)
        for rank in (3, 1, 2, -1):
            waiters.wait(rank)
        for count in range(1, 5):
            slots.release()
            waiters.served_after(count)

    assert waiters.served == [-1, 1, 2, 3]


def test_of_equal_rank_the_first_to_come_is_served_first() -> None:
    order: list[str] = []
    with taken(1) as slots:

        def take(name: str) -> None:
            slots.acquire(0)
            order.append(name)
            slots.release()

        threads = [threading.Thread(target=take, args=(name,), daemon=True) for name in "abcd"]
        for number, thread in enumerate(threads):
            thread.start()
            while len(slots._waiting) <= number:
                thread.join(0.001)
        slots.release()
        for thread in threads:
            thread.join(LONG)

    assert order == ["a", "b", "c", "d"]


def test_who_comes_while_a_slot_is_handed_over_does_not_push_in() -> None:
    order: list[str] = []

    def take_turn() -> None:
        slots.acquire(0)
        order.append("waited")
        slots.release()

    with taken(1) as slots:
        thread = threading.Thread(target=take_turn, daemon=True)
        thread.start()
        while not slots._waiting:
            thread.join(0.001)
        slots.release()
        slots.acquire(5)
        order.append("came later")
        thread.join(LONG)

    assert order == ["waited", "came later"]
