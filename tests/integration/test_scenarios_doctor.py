"""The scenarios of docs/scenarios.md that can be seen beforehand, each named by its number."""

from datetime import timedelta

import dns.rcode

from certctl.model.errors import AcmeError
from tests.lab.scripted_ca.faults import problem
from tests.support.doctor import HERE, doctor, one, told
from tests.support.operations import Machine


def test_scenario_37_caa_that_forbids_is_told_before_a_ca_refuses(machine: Machine) -> None:
    records = {**HERE, ("a.example", "CAA"): ('0 issue "other.example"',)}

    found = doctor(machine, "a.example", records=records)

    assert told(found) == [("caa.forbidden", "error", "a.example")]
    assert one(found, "caa.forbidden").fix == 'Add: a.example. CAA 0 issue "ca.example"'
    assert machine.ca.sequence() == ["directory"]


def test_scenario_37_caa_that_cannot_be_looked_up_is_told_before_a_ca_refuses(
    machine: Machine,
) -> None:
    found = doctor(machine, "a.example", rcodes={"example": dns.rcode.SERVFAIL})

    assert told(found) == [("caa.lookup", "warning", "a.example")]
    assert "SERVFAIL" in one(found, "caa.lookup").message


def test_scenario_37_a_ca_that_caa_keeps_from_issuing_is_quoted_and_asked_again_later(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    live = machine.live("a.example").number
    refused = "CAA record for a.example prevents issuance"
    machine.ca.script("finalize", problem("caa", 403, detail=refused))

    machine.pass_time(timedelta(days=61))
    report = machine.issue("a.example")

    (error,) = report.all_errors
    assert isinstance(error, AcmeError)
    assert refused in error.message
    assert machine.live("a.example").number == live
    renewal_state = machine.status("a.example").renewal_state
    assert renewal_state.failures == 1
    assert renewal_state.retry_at is not None
    assert renewal_state.retry_at > machine.clock.now()
