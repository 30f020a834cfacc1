"""DNS records by a hook: its arguments and variables, the order of calls, and its failures."""

import shlex
import threading
from pathlib import Path

import pytest

from certctl.dns.providers.exec import ExecProvider
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError, Interrupted
from certctl.model.validation import TxtRecord
from certctl.system.clock import SystemClock

ONE = TxtRecord("_acme-challenge.example.com", "-v 1; $(id)", "example.com", "example.com")
TWO = TxtRecord("alias.dns.test", "value-2", "dns.test", "www.example.com")


def system(*, timeout: float = 20, stop: threading.Event | None = None) -> ProviderSystem:
    return ProviderSystem(SystemClock(), stop or threading.Event(), timeout)


def recorder(directory: Path, *variables: str) -> str:
    """Return a command that appends its arguments and some variables to `directory/calls`."""
    script = directory / "hook.sh"
    shown = " ".join(f'"${{{each}-unset}}"' for each in variables)
    script.write_text(
        f'#!/bin/sh\n{{ printf \'%s|\' "$#" "$@" {shown}; echo; }} >> {directory}/calls\n'
    )
    script.chmod(0o755)
    return shlex.quote(str(script))


def calls(directory: Path) -> list[list[str]]:
    return [line.split("|")[:-1] for line in (directory / "calls").read_text().splitlines()]


def test_the_hook_is_told_what_to_do_and_where(tmp_path: Path) -> None:
    facts = [f"CERTCTL_DNS_{each}" for each in ("ACTION", "NAME", "VALUE", "ZONE", "DOMAIN")]
    provider = ExecProvider(recorder(tmp_path, *facts), None, system())

    provider.present([ONE, TWO])
    provider.cleanup([ONE])

    assert calls(tmp_path) == [
        ["1", "present", "present", ONE.name, ONE.value, "example.com", "example.com"],
        ["1", "present", "present", TWO.name, "value-2", "dns.test", "www.example.com"],
        ["1", "cleanup", "cleanup", ONE.name, ONE.value, "example.com", "example.com"],
    ]


def test_a_certbot_hook_finds_certbots_variables(tmp_path: Path) -> None:
    facts = [
        f"CERTBOT_{each}"
        for each in ("DOMAIN", "VALIDATION", "REMAINING_CHALLENGES", "ALL_DOMAINS", "AUTH_OUTPUT")
    ]
    hook = recorder(tmp_path, *facts)
    provider = ExecProvider(f"{hook}; echo id-of-record", hook, system())

    provider.present([ONE, TWO])
    provider.cleanup([ONE, TWO])

    names = "example.com,www.example.com"
    assert calls(tmp_path) == [
        ["0", "example.com", ONE.value, "1", names, "unset"],
        ["0", "www.example.com", "value-2", "0", names, "unset"],
        ["0", "example.com", ONE.value, "1", names, "id-of-record"],
        ["0", "www.example.com", "value-2", "0", names, "id-of-record"],
    ]


@pytest.mark.parametrize("end", ["", " ", ";", " ; "])
def test_a_command_line_gets_the_word_after_its_own_arguments(tmp_path: Path, end: str) -> None:
    provider = ExecProvider(f"{recorder(tmp_path)} 'an argument' --flag{end}", None, system())

    provider.present([ONE])

    assert calls(tmp_path) == [["3", "an argument", "--flag", "present"]]


def test_a_failure_shows_the_end_of_the_output() -> None:
    provider = ExecProvider("echo no such zone >&2; exit 3 #", None, system())

    with pytest.raises(ChallengeError) as caught:
        provider.present([ONE])

    assert caught.value.code == "challenge.dns.hook"
    assert caught.value.message == (
        "the DNS hook (present _acme-challenge.example.com) failed with exit status 3;"
        " output: no such zone"
    )


def test_a_hook_that_hangs_is_ended_at_its_time_limit() -> None:
    provider = ExecProvider("sleep 60 #", None, system(timeout=0.1))

    with pytest.raises(ChallengeError, match="its time limit") as caught:
        provider.present([ONE])

    assert caught.value.hint is not None
    assert "--hook-timeout" in caught.value.hint


def test_cleaning_up_goes_on_after_a_failure_and_reports_it(tmp_path: Path) -> None:
    hook = f'{recorder(tmp_path, "CERTCTL_DNS_NAME")}; test "$CERTCTL_DNS_ZONE" = dns.test #'
    provider = ExecProvider("true", hook, system())

    with pytest.raises(ChallengeError, match=r"cleanup _acme-challenge\.example\.com"):
        provider.cleanup([ONE, TWO])

    assert calls(tmp_path) == [["0", ONE.name], ["0", TWO.name]]


def test_an_interrupted_run_starts_no_more_but_cleans_up(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    provider = ExecProvider("sleep 60 #", recorder(tmp_path), system(stop=stop))

    with pytest.raises(Interrupted):
        provider.present([ONE])
    provider.cleanup([ONE])

    assert calls(tmp_path) == [["0"]]


def test_orders_at_the_same_time_call_the_hook_one_after_the_other(tmp_path: Path) -> None:
    alone = f"mkdir {tmp_path}/lock && sleep 0.02 && rmdir {tmp_path}/lock #"
    provider = ExecProvider(alone, None, system())
    failures: list[ChallengeError] = []

    def order() -> None:
        try:
            provider.present([ONE, TWO])
        except ChallengeError as error:
            failures.append(error)

    threads = [threading.Thread(target=order) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
