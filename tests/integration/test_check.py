"""`check`: a plugin's line, its exit status, and what it says of certificates and services."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.inspection.check import Limits, check
from certctl.model.certificate import LastError, RenewalState
from certctl.rules.settings import Settings
from certctl.rules.thresholds import parse_threshold
from tests.lab.certificates import make_server_certificate
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca.faults import problem
from tests.lab.tls import TlsServer
from tests.support.command import Finished, certctl
from tests.support.homes import add_certificate
from tests.support.local_store import LocalStore
from tests.support.nouns import tried
from tests.support.operations import Machine

DAY = timedelta(days=1)
OK, WARNING, CRITICAL, UNKNOWN = range(4)

PERFORMANCE = re.compile(
    r"(?P<label>'[^'=]+'|[^'= ]+)=(?P<value>-?\d+(?:s)?)"
    r"(?:;(?P<warning>\d*:?)(?:;(?P<critical>\d*:?)(?:;(?P<minimum>\d*))?)?)?(?: |$)"
)


def plugin(home: Path, *arguments: str) -> Finished:
    """The command, after what holds for the output of every plugin."""
    finished = certctl("check", *arguments, home=home)
    words = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
    assert finished.stdout.startswith(f"CERTCTL {words[finished.exit_status]} - ")
    assert finished.stdout.endswith("\n")
    assert finished.stdout.count("\n") == 1
    assert finished.stdout.count("|") <= 1
    return finished


def performance(finished: Finished) -> Mapping[str, str]:
    """The performance data by label, every bit of which must be of the guidelines' form."""
    text = finished.stdout.partition("|")[2].strip()
    found = list(PERFORMANCE.finditer(text))
    assert "".join(each[0] for each in found) == text
    return {each["label"].strip("'"): each[0].partition("=")[2].strip() for each in found}


def ran(home: Path, ago: timedelta, exit_status: int = 0) -> None:
    now = datetime.now(UTC)
    store = LocalStore(home, Settings(), SteerableClock(now))
    store.record_run(now - ago, exit_status)


# Certificates.


def test_certificates_that_have_time_are_ok(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=10 * DAY)
    add_certificate(tmp_path, "b.example")
    ran(tmp_path, timedelta(hours=1))

    finished = plugin(tmp_path)

    assert (finished.exit_status, finished.stderr) == (OK, "")
    assert "2 certificates, a.example has 79 days left |" in finished.stdout


def test_the_performance_data_has_the_time_left_with_its_limits(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=10 * DAY)
    ran(tmp_path, timedelta(hours=1))

    found = performance(plugin(tmp_path, "--warning", "1/3", "--critical", "7d"))

    left, *limits = found["left"].split(";")
    assert 79 * 86400 < int(left.removesuffix("s")) <= 80 * 86400
    assert limits == [f"{30 * 86400}:", f"{7 * 86400}:"]
    assert found["left a.example"] == found["left"]
    assert (found["certificates"], found["failing"]) == ("1;;;0", "0;;;0")
    assert 3600 <= int(found["run_age"].partition("s")[0]) < 3700


@pytest.mark.parametrize(
    ("age", "flags", "status"),
    [
        (67, [], OK),
        (68, [], WARNING),
        (76, [], CRITICAL),
        (91, [], CRITICAL),
        (61, ["-w", "1/3"], WARNING),
        (61, ["-w", "40%", "-c", "0.35"], CRITICAL),
        (80, ["-w", "9d", "-c", "12h"], OK),
        (80, ["-w", "11d", "-c", "12h"], WARNING),
        (80, ["-w", "0", "-c", "0"], OK),
    ],
)
def test_the_time_left_is_judged_by_parts_of_the_lifetime_or_by_durations(
    tmp_path: Path, age: int, flags: list[str], status: int
) -> None:
    add_certificate(tmp_path, "a.example", age=age * DAY)
    ran(tmp_path, timedelta(hours=1))

    assert plugin(tmp_path, *flags).exit_status == status


def test_one_certificate_by_its_name_says_nothing_of_others(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    add_certificate(tmp_path, "b.example", age=91 * DAY)
    ran(tmp_path, timedelta(hours=1))

    assert plugin(tmp_path, "a.example").exit_status == OK
    expired = plugin(tmp_path, "b.example")
    assert expired.exit_status == CRITICAL
    assert "b.example: it expired at " in expired.stdout


def test_a_renewal_that_fails_is_a_warning_with_its_cause(machine: Machine) -> None:
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"))
    machine.renew(unattended=True)

    with machine.run() as run:
        limits = Limits(parse_threshold("1/4"), parse_threshold("1/6"), 2 * DAY)
        found = check(run, (), limits)

    (one,) = found.problems
    assert (found.status, found.failing) == (WARNING, 1)
    assert (one.subject, one.code) == ("a.example", "certificate.failing")
    assert one.message.startswith("its renewal fails: ")
    assert "not yours" in one.message


def test_a_pending_deployment_is_a_warning(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", deployed=False)
    ran(tmp_path, timedelta(hours=1))

    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "a.example: version 1 is not deployed" in finished.stdout
    assert performance(finished)["undeployed"] == "1;;;0"


def test_while_a_deployment_is_pending_the_version_still_served_decides(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=89 * DAY)
    before = LocalStore(tmp_path, Settings(), SteerableClock()).status("a.example").deployment
    add_certificate(tmp_path, "a.example", deployed=False)
    assert before.deployed == 1
    ran(tmp_path, timedelta(hours=1))

    finished = plugin(tmp_path)

    assert finished.exit_status == CRITICAL
    assert "a.example: it expires in " in finished.stdout
    assert "version 2 is not deployed" in finished.stdout


def test_a_revoked_certificate_is_critical(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", renewal_state=RenewalState(revoked=(1,)))

    finished = plugin(tmp_path)

    assert finished.exit_status == CRITICAL
    assert "a.example: it is revoked" in finished.stdout


def test_the_gravest_problems_come_first_and_many_are_counted(tmp_path: Path) -> None:
    for number in range(7):
        add_certificate(tmp_path, f"a{number}.example", age=70 * DAY)
    add_certificate(tmp_path, "z.example", age=91 * DAY)
    ran(tmp_path, timedelta(hours=1))

    finished = plugin(tmp_path)

    assert finished.exit_status == CRITICAL
    assert "8 certificates, 8 with problems: z.example: it expired" in finished.stdout
    assert "; and 3 more |" in finished.stdout
    assert len(finished.stdout) < 2000


def test_words_of_others_stay_one_line_without_a_bar(tmp_path: Path) -> None:
    error = LastError("acme.refused", "one\n| two\x1b[1m", datetime.now(UTC), "transient")
    add_certificate(tmp_path, "a.example", renewal_state=tried(2, last_error=error))

    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "its renewal fails (2 times): one / two" in finished.stdout
    assert "\x1b" not in finished.stdout


# Runs.


def test_a_run_that_is_long_ago_is_a_warning(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=10 * DAY)
    ran(tmp_path, 3 * DAY)

    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "renew: its last unattended run was 3 days ago" in finished.stdout
    assert plugin(tmp_path, "--run-age", "4d").exit_status == OK
    assert plugin(tmp_path, "--run-age", "0").exit_status == OK


def test_that_renew_never_ran_is_a_warning_once_certificates_are_old_enough(
    tmp_path: Path,
) -> None:
    add_certificate(tmp_path, "a.example", age=DAY)
    certctl("schedule", "external", home=tmp_path)
    assert plugin(tmp_path).exit_status == OK

    add_certificate(tmp_path, "b.example", age=3 * DAY)
    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "renew: it has never run unattended" in finished.stdout


def test_that_nothing_runs_renew_is_a_warning_at_once(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "nothing runs renew on a schedule; to schedule it: certctl schedule install" in (
        finished.stdout
    )
    certctl("schedule", "external", home=tmp_path)
    assert plugin(tmp_path).exit_status == OK
    certctl("schedule", "external", "--undo", home=tmp_path)
    assert plugin(tmp_path).exit_status == WARNING


def test_a_run_keeps_the_note_that_something_else_runs_renew(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    certctl("schedule", "external", home=tmp_path)
    ran(tmp_path, timedelta(hours=1))

    shown = certctl("schedule", "show", "--json", home=tmp_path)

    assert shown.json()["data"]["external"] is True


def test_a_certificate_whose_renewal_is_turned_off_is_a_warning(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", chosen={"autorenew": False})
    add_certificate(tmp_path, "b.example")
    ran(tmp_path, timedelta(hours=1))

    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "1 with problems: a.example: its renewal is turned off" in finished.stdout
    assert plugin(tmp_path, "b.example").exit_status == OK


def test_a_run_that_failed_for_a_reason_of_no_certificate_is_a_warning(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    ran(tmp_path, timedelta(minutes=5), exit_status=2)

    finished = plugin(tmp_path)

    assert finished.exit_status == WARNING
    assert "renew: its last unattended run ended with exit status 2" in finished.stdout


def test_how_a_run_by_itself_ended_is_written_down(machine: Machine) -> None:
    machine.issue("a.example")
    machine.renew(unattended=True)
    good = machine.store.history()
    machine.pass_time(61 * DAY)
    machine.ca.script("new-order", problem("rejectedIdentifier"))

    machine.renew(unattended=True)

    bad = machine.store.history()
    assert (good.exit_status, good.succeeded_at) == (0, good.runs[-1])
    assert (bad.exit_status, bad.succeeded_at) == (1, good.succeeded_at)
    assert bad.runs == (good.runs[-1], machine.clock.now())


# Services.


def test_a_service_is_judged_by_what_it_shows(tmp_path: Path) -> None:
    files = make_server_certificate(tmp_path)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(files.certificate.read_bytes() + files.ca_bundle.read_bytes())
    with TlsServer({"": [(chain, files.private_key)]}) as server:
        place = f"localhost:{server.port}"
        good = plugin(tmp_path / "home", place)
        late = plugin(tmp_path / "home", place, "--critical", "8d")

    assert good.exit_status == OK
    assert f"1 service, {place} has 6 days left" in good.stdout
    assert late.exit_status == CRITICAL
    assert f"left {place}" in performance(good)
    assert not (tmp_path / "home").exists()


def test_a_service_that_shows_a_certificate_of_others_is_critical(tmp_path: Path) -> None:
    files = make_server_certificate(tmp_path, ("other.example",))
    with TlsServer({"": [(files.certificate, files.private_key)]}) as server:
        finished = plugin(tmp_path / "home", f"127.0.0.1:{server.port}")

    assert finished.exit_status == CRITICAL
    assert "it is for other.example, not for 127.0.0.1" in finished.stdout


def test_a_service_that_does_not_answer_is_critical(tmp_path: Path) -> None:
    finished = plugin(tmp_path / "home", "localhost:1")

    assert finished.exit_status == CRITICAL
    assert "localhost:1: connection refused" in finished.stdout


# What is unknown.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there are no certificates in this home directory"),
        (["nosuch"], "there is no certificate named nosuch"),
        (["--nosuch"], "no such option"),
        (["--warning", "3/2"], "3/2"),
        (["--warning", "30"], "neither a fraction of the lifetime nor a duration"),
        (["--warning", "1/0"], "1/0"),
        (["--run-age", "soon"], "soon"),
        (["localhost:http"], "localhost:http"),
    ],
)
def test_what_cannot_be_checked_is_unknown_and_said_on_standard_output(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    finished = plugin(tmp_path / "home", *arguments)

    assert (finished.exit_status, finished.stderr) == (UNKNOWN, "")
    assert words in finished.stdout


def test_a_broken_configuration_is_unknown_too(tmp_path: Path) -> None:
    (tmp_path / "certctl.toml").write_text("keytype = 1\n")

    finished = plugin(tmp_path)

    assert finished.exit_status == UNKNOWN
    assert "(Did you mean key_type?)" in finished.stdout


def test_a_certificate_whose_memory_is_no_directory_of_ours_is_unknown(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    (tmp_path / "live" / "a.example").unlink()
    (tmp_path / "live" / "a.example").mkdir()
    ran(tmp_path, timedelta(hours=1))

    finished = plugin(tmp_path)

    assert finished.exit_status == UNKNOWN
    assert "a.example: " in finished.stdout


# For programs.


def test_json_has_the_state_and_the_exit_code_of_a_plugin(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=80 * DAY)
    ran(tmp_path, timedelta(hours=1))

    finished = certctl("check", "--json", home=tmp_path)
    found = finished.json()

    assert (finished.exit_status, found["exit_code"], found["status"]) == (2, 2, "error")
    assert found["data"]["state"] == "critical"
    (one,) = found["data"]["problems"]
    assert (one["subject"], one["code"]) == ("a.example", "certificate.expiring")
    assert one["state"] == "critical"


def test_an_error_is_a_document_with_the_exit_code_of_a_plugin(tmp_path: Path) -> None:
    finished = certctl("check", "nosuch", "--json", home=tmp_path)
    found = finished.json()

    assert (finished.exit_status, found["exit_code"], found["status"]) == (3, 3, "error")
    assert found["errors"][0]["code"] == "usage.unknown_certificate"
