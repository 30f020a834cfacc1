"""An hourly cron job is told of a failure once, and then once a day."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.model.certificate import Attempts, LastError, RenewalState
from certctl.model.delivery import Deployment
from certctl.model.run import PrintedFailure
from certctl.operations.run_report import printed_after
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
