"""What this machine asked of a CA: written down, said before a limit is overstepped, and shown."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from certctl.engine.order.rate_limits import usage_of
from certctl.inspection.explain import explain
from certctl.model.ca import LedgerEntry, LimitedAction
from certctl.operations.accounts import register
from tests.lab.scripted_ca.faults import problem
from tests.support.command import certctl
from tests.support.operations import Machine, reached_at

PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"
DAY = timedelta(days=1)


@pytest.fixture
def letsencrypt(machine: Machine) -> Machine:
    """A machine whose certificates come from a CA that has Let's Encrypt's name and limits."""
    machine.endpoints = {PUBLIC: reached_at(machine.ca)}
    machine.flags["ca"] = "letsencrypt"
    del machine.flags["ca_bundle"]
    return machine


def ledger(machine: Machine) -> list[dict[str, Any]]:
    (path,) = machine.home.glob("accounts/*/*/ledger.json")
    document = json.loads(path.read_text())
    assert document["version"] == 2
    return list(document["entries"])


def asked(machine: Machine) -> list[tuple[str, list[str], bool, bool]]:
    return [
        (each["action"], each["identifiers"], each["renewal"], each["replaces"])
        for each in ledger(machine)
    ]


def note(machine: Machine, *entries: LedgerEntry) -> None:
    """Write down what an earlier run would have."""
    (account,) = machine.store.accounts.all()
    machine.store.accounts.add_to_ledger(account, entries, machine.clock.now())


def warnings(machine: Machine) -> list[str]:
    return [event.message for event in machine.happened("run.warning")]


def test_an_order_and_its_certificate_are_written_down(machine: Machine) -> None:
    machine.issue("b.example", "a.example")

    assert asked(machine) == [
        ("order", ["b.example", "a.example"], False, False),
        ("certificate", ["b.example", "a.example"], False, False),
    ]


def test_a_renewal_is_known_as_one(machine: Machine) -> None:
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    machine.renew()

    # What is two months old counts nowhere any more.
    assert asked(machine) == [
        ("order", ["a.example"], True, False),
        ("certificate", ["a.example"], True, False),
    ]


def test_a_renewal_in_its_window_says_what_it_replaces(by_ari: Machine) -> None:
    by_ari.issue("a.example")
    by_ari.pass_time(64 * DAY)
    by_ari.renew()

    assert [each[2:] for each in asked(by_ari)] == [(True, True), (True, True)]


def test_where_the_ca_will_not_have_that_it_counts(by_ari: Machine) -> None:
    by_ari.issue("a.example")
    by_ari.pass_time(64 * DAY)
    by_ari.ca.script("new-order", problem("alreadyReplaced", 409))
    by_ari.renew()

    assert asked(by_ari)[0] == ("order", ["a.example"], True, False)


def test_a_failed_authorization_is_written_down_for_its_name(machine: Machine) -> None:
    machine.ca.fail("b.example")
    machine.issue("a.example", "b.example")

    assert [each[:2] for each in asked(machine)] == [
        ("order", ["a.example", "b.example"]),
        ("failed_authorization", ["b.example"]),
    ]


def test_many_orders_at_once_are_all_written_down(machine: Machine) -> None:
    names = [f"n{number}.example" for number in range(24)]
    for name in names:
        machine.issue(name)
    machine.pass_time(61 * DAY)
    machine.renew()

    ordered = [each[1][0] for each in asked(machine) if each[0] == "order"]
    assert sorted(ordered) == sorted(names)


def test_a_ledger_that_makes_no_sense_begins_anew(machine: Machine) -> None:
    machine.issue("a.example")
    (path,) = machine.home.glob("accounts/*/*/ledger.json")
    path.write_text('{"version": 1, "asked": [{"what": "tea"}]}')

    report = machine.issue("b.example")

    assert report.exit_status == 0
    assert [each[1] for each in asked(machine)] == [["b.example"], ["b.example"]]


def test_a_ledger_that_cannot_be_written_stops_nothing(machine: Machine) -> None:
    machine.issue("a.example")
    (path,) = machine.home.glob("accounts/*/*/ledger.json")
    path.unlink()
    path.mkdir()

    assert machine.issue("b.example").exit_status == 0


def test_a_sixth_certificate_for_the_same_names_is_warned_of_and_ordered(
    letsencrypt: Machine,
) -> None:
    for _ in range(5):
        letsencrypt.issue("a.example", force=True)
    assert warnings(letsencrypt) == []

    report = letsencrypt.issue("a.example", force=True)

    assert [each.action for each in report.outcomes] == ["issued"]
    (warning,) = warnings(letsencrypt)
    assert warning.startswith(
        "letsencrypt allows 5 certificates for the same names in 7 days for a.example: 5 used, "
        "1 more requested; more allowed at "
    )


def test_a_ca_without_known_limits_is_warned_of_nothing(machine: Machine) -> None:
    for _ in range(7):
        machine.issue("a.example", force=True)

    assert warnings(machine) == []


def test_a_run_that_would_overstep_a_limit_says_so_first_and_orders_the_most_urgent(
    letsencrypt: Machine,
) -> None:
    letsencrypt.issue("late.example.com")
    letsencrypt.pass_time(DAY)
    for name in ("a.example.com", "b.example.com"):
        letsencrypt.issue(name)
    letsencrypt.pass_time(61 * DAY)
    for name in ("late.example.com", "a.example.com", "b.example.com"):
        # Other names than before: renewals would not count.
        text = letsencrypt.spec_file(name).read_text()
        letsencrypt.spec_file(name).write_text(
            text.replace(f'"{name}"', f'"{name}", "www.{name}"', 1)
        )
    now = letsencrypt.clock.now()
    note(
        letsencrypt,
        *[LedgerEntry(LimitedAction.CERTIFICATE, now, (f"n{n}.example.com",)) for n in range(48)],
    )
    before = letsencrypt.ca.count("new-order")
    letsencrypt.home.joinpath("certctl.toml").write_text("jobs = 1\n")

    report = letsencrypt.renew()

    assert [each.action for each in report.outcomes] == ["issued"] * 3
    (warning,) = warnings(letsencrypt)
    assert warning == (
        "letsencrypt allows 50 new certificates in 7 days for example.com: 48 used, 3 more "
        "requested; 2 allowed now, most urgent first"
    )
    sent = letsencrypt.ca.payloads("new-order")[before:]
    assert sent[0]["identifiers"][0]["value"] == "late.example.com"


def test_a_name_that_failed_too_often_is_warned_of(letsencrypt: Machine) -> None:
    letsencrypt.issue("a.example")
    now = letsencrypt.clock.now()
    note(letsencrypt, *[LedgerEntry(LimitedAction.FAILURE, now, ("b.example",))] * 5)

    letsencrypt.issue("b.example")

    (warning,) = warnings(letsencrypt)
    assert "5 failed authorizations in 1 hour for b.example: 5 used, " in warning


def test_one_account_more_than_the_ca_allows_is_warned_of(letsencrypt: Machine) -> None:
    letsencrypt.issue("a.example")
    (account,) = letsencrypt.store.accounts.all()
    key = letsencrypt.store.accounts.key(account)

    for number in range(9):
        other = replace(account, url=f"{account.url}/{number}", status="deactivated")
        letsencrypt.store.accounts.save(other, key)
    letsencrypt.store.accounts.update(replace(account, status="deactivated"))

    with letsencrypt.run() as run:
        register(run, PUBLIC, None)

    (warning,) = warnings(letsencrypt)
    assert warning.startswith("letsencrypt allows 10 new accounts in 3 hours: 10 used, ")


def test_what_is_used_is_shown_with_the_account(letsencrypt: Machine) -> None:
    letsencrypt.issue("a.example.com")
    letsencrypt.issue("a.example.com", force=True)

    with letsencrypt.run() as run:
        (account,) = run.services.records.accounts()
        shown = [str(each) for each in usage_of(account, run)]

    assert shown == [
        "2 of 5 certificates for the same names in 7 days for a.example.com",
        "1 of 10 new accounts in 3 hours",
        "1 of 50 new certificates in 7 days for example.com",
        "1 of 300 new orders in 3 hours",
    ]
    listed = certctl("account", "show", "--json", home=letsencrypt.home).json()
    limits = listed["data"]["accounts"][0]["limits"]
    assert limits[0] == {
        "limit": "certificates for the same names",
        "per": "set_of_names",
        "subject": "a.example.com",
        "used": 2,
        "allowed": 5,
        "seconds": 604800,
        "available_at": None,
    }
    lines = certctl("account", "show", home=letsencrypt.home).stdout
    assert "2 of 5 certificates for the same names in 7 days for a.example.com" in lines


def test_what_is_used_is_explained_for_a_certificate(letsencrypt: Machine) -> None:
    for name in ("a.example.com", "b.example.com", "c.example.net"):
        letsencrypt.issue(name)
    same = "1 of 5 certificates for the same names in 7 days for a.example.com"

    with letsencrypt.run() as run:
        facts = explain(run, "a.example.com").facts

    assert [fact.text for fact in facts if fact.key == "limit"] == [
        f"rate limit of its CA: {same} used",
        "rate limit of its CA: 2 of 50 new certificates in 7 days for example.com used",
        "rate limit of its CA: 3 of 300 new orders in 3 hours used",
    ]


def test_the_ledger_is_private_and_holds_no_key(machine: Machine) -> None:
    machine.issue("a.example")
    (path,) = machine.home.glob("accounts/*/*/ledger.json")

    assert path.stat().st_mode & 0o777 == 0o600
    assert set(ledger(machine)[0]) == {"action", "at", "identifiers", "renewal", "replaces"}
