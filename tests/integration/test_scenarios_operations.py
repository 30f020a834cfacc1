"""The scenarios of docs/scenarios.md as a whole command meets them, each named by its number.

What the CA edge makes of each answer is tested in `test_scenarios_ca*`; here it is what becomes of
the certificate: what is live, what is remembered, and the exit status.
"""

import socket
from collections.abc import Callable
from datetime import timedelta

import pytest

from certctl.model.ca import Account, RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import AccountError, AccountPaused, RateLimited, ValidationFailed
from certctl.operations import accounts
from certctl.operations.revoke import revoke
from certctl.rules.formats import split_certificates
from certctl.rules.x509 import topmost_issuer
from tests.lab.scripted_ca.chains import (
    Chain,
    backwards,
    full,
    leaf_only,
    with_private_key,
    with_root,
    wrong_intermediate,
    wrong_key,
    wrong_names,
)
from tests.lab.scripted_ca.faults import drop_connection, problem, response
from tests.support.operations import Machine, codes, key_matches

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
PEM_OF_NOTHING = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def the_account(machine: Machine) -> Account:
    (account,) = [one for one in machine.store.accounts.all() if one.status == "valid"]
    return account


def test_scenario_01_bad_nonces_are_nothing_that_a_command_sees(machine: Machine) -> None:
    machine.ca.script("new-order", problem("badNonce"), times=3)

    assert machine.issue("a.example").exit_status == 0


def test_scenario_05_a_rate_limit_with_a_time_is_waited_out_by_later_runs(
    machine: Machine,
) -> None:
    machine.ca.script(
        "new-order",
        problem("rateLimited", 429, retry_after=7200, help_url="https://ca.example/limits"),
        after=1,
    )
    machine.issue("a.example")
    machine.pass_time(61 * DAY)

    limited = machine.renew()
    waiting = machine.renew()
    machine.pass_time(3 * HOUR)
    last = machine.renew()

    assert [one.exit_status for one in (limited, waiting, last)] == [6, 6, 0]
    assert isinstance(limited.all_errors[0], RateLimited)
    assert "https://ca.example/limits" in (limited.all_errors[0].hint or "")
    assert machine.ca.count("new-order") == 3


def test_scenario_06_a_pause_shows_its_url_and_is_tried_no_more_in_this_run(
    machine: Machine,
) -> None:
    words = "Your account is temporarily prevented; visit https://ca.example/unpause?jwt=x"
    machine.ca.script("new-order", problem("rateLimited", 429, words))

    report = machine.issue("a.example")

    (error,) = report.all_errors
    assert isinstance(error, AccountPaused)
    assert "https://ca.example/unpause?jwt=x" in (error.hint or "")
    assert (report.exit_status, machine.ca.count("new-order")) == (6, 1)


@pytest.mark.parametrize("status", [429, 503])
def test_scenario_07_an_answer_in_html_says_later(machine: Machine, status: int) -> None:
    machine.ca.script("new-order", response(status, "<html>busy</html>"), times=8)

    report = machine.issue("a.example")

    assert report.exit_status == 6
    assert "<html>" not in report.all_errors[0].message


def test_scenario_11_a_profile_refused_when_the_order_is_placed(machine: Machine) -> None:
    machine.ca.profiles = {"short": "six days"}
    machine.ca.script(
        "new-order",
        problem("invalidProfile"),
        times=2,
        when=lambda seen: "profile" in seen.payload,
    )

    preferred = machine.issue("a.example", options={"profile": "short"})
    required = machine.issue("b.example", options={"required_profile": "short"})

    assert (preferred.exit_status, required.exit_status) == (0, 1)


def test_scenario_11_a_profile_refused_when_the_order_is_finalized(machine: Machine) -> None:
    machine.ca.profiles = {"short": "six days"}
    machine.ca.script("finalize", problem("invalidProfile"))
    preferred = machine.issue("a.example", options={"profile": "short"})
    machine.ca.script("finalize", problem("invalidProfile"))
    required = machine.issue("b.example", options={"required_profile": "short"})

    assert (preferred.exit_status, required.exit_status) == (0, 1)
    asked = [each.get("profile") for each in machine.ca.payloads("new-order")]
    assert asked == ["short", None, "short"]
    assert machine.store.names() == ["a.example"]


def test_scenario_11_a_profile_that_was_done_without_is_had_once_it_is_required(
    machine: Machine,
) -> None:
    machine.ca.profiles = {"another": "not that one"}
    machine.issue("a.example", options={"profile": "short"})

    refused = machine.issue("a.example", options={"required_profile": "short"})
    machine.ca.profiles = {"short": "six days"}
    issued = machine.issue("a.example", options={"required_profile": "short"})

    assert (refused.exit_status, issued.exit_status) == (2, 0)
    assert machine.live("a.example").number == 2
    assert [each.get("profile") for each in machine.ca.payloads("new-order")] == [None, "short"]
    assert machine.renew().outcomes == ()


def test_scenario_12_an_order_born_ready_needs_no_challenge(machine: Machine) -> None:
    machine.issue("warm.example")
    machine.ca.authorizations_start = "valid"
    before = len(machine.ca.sequence())

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert machine.ca.sequence()[before:] == [
        "directory",
        "new-nonce",
        "new-order",
        "finalize",
        "certificate",
    ]


def test_scenario_12_an_authorization_that_is_valid_already_is_not_proved_again(
    machine: Machine,
) -> None:
    machine.ca.already_valid = {"a.example"}

    report = machine.issue("a.example", "b.example")

    assert report.exit_status == 0
    assert machine.ca.count("challenge") == 1


def test_scenario_13_the_same_pending_order_twice(machine: Machine) -> None:
    machine.ca.reuse_pending_orders = True
    machine.ca.script("authorization", drop_connection(), times=5)
    failed = machine.issue("a.example")

    report = machine.issue("a.example")

    assert (failed.exit_status, report.exit_status) == (6, 0)
    assert len(machine.ca.issued) == 1


def test_scenario_14_everything_shuffled(machine: Machine) -> None:
    machine.ca.shuffled = True

    report = machine.issue("a.example", "b.example", "c.example")

    assert report.exit_status == 0
    assert {str(one) for one in machine.live("a.example").facts.identifiers} == {
        "a.example",
        "b.example",
        "c.example",
    }


def test_scenario_15_processing_for_minutes(machine: Machine) -> None:
    machine.ca.finalize_polls, machine.ca.retry_after = 20, 15

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert key_matches(machine.home / "live/a.example")


def test_scenario_15_an_order_that_takes_too_long_is_fetched_by_the_next_run(
    machine: Machine,
) -> None:
    machine.ca.finalize_polls, machine.ca.retry_after = 60, 30

    late = machine.issue("a.example", options={"order_timeout": 300.0})
    machine.ca.finalize_polls = 0
    report = machine.issue("a.example", options={"order_timeout": 3000.0})

    assert (late.exit_status != 0, report.exit_status) == (True, 0)
    assert machine.ca.count("new-order") == 1
    assert machine.ca.count("finalize") == 1


@pytest.mark.parametrize(
    "how", ["invalid", "invalid without error", "refused", "deactivated", "expired", "revoked"]
)
def test_scenario_16_an_authorization_that_is_lost(machine: Machine, how: str) -> None:
    machine.ca.fail("a.example", how)  # type: ignore[arg-type] # one of `Failing`

    report = machine.issue("a.example")

    assert report.exit_status == 1
    assert machine.store.names() == []
    assert machine.store.pending("a.example") is None


def test_scenario_16_an_authorization_that_stays_pending_with_an_error(machine: Machine) -> None:
    machine.ca.fail("a.example", "stays pending")

    report = machine.issue("a.example")

    (error,) = report.all_errors
    assert isinstance(error, ValidationFailed)
    assert [name for name, _ in error.reasons] == ["a.example"]


def test_scenario_17_unknown_challenge_types_are_skipped(machine: Machine) -> None:
    machine.ca.extra_challenges = [{"type": "telepathy-01", "url": "https://ca.example/t"}]

    assert machine.issue("a.example").exit_status == 0


def test_scenario_17_a_token_that_could_be_guessed_is_not_answered(machine: Machine) -> None:
    machine.ca.token_bytes = 4

    report = machine.issue("a.example")

    assert (report.exit_status, codes(report)) == (1, ["acme.bad_response"])
    assert machine.ca.count("challenge") == 0
    assert machine.store.journal.leftovers("a.example") == []


def test_scenario_18_what_fails_is_named_and_the_rest_given_up(machine: Machine) -> None:
    machine.ca.fail("b.example")
    machine.ca.fail("c.example", "invalid without error")

    report = machine.issue("a.example", "b.example", "c.example")

    (error,) = report.all_errors
    assert isinstance(error, ValidationFailed)
    assert [name for name, _ in error.reasons] == ["b.example", "c.example"]
    assert "connection refused" in dict(error.reasons)["b.example"]
    assert not set(machine.ca.deactivated) & {"b.example", "c.example"}
    assert machine.store.journal.leftovers("a.example") == []
    assert report.exit_status == 1


def test_scenario_18_a_name_that_cannot_be_proved_gives_up_all_of_them(machine: Machine) -> None:
    report = machine.issue("a.example", "*.a.example")

    assert (report.exit_status, codes(report)) == (1, ["challenge.not_offered"])
    assert sorted(machine.ca.deactivated) == ["*.a.example", "a.example"]
    assert machine.ca.count("challenge") == 0


def test_scenario_22_a_clock_hours_off_only_warns(machine: Machine) -> None:
    machine.clock.advance(-6 * 3600)

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert len(machine.happened("run.warning")) == 1


@pytest.mark.parametrize(
    "chain",
    [with_private_key, wrong_key, wrong_names, leaf_only, wrong_intermediate],
    ids=lambda chain: chain.__name__,
)
def test_scenario_25_a_chain_that_does_not_fit_never_becomes_live(
    machine: Machine, chain: Chain
) -> None:
    machine.issue("a.example")
    before = (machine.home / "live/a.example/fullchain.pem").read_bytes()
    machine.ca.chain = chain

    report = machine.renew(force=True)

    assert report.exit_status == 1
    (code,) = codes(report)
    assert code == "acme.bad_response" or code.startswith("certificate.refused")
    assert (machine.home / "live/a.example/fullchain.pem").read_bytes() == before
    assert machine.status("a.example").renewal_state.failures == 1
    assert [one.number for one in machine.store.versions("a.example")] == [1]


@pytest.mark.parametrize("chain", [backwards, with_root], ids=lambda chain: chain.__name__)
def test_scenario_25_a_chain_that_is_unordered_or_too_long_becomes_live_in_order(
    machine: Machine, chain: Chain
) -> None:
    machine.ca.chain = chain

    report = machine.issue("a.example")

    live = split_certificates((machine.home / "live/a.example/fullchain.pem").read_bytes())
    assert report.exit_status == 0
    assert len(live) == 2
    assert machine.happened("run.warning") == []


def test_scenario_25_a_name_that_the_ca_added_is_told_and_the_certificate_is_used(
    machine: Machine,
) -> None:
    machine.ca.chain = lambda issued: full(issued.reissued(names=(*issued.names, "dns:b.example")))

    report = machine.issue("a.example")

    (warning,) = machine.happened("run.warning")
    assert report.exit_status == 0
    assert "b.example" in str(warning)
    assert machine.issue("a.example").outcomes[0].action == "unchanged"
    assert machine.ca.count("new-order") == 1


def test_scenario_26_a_bad_alternate_leaves_the_default_chain(machine: Machine) -> None:
    machine.ca.alternates = 1
    machine.ca.script("alternate", response(200, PEM_OF_NOTHING))

    report = machine.issue("a.example", options={"preferred_chain": "Scripted Root X2"})

    chain = (machine.home / "live/a.example/fullchain.pem").read_bytes()
    assert report.exit_status == 0
    assert topmost_issuer(chain) == "Scripted Root X1"


def test_scenario_25_after_a_refusal_another_order_is_placed(machine: Machine) -> None:
    machine.ca.chain = wrong_key
    machine.issue("a.example")
    machine.ca.chain = with_root

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert machine.ca.count("new-order") == 2


@pytest.mark.parametrize(
    ("alternates", "wanted", "got"),
    [
        (0, "Scripted Root X2", "Scripted Root X1"),
        (2, "Scripted Root X3", "Scripted Root X3"),
        (2, "Scripted Root X1", "Scripted Root X1"),
    ],
)
def test_scenario_26_alternates_none_and_several(
    machine: Machine, alternates: int, wanted: str, got: str
) -> None:
    machine.ca.alternates = alternates

    report = machine.issue("a.example", options={"preferred_chain": wanted})

    assert report.exit_status == 0
    chain = (machine.home / "live/a.example/fullchain.pem").read_bytes()
    assert topmost_issuer(chain) == got


def test_scenario_26_an_alternate_that_is_gone_is_no_failure(machine: Machine) -> None:
    machine.ca.alternates = 2
    machine.ca.script("alternate", problem("malformed", 404))

    report = machine.issue("a.example", options={"preferred_chain": "Scripted Root X3"})

    assert report.exit_status == 0
    chain = (machine.home / "live/a.example/fullchain.pem").read_bytes()
    assert topmost_issuer(chain) == "Scripted Root X3"


def test_scenario_27_a_first_issue_at_a_ca_that_wants_a_binding(machine: Machine) -> None:
    machine.ca.eab_required = True

    done = machine.command("issue", "a.example", "--json")

    assert done.exit_status == 2
    (error,) = done.json()["errors"]
    assert error["code"] == "acme.eab_required"
    assert "--eab-kid" in error["hint"]
    assert machine.ca.count("new-account") == 0


def test_scenario_28_new_terms_stop_orders_until_they_are_agreed_to(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.terms_of_service = "https://ca.example/terms/2"

    refused = machine.command("renew", "--force", "--json")
    agreed = machine.command("account", "update", "--agree-tos")
    healed = machine.command("renew", "--force")

    assert (refused.exit_status, agreed.exit_status, healed.exit_status) == (2, 0, 0)
    (error,) = refused.json()["errors"]
    assert error["code"] == "acme.terms"
    assert "https://ca.example/terms/2" in error["hint"]
    assert "certctl account update --agree-tos" in error["hint"]


def deactivated_at_the_ca(machine: Machine) -> None:
    machine.ca.deactivate_accounts()


def forgotten_by_the_ca(machine: Machine) -> None:
    machine.ca.forget_accounts()


@pytest.mark.parametrize("lost", [deactivated_at_the_ca, forgotten_by_the_ca])
def test_scenario_29_an_account_that_the_ca_does_not_take_any_more(
    machine: Machine, lost: Callable[[Machine], None]
) -> None:
    machine.issue("a.example")
    lost(machine)

    refused = machine.renew(force=True)
    registered = machine.command("register")
    healed = machine.renew(force=True)

    assert (refused.exit_status, codes(refused)) == (1, ["acme.account"])
    assert "certctl register" in (refused.all_errors[0].hint or "")
    assert (registered.exit_status, healed.exit_status) == (0, 0)
    assert machine.live("a.example").number == 2


def key_in_use(machine: Machine) -> None:
    machine.ca.script("key-change", problem("malformed", 409))


def no_effect(machine: Machine) -> None:
    machine.ca.key_change_has_effect = False


@pytest.mark.parametrize("fault", [key_in_use, no_effect])
def test_scenario_30_a_key_change_that_fails_leaves_an_account_that_works(
    machine: Machine, fault: Callable[[Machine], None]
) -> None:
    machine.issue("a.example")
    fault(machine)

    with pytest.raises(AccountError), machine.run() as run:
        accounts.rollover(run, the_account(machine))

    assert machine.renew(force=True).exit_status == 0
    assert len(machine.ca.accounts) == 1


@pytest.mark.parametrize("has_effect", [True, False])
def test_scenario_30_a_crash_between_the_change_and_saving(
    machine: Machine, has_effect: bool
) -> None:
    machine.issue("a.example")
    machine.ca.key_change_has_effect = has_effect
    machine.killed_at("key-change", "account", "rollover")

    assert machine.renew(force=True).exit_status == 0
    assert machine.store.accounts.next_key(the_account(machine)) is None
    assert len(machine.ca.accounts) == 1


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        ("new-account", "badPublicKey"),
        ("new-account", "badSignatureAlgorithm"),
        ("new-order", "rejectedIdentifier"),
        ("finalize", "badCSR"),
        ("finalize", "caa"),
    ],
)
def test_scenario_31_a_refusal_for_good(machine: Machine, resource: str, kind: str) -> None:
    machine.ca.script(resource, problem(kind, 403, f"because of {kind}"))

    done = machine.command("issue", "a.example", "--json")

    assert done.exit_status == 1
    (error,) = done.json()["errors"]
    assert f"because of {kind}" in error["message"]
    assert error["hint"]
    assert machine.store.names() == []
    assert machine.store.pending("a.example") is None
    assert machine.command("issue", "a.example").exit_status == 0


def test_scenario_32_what_was_revoked_already_is_a_success(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.revoke(machine.ca.issued[0])

    with machine.run() as run:
        revocation, report = revoke(
            run, "a.example", RevocationReason.UNSPECIFIED, Afterwards.REPLACE
        )

    assert (revocation.already, report.exit_status) == (True, 0)
    assert machine.live("a.example").number == 2


def test_scenario_34_a_port_that_is_taken_is_said_and_the_order_given_up(
    machine: Machine,
) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        report = machine.issue("a.example")

    assert (report.exit_status, codes(report)) == (1, ["challenge.http.port_taken"])
    assert machine.ca.deactivated == ["a.example"]
    assert machine.issue("a.example").exit_status == 0


def test_scenario_35_a_challenge_is_answered_once_though_its_reply_is_lost(
    machine: Machine,
) -> None:
    machine.ca.script("challenge", drop_connection(after_processing=True))

    assert machine.issue("a.example").exit_status == 0


def test_scenario_38_two_processes_renewing_one_name(machine: Machine) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    spec.write_text('key_type = "ecdsa-p384"\n' + spec.read_text())

    statuses = machine.at_once([("renew",), ("renew",)])

    assert statuses == [0, 0]
    assert machine.ca.count("new-order") == 2
    assert machine.live("a.example").number == 2
    assert key_matches(machine.home / "live/a.example")
    assert len(machine.ca.accounts) == 1
