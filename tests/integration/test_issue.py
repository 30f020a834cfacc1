"""`issue`: which certificate is meant, what becomes of options, what is ordered and what is not."""

import hashlib
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certctl.ca.directories import directory_url
from certctl.engine.report import Report
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import AcmeError, ConsentRequired, UsageError, ValidationFailed
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.spec import KeyType
from certctl.operations.revoke import revoke
from certctl.rules.keys import generate_key
from certctl.rules.x509 import build_csr
from tests.lab.scripted_ca.chains import cross_signed, full, wrong_key
from tests.lab.scripted_ca.faults import calls, problem
from tests.support.operations import Machine, key_matches, reached_at

PUBLIC = directory_url("letsencrypt")
STAGING = directory_url("letsencrypt-staging")


def key_of(machine: Machine, name: str, version: int = 1) -> bytes:
    return (machine.home / "archive" / name / str(version) / "privkey.pem").read_bytes()


def csr_for(*names: str, key: bytes | None = None) -> bytes:
    """A request in DER, by a key that certctl does not have unless it is given."""
    identifiers = [Identifier(IdentifierType.DNS, name) for name in names]
    return build_csr(key or generate_key(KeyType.ECDSA_P256), identifiers)


def file_of(machine: Machine, name: str) -> dict[str, object]:
    return tomllib.loads(machine.spec_file(name).read_text())


def failed(report: Report) -> str:
    """The code of the one failure of a report."""
    (error,) = report.all_errors
    return error.code


# -- which certificate is meant


def test_a_first_issue_gives_files_that_belong_together(machine: Machine) -> None:
    report = machine.issue("a.example", "www.a.example")

    assert report.exit_status == 0
    assert report.outcomes[0].action == "issued"
    live = machine.home / "live" / "a.example"
    assert key_matches(live)
    assert (live / "fullchain.pem").read_bytes() == (
        (live / "cert.pem").read_bytes() + (live / "chain.pem").read_bytes()
    )
    status = machine.status("a.example")
    assert (status.undeployed, status.deployment.deployed) == (False, 1)
    assert machine.store.pending("a.example") is None


@pytest.mark.parametrize("names", [1, 2, 10])
def test_a_warm_issuance_takes_few_requests(machine: Machine, names: int) -> None:
    machine.issue("warm.example")
    before = machine.ca.count()

    machine.issue(*(f"n{number}.example" for number in range(names)))

    assert machine.ca.count() - before <= (9 if names == 1 else 7 + 2 * names + 2)


def test_addresses_and_international_names_are_certified_too(machine: Machine) -> None:
    machine.issue("127.0.0.1", "B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example")

    assert machine.store.names() == ["127.0.0.1"]
    found = {str(one) for one in machine.live("127.0.0.1").facts.identifiers}
    assert found == {"127.0.0.1", "xn--bcher-kva.example"}


def test_asked_again_with_nothing_due_it_orders_nothing(machine: Machine) -> None:
    machine.issue("a.example", "b.example")
    requests = machine.ca.count()

    report = machine.issue("b.example", "a.example")

    assert (report.exit_status, report.outcomes[0].action) == (0, "unchanged")
    assert machine.ca.count() == requests


def test_other_names_are_asked_about_and_a_no_changes_nothing(machine: Machine) -> None:
    machine.issue("a.example", "b.example")

    with pytest.raises(ConsentRequired, match=r"c\.example"):
        machine.issue("a.example", "c.example")
    machine.answer = False
    with pytest.raises(ConsentRequired):
        machine.issue("a.example", "c.example")

    assert [len(question) > 0 for question in machine.questions] == [True, True]
    assert "+ c.example" in machine.questions[0]
    assert "- b.example" in machine.questions[0]
    assert file_of(machine, "a.example")["names"] == ["a.example", "b.example"]
    assert machine.live("a.example").number == 1


def test_other_names_keep_the_name_of_the_certificate(machine: Machine) -> None:
    machine.issue("a.example", "b.example")
    machine.answer = True

    report = machine.issue("a.example", "c.example")

    assert (report.exit_status, report.outcomes[0].name) == (0, "a.example")
    assert machine.store.names() == ["a.example"]
    assert [str(one) for one in machine.live("a.example").facts.identifiers] == [
        "a.example",
        "c.example",
    ]


def test_yes_answers_the_question_beforehand(machine: Machine) -> None:
    machine.issue("a.example")

    report = machine.issue("a.example", "b.example", confirmed=True)

    assert (report.exit_status, machine.questions) == (0, [])
    assert machine.live("a.example").number == 2


def test_a_change_of_other_names_than_those_that_were_seen_needs_another_run(
    machine: Machine,
) -> None:
    machine.issue("a.example", "b.example", name="a.example")
    seen: Any = {"name": "a.example", "confirmed": True, "confirmed_from": ("a.example",)}

    with pytest.raises(ConsentRequired, match="in the meantime"):
        machine.issue("a.example", "c.example", **seen)
    same = machine.issue("a.example", "b.example", **seen)

    assert same.exit_status == 0
    assert machine.live("a.example").number == 1


def test_a_certificate_is_found_by_its_name_first(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example", name="mine")

    machine.issue("a.example", "b.example", name="mine", confirmed=True)

    assert machine.store.names() == ["a.example", "mine"]
    assert machine.live("mine").number == 2
    assert machine.live("a.example").number == 1


def test_its_exact_set_of_names_comes_before_its_first_name(machine: Machine) -> None:
    machine.issue("a.example", "b.example", name="both")
    machine.issue("a.example", name="alone")

    report = machine.issue("b.example", "a.example")

    assert (report.outcomes[0].name, report.outcomes[0].action) == ("both", "unchanged")


def test_a_wildcard_has_the_name_of_its_base_unless_that_is_taken(machine: Machine) -> None:
    machine.ca.already_valid = {"*.a.example", "*.b.example"}
    machine.issue("b.example")

    machine.issue("*.a.example")
    machine.issue("*.b.example")

    assert machine.store.names() == ["a.example", "b.example", "b.example-wildcard"]


def test_an_unreadable_spec_does_not_stand_in_the_way_of_another_certificate(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.spec_file("a.example").write_text("names = [")

    report = machine.issue("b.example")

    assert report.exit_status == 0
    assert machine.live("b.example").number == 1


def test_a_spec_that_was_removed_by_hand_is_written_again(machine: Machine) -> None:
    machine.issue("a.example")
    machine.spec_file("a.example").unlink()

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert machine.store.names() == ["a.example"]
    assert machine.live("a.example").number == 1


# -- a first issue that fails


def test_a_failed_first_issue_leaves_no_certificate(machine: Machine) -> None:
    machine.ca.fail("a.example")

    report = machine.issue("a.example")

    assert (report.exit_status, report.outcomes[0].action) == (1, "failed")
    assert isinstance(report.outcomes[0].error, ValidationFailed)
    assert machine.store.names() == []
    for directory in ("archive/a.example", "live/a.example", "pending/a.example"):
        assert not (machine.home / directory).exists()
    assert machine.store.journal.leftovers("a.example") == []


def test_a_failed_first_issue_by_request_leaves_no_request(machine: Machine) -> None:
    machine.ca.fail("a.example")

    report = machine.issue(csr=csr_for("a.example"))

    assert report.exit_status == 1
    assert list((machine.home / "certificates").glob("*")) == []


# -- options


def test_options_of_the_environment_are_written_down_and_those_of_the_file_are_not(
    machine: Machine,
) -> None:
    machine.home.mkdir(mode=0o711)
    (machine.home / "certctl.toml").write_text('key_type = "ecdsa-p384"\nreuse_key = true\n')
    machine.environment["CERTCTL_RELOAD"] = "true"

    machine.issue("a.example")

    stored = file_of(machine, "a.example")
    assert stored["deploy"] == {"reload": "true"}
    assert not {"key_type", "reuse_key"} & stored.keys()
    assert machine.live("a.example").facts.key_type == "ecdsa-p384"


def test_ca_and_roots_are_written_down_whole_wherever_they_came_from(machine: Machine) -> None:
    bundle = machine.home / "roots.pem"
    machine.home.mkdir(mode=0o711)
    bundle.write_bytes(machine.ca.ca_bundle.read_bytes())
    (machine.home / "certctl.toml").write_text(
        f'ca = "{machine.ca.directory_url}"\nca_bundle = "roots.pem"\n'
    )
    del machine.flags["ca"], machine.flags["ca_bundle"]

    machine.issue("a.example")

    stored = file_of(machine, "a.example")
    assert stored["ca"] == machine.ca.directory_url
    assert stored["ca_bundle"] == str(bundle)


def test_options_left_out_stay(machine: Machine) -> None:
    machine.issue("a.example", options={"key_type": "ecdsa-p384", "deploy.reload": "true"})

    report = machine.issue("a.example", options={"deploy.reload": "exit 0"})

    assert report.outcomes[0].action == "updated"
    stored = file_of(machine, "a.example")
    assert (stored["key_type"], stored["deploy"]) == ("ecdsa-p384", {"reload": "exit 0"})
    assert machine.live("a.example").number == 1


def test_a_deploy_option_given_again_is_deployed_and_nothing_is_ordered(
    machine: Machine, tmp_path: Path
) -> None:
    machine.issue("a.example")
    orders = machine.ca.count("new-order")

    report = machine.issue(
        "a.example", options={"deploy.deploy_hook": f"echo $CERTCTL_CERT_NAME > {tmp_path}/seen"}
    )

    assert report.exit_status == 0
    assert (tmp_path / "seen").read_text() == "a.example\n"
    assert machine.ca.count("new-order") == orders


def test_a_deploy_option_given_again_that_fails_is_owed(machine: Machine) -> None:
    machine.issue("a.example")

    report = machine.issue("a.example", options={"deploy.deploy_hook": "exit 3"})

    assert report.exit_status == 4
    assert machine.status("a.example").undeployed
    assert machine.renew().exit_status == 4


def test_another_key_type_is_issued_at_once(machine: Machine) -> None:
    machine.issue("a.example")

    report = machine.issue("a.example", options={"key_type": "rsa-2048"})

    assert report.outcomes[0].action == "issued"
    assert machine.live("a.example").facts.key_type == "rsa-2048"
    assert key_matches(machine.home / "live" / "a.example")


def test_a_new_key_is_made_unless_the_old_one_is_to_be_kept(machine: Machine) -> None:
    machine.issue("new.example")
    machine.issue("new.example", force=True)
    machine.issue("old.example", options={"reuse_key": True})
    machine.issue("old.example", force=True)

    assert key_of(machine, "new.example", 1) != key_of(machine, "new.example", 2)
    assert key_of(machine, "old.example", 1) == key_of(machine, "old.example", 2)


# -- what the CA offers


def test_the_preferred_chain_is_taken_where_the_ca_offers_it(machine: Machine) -> None:
    machine.ca.alternates = 2

    machine.issue("a.example", options={"preferred_chain": "Scripted Root X3"})
    machine.issue("b.example", options={"preferred_chain": "Unheard-of Root"})

    assert machine.ca.count("alternate") >= 2
    chains = {
        name: hashlib.sha256((machine.home / "live" / name / "chain.pem").read_bytes()).digest()
        for name in ("a.example", "b.example")
    }
    assert chains["a.example"] != chains["b.example"]
    (warning,) = machine.happened("run.warning")
    assert "Unheard-of Root" in warning.message


def test_the_shortest_chain_is_taken_wherever_the_ca_offers_it(machine: Machine) -> None:
    machine.ca.alternates = 2
    machine.ca.chain = cross_signed

    machine.issue("long.example")
    machine.issue("short.example", options={"preferred_chain": "shortest"})
    machine.ca.chain = full
    machine.issue("default.example", options={"preferred_chain": "shortest"})

    chains = {
        name: x509.load_pem_x509_certificates(
            (machine.home / "live" / name / "fullchain.pem").read_bytes()
        )
        for name in ("long.example", "short.example", "default.example")
    }
    assert {name: len(chain) for name, chain in chains.items()} == {
        "long.example": 3,
        "short.example": 2,
        "default.example": 2,
    }
    # Of two that are as short, the CA's default comes first.
    assert chains["default.example"][1] == chains["long.example"][1]
    assert machine.happened("run.warning") == []


def test_a_preferred_profile_falls_back_and_that_is_no_difference(machine: Machine) -> None:
    machine.ca.profiles = {"classic": "ninety days"}

    first = machine.issue("a.example", options={"profile": "shortlived"})
    again = machine.issue("a.example", options={"profile": "shortlived"})

    assert (first.exit_status, again.outcomes[0].action) == (0, "unchanged")
    assert [one.get("profile") for one in machine.ca.payloads("new-order")] == [None]


def test_a_preferred_profile_that_newly_is_refused_falls_back(machine: Machine) -> None:
    machine.ca.profiles = {"shortlived": "six days"}
    machine.ca.script("new-order", problem("invalidProfile"))

    report = machine.issue("a.example", options={"profile": "shortlived"})

    assert report.exit_status == 0
    profiles = [one.get("profile") for one in machine.ca.payloads("new-order")]
    assert profiles == ["shortlived", None]


def test_a_required_profile_that_is_not_offered_is_an_error(machine: Machine) -> None:
    report = machine.issue("a.example", options={"required_profile": "shortlived"})

    assert (report.exit_status, failed(report)) == (2, "usage.profile")
    assert machine.ca.count("new-order") == 0


# -- public certificates


def test_a_private_certificate_never_replaces_a_public_one_unless_forced(
    machine: Machine,
) -> None:
    machine.endpoints[PUBLIC] = reached_at(machine.ca)
    machine.issue("a.example", options={"ca": "letsencrypt"})
    assert machine.live("a.example").request.ca == PUBLIC

    with pytest.raises(UsageError) as refused:
        machine.issue("a.example")
    assert refused.value.code == "usage.not_public"
    assert machine.live("a.example").number == 1
    forced = machine.issue("a.example", force=True)

    assert forced.exit_status == 0
    assert machine.live("a.example").request.ca == machine.ca.directory_url


def test_renew_does_not_replace_a_public_certificate_by_a_private_one_either(
    machine: Machine,
) -> None:
    machine.endpoints[PUBLIC] = reached_at(machine.ca)
    machine.issue("a.example", options={"ca": "letsencrypt"})
    spec = machine.spec_file("a.example")
    spec.write_text(spec.read_text().replace(PUBLIC, machine.ca.directory_url))

    report = machine.renew()

    assert (report.exit_status, failed(report)) == (2, "usage.not_public")
    assert machine.live("a.example").number == 1


def test_going_from_staging_to_production_issues_at_once(machine: Machine) -> None:
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    machine.issue("a.example", options={"ca": "letsencrypt-staging"})

    report = machine.issue("a.example", options={"ca": "letsencrypt"})

    assert report.outcomes[0].action == "issued"
    assert machine.live("a.example").request.ca == PUBLIC


# -- signing requests


def test_a_certificate_by_request_has_no_key_and_is_renewed_with_the_same_request(
    machine: Machine,
) -> None:
    machine.issue(csr=csr_for("a.example", "b.example"))
    machine.pass_time(timedelta(days=61))

    report = machine.renew()

    assert report.exit_status == 0
    live = machine.home / "live" / "a.example"
    assert machine.live("a.example").number == 2
    assert sorted(one.name for one in live.iterdir()) == [
        "cert.pem",
        "chain.pem",
        "fullchain.pem",
        "issued.json",
    ]
    first, second = machine.store.versions("a.example")
    assert first.facts.key_sha256 == second.facts.key_sha256


def test_names_that_are_not_those_of_the_request_are_refused(machine: Machine) -> None:
    with pytest.raises(UsageError) as refused:
        machine.issue("c.example", csr=csr_for("a.example"))

    assert refused.value.code == "usage.csr"


def test_a_certificate_for_another_key_than_the_request_has_is_refused(machine: Machine) -> None:
    machine.ca.chain = wrong_key

    report = machine.issue(csr=csr_for("a.example"))

    assert (report.exit_status, failed(report)) == (1, "certificate.refused.key")
    assert machine.store.names() == []


def test_a_new_request_that_fails_leaves_the_old_one_for_renewals(machine: Machine) -> None:
    machine.issue(csr=csr_for("a.example"))
    first = machine.live("a.example")
    machine.ca.script("new-order", problem("rejectedIdentifier"))
    assert machine.issue(csr=csr_for("a.example")).exit_status == 1

    report = machine.renew("a.example", force=True)

    assert report.exit_status == 0
    assert machine.live("a.example").facts.key_sha256 == first.facts.key_sha256


def test_a_request_of_which_the_key_was_compromised_is_refused(machine: Machine) -> None:
    machine.issue(csr=csr_for("a.example"))
    with machine.run() as run:
        revoke(run, "a.example", RevocationReason.KEY_COMPROMISE, Afterwards.STOP)

    report = machine.issue("a.example")

    assert (report.exit_status, failed(report)) == (2, "usage.csr")
    assert len(machine.store.versions("a.example")) == 1


# -- dry runs and interruptions


def test_a_dry_run_at_a_ca_without_staging_or_an_account_is_an_error_that_says_so(
    machine: Machine,
) -> None:
    with pytest.raises(UsageError) as refused:
        machine.issue("a.example", options={"deploy.pre_hook": "exit 1"}, dry_run=True)

    assert refused.value.code == "usage.no_staging"


def test_a_dry_run_goes_through_an_order_at_staging_and_keeps_nothing(machine: Machine) -> None:
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    options = {"ca": "letsencrypt", "deploy.deploy_hook": "exit 1"}

    report = machine.issue("a.example", options=options, dry_run=True)

    assert (report.exit_status, report.outcomes[0].action) == (0, "dry-run")
    assert len(machine.ca.issued) == 1
    assert machine.store.names() == []
    assert not (machine.home / "archive").exists()
    assert not (machine.home / "pending" / "a.example").exists()
    (account,) = machine.store.accounts.all()
    assert account.directory_url == STAGING


def test_a_dry_run_with_a_request_needs_nothing_that_was_stored(machine: Machine) -> None:
    machine.endpoints = {STAGING: reached_at(machine.ca)}

    report = machine.issue(
        options={"ca": "letsencrypt-staging"}, csr=csr_for("a.example"), dry_run=True
    )

    assert (report.exit_status, report.outcomes[0].action) == (0, "dry-run")
    assert not (machine.home / "certificates").exists()


def test_a_dry_run_with_other_names_asks_nothing(machine: Machine) -> None:
    machine.endpoints = {STAGING: reached_at(machine.ca)}
    machine.issue("a.example", options={"ca": "letsencrypt-staging"})

    report = machine.issue(
        "a.example", "b.example", options={"ca": "letsencrypt-staging"}, dry_run=True
    )

    assert (report.exit_status, machine.questions) == (0, [])
    assert machine.live("a.example").number == 1


def stopped_while_validating(machine: Machine, then: Callable[[], object]) -> Report:
    machine.ca.validate_http01 = None
    machine.ca.validated_after = 1000

    def stop() -> None:
        then()
        machine.stop.set()

    machine.ca.script("order", calls(stop))
    return machine.issue("a.example")


def test_stopped_while_the_ca_validates_it_cleans_up_and_ends_with_130(machine: Machine) -> None:
    journal: list[str] = []

    report = stopped_while_validating(
        machine, lambda: journal.extend(one.name for one in (machine.home / "journal").iterdir())
    )

    assert report.exit_status == 130
    assert [error.code for error in report.all_errors] == ["interrupted"]
    assert len(journal) == 1
    assert machine.store.journal.leftovers("a.example") == []
    # The CA was told to look: that authorization settles by itself.
    assert machine.ca.deactivated == []
    assert machine.store.names() == []


def test_after_an_interruption_the_same_command_ends_well(machine: Machine) -> None:
    stopped_while_validating(machine, lambda: None)
    machine.stop.clear()
    machine.ca.validated_after = 0

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert key_matches(machine.home / "live" / "a.example")


def test_an_error_of_the_ca_names_the_certificate(machine: Machine) -> None:
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not this one"))

    report = machine.issue("a.example")

    (error,) = report.all_errors
    assert isinstance(error, AcmeError)
    assert (error.type, error.name) == ("rejectedIdentifier", "a.example")
    assert "not this one" in error.message
