"""Orders at CAs that differ from RFC 8555, or fail half-way: what can be issued is issued, and a
name that only the CA chose is never validated."""

from pathlib import Path
from typing import Any

import pytest

from certctl.ca.orders import mentioned
from certctl.errors import CertificateNotFound
from tests.lab.scripted_ca.faults import problem, removing, setting
from tests.lab.scripted_ca.problems import document
from tests.support.operations import Machine, codes

DNS = "dns"


def named(*values: str) -> list[dict[str, str]]:
    return [{"type": DNS, "value": value} for value in values]


# Identifiers


@pytest.mark.parametrize(
    ("resource", "change"),
    [
        ("new-order", setting(identifiers=named("a.example", "evil.example"))),
        ("new-order", setting(identifiers=named("evil.example"))),
        ("authorization", setting(identifier=named("evil.example")[0])),
        ("authorization", setting(identifier={"type": DNS, "value": "$(id).example"})),
        ("authorization", setting(identifier={"type": DNS, "value": "../../etc"})),
        ("authorization", setting(identifier={"type": DNS, "value": "b.a.example"})),
        ("authorization", setting(identifier={"type": "ip", "value": "192.0.2.1"})),
    ],
    ids=["one more", "another", "other authorization", "shell", "path", "below", "address"],
)
def test_a_name_that_only_the_ca_chose_is_its_fault_and_nothing_is_placed_for_it(
    machine: Machine, tmp_path: Path, resource: str, change: Any
) -> None:
    machine.ca.on(resource, change)
    called = tmp_path / "called"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho $CERTCTL_HTTP_DOMAIN >> {called}\n")
    hook.chmod(0o755)

    report = machine.issue("a.example", options={"challenge.http_hook": str(hook)})

    assert (report.exit_status, codes(report)) == (1, ["acme.bad_response"])
    assert not called.exists()
    assert list((machine.home / "journal").glob("*")) == []


def test_an_invalid_order_may_list_fewer_names_and_its_authorizations_say_why(
    machine: Machine,
) -> None:
    machine.ca.fail("b.example", error=document("connection", "no route to b", status=400))
    machine.ca.on(
        "order",
        lambda body: (
            body.update(identifiers=named("a.example")) if body["status"] == "invalid" else None
        ),
    )

    report = machine.issue("a.example", "b.example")

    (outcome,) = report.outcomes
    assert codes(report) == ["challenge.failed"]
    assert "no route to b" in str(outcome.error)


@pytest.mark.parametrize("status", [400, 403])
def test_a_challenge_response_that_is_refused_is_that_names_failure(
    machine: Machine, status: int
) -> None:
    machine.ca.script(
        "challenge",
        problem("malformed", status, "not this one"),
        when=lambda seen: machine.ca.is_challenge_of(seen, "b.example"),
        times=5,
    )

    report = machine.issue("a.example", "b.example", options={"allow_subset": True})

    (outcome,) = report.outcomes
    assert outcome.version is not None
    assert [each.value for each in outcome.version.facts.identifiers] == ["a.example"]
    assert "b.example" in str(outcome.incomplete)


@pytest.mark.parametrize(
    "detail",
    [
        'Cannot issue for "b.example": the domain is blocked',
        "Error: 'b.example' is a high-risk name",
        "Policy forbids issuing for b.example.",
        "policy: B.EXAMPLE",
    ],
)
def test_a_single_refused_name_is_found_in_the_cas_words(machine: Machine, detail: str) -> None:
    machine.ca.script("new-order", problem("rejectedIdentifier", 403, detail))

    report = machine.issue("a.example", "b.example", options={"allow_subset": True})

    (outcome,) = report.outcomes
    assert outcome.version is not None
    assert [each.value for each in outcome.version.facts.identifiers] == ["a.example"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('for "b.example"', ["b.example"]),
        ("for b.example: blocked", ["b.example"]),
        ("for a.b.example and xb.example", []),
        ("for b.example.org", []),
        ("*.b.example is refused", ["*.b.example"]),
        ('"a.example" and "b.example" are refused', ["a.example", "b.example"]),
        ("nothing in particular", []),
        ('for "b.example" (registered domain of a.example)', ["b.example"]),
    ],
)
def test_a_text_is_about_the_names_in_quotes_or_else_about_whole_words(
    text: str, found: list[str]
) -> None:
    assert list(mentioned(text, ["a.example", "b.example", "*.b.example"])) == found


# Half-way


def test_an_order_whose_authorizations_come_later_is_read_again(machine: Machine) -> None:
    machine.ca.on("new-order", removing("authorizations"))

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert machine.ca.count("new-order") == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_certificate_that_is_not_found_once_is_downloaded_a_moment_later(
    machine: Machine, status: int
) -> None:
    machine.ca.script("certificate", problem("malformed", status), times=2)

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert machine.ca.count("new-order") == 1


def test_the_order_of_a_certificate_that_is_not_found_for_long_is_kept(machine: Machine) -> None:
    machine.ca.script("certificate", problem("malformed", 404), times=4)

    first = machine.issue("a.example")
    second = machine.issue("a.example", force=True)

    assert codes(first) == [CertificateNotFound.code]
    assert second.exit_status == 0
    assert machine.ca.count("new-order") == 1


def test_a_server_error_amid_finalize_places_a_new_order_in_the_same_run(machine: Machine) -> None:
    failed = {"type": "urn:ietf:params:acme:error:serverInternal", "status": 500, "detail": "oops"}
    machine.ca.on("finalize", setting(status="invalid", error=failed), times=1)

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert machine.ca.count("new-order") == 2


def test_server_errors_at_finalize_end_after_the_second_order(machine: Machine) -> None:
    failed = {"type": "urn:ietf:params:acme:error:serverInternal", "status": 500, "detail": "oops"}
    machine.ca.on("finalize", setting(status="invalid", error=failed))

    report = machine.issue("a.example")

    assert codes(report) == ["acme.order_failed"]
    assert machine.ca.count("new-order") == 2


# Renewal


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_ca_that_fails_on_replaces_gets_the_order_without_it(
    machine: Machine, status: int
) -> None:
    machine.ca.renewal_info = True
    machine.issue("a.example")
    machine.ca.script(
        "new-order",
        problem("serverInternal", status),
        when=lambda seen: "replaces" in (seen.payload or {}),
        times=100,
    )

    report = machine.renew(force=True)

    assert report.exit_status == 0
    assert machine.status("a.example").renewal_state.failures == 0
