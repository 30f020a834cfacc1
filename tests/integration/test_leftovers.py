"""Challenge responses that cannot be removed: what leaves none, when the others are tried again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.operations.leftovers import CleanupAction, clean_up_leftovers
from certctl.rules.cleanup import GIVEN_UP_AFTER
from tests.lab.bind import BindServer
from tests.lab.ports import free_port
from tests.lab.scripted_dns import ScriptedDns
from tests.support.command import certctl
from tests.support.operations import Machine, executable, lines

Challenge = Callable[[str, str], dict[str, Value]]
"""The options by which a hook places challenge responses."""


@pytest.fixture
def resolver() -> Iterator[str]:
    """The address of a resolver that knows nothing."""
    with ScriptedDns({}) as dns:
        yield dns.address


def by_dns(hook: str, resolver: str) -> dict[str, Value]:
    return {
        "challenge.method": "dns",
        "challenge.dns_provider": "exec",
        "dns.exec.hook": hook,
        "challenge.dns_skip_propagation": True,
        "challenge.dns_resolver": resolver,
    }


def by_http(hook: str, _resolver: str) -> dict[str, Value]:
    return {"challenge.method": "http-hook", "challenge.http_hook": hook}


def not_removed(machine: Machine) -> list[str]:
    """The warnings about responses that could not be removed."""
    return [
        each.message
        for each in machine.happened("run.warning")
        if "could not be removed" in each.message
    ]


def hook_of(directory: Path, *, present: int, cleanup: int) -> str:
    """A hook with these exit statuses, which writes down each call."""
    path = directory / "hook"
    executable(
        path,
        f'#!/bin/sh\necho "$1" >> {directory}/calls\n'
        f'test "$1" = present && exit {present}\nexit {cleanup}\n',
    )
    return str(path)


@pytest.mark.parametrize(
    ("kind", "hook"),
    [
        (by_dns, "/nonexistent/hook"),
        (by_http, "/nonexistent/hook"),
        (by_dns, "cd / && /nonexistent/hook"),
        (by_http, "cd / && /nonexistent/hook"),
    ],
    ids=["dns", "http", "dns, found out by the shell", "http, found out by the shell"],
)
def test_a_hook_that_never_ran_leaves_nothing_to_remove(
    machine: Machine, resolver: str, kind: Challenge, hook: str
) -> None:
    with suppress(ConfigurationError):  # found before an order where the hook is named by its path
        machine.issue("a.example", options=kind(hook, resolver))

    assert (machine.store.journal.with_leftovers(), not_removed(machine)) == ([], [])


def test_an_update_that_was_refused_leaves_nothing_to_remove(
    machine: Machine, bind: BindServer
) -> None:
    options: dict[str, Value] = {
        "challenge.method": "dns",
        "challenge.dns_provider": "rfc2136",
        "challenge.dns_resolver": bind.address,
    }
    for server in (bind.address, f"127.0.0.1:{free_port()}"):  # refuses without a key; is down
        machine.issue("a.example.test", options=options | {"dns.rfc2136.server": server})

    assert (machine.store.journal.with_leftovers(), not_removed(machine)) == ([], [])


@pytest.mark.parametrize("kind", [by_dns, by_http])
@pytest.mark.parametrize("present", [0, 1])
def test_what_cannot_be_removed_is_tried_with_growing_pauses_and_then_given_up(
    machine: Machine, tmp_path: Path, resolver: str, kind: Challenge, present: int
) -> None:
    hook = hook_of(tmp_path, present=present, cleanup=1)
    machine.issue("a.example", options=kind(hook, resolver))
    assert lines(tmp_path / "calls")[-1] == "cleanup"
    calls = len(lines(tmp_path / "calls"))
    assert len(not_removed(machine)) == 1

    machine.renew()
    assert (len(lines(tmp_path / "calls")), len(not_removed(machine))) == (calls, 1)

    machine.pass_time(timedelta(hours=1))
    machine.renew()
    machine.renew()
    assert (len(lines(tmp_path / "calls")), len(not_removed(machine))) == (calls + 1, 2)

    machine.pass_time(GIVEN_UP_AFTER)
    machine.renew()
    assert "is not tried any more. Remove by hand what is left" in not_removed(machine)[-1]
    assert machine.store.journal.with_leftovers() == []

    machine.pass_time(GIVEN_UP_AFTER)
    machine.renew()
    assert len(lines(tmp_path / "calls")) == calls + 2


def test_what_is_left_is_shown_tried_again_on_request_and_dropped(
    machine: Machine, tmp_path: Path, resolver: str
) -> None:
    hook = hook_of(tmp_path, present=1, cleanup=1)
    machine.issue("a.example", options=by_dns(hook, resolver))

    shown = certctl("dns", "cleanup", "--json", home=machine.home)
    dropped = certctl("dns", "cleanup", "a.example", "--drop", home=machine.home)
    after = certctl("dns", "cleanup", "--json", home=machine.home)

    (left,) = shown.json()["data"]["left"]
    assert left["certificate"] == left["identifier"] == "a.example"
    assert left["where"].startswith('_acme-challenge.a.example TXT "')
    assert (left["failures"], "failed with exit status 1" in left["error"]) == (1, True)
    assert (dropped.exit_status, dropped.stderr) == (0, "")
    assert after.json()["data"]["left"] == []


def test_it_is_removed_on_request_without_waiting_for_the_pause(
    machine: Machine, tmp_path: Path
) -> None:
    machine.issue("a.example", options=by_http(hook_of(tmp_path, present=1, cleanup=1), ""))
    hook_of(tmp_path, present=1, cleanup=0)

    with machine.run() as run:
        left = clean_up_leftovers((), CleanupAction.RETRY, run)

    assert (left, machine.store.journal.with_leftovers()) == ((), [])
