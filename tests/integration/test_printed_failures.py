"""An hourly cron job is told of a failure, or anything else, once, and then once a day."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.model.certificate import Attempts, LastError, RenewalState
from certctl.model.delivery import Deployment
from certctl.model.run import PrintedFailure
from certctl.operations.run_report import printed_after
from certctl.store.printed_lines import LineKind, PrintedLines
from tests.support.command import Finished, certctl
from tests.support.homes import add_certificate
from tests.support.nouns import CA

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MESSAGE = "port 80 is closed:\nthe firewall\nsays so"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which two certificates wait after a failure, and one needs nothing."""
    home, now = tmp_path / "home", datetime.now(UTC)
    error = LastError("challenge.failed", MESSAGE, now, "challenge", hint="Open it.")
    tried = Attempts(CA, 1, now, error, now + 3 * HOUR)
    state = RenewalState(attempts=(tried,))
    add_certificate(home, "f.example", age=timedelta(days=75), renewal_state=state)
    pending = Deployment(1, None, failures=1, last_error=error, retry_at=now + 3 * HOUR)
    add_certificate(home, "p.example", deployment=pending, chosen={"deploy.reload": "true"})
    add_certificate(home, "good.example")
    return home


def cron(home: Path, *arguments: str) -> Finished:
    return certctl("renew", *arguments, home=home)


def test_each_failure_is_one_line_of_standard_error_once(home: Path) -> None:
    first, second = cron(home), cron(home)

    assert [line.split(" ", 2)[:2] for line in first.stderr.splitlines()] == [
        ["error:", "f.example:"],
        ["error:", "p.example:"],
    ]
    assert "port 80 is closed: the firewall says so" in first.stderr
    assert (second.stdout, second.stderr) == ("", "")
    assert second.exit_status == first.exit_status != 0


def test_it_is_printed_again_after_a_day(home: Path) -> None:
    first = cron(home)
    path = home / "run.json"
    history = json.loads(path.read_text())
    yesterday = datetime.now(UTC) - timedelta(days=1)
    history["printed"][0]["at"] = yesterday.strftime("%Y-%m-%dT%H:%M:%SZ")
    path.write_text(json.dumps(history))

    again, then = cron(home), cron(home)

    assert again.stderr.splitlines() == first.stderr.splitlines()[:1]
    assert then.stderr == ""


def test_documents_named_certificates_and_terminals_show_all_every_time(home: Path) -> None:
    cron(home)
    document = cron(home, "--json").json()
    named = cron(home, "f.example")
    seen = certctl("renew", home=home, terminal=True)

    assert [each["name"] for each in document["errors"]] == ["f.example", "p.example"]
    for each in (named, seen):
        assert "f.example" in each.stderr
        assert "port 80 is closed" in each.stderr
    assert cron(home).stderr == ""


@pytest.mark.parametrize(
    ("failures", "before", "after"),
    [
        (["a x"], {}, {"a x": NOW}),
        (["a x"], {"a x": NOW - HOUR}, {"a x": NOW - HOUR}),
        (["a x", "b x"], {"a x": NOW - HOUR}, {"a x": NOW - HOUR, "b x": NOW}),
        (["a y"], {"a x": NOW - HOUR}, {"a y": NOW}),
        (["a x"], {"a x": NOW - 24 * HOUR}, {"a x": NOW}),
        ([], {"a x": NOW - HOUR}, {}),
        (["a x", "a x"], {}, {"a x": NOW}),
    ],
)
def test_what_is_new_or_a_day_old_is_printed(
    failures: list[str], before: dict[str, datetime], after: dict[str, datetime]
) -> None:
    known = [PrintedFailure(failure, at) for failure, at in before.items()]

    found = printed_after(failures, known, NOW)

    assert {each.failure: each.at for each in found} == after


# -- errors for which there is no run, and warnings


def test_an_error_in_the_settings_is_one_line_once(home: Path) -> None:
    (home / "certctl.toml").write_text("key_type = 'none'")
    first, second = cron(home), cron(home)
    (home / "certctl.toml").write_text("nonsense")
    other = cron(home)

    assert len(first.stderr.splitlines()) == 1
    assert first.stderr.startswith("error: ")
    assert "key_type" in first.stderr
    assert (second.stdout, second.stderr) == ("", "")
    assert second.exit_status == first.exit_status != 0
    assert "is not valid TOML" in other.stderr


def test_an_error_that_was_mended_is_new_when_it_comes_back(home: Path) -> None:
    settings = home / "certctl.toml"
    settings.write_text("nonsense")
    first = cron(home)
    settings.unlink()
    cron(home)
    settings.write_text("nonsense")

    assert cron(home).stderr == first.stderr != ""


def test_a_home_that_others_can_write_to_is_told_of_once(home: Path) -> None:
    home.chmod(0o777)

    first, second = cron(home), cron(home)

    assert "chmod go-w" in first.stderr
    assert second.stderr == ""
    assert second.exit_status == first.exit_status != 0


def test_a_warning_is_printed_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, "good.example")
    (home / "certctl.toml").write_text('heartbeat = "http://127.0.0.1:1/"')

    first, second = cron(home), cron(home)

    assert first.stderr.startswith("warning: ")
    assert (second.exit_status, second.stderr) == (0, "")


def test_errors_in_the_settings_are_shown_every_time_in_documents_and_on_terminals(
    home: Path,
) -> None:
    (home / "certctl.toml").write_text("nonsense")
    cron(home)

    assert len(cron(home, "--json").json()["errors"]) == 1
    assert "is not valid TOML" in certctl("renew", home=home, terminal=True).stderr
    assert "is not valid TOML" in cron(home, "f.example").stderr


@pytest.mark.parametrize("kept", ["{", "[]", '{"error x": 1}', '{"error x": "2026-01-01"}'])
def test_what_is_remembered_may_be_damaged(tmp_path: Path, kept: str) -> None:
    directory = tmp_path / "state"
    before = PrintedLines(directory, "home", NOW, 24 * HOUR)
    before.add(LineKind.WARNING, "w")
    (file,) = directory.iterdir()
    file.write_text(kept)

    assert [before.add(LineKind.WARNING, "w") for _ in range(2)] == [True, False]


def test_lines_are_remembered_for_a_day_and_not_in_the_future(tmp_path: Path) -> None:
    def at(time: datetime) -> PrintedLines:
        return PrintedLines(tmp_path / "state", "home", time, 24 * HOUR)

    first = at(NOW).add(LineKind.ERROR, "e")
    later = [at(NOW + each * HOUR).add(LineKind.ERROR, "e") for each in (1, 23, 24)]
    clock_set_back = at(NOW).add(LineKind.ERROR, "e")

    assert (first, later, clock_set_back) == (True, [False, False, True], True)


def test_nothing_is_remembered_where_others_can_write(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(0o777)
    lines = PrintedLines(directory, "home", NOW, 24 * HOUR)

    assert [lines.add(LineKind.ERROR, "e") for _ in range(2)] == [True, True]
    assert list(directory.iterdir()) == []
