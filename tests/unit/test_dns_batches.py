"""Batches: concurrent requests are combined, and one caller's error does not fail another."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from certctl.dns.batches import Batches, Refused
from certctl.model.errors import ChallengeError
from tests.lab.processes import wait_until


@dataclass
class Work:
    """Takes what it is given, the first time only once it may; refuses and fails as it is told."""

    refused: frozenset[str] = frozenset()
    broken: bool = False
    done: list[list[str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def __call__(self, items: Sequence[str]) -> None:
        self.begun.set()
        assert self.may_end.wait(10)
        self.done.append(sorted(items))
        if self.refused & set(items) and "first" not in items:
            raise Refused(f"refused: {', '.join(items)}")
        if self.broken and "first" not in items:
            raise ChallengeError("the server is down")


def together(work: Work, *wanted: Sequence[str], limit: int = 100) -> list[Future[None]]:
    """Hand in `wanted`, each by a thread of its own, while the work for another is under way."""
    batches = Batches(work, limit=limit)
    with ThreadPoolExecutor(len(wanted) + 1) as pool:
        first = pool.submit(batches.do, ["first"])
        assert work.begun.wait(10)
        others = [pool.submit(batches.do, items) for items in wanted]
        wait_until(lambda: batches.waiting == len(wanted), "all have handed in")
        work.may_end.set()
    assert first.exception() is None
    return others


def test_items_that_arrive_during_a_batch_go_into_the_next_one() -> None:
    work = Work()
    others = together(work, ["a", "b"], ["c"], ["d"])

    assert [each.exception() for each in others] == [None, None, None]
    assert work.done == [["first"], ["a", "b", "c", "d"]]


def test_a_single_caller_is_served_at_once() -> None:
    work = Work()
    work.may_end.set()
    batches = Batches(work, limit=100)

    batches.do(["a"])
    batches.do(["b"])

    assert work.done == [["a"], ["b"]]


def test_a_batch_is_no_larger_than_the_limit() -> None:
    work = Work()
    together(work, ["a", "b"], ["c", "d"], ["e", "f"], limit=4)

    assert sorted(len(each) for each in work.done[1:]) == [2, 4]


def test_one_callers_items_may_exceed_the_limit() -> None:
    work = Work()
    together(work, ["a", "b", "c"], ["d"], limit=2)

    assert sorted(work.done[1:]) == [["a", "b", "c"], ["d"]]


def test_a_refused_item_fails_only_its_own_caller() -> None:
    work = Work(refused=frozenset({"b"}))
    others = together(work, ["a"], ["b", "c"], ["d"])

    errors = [each.exception() for each in others]
    assert errors[0] is None
    assert str(errors[1]) == "refused: b, c"
    assert errors[2] is None


def test_an_unreachable_server_fails_all_callers_of_a_batch() -> None:
    work = Work(broken=True)
    others = together(work, ["a"], ["b"])

    errors = [each.exception() for each in others]
    assert [str(each) for each in errors] == ["the server is down"] * 2
    assert errors[0] is not errors[1]
    assert len(work.done) == 2


def test_an_unexpected_exception_stops_only_its_own_thread() -> None:
    calls: list[list[str]] = []

    def work(items: Sequence[str]) -> None:
        calls.append(list(items))
        if len(calls) == 1:
            raise KeyboardInterrupt

    batches = Batches(work, limit=100)
    with pytest.raises(KeyboardInterrupt):
        batches.do(["a"])
    batches.do(["b"])

    assert "b" in calls[1]
