"""Two processes, one home directory: who waits, who passes over, and that nothing is done twice."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certctl.model.errors import ConsentRequired
from certctl.model.names import parse_identifiers
from certctl.operations.issue import edit
from tests.lab.scripted_ca.faults import calls
from tests.support.operations import Machine, key_matches


@contextmanager
def held_at_the_ca(machine: Machine, resource: str = "new-order") -> Iterator[threading.Event]:
    """While this lasts, the next request for a resource is not answered before the event is set."""
    go_on = threading.Event()
    machine.ca.script(resource, calls(lambda: go_on.wait(30), after_processing=False))
    try:
        yield go_on
    finally:
        go_on.set()


def let_it_wait(process: subprocess.Popen[str]) -> None:
    """Return once a process has nothing to do but wait; it has ended well before where it did not.

    What follows holds all the same where the kernel does not tell, only less is shown by it.
    """
    facts = Path(f"/proc/{process.pid}/stat")
    before, quiet = "", 0
    while quiet < 4 and process.poll() is None:
        time.sleep(0.1)
        # user and system time, in ticks
        now = " ".join(facts.read_text().split()[13:15]) if facts.exists() else ""
        quiet = quiet + 1 if now == before else 0
        before = now


def test_an_issue_waits_for_another_and_then_sees_what_that_did(machine: Machine) -> None:
    with held_at_the_ca(machine) as go_on:
        first = machine.start("issue", "a.example")
        machine.ca.wait_for("new-order")
        second = machine.start("issue", "a.example", "--json")
        let_it_wait(second)
        go_on.set()
        statuses = machine.finish(first).exit_status, (end := machine.finish(second)).exit_status

    assert statuses == (0, 0)
    assert end.json()["data"]["certificates"][0]["action"] == "unchanged"
    assert machine.ca.count("new-order") == 1


def test_an_issue_that_has_waited_long_enough_ends_with_5_and_names_the_holder(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    with held_at_the_ca(machine) as go_on:
        first = machine.start("renew", "--force")
        machine.ca.wait_for("new-order", 2)
        second = machine.command("issue", "a.example", "--force", "--lock-timeout", "0.2", "--json")
        go_on.set()
        assert machine.finish(first).exit_status == 0

    assert second.exit_status == 5
    (error,) = second.json()["errors"]
    assert error["code"] == "lock.held"
    if Path("/proc/locks").exists():
        assert str(first.pid) in error["message"]


def test_two_renewals_at_once_order_once(machine: Machine) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    spec.write_text('key_type = "ecdsa-p384"\n' + spec.read_text())
    with held_at_the_ca(machine) as go_on:
        first = machine.start("renew")
        machine.ca.wait_for("new-order", 2)
        second = machine.command("renew", "--json")
        go_on.set()
        assert machine.finish(first).exit_status == 0

    assert second.exit_status == 0
    assert [one["action"] for one in second.json()["data"]["certificates"]] == ["busy"]
    assert machine.ca.count("new-order") == 2
    assert machine.live("a.example").number == 2


def test_many_renewals_at_once_leave_one_new_version(machine: Machine) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    spec.write_text('key_type = "ecdsa-p384"\n' + spec.read_text())

    statuses = machine.at_once([("renew",)] * 8)

    assert statuses == [0] * 8
    assert [one.number for one in machine.store.versions("a.example")] == [1, 2]
    assert key_matches(machine.home / "live/a.example")


def test_twenty_renewals_at_once_order_each_certificate_that_is_due_once(machine: Machine) -> None:
    names = [f"n{number}.example" for number in range(5)]
    for name in names:
        machine.issue(name)
        spec = machine.spec_file(name)
        spec.write_text('key_type = "ecdsa-p384"\n' + spec.read_text())

    statuses = machine.at_once([("renew",)] * 20)

    assert statuses == [0] * 20
    assert machine.ca.count("finalize") == 2 * len(names)
    assert {machine.live(name).number for name in names} == {2}


def test_many_first_issues_of_one_name_order_once(machine: Machine) -> None:
    statuses = machine.at_once([("issue", "a.example")] * 8)

    assert statuses == [0] * 8
    assert machine.ca.count("new-order") == 1
    assert machine.live("a.example").number == 1


def test_a_killed_process_holds_no_lock(machine: Machine) -> None:
    machine.killed_at("new-order", "issue", "a.example")

    with machine.store.lock("a.example", timeout=0):
        pass


def test_a_name_that_is_deleted_while_another_waits_does_not_rise_again(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    for name in ("a.example", "b.example"):
        spec = machine.spec_file(name)
        spec.write_text('key_type = "ecdsa-p384"\n' + spec.read_text())
    with held_at_the_ca(machine) as go_on:
        renewal = machine.start("renew", "a.example")
        machine.ca.wait_for("new-order", 3)
        deletion = machine.start("delete", "a.example", "--yes")
        let_it_wait(deletion)
        go_on.set()
        statuses = machine.finish(renewal).exit_status, machine.finish(deletion).exit_status

    assert statuses == (0, 0)
    assert machine.store.names() == ["b.example"]
    assert not (machine.home / "live/a.example").is_symlink()


def test_a_certificate_changed_meanwhile_is_not_changed_back(machine: Machine) -> None:
    machine.issue("a.example", "b.example")

    def another_edit() -> None:
        flags, machine.flags = machine.flags, {}
        with machine.run() as other:
            edit(other, ("a.example",), parse_identifiers(["c.example"]), (), {})
        machine.flags = flags

    machine.answer, machine.on_question = True, another_edit
    with pytest.raises(ConsentRequired, match="another process changed"):
        machine.issue("a.example", "d.example")

    names = [str(one) for one in machine.live("a.example").facts.identifiers]
    assert names == ["a.example", "b.example", "c.example"]


def test_two_edits_at_once_both_count(machine: Machine) -> None:
    machine.issue("a.example")

    statuses = machine.at_once(
        [("edit", "a.example", "--add", f"{letter}.example") for letter in "bcde"]
    )

    assert statuses == [0] * 4
    names = sorted(str(one) for one in machine.live("a.example").facts.identifiers)
    assert names == [f"{letter}.example" for letter in "abcde"]
