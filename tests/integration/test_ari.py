"""Renewal in the window suggested by the CA (ARI, RFC 9773), which never prevents a renewal."""

from datetime import UTC, datetime, timedelta

import pytest

from certctl.ca.client import AcmeClient
from certctl.inspection.explain import explain
from certctl.model.errors import RenewalInfoUnavailable
from certctl.model.events import Warned
from tests.lab.ports import free_port
from tests.lab.scripted_ca.faults import Fault, delay, problem, raw, response, setting
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.ca_clients import Caller
from tests.support.operations import Machine

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 1, tzinfo=UTC)

ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def window(start: str = '"2026-11-01T00:00:00Z"', end: str = '"2026-11-02T00:00:00Z"') -> bytes:
    return f'{{"suggestedWindow": {{"start": {start}, "end": {end}}}}}'.encode()


def replaced_by_orders(machine: Machine) -> list[str | None]:
    """What each order that was sent says that it replaces."""
    return [each.get("replaces") for each in machine.ca.payloads("new-order")]


# What a client reads of it.


@pytest.mark.parametrize(
    ("start", "end", "moment"),
    [
        ('"2026-11-01T00:00:00Z"', '"2026-11-02T00:00:00Z"', NOW),
        ('"2026-11-01T00:00:00.123456789Z"', '"2026-11-02T00:00:00Z"', None),
        ('"2026-11-01T02:00:00+02:00"', '"2026-11-02T00:00:00Z"', NOW),
        ('"2026-11-01t00:00:00z"', '"2026-11-02t00:00:00z"', NOW),
    ],
    ids=["plain", "nanoseconds", "an offset", "lower case"],
)
def test_scenario_20_a_window_is_read_as_rfc_3339_writes_it(
    ca: ScriptedCA, client: AcmeClient, start: str, end: str, moment: datetime | None
) -> None:
    ca.script("renewal-info", response(200, window(start, end), {"Retry-After": "7200"}))

    found = client.renewal_info(ID)

    assert found.start == (moment or NOW + timedelta(microseconds=123456))
    assert (found.end, found.retry_after) == (NOW + DAY, 7200)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({}, 21600), ({"Retry-After": "1"}, 60), ({"Retry-After": "999999999"}, 86400)],
    ids=["unsaid", "too soon", "too late"],
)
def test_scenario_20_the_next_question_comes_within_reason(
    ca: ScriptedCA, client: AcmeClient, header: dict[str, str], seconds: float
) -> None:
    ca.script("renewal-info", response(200, window(), header))

    assert client.renewal_info(ID).retry_after == seconds


@pytest.mark.parametrize(
    ("fault", "permanent", "lost"),
    [
        (problem("malformed", 404), True, False),
        (response(500, "<html>oops</html>"), False, False),
        (response(503, "", {"Retry-After": "99"}), False, False),
        (problem("rateLimited", 429, retry_after=7), False, False),
        (raw(b""), False, True),
        (response(200, b"garbage"), True, False),
        (response(200, b"[]"), True, False),
        (response(200, b'{"suggestedWindow": 7}'), True, False),
        (response(200, window(end="null")), True, False),
        (response(200, window(end='"2026-11-01T00:00:00Z"')), True, False),
        (response(200, window(start='"2026-11-01T00:00:00"')), True, False),
        (response(200, window(start='"0000-99-99T00:00:00Z"')), True, False),
        (response(200, b'{"x": "' + b"x" * 5_000_000 + b'"}'), True, False),
    ],
    ids=[
        "404",
        "500",
        "503",
        "429",
        "cut off",
        "garbage",
        "a list",
        "no window",
        "no end",
        "an end before the start",
        "no zone",
        "no date",
        "five megabytes",
    ],
)
def test_scenario_20_whatever_else_comes_is_told_apart_as_lasting_or_passing(
    ca: ScriptedCA, client: AcmeClient, fault: Fault, permanent: bool, lost: bool
) -> None:
    ca.script("renewal-info", fault, times=2 if lost else 1)

    with pytest.raises(RenewalInfoUnavailable) as caught:
        client.renewal_info(ID)

    assert caught.value.permanent is permanent


def test_scenario_20_a_question_that_nobody_takes_is_a_passing_failure(
    ca: ScriptedCA, caller: Caller
) -> None:
    ca.on("directory", setting(renewalInfo=f"https://127.0.0.1:{free_port()}/renewal-info"))
    with caller.registered() as client, pytest.raises(RenewalInfoUnavailable) as caught:
        client.renewal_info(ID)

    assert caught.value.permanent is False


def test_scenario_20_an_answer_is_not_waited_for_without_end(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, timeout=0.3)
    with caller.registered() as client:
        ca.script("renewal-info", delay(3), times=2)
        with pytest.raises(RenewalInfoUnavailable) as caught:
            client.renewal_info(ID)

    assert caught.value.permanent is False


def test_scenario_20_a_ca_that_cannot_answer_is_left_alone_after_three_questions(
    ca: ScriptedCA, client: AcmeClient
) -> None:
    ca.script("renewal-info", response(500, "oops"), times=3)

    for _ in range(50):
        with pytest.raises(RenewalInfoUnavailable):
            client.renewal_info(ID)

    assert ca.count("renewal-info") == 3


# What `renew` makes of it.


def test_the_ca_is_asked_right_after_issuance_and_then_not_before_it_says(by_ari: Machine) -> None:
    by_ari.issue("a.example")
    assert by_ari.ca.count("renewal-info") == 1

    by_ari.pass_time(HOUR)
    assert by_ari.renew().outcomes == ()
    assert by_ari.ca.count("renewal-info") == 1
    by_ari.pass_time(6 * HOUR)
    assert [each.action for each in by_ari.renew().outcomes] == ["unchanged"]
    assert by_ari.ca.count("renewal-info") == 2


def test_a_certificate_is_renewed_at_the_time_chosen_in_the_window(by_ari: Machine) -> None:
    now = by_ari.clock.now()
    by_ari.ca.renewal_window = (now + 10 * DAY, now + 12 * DAY)
    by_ari.issue("a.example")
    info = by_ari.status("a.example").renewal_state.ari[0].info
    assert info is not None
    assert now + 10 * DAY <= info.chosen <= now + 12 * DAY

    by_ari.pass_time(info.chosen - now - HOUR)
    by_ari.renew()
    assert by_ari.live("a.example").number == 1
    by_ari.pass_time(2 * HOUR)
    by_ari.renew()
    assert by_ari.live("a.example").number == 2


def test_the_order_says_which_certificate_it_replaces(by_ari: Machine) -> None:
    by_ari.issue("a.example")
    replaced = by_ari.live("a.example").facts.ari_id

    by_ari.renew("a.example", force=True)

    assert replaced_by_orders(by_ari) == [None, replaced]


@pytest.mark.parametrize(
    ("names", "is_replaced"),
    [
        (["b.example"], True),
        (["b.example", "c.example"], True),
        (["a.example", "c.example"], True),
        (["c.example"], False),
        (["c.example", "d.example"], False),
    ],
    ids=["fewer", "one stays", "another stays", "another name", "other names"],
)
def test_an_order_replaces_only_a_certificate_with_which_it_shares_a_name(
    by_ari: Machine, names: list[str], is_replaced: bool
) -> None:
    """A CA refuses it otherwise (RFC 9773 §5)."""
    by_ari.issue("a.example", "b.example", name="main")
    replaced = by_ari.live("main").facts.ari_id

    by_ari.issue(*names, name="main", confirmed=True)

    assert replaced_by_orders(by_ari) == [None, replaced if is_replaced else None]


@pytest.mark.parametrize(
    "fault",
    [problem("alreadyReplaced", 409), problem("malformed", 400), response(403, "no")],
    ids=["alreadyReplaced", "malformed", "403"],
)
def test_scenario_10_and_9_a_replacement_that_is_refused_is_ordered_without_saying_so(
    by_ari: Machine, fault: Fault
) -> None:
    by_ari.issue("a.example")
    replaced = by_ari.live("a.example").facts.ari_id
    by_ari.ca.script("new-order", fault)

    report = by_ari.renew("a.example", force=True)

    assert report.exit_status == 0
    assert by_ari.live("a.example").number == 2
    assert replaced_by_orders(by_ari) == [None, replaced, None]


def test_a_rate_limit_is_not_answered_with_another_order(by_ari: Machine) -> None:
    by_ari.issue("a.example")
    before = by_ari.ca.count("new-order")
    by_ari.ca.script("new-order", problem("rateLimited", 429, retry_after=3600))

    report = by_ari.renew("a.example", force=True)

    assert report.exit_status == 6
    assert by_ari.ca.count("new-order") == before + 1


def test_scenario_21_what_the_ca_revoked_is_renewed_at_once_with_a_new_key(
    by_ari: Machine,
) -> None:
    by_ari.issue("a.example", options={"reuse_key": True})
    by_ari.renew("a.example", force=True)
    old = by_ari.live("a.example")
    assert old.facts.key_sha256 == by_ari.store.versions("a.example")[0].facts.key_sha256

    by_ari.ca.revoke(by_ari.ca.issued[-1])
    by_ari.pass_time(7 * HOUR)
    report = by_ari.renew()

    assert [(each.action, each.reason) for each in report.outcomes] == [
        ("issued", "its CA asks for immediate renewal")
    ]
    assert by_ari.live("a.example").facts.key_sha256 != old.facts.key_sha256


def test_a_ca_whose_windows_are_always_over_does_not_make_us_spin(by_ari: Machine) -> None:
    past = by_ari.clock.now() - 300 * DAY
    by_ari.ca.renewal_window = (past, past + DAY)
    by_ari.issue("a.example")
    for _ in range(20):
        by_ari.pass_time(7 * HOUR)
        by_ari.renew()

    assert by_ari.live("a.example").number == 2  # once, and then not for a tenth of the lifetime


def test_scenario_20_without_any_answer_the_lifetime_decides(by_ari: Machine) -> None:
    by_ari.ca.script("renewal-info", response(500, "oops"), times=1000)
    by_ari.issue("a.example")
    assert by_ari.status("a.example").renewal_state.ari[0].unanswered == 1
    by_ari.pass_time(59 * DAY)
    by_ari.renew()
    assert by_ari.live("a.example").number == 1

    by_ari.pass_time(2 * DAY)
    by_ari.renew()

    assert by_ari.live("a.example").number == 2


# How often runs come.


def test_runs_that_come_too_seldom_for_six_day_certificates_are_warned_of(machine: Machine) -> None:
    machine.ca.lifetime = timedelta(hours=160)
    machine.issue("a.example")
    for _ in range(3):
        machine.pass_time(3 * DAY)
        machine.renew(unattended=True)
    machine.events.clear()

    machine.pass_time(3 * DAY)
    machine.renew(unattended=True)

    (warning,) = [each.message for each in machine.events if isinstance(each, Warned)]
    assert "renew runs every 72 h" in warning
    assert "run it every hour" in warning


def test_runs_by_hand_say_nothing_of_how_often_they_come(machine: Machine) -> None:
    machine.issue("a.example")
    for _ in range(5):
        machine.renew("a.example", force=True, unattended=True)
        machine.renew()

    assert not (machine.home / "run.json").exists()


def test_an_hourly_run_renews_within_the_open_window(by_ari: Machine) -> None:
    now = by_ari.clock.now()
    by_ari.ca.renewal_window = (now + 2 * HOUR, now + 5 * HOUR)
    by_ari.issue("a.example")
    for _ in range(5):
        by_ari.pass_time(HOUR)
        by_ari.renew(unattended=True)

    assert by_ari.live("a.example").number == 2
    assert by_ari.live("a.example").issued < now + 5 * HOUR


def test_a_history_that_cannot_be_read_or_written_stops_nothing(machine: Machine) -> None:
    machine.issue("a.example")
    (machine.home / "run.json").write_text("{")
    assert machine.renew(unattended=True).exit_status == 0
    assert len(machine.store.history().runs) == 1

    (machine.home / "run.json").unlink()
    (machine.home / "run.json").mkdir()
    assert machine.renew(unattended=True).exit_status == 0


# What is told of it.


def told(machine: Machine) -> dict[str, str]:
    with machine.run() as run:
        return {fact.key: fact.text for fact in explain(run, "a.example").facts}


def test_an_explanation_has_the_window_the_time_chosen_and_the_page(by_ari: Machine) -> None:
    now = by_ari.clock.now()
    by_ari.ca.renewal_window = (now + 10 * DAY, now + 12 * DAY)
    by_ari.ca.renewal_explanation = "https://ca.example/why"
    by_ari.issue("a.example")

    with by_ari.run() as run:
        found = explain(run, "a.example")

    times = {fact.key: fact.at for fact in found.facts if fact.at is not None}
    info = by_ari.status("a.example").renewal_state.ari[0].info
    assert info is not None
    assert (found.decision.due, found.decision.at, found.decision.reason) == (
        False,
        info.chosen,
        "ari",
    )
    assert (times["window_start"], times["chosen"], times["window_end"]) == (
        info.start,
        info.chosen,
        info.end,
    )
    assert "https://ca.example/why" in told(by_ari)["explanation"]
    assert times["without_ari"] < times["latest_renewal"] < times["expires"]


def test_an_explanation_says_why_nothing_happens(machine: Machine) -> None:
    machine.issue("a.example", options={"deploy.deploy_hook": "false"})
    machine.pass_time(61 * DAY)
    machine.ca.fail("a.example")
    machine.renew("a.example")

    found = told(machine)

    assert "the lifetime decides" in found["no_renewal_info"]
    assert "(validation)" in found["order_failed"]
    assert "not tried again before" in found["order_retry"]
    assert {"undeployed", "deploy_failed", "deploy_retry"} <= set(found)
