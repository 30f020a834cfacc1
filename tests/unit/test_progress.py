"""What goes on during a run, as people see it: the line that is drawn anew, `-v`, the log file."""

import errno
import io
import os
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.model import events
from certctl.model.errors import HookFailed, UsageError
from certctl.output.console import Output
from certctl.output.descriptions import describe
from certctl.output.log import Log
from certctl.output.progress import Progress
from tests.support.streams import Broken, output, printed

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

PLACED = events.OrderPlaced("a.example", NOW, "https://ca.example/order/1", resumed=False)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of the developer's terminal is not to matter."""
    monkeypatch.setenv("COLUMNS", "80")


SAID = [
    (events.RunStarted("", NOW, 9, 2, 1), "9 certificates: 2 due, 1 not deployed"),
    (
        events.CertificateStarted("a.example", NOW, "it has expired"),
        "a.example: starting: it has expired",
    ),
    (events.CertificateFinished("a.example", NOW, "issued"), "a.example: done: issued"),
    (
        events.AccountRegistered("", NOW, "https://ca.example/account/1", created=True),
        "account registered: https://ca.example/account/1",
    ),
    (PLACED, "a.example: order created: https://ca.example/order/1"),
    (
        replace(PLACED, resumed=True),
        "a.example: order resumed: https://ca.example/order/1",
    ),
    (
        events.ChallengesPresented("a.example", NOW, "http-01", ("a.example", "b.example")),
        (
            "a.example: http-01 responses published for a.example, b.example;"
            " checking that they are visible"
        ),
    ),
    (
        events.ChallengesSeen("a.example", NOW, 2.04),
        "a.example: responses visible after 2.0 s; waiting for validation by the CA",
    ),
    (
        events.OrderReady("a.example", NOW),
        "a.example: all names validated; waiting for the certificate",
    ),
    (
        events.CertificateSaved("a.example", NOW, 3, NOW),
        "a.example: version 3 saved, valid until 2026-01-01 12:00 UTC",
    ),
    (events.HookStarted("", NOW, "pre", "x" * 100), f"pre: {'x' * 59}…"),
    (events.HookStarted("", NOW, "pre", "one\ntwo"), "pre: one"),
    (
        events.HookFinished("", NOW, "reload", "nginx -s reload", 1, 0.25),
        "reload: nginx -s reload: exit status 1 after 0.2 s",
    ),
    (events.Deployed("a.example", NOW, 3), "a.example: version 3 deployed"),
    (
        events.Verified("a.example", NOW, "localhost:8443", "127.0.0.1", "a.example"),
        "a.example: live check passed: localhost:8443 at 127.0.0.1, server name a.example",
    ),
    (
        events.VerifyFailed("a.example", NOW, "localhost", "::1", "a.example", "no answer"),
        "a.example: live check failed: localhost at ::1, server name a.example: no answer",
    ),
    (events.Checking("a.example", NOW, "its names"), "a.example: checking its names"),
    (events.Revoked("a.example", NOW, "0a", already=False), "a.example: serial 0a revoked"),
    (events.Skipped("a.example", NOW, "it is busy"), "a.example: skipped: it is busy"),
    (events.Retrying("", NOW, "the CA is busy", 2.4), "the CA is busy; retrying in 2 s"),
    (
        events.Failed("a.example", NOW, "acme.refused", "no"),
        "a.example: failed: no (acme.refused)",
    ),
    (
        events.NextCa("a.example", NOW, "https://b.test/dir", "https://a.test/dir", "acme", "down"),
        "a.example: a.test is out of service (down); asking b.test",
    ),
    (events.Warned("", NOW, "the clock is off"), "warning: the clock is off"),
]


@pytest.mark.parametrize(("event", "text"), SAID)
def test_an_event_is_one_line(event: events.Event, text: str) -> None:
    assert describe(event) == text


def test_every_kind_of_event_has_its_words() -> None:
    assert {type(event) for event, _ in SAID} == set(events.Event.__subclasses__())


def test_the_kinds_of_events_are_told_apart_by_name() -> None:
    kinds = [each.kind for each in events.Event.__subclasses__()]

    assert len(kinds) == len(set(kinds))


def test_progress_on_a_terminal_is_one_line_that_is_gone_at_the_end() -> None:
    made = output(terminal=True)

    with Progress(made) as progress:
        progress.sink(PLACED)
        progress.sink(events.OrderReady("a.example", NOW))

    stdout, stderr = printed(made)
    assert stdout == ""
    assert "order created" in stderr
    assert "\n" not in stderr
    assert stderr.endswith("\r\x1b[K")


def test_progress_on_a_narrow_terminal_stays_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    with Progress(made) as progress:
        progress.sink(PLACED)

    assert printed(made)[1] == f"{describe(PLACED)[:19]}\r\x1b[K"


def test_progress_on_a_terminal_without_colour_has_none() -> None:
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    with Progress(made) as progress:
        progress.sink(PLACED)

    assert printed(made)[1] == f"{describe(PLACED)}\r\x1b[K"


@pytest.mark.parametrize(
    "made", [output(), output(quiet=True, terminal=True), output(json=True, terminal=True)]
)
def test_progress_where_it_is_not_wanted_is_not_drawn(made: Output) -> None:
    with Progress(made) as progress:
        progress.sink(PLACED)

    assert printed(made) == ("", "")


def test_with_verbosity_every_event_is_a_line_on_a_terminal_or_not() -> None:
    for terminal in (True, False):
        made = output(terminal=terminal, verbosity=1)

        with Progress(made) as progress:
            progress.sink(PLACED)
            progress.sink(events.Deployed("a.example", NOW, 3))

        assert printed(made) == ("", f"{describe(PLACED)}\na.example: version 3 deployed\n")


def test_a_warning_is_said_off_a_terminal_too() -> None:
    made = output()

    with Progress(made) as progress:
        progress.sink(events.Warned("a.example", NOW, "the clock is an hour off"))

    assert printed(made) == ("", "warning: a.example: the clock is an hour off\n")


@pytest.mark.parametrize("verbosity", [0, 1])
def test_progress_that_nobody_can_see_ends_no_run(verbosity: int) -> None:
    gone = Broken(errno.EIO, terminal=True)

    with Progress(Output(io.StringIO(), gone, {}, verbosity=verbosity)) as progress:
        for _ in range(3):
            progress.sink(PLACED)
            progress.sink(events.Warned("a.example", NOW, "the clock is an hour off"))


def test_a_run_of_several_shows_how_far_it_is_with_failures_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    with Progress(made) as progress:
        progress.sink(events.RunStarted("", NOW, 5000, 4, 0))
        for name in ("a.example", "b.example"):
            progress.sink(events.CertificateStarted(name, NOW, "it has expired"))
        progress.sink(events.Failed("a.example", NOW, "acme.refused", "no"))
        progress.sink(events.Failed("z.example", NOW, "acme.refused", "no\n" + "and so on " * 20))
        progress.sink(events.CertificateFinished("a.example", NOW, "failed", "acme.refused"))
        time.sleep(0.15)  # it is drawn so often and no more
        progress.sink(events.CertificateStarted("c.example", NOW, "it has expired"))

    shown = printed(made)[1]
    assert "a.example: failed: no (acme.refused)\n" in shown
    (long,) = re.findall(r"z.example: failed: no and so on.*", shown)
    assert (len(long), long[-3:]) == (79, "...")
    last = shown.rpartition("\r\x1b[K")[0].rpartition("\r\x1b[K")[2]
    assert re.fullmatch(r"\[#{5}\.{15}\] 1/4  1 failed  \d+s left  b.example, c.example", last)


def test_a_burst_of_events_is_drawn_a_few_times_only() -> None:
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    with Progress(made) as progress:
        progress.sink(events.RunStarted("", NOW, 20_000, 20_000, 0))
        for number in range(20_000):
            progress.sink(events.CertificateStarted(f"n{number}.example", NOW, "due"))
            progress.sink(events.CertificateFinished(f"n{number}.example", NOW, "issued"))

    assert printed(made)[1].count("[") < 2_000


def test_events_of_many_threads_all_arrive() -> None:
    made = output()

    with Progress(made) as progress:

        def work(number: int) -> None:
            for index in range(50):
                progress.sink(events.Warned("", NOW, f"{number}/{index}"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = printed(made)[1].splitlines()
    assert sorted(lines) == sorted(f"warning: {n}/{i}" for n in range(4) for i in range(50))


# The log file.


def test_the_log_has_a_line_an_event_with_the_time_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "certctl.log"
    path.write_text("before\n")

    with Log(path) as log:
        log.sink(PLACED)
        log.error(NOW, HookFailed("it did\nnot work", code="internal"))

    stamp = f"2026-01-01T12:00:00Z certctl[{os.getpid()}]"
    assert path.read_text() == (
        f"before\n{stamp} {describe(PLACED)}\n{stamp} error: it did\n    not work (internal)\n"
    )


def test_a_new_log_is_its_owners(tmp_path: Path) -> None:
    with Log(tmp_path / "certctl.log"):
        pass

    assert (tmp_path / "certctl.log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "certctl.log"

    with pytest.raises(UsageError, match="No such file") as caught, Log(path):
        pass

    assert str(path) in caught.value.message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_ends_no_run() -> None:
    with Log(Path("/dev/full")) as log:
        log.sink(PLACED)
