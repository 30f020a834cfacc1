"""Orders at CAs that differ from RFC 8555, or fail half-way: what can be issued is issued, and a
name that only the CA chose is never validated."""

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from certctl.ca.orders import mentioned
from certctl.engine.report import Report
from certctl.model.errors import (
    CertificateNotFound,
    ConfigurationError,
    InvalidIdentifier,
    UsageError,
)
from certctl.operations.accounts import register, rollover
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


# What to type next

WILDCARD = "A wildcard can be validated through DNS only: use --dns PROVIDER."


def hint_of(report: Report) -> str | None:
    (error,) = report.all_errors
    return error.hint


@pytest.mark.parametrize(
    ("offered", "wildcard", "hint"),
    [
        (
            ["http-01", "dns-01"],
            False,
            "Choose another challenge: --standalone, --webroot DIR or --dns PROVIDER.",
        ),
        (["dns-01"], False, "Choose another challenge: --dns PROVIDER."),
        (["dns-01"], True, WILDCARD),
        (["dns-01", "dns-account-01", "dns-persist-01"], True, WILDCARD),
        (["dns-account-01"], True, WILDCARD),
        (["dns-persist-01"], False, "Choose another challenge: --dns-persist."),
        (
            ["email-reply-00"],
            False,
            "certctl supports none of these challenges. Another CA may offer others (--ca).",
        ),
    ],
)
def test_only_challenges_that_the_ca_offers_for_a_name_are_suggested(
    machine: Machine, offered: list[str], wildcard: bool, hint: str
) -> None:
    challenges = [
        {"type": each, "status": "pending", "url": machine.ca.directory_url, "token": "t" * 43}
        for each in offered
    ]
    machine.ca.on("authorization", setting(challenges=challenges))

    report = machine.issue(
        "*.a.example" if wildcard else "a.example", options={"challenge.method": "tls-alpn"}
    )

    assert codes(report) == ["challenge.not_offered"]
    assert hint_of(report) == hint


@pytest.mark.parametrize(
    ("profiles", "chosen", "hint"),
    [
        (
            ["classic", "shortlived", "tlsserver"],
            None,
            "The CA may issue for IP addresses with: --profile shortlived",
        ),
        (
            ["classic", "shortlived", "tlsserver"],
            "tlsserver",
            "The CA may issue for IP addresses with: --profile shortlived",
        ),
        (
            ["classic", "addresses"],
            "classic",
            "The CA may issue for IP addresses with another profile (--profile): addresses",
        ),
        ([], None, "The CA does not issue for that name. Another CA may (--ca)."),
    ],
)
def test_an_address_that_is_refused_is_suggested_a_profile_that_the_ca_offers(
    machine: Machine, profiles: list[str], chosen: str | None, hint: str
) -> None:
    machine.ca.profiles = dict.fromkeys(profiles, "")
    said = 'Profile "classic" does not permit ip type identifiers'
    machine.ca.script("new-order", problem("rejectedIdentifier", 400, said))

    report = machine.issue("192.0.2.1", options={"profile": chosen} if chosen else {})

    assert hint_of(report) == hint


@pytest.mark.parametrize(
    ("stuck", "next_run", "orders"),
    [
        ("validation", "The next run places a new order.", 2),
        ("finalize", "The next run resumes this order.", 1),
    ],
)
def test_a_timeout_says_truly_whether_the_order_is_resumed(
    machine: Machine, stuck: str, next_run: str, orders: int
) -> None:
    if stuck == "validation":
        machine.ca.validate_http01, machine.ca.validated_after = None, 60
    else:
        machine.ca.finalize_polls = 60
    machine.ca.retry_after = 30

    late = machine.issue("a.example", options={"order_timeout": 300.0})
    machine.ca.validated_after = machine.ca.finalize_polls = 0
    machine.issue("a.example", options={"order_timeout": 3000.0})

    assert codes(late) == ["acme.order_timeout"]
    assert hint_of(late) == f"{next_run} To allow more time, use --order-timeout."
    assert machine.ca.count("new-order") == orders


# Some of the names


def test_a_forced_renewal_renews_the_names_that_validate_and_keeps_trying_the_others(
    machine: Machine,
) -> None:
    machine.ca.fail("b.example")
    machine.issue("a.example", "b.example", options={"allow_subset": True})

    report = machine.renew("a.example", force=True)

    assert (report.exit_status, codes(report)) == (3, ["certificate.incomplete"])
    assert machine.live("a.example").number == 2
    state = machine.status("a.example").renewal_state
    assert (state.failures, state.retry_at is not None) == (1, True)


def test_a_forced_renewal_gives_up_no_name_that_the_valid_certificate_has(
    machine: Machine,
) -> None:
    machine.issue("a.example", "b.example", options={"allow_subset": True})
    machine.ca.fail("b.example")

    report = machine.renew("a.example", force=True)

    assert codes(report) == ["challenge.failed"]
    assert machine.live("a.example").number == 1


@pytest.mark.parametrize("by_renew", [False, True], ids=["issue", "renew"])
def test_names_that_are_missing_are_told_once_with_what_is_done_about_them(
    machine: Machine, by_renew: bool
) -> None:
    if by_renew:
        machine.issue("a.example", "b.example", options={"allow_subset": True})
        machine.pass_time(timedelta(days=80))
    machine.ca.fail("b.example")

    report = (
        machine.renew()
        if by_renew
        else machine.issue("a.example", "b.example", options={"allow_subset": True})
    )

    (error,) = report.all_errors
    assert error.hint == "`certctl renew` retries the missing names automatically."
    assert machine.happened("run.failed") == []
    assert machine.happened("certificate.finished")[-1].code == "certificate.incomplete"


def test_what_a_certificate_lacks_is_said_once(machine: Machine) -> None:
    machine.ca.fail("b.example")

    report = machine.issue("a.example", "b.example", options={"allow_subset": True})

    assert codes(report) == ["certificate.incomplete"]
    assert machine.happened("run.warning") == []


# Before anything is ordered


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"challenge.dns_provider": "nosuch"},
        {"challenge.dns_credentials": "nosuch"},
        {"challenge.dns_provider": "rfc2136"},  # without its server
        {"challenge.dns_provider": "auto"},  # without zones
        {"challenge.method": "webroot"},  # without a directory
        {"challenge.method": "http-hook"},  # without a command
        {"challenge.method": "nosuch"},
    ],
    ids=str,
)
def test_domain_validation_that_is_set_up_wrongly_is_reported_before_the_ca_is_asked(
    machine: Machine, options: dict[str, str], dry_run: bool
) -> None:
    if "challenge.method" not in options:
        options = {"challenge.method": "dns", **options}

    with pytest.raises((UsageError, ConfigurationError)):
        machine.issue("a.example", options=options, dry_run=dry_run)

    assert machine.ca.requests == []


def test_a_certificate_that_needs_nothing_does_not_need_its_provider_either(
    machine: Machine,
) -> None:
    machine.issue("a.example")

    report = machine.issue("a.example")

    assert [each.action for each in report.outcomes] == ["unchanged"]


ACCOUNT_OPTIONS: dict[str, Any] = {
    "account.email": ("ops@example.com",),
    "account.key_type": "rs256",
    "account.eab_kid": "kid",
}


@pytest.mark.parametrize("key", list(ACCOUNT_OPTIONS))
@pytest.mark.parametrize("command", ["issue", "register"])
def test_options_of_a_new_account_are_not_ignored_in_silence_by_one_that_exists(
    machine: Machine, command: str, key: str
) -> None:
    machine.issue("a.example")
    machine.events.clear()
    options = {key: ACCOUNT_OPTIONS[key]}

    if command == "issue":
        machine.issue("b.example", options=options)
    else:
        with machine.run(options) as run:
            register(run, machine.ca.directory_url, str(machine.ca.ca_bundle))

    (warned,) = machine.happened("run.warning")
    (account,) = machine.store.accounts.all()
    command_of = {
        "account.email": "certctl account update --email ops@example.com",
        "account.key_type": "certctl account rollover --account-key-type rs256",
    }
    assert command_of.get(key, "binding was not used") in warned.message
    assert (account.contact, account.key_type.value) == ((), "es256")


def test_options_that_the_account_has_already_are_no_reason_for_a_warning(machine: Machine) -> None:
    options: dict[str, Any] = {"account.email": ("ops@example.com",), "account.key_type": "es256"}
    machine.issue("a.example", options=options)

    machine.issue("b.example", options=options)

    assert machine.happened("run.warning") == []


# A dry run at a CA without a staging directory


def test_a_dry_run_without_staging_validates_with_the_account_and_abandons_the_order(
    machine: Machine,
) -> None:
    machine.issue("a.example")

    report = machine.issue("b.example", "c.example", dry_run=True)

    (outcome,) = report.outcomes
    assert (report.exit_status, outcome.action) == (0, "dry-run")
    assert "has no staging directory" in str(outcome.reason)
    assert "the order was abandoned" in str(outcome.reason)
    assert (machine.ca.count("new-order"), machine.ca.count("finalize")) == (2, 1)
    assert list(machine.store.names()) == ["a.example"]
    assert machine.store.pending("b.example") is None


def test_a_dry_run_without_staging_fails_as_the_order_would(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.fail("c.example")

    report = machine.issue("b.example", "c.example", dry_run=True)

    assert (report.exit_status, codes(report)) == (1, ["challenge.failed"])
    assert machine.ca.count("finalize") == 1


def test_a_dry_run_without_staging_leaves_no_authorization_pending(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.validate_http01, machine.ca.validated_after = None, 1000
    machine.ca.retry_after = 30

    report = machine.issue("b.example", options={"order_timeout": 120.0}, dry_run=True)

    assert codes(report) == ["acme.order_timeout"]
    assert machine.ca.payloads("authorization")[-1] == {"status": "deactivated"}


def test_a_dry_run_registers_no_account_without_staging(machine: Machine) -> None:
    with pytest.raises(UsageError) as refused:
        machine.issue("a.example", dry_run=True)

    assert refused.value.code == "usage.no_staging"
    assert f"certctl register --ca {machine.ca.directory_url}" in str(refused.value.hint)
    assert machine.ca.requests == []


# Names of a local network


def test_a_private_ca_issues_for_names_without_a_dot(machine: Machine) -> None:
    first = machine.issue("printer")
    second = machine.issue("printer", "scanner", confirmed=True)
    third = machine.renew("printer", force=True)

    assert [each.exit_status for each in (first, second, third)] == [0, 0, 0]
    assert list(machine.store.names()) == ["printer"]
    assert [str(each) for each in machine.live("printer").facts.identifiers] == [
        "printer",
        "scanner",
    ]


@pytest.mark.parametrize("ca", ["letsencrypt", "letsencrypt-staging", "zerossl"])
@pytest.mark.parametrize("name", ["printer", "*.printer", "localhost"])
def test_a_public_ca_is_not_asked_for_names_without_a_dot(
    machine: Machine, ca: str, name: str
) -> None:
    with pytest.raises(InvalidIdentifier, match="has no dot") as refused:
        machine.issue("a.example", name, options={"ca": ca})

    assert f"Give the full name, such as {name}.example.com" in str(refused.value.hint)


def test_several_names_without_a_dot_are_named_together(machine: Machine) -> None:
    with pytest.raises(InvalidIdentifier, match="printer, scanner: they have no dot"):
        machine.issue("printer", "a.example", "scanner", options={"ca": "letsencrypt"})


def test_a_certificate_with_local_names_cannot_be_moved_to_a_public_ca(machine: Machine) -> None:
    machine.issue("printer")

    with pytest.raises(InvalidIdentifier, match="has no dot"):
        machine.issue("printer", options={"ca": "letsencrypt"})


# A common name


def requested_common_name(machine: Machine) -> str | None:
    """The common name in the last signing request."""
    encoded = machine.ca.payloads("finalize")[-1]["csr"]
    der = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    found = x509.load_der_x509_csr(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


def test_a_common_name_is_requested_only_on_demand_and_renewals_keep_it(machine: Machine) -> None:
    machine.issue("a.example", "b.example")
    first = requested_common_name(machine)
    machine.issue("a.example", "b.example", options={"common_name": "b.example"})
    second = requested_common_name(machine)
    machine.renew("a.example", force=True)

    assert (first, second, requested_common_name(machine)) == (None, "b.example", "b.example")
    assert machine.live("a.example").number == 3


def test_a_common_name_that_is_changed_or_removed_is_a_reason_to_reissue(machine: Machine) -> None:
    machine.issue("a.example", "b.example", options={"common_name": "b.example"})
    again = machine.issue("a.example", "b.example", options={"common_name": "b.example"})
    changed = machine.issue("a.example", "b.example", options={"common_name": "a.example"})
    machine.issue("a.example", "b.example", options={"common_name": ""})

    assert again.outcomes[0].action == "unchanged"
    assert "common name a.example instead of b.example" in str(changed.outcomes[0].reason)
    assert requested_common_name(machine) is None
    assert machine.live("a.example").number == 3


def test_the_common_name_has_to_be_one_of_the_names(machine: Machine) -> None:
    with pytest.raises(UsageError, match="not one of the names"):
        machine.issue("a.example", options={"common_name": "b.example"})

    assert machine.ca.requests == []


def test_an_order_without_the_name_chosen_as_common_name_has_another(machine: Machine) -> None:
    machine.ca.fail("b.example")
    options: dict[str, Any] = {"common_name": "b.example", "allow_subset": True}

    report = machine.issue(f"{'x' * 60}.example", "a.example", "b.example", options=options)

    assert codes(report) == ["certificate.incomplete"]
    assert requested_common_name(machine) == "a.example"


# After a key rollover


def roll_over(machine: Machine) -> None:
    with machine.run() as run:
        rollover(run, machine.store.accounts.all()[0])


@pytest.mark.parametrize(("kind", "status"), [("unauthorized", 403), ("malformed", 400)])
@pytest.mark.parametrize("resource", ["new-order", "authorization", "challenge", "finalize"])
def test_servers_that_do_not_know_a_new_account_key_yet_are_asked_again(
    machine: Machine, resource: str, kind: str, status: int
) -> None:
    machine.issue("a.example")
    roll_over(machine)
    machine.ca.script(resource, problem(kind, status, "JWS verification error"), times=3)

    report = machine.issue("b.example")

    assert report.exit_status == 0
    assert len(machine.ca.issued) == 2


@pytest.mark.parametrize(
    "since", [None, timedelta(minutes=6), timedelta(days=-400)], ids=["never", "long ago", "ahead"]
)
def test_a_refusal_is_not_repeated_if_the_account_key_was_not_changed_just_now(
    machine: Machine, since: timedelta | None
) -> None:
    machine.issue("a.example")
    if since is not None:
        roll_over(machine)
        machine.clock.advance(since.total_seconds())
    machine.ca.script("new-order", problem("malformed", 400))

    report = machine.issue("b.example")

    assert codes(report) == ["acme.refused"]
    assert machine.ca.count("new-order") == 2


def test_a_refusal_that_lasts_is_reported_after_a_quarter_of_a_minute(machine: Machine) -> None:
    machine.issue("a.example")
    roll_over(machine)
    machine.ca.script("new-order", problem("malformed", 400), times=5)
    waited = sum(machine.clock.waits)

    report = machine.issue("b.example")

    assert codes(report) == ["acme.refused"]
    assert 15 <= sum(machine.clock.waits) - waited < 16
