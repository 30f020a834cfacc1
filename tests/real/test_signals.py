"""A command that is told to stop: in good order, and the next one goes on where it ended."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from certctl.ca.client import AcmeClient
from certctl.model.ca import Endpoint
from certctl.system.clock import SystemClock
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.processes import wait_until
from tests.real.driver import Host, host, is_free, script

BLIND_ADDRESS = "127.0.0.2"
"""Where a name leads whose web server takes connections and never answers."""

needs_loopbacks = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has the whole of 127.0.0.0/8 as loopback"
)


@contextmanager
def away(challenge_dns: ChallengeTestServer, name: str) -> Iterator[None]:
    """Let a name lead to `BLIND_ADDRESS`."""
    challenge_dns.set_a(name, [BLIND_ADDRESS])
    try:
        yield
    finally:
        challenge_dns.set_a(name, ["127.0.0.1"])


@contextmanager
def never_validated(
    here: Host, challenge_dns: ChallengeTestServer, name: str
) -> Iterator[socket.socket]:
    """Let the CA wait for `name`; yields the listener at which it will be found waiting."""
    with (
        away(challenge_dns, name),
        socket.create_server((BLIND_ADDRESS, here.authority.http_port)) as blind,
    ):
        blind.settimeout(30)
        yield blind


def waiting_hook(directory: Path) -> Path:
    """A DNS hook that writes down its calls, and never comes to an end of `present`."""
    return script(
        directory / "waiting",
        f"""#!/bin/sh
echo "$1 $CERTCTL_DNS_NAME" >> {directory}/calls
[ "$1" = cleanup ] || exec sleep 20
""",
    )


def takes_signals(pid: int) -> bool:
    """Whether a process has come so far that SIGTERM does not simply end it (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def live(here: Host) -> list[str]:
    """The names of the certificates that there are."""
    return sorted(path.name for path in here.home.glob("live/*"))


def answered(pebble: PebbleServer, since: int) -> int:
    """How many challenges the CA was told to look at."""
    return sum("/chalZ/" in each.path for each in pebble.requests(since))


def calls(directory: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return (directory / "calls").read_text().splitlines()
    return []


@needs_loopbacks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_ca_validates_ends_it_in_good_order(
    pebble: PebbleServer,
    challenge_dns: ChallengeTestServer,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    here, name = host(tmp_path, pebble), f"{number.name.lower()}.example"
    arguments = ("issue", name, "--http-address", "127.0.0.1")
    with never_validated(here, challenge_dns, name) as blind, here.begin(*arguments) as running:
        connection, _ = blind.accept()
        with connection:
            assert not is_free(pebble.http_port)
            running.signal(number)
            finished = running.finish()

    assert finished.exit_status == 130
    assert finished.stderr.startswith("error: ")
    assert is_free(pebble.http_port)
    assert here.leftovers() == []
    assert not (here.home / "live" / name).is_symlink()

    here.issue(*arguments[1:])


@needs_loopbacks
def test_as_json_an_interruption_is_one_document_too(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here, name = host(tmp_path, pebble), "json-interrupted.example"
    arguments = ("issue", name, "--http-address", "127.0.0.1", "--json")
    with never_validated(here, challenge_dns, name) as blind, here.begin(*arguments) as running:
        connection, _ = blind.accept()
        with connection:
            running.signal(signal.SIGTERM)
            finished = running.finish()

    document = finished.json()
    assert (finished.exit_status, document["exit_code"], document["status"]) == (130, 130, "error")


def test_a_hook_that_writes_dns_records_is_ended_and_its_record_removed(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, hook = host(tmp_path, pebble), waiting_hook(tmp_path)
    arguments = ("issue", "dns-stop.example", "--dns", "exec", "--dns-skip-propagation")

    with here.begin(*arguments, "--dns-hook", str(hook)) as running:
        wait_until(lambda: bool(calls(tmp_path)), "the hook's first call")
        running.signal(signal.SIGINT)
        finished = running.finish()

    record = "_acme-challenge.dns-stop.example"
    assert finished.exit_status == 130
    assert calls(tmp_path) == [f"present {record}", f"cleanup {record}"]
    assert list(here.home.glob("journal/*")) == []


def test_what_a_killed_run_placed_is_removed_by_the_next_one(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, hook = host(tmp_path, pebble), waiting_hook(tmp_path)
    name, record = "killed.example", "_acme-challenge.killed.example"
    arguments = ("issue", name, "--dns", "exec", "--dns-skip-propagation", "--dns-hook", str(hook))
    with here.begin(*arguments) as running:
        wait_until(lambda: bool(calls(tmp_path)), "the hook's first call")
        running.signal(signal.SIGKILL)
        assert running.finish().exit_status == -signal.SIGKILL
    assert len(list(here.home.glob("journal/*"))) == 1

    # Proved in another way now; the record of before is removed all the same.
    finished = here.certctl("issue", name, "--standalone")

    assert finished.exit_status == 0, finished
    assert calls(tmp_path) == [f"present {record}", f"cleanup {record}"]
    assert here.leftovers() == []


def test_an_order_that_was_given_up_meanwhile_is_placed_anew(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, hook, name = host(tmp_path, pebble), waiting_hook(tmp_path), "given-up.example"
    arguments = ("issue", name, "--dns", "exec", "--dns-skip-propagation", "--dns-hook", str(hook))
    with here.begin(*arguments) as running:
        wait_until(lambda: bool(calls(tmp_path)), "the hook's first call")
        running.signal(signal.SIGKILL)
        running.finish()
    give_up_pending_order(here)
    before = pebble.request_count()

    here.issue(name, "--standalone")

    # Pebble calls such an order "deactivated", for which RFC 8555 has "invalid".
    asked = [each.path for each in pebble.requests(since=before)]
    assert asked.count("/order-plz") == 1


def give_up_pending_order(here: Host) -> None:
    """Deactivate the authorizations of the only order that is under way."""
    (path,) = here.home.glob("pending/*/*.json")
    (pending,) = json.loads(path.read_text())["orders"]
    (key,) = here.home.glob("accounts/*/*/key.pem")
    with AcmeClient(
        Endpoint(pending["request"]["ca"], str(here.authority.ca_bundle)),
        clock=SystemClock(),
        stop=threading.Event(),
        notify=lambda _reason, _seconds: None,
        key=key.read_bytes(),
        account_url=pending["account_url"],
    ) as client:
        order = client.order(pending["url"])
        assert [client.deactivate(url) for url in order.authorization_urls] == [True]


def test_a_deploy_that_was_cut_off_is_owed_and_paid_by_the_next_renew(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, started, told = host(tmp_path, pebble), tmp_path / "started", tmp_path / "told"
    hook = f"test -e {started} && echo deployed > {told} && exit; touch {started}; sleep 60"

    with here.begin("issue", "cut-off.example", "--deploy-hook", hook) as running:
        wait_until(started.exists, "the deploy hook")
        running.signal(signal.SIGTERM)
        finished = running.finish()
    state = here.show("cut-off.example")["state"]
    renewed = here.certctl("renew")

    assert (finished.exit_status, state) == (130, "undeployed")
    assert (renewed.exit_status, told.read_text()) == (0, "deployed\n")
    assert (here.version("cut-off.example"), here.show("cut-off.example")["state"]) == (1, "valid")


@needs_loopbacks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_of_many_that_is_stopped_begins_nothing_more_and_loses_nothing(
    pebble: PebbleServer,
    challenge_dns: ChallengeTestServer,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    here, told = host(tmp_path, pebble, 'challenge.http_address = "127.0.0.1"'), tmp_path / "told"
    hook = f"deploy.deploy_hook = 'echo $CERTCTL_CERT_NAME >> {told}'"
    quick = sorted(here.add_specs(12, hook, prefix=f"a-quick-{number.name.lower()}"))
    slow = sorted(here.add_specs(20, hook, prefix=f"b-slow-{number.name.lower()}"))
    since = pebble.request_count()

    with ExitStack() as stack:
        for name in slow[1:]:
            stack.enter_context(away(challenge_dns, name))
        stack.enter_context(never_validated(here, challenge_dns, slow[0]))
        running = stack.enter_context(here.begin("renew", "--jobs", "8", "--json"))
        # As many as may run side by side: the CA was told to look, and waits for the web server.
        wait_until(lambda: answered(pebble, since) == 20, "twenty answers")
        wait_until(lambda: live(here) == quick, "the certificates that can be had")
        running.signal(number)
        finished = running.finish()

    document = finished.json()
    ended = {each["name"]: each["action"] for each in document["data"]["certificates"]}
    states = {here.show(name)["state"] for name in quick}
    assert (finished.exit_status, document["exit_code"]) == (130, 130)
    assert {ended[name] for name in quick} == {"issued"}
    assert (live(here), states <= {"valid", "undeployed"}) == (quick, True)
    assert pebble.orders(since) == 20  # of 32: nothing was begun any more
    assert here.leftovers() == []
    assert is_free(pebble.http_port)

    again = here.certctl("renew")

    assert again.exit_status == 0, again
    assert [here.version(name) for name in (*quick, *slow)] == [1] * 32
    assert sorted(told.read_text().split()) == [*quick, *slow]


@needs_loopbacks
def test_what_a_pre_hook_began_a_post_hook_ends_though_the_run_was_stopped(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here, name, said = host(tmp_path, pebble), "surrounded.example", tmp_path / "said"
    arguments = (
        *("issue", name, "--http-address", "127.0.0.1"),
        *("--pre-hook", f"echo pre >> {said}", "--post-hook", f"echo post >> {said}"),
    )
    with never_validated(here, challenge_dns, name) as blind, here.begin(*arguments) as running:
        connection, _ = blind.accept()
        with connection:
            running.signal(signal.SIGTERM)
            finished = running.finish()

    assert (finished.exit_status, said.read_text().split()) == (130, ["pre", "post"])
    assert here.leftovers() == []


def test_a_post_hook_that_a_killed_run_owes_is_run_by_the_next(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, said = host(tmp_path, pebble), tmp_path / "said"
    here.issue("idle-undeployed.example")
    arguments = (
        *("issue", "killed-undeployed.example", "--post-hook", f"echo post >> {said}"),
        *("--pre-hook", f"echo pre >> {said}; sleep 20"),
    )
    with here.begin(*arguments) as running:
        wait_until(said.exists, "the pre hook")
        os.kill(running.pid, signal.SIGKILL)
        running.finish()

    finished = here.certctl("renew")

    assert finished.exit_status == 0, finished
    assert said.read_text().split() == ["pre", "post"]


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells when it waits")
def test_waiting_for_a_lock_can_be_interrupted(pebble: PebbleServer, tmp_path: Path) -> None:
    here, started = host(tmp_path, pebble), tmp_path / "started"
    holding = ("issue", "waited.example", "--pre-hook", f"touch {started}; sleep 60")
    with here.begin(*holding) as holder:
        wait_until(started.exists, "the pre hook")
        with here.begin("issue", "waited.example") as waiting:
            wait_until(lambda: takes_signals(waiting.pid), "the second process to be at work")
            waiting.signal(signal.SIGINT)
            finished = waiting.finish()
        holder.signal(signal.SIGTERM)
        assert holder.finish().exit_status == 130

    assert finished.exit_status == 130
