"""The audit trail: what has a line in it, what the line says, and what happens where it cannot be
written.
"""

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.model import events
from certctl.model.events import Event
from certctl.store.home.audit import Audit

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEPLOYED = events.Deployed("a.example", NOW, 3)

RECORDED = [
    (
        events.AccountRegistered("", NOW, "https://ca.example/account/1", created=True),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "account.registered",
            "name": None,
            "facts": {"url": "https://ca.example/account/1", "created": True},
        },
    ),
    (
        events.OrderPlaced("a.example", NOW, "https://ca.example/order/1", resumed=False),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "order.placed",
            "name": "a.example",
            "facts": {"url": "https://ca.example/order/1", "resumed": False},
        },
    ),
    (
        events.NextCa("a.example", NOW, "https://b.test/dir", "https://a.test/dir", "acme", "down"),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "ca.next",
            "name": "a.example",
            "facts": {
                "ca": "https://b.test/dir",
                "failed_ca": "https://a.test/dir",
                "code": "acme",
                "message": "down",
            },
        },
    ),
    (
        events.CertificateSaved("a.example", NOW, 3, NOW + timedelta(days=90)),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "certificate.saved",
            "name": "a.example",
            "facts": {"version": 3, "not_after": "2026-04-01T12:00:00Z"},
        },
    ),
    (
        DEPLOYED,
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "deploy.done",
            "name": "a.example",
            "facts": {"version": 3},
        },
    ),
    (
        events.Verified("a.example", NOW, "a.example:8443", "192.0.2.1", "a.example"),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "verify.done",
            "name": "a.example",
            "facts": {
                "service": "a.example:8443",
                "address": "192.0.2.1",
                "server_name": "a.example",
            },
        },
    ),
    (
        events.VerifyFailed(
            "a.example", NOW, "a.example", "192.0.2.1", "a.example", "connection refused"
        ),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "verify.failed",
            "name": "a.example",
            "facts": {
                "service": "a.example",
                "address": "192.0.2.1",
                "server_name": "a.example",
                "reason": "connection refused",
            },
        },
    ),
    (
        events.Revoked("a.example", NOW, "0a", already=False),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "certificate.revoked",
            "name": "a.example",
            "facts": {"serial": "0a", "already": False},
        },
    ),
    (
        events.Failed("bücher.example", NOW, "acme.refused", "no,\nnever"),
        {
            "version": 1,
            "at": "2026-01-01T12:00:00Z",
            "kind": "run.failed",
            "name": "bücher.example",
            "facts": {"code": "acme.refused", "message": "no,\nnever"},
        },
    ),
]

SKIPPED: list[Event] = [
    events.RunStarted("", NOW, 3, 1, 0),
    events.CertificateStarted("a.example", NOW, "it has expired"),
    events.CertificateFinished("a.example", NOW, "issued"),
    events.ChallengesPresented("a.example", NOW, "http-01", ("a.example",)),
    events.ChallengesSeen("a.example", NOW, 2.0),
    events.OrderReady("a.example", NOW),
    events.Checking("a.example", NOW, "its names"),
    events.HookStarted("a.example", NOW, "deploy", "true"),
    events.HookFinished("a.example", NOW, "deploy", "true", 0, 0.1),
    events.Skipped("a.example", NOW, "it is busy"),
    events.Retrying("", NOW, "the CA is busy", 2.0),
    events.Warned("", NOW, "the clock is off"),
]


def written(home: Path, *happened: Event) -> list[str]:
    """The lines of the trail after these events, none of which could not be written."""
    warnings: list[str] = []
    audit = Audit(home, warnings.append)
    for event in happened:
        audit.sink(event)
    assert warnings == []
    path = home / "log" / "audit.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("event", "document"), RECORDED)
def test_an_event_is_one_line_of_json(
    tmp_path: Path, event: Event, document: dict[str, object]
) -> None:
    (line,) = written(tmp_path, event)

    assert json.loads(line) == document
    assert list(json.loads(line)) == ["version", "at", "kind", "name", "facts"]


def test_progress_events_have_no_line_and_create_no_file(tmp_path: Path) -> None:
    assert written(tmp_path, *SKIPPED) == []
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_event_is_either_recorded_or_skipped() -> None:
    kinds = [type(event) for event, _ in RECORDED] + [type(event) for event in SKIPPED]

    assert len(kinds) == len(set(kinds))
    assert set(kinds) == set(Event.__subclasses__())


def test_lines_follow_those_of_earlier_runs(tmp_path: Path) -> None:
    first = written(tmp_path, DEPLOYED)
    both = written(tmp_path, events.Revoked("a.example", NOW, "0a", already=True))

    assert both[:1] == first
    assert [json.loads(each)["kind"] for each in both] == ["deploy.done", "certificate.revoked"]


def test_each_line_is_written_before_the_sink_returns(tmp_path: Path) -> None:
    audit = Audit(tmp_path, pytest.fail)

    for count in range(1, 4):
        audit.sink(DEPLOYED)
        assert len((tmp_path / "log" / "audit.jsonl").read_text().splitlines()) == count


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    audits = [Audit(tmp_path, pytest.fail) for _ in range(2)]

    def work(number: int) -> None:
        for index in range(50):
            audits[number % 2].sink(events.Failed(f"{number}.example", NOW, "acme", f"{index}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = [json.loads(each) for each in written(tmp_path)]
    assert sorted((each["name"], int(each["facts"]["message"])) for each in lines) == [
        (f"{number}.example", index) for number in range(4) for index in range(50)
    ]


def test_the_trail_is_private_regardless_of_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    before = os.umask(0)
    try:
        written(home, DEPLOYED)
    finally:
        os.umask(before)

    assert mode(home / "log" / "audit.jsonl") == 0o600
    assert mode(home / "log") == 0o700


def test_a_home_that_the_trail_creates_can_be_traversed_like_any_other(tmp_path: Path) -> None:
    home = tmp_path / "home"

    written(home, DEPLOYED)

    assert mode(home) == 0o711


def test_a_trail_that_was_moved_away_starts_a_new_file(tmp_path: Path) -> None:
    audit = Audit(tmp_path, pytest.fail)
    path = tmp_path / "log" / "audit.jsonl"

    audit.sink(DEPLOYED)
    path.rename(path.with_name("audit.jsonl.1"))
    audit.sink(DEPLOYED)

    assert len(path.read_text().splitlines()) == 1


def test_a_trail_that_cannot_be_written_is_a_warning_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    warnings: list[str] = []
    audit = Audit(tmp_path, warnings.append)

    for _ in range(3):
        audit.sink(DEPLOYED)

    (warning,) = warnings
    assert warning.startswith(f"the audit trail {tmp_path}/log/audit.jsonl cannot be written: ")


def test_a_link_in_the_place_of_the_trail_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "home" / "log").mkdir(parents=True)
    (tmp_path / "home" / "log" / "audit.jsonl").symlink_to(elsewhere)
    warnings: list[str] = []

    Audit(tmp_path / "home", warnings.append).sink(DEPLOYED)

    assert len(warnings) == 1
    assert not elsewhere.exists()
