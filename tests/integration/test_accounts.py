"""Accounts: registered once, found again, given a new key whatever happens in between, given up."""

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest

from certctl.model.ca import Account, AccountKeyType
from certctl.model.errors import (
    AccountError,
    CertctlError,
    ConsentRequired,
    EabRequired,
    TermsChanged,
    UsageError,
)
from certctl.operations import accounts
from certctl.rules.keys import account_key_type
from tests.lab.scripted_ca.faults import Fault, drop_connection, problem, response
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.operations import Machine

HMAC_KEY = b"a secret of thirty-two bytes or so"
HMAC_TEXT = base64.urlsafe_b64encode(HMAC_KEY).rstrip(b"=").decode()


def register(machine: Machine, **options: object) -> accounts.Registration:
    flags = {key.replace("__", "."): value for key, value in options.items()}
    with machine.run(flags) as run:  # type: ignore[arg-type] # values of options, as given
        settings = run.services.settings
        bundle = settings.text("ca_bundle")
        return accounts.register(run, settings.required_text("ca"), bundle)


def the_account(machine: Machine) -> Account:
    (account,) = [one for one in machine.store.accounts.all() if one.status == "valid"]
    return account


def key_file(machine: Machine) -> Path:
    (path,) = machine.home.glob("accounts/*/*/key.pem")
    return path


# -- registering


def test_registering_twice_finds_the_account_again(machine: Machine) -> None:
    first = register(machine, account__email=("ops@a.example",))

    second = register(machine)

    assert (first.created, second.created) == (True, False)
    assert second.account == first.account
    assert first.account.contact == ("mailto:ops@a.example",)
    assert len(machine.ca.accounts) == 1


def test_the_kind_of_key_is_the_one_asked_for(machine: Machine) -> None:
    register(machine, account__key_type="rs256")

    assert account_key_type(key_file(machine).read_bytes()) is AccountKeyType.RS256


def test_the_roots_of_a_ca_are_kept_by_their_whole_path(machine: Machine) -> None:
    machine.home.mkdir(mode=0o711)
    (machine.home / "roots.pem").write_bytes(machine.ca.ca_bundle.read_bytes())

    register(machine, ca_bundle="roots.pem")

    assert the_account(machine).ca_bundle == str(machine.home / "roots.pem")


def test_nobody_agrees_by_accident(machine: Machine) -> None:
    del machine.flags["account.agree_tos"]

    with pytest.raises(ConsentRequired, match=r"https://ca\.example/terms/1"):
        register(machine)
    assert machine.ca.accounts == []
    machine.answer = True
    assert register(machine).created


def test_a_ca_without_terms_asks_nothing(machine: Machine) -> None:
    del machine.flags["account.agree_tos"]
    machine.ca.terms_of_service = None

    assert register(machine).created
    assert machine.questions == []


def test_the_first_issue_registers_by_itself(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")

    assert machine.ca.count("new-account") == 1
    assert [one.created for one in machine.happened("account.registered")] == [True]


def test_twenty_first_issues_at_once_make_one_account(machine: Machine) -> None:
    machine.ca.authorizations_start = "valid"  # so that they need no port

    statuses = machine.at_once([("issue", f"n{number}.example") for number in range(20)])

    assert statuses == [0] * 20
    assert len(machine.ca.accounts) == 1
    assert len(machine.ca.issued) == 20


def test_an_account_that_is_not_there_is_named_with_those_that_are(machine: Machine) -> None:
    register(machine)

    with pytest.raises(UsageError, match=the_account(machine).id):
        machine.issue("a.example", options={"account.id": "nobody"})


# -- external account binding


def test_a_binding_that_the_ca_wants_is_asked_for(machine: Machine) -> None:
    machine.ca.eab_required = True

    with pytest.raises(EabRequired) as error:
        register(machine)

    assert "--eab-kid" in (error.value.hint or "")
    assert machine.ca.count("new-account") == 0


def test_half_a_binding_is_an_error_that_says_which_half(machine: Machine) -> None:
    with pytest.raises(UsageError, match="HMAC key is missing"):
        register(machine, account__eab_kid="kid-1")
    machine.environment["CERTCTL_EAB_HMAC_KEY"] = HMAC_TEXT
    with pytest.raises(UsageError, match="key ID is missing"):
        register(machine)


def test_a_wrong_binding_is_the_cas_to_refuse(machine: Machine) -> None:
    machine.ca.eab_required = True
    machine.ca.eab_keys = {"kid-1": HMAC_KEY}
    machine.environment["CERTCTL_EAB_HMAC_KEY"] = base64.urlsafe_b64encode(b"wrong" * 8).decode()

    with pytest.raises(AccountError, match="MAC is wrong"):
        register(machine, account__eab_kid="kid-1")

    assert machine.store.accounts.all() == []


def test_a_right_binding_makes_an_account_and_its_secret_is_kept_nowhere(
    machine: Machine, tmp_path: Path
) -> None:
    machine.ca.eab_required = True
    machine.ca.eab_keys = {"kid-1": HMAC_KEY}
    secret = tmp_path / "hmac"
    secret.write_text(HMAC_TEXT + "\n")
    secret.chmod(0o600)
    arguments = ("register", "--eab-kid", "kid-1", "--eab-hmac-key-file", str(secret))

    done = machine.command(*arguments, "--json")
    issued = machine.command("issue", "a.example", "--debug")

    assert (done.exit_status, issued.exit_status) == (0, 0)
    assert [one.eab_kid for one in machine.ca.accounts] == ["kid-1"]
    words = [done.stdout, done.stderr, issued.stdout, issued.stderr]
    words += [path.read_text() for path in machine.home.rglob("*") if path.is_file()]
    assert not [text for text in words if HMAC_TEXT in text]


def test_a_secret_that_others_can_read_is_refused(machine: Machine, tmp_path: Path) -> None:
    secret = tmp_path / "hmac"
    secret.write_text(HMAC_TEXT)
    secret.chmod(0o644)

    with pytest.raises(CertctlError, match="hmac") as error:
        register(machine, account__eab_kid="kid-1", account__eab_hmac_key_file=str(secret))

    assert HMAC_TEXT not in f"{error.value.message} {error.value.hint}"


# -- terms that change


def test_new_terms_are_an_error_until_they_are_agreed_to(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.terms_of_service = "https://ca.example/terms/2"

    refused = machine.renew(force=True)
    with machine.run() as run:
        agreed = accounts.agree_to_terms(run, the_account(machine))
    healed = machine.renew(force=True)

    assert refused.exit_status == 2
    (error,) = refused.all_errors
    assert isinstance(error, TermsChanged)
    assert "https://ca.example/terms/2" in (error.hint or "")
    assert agreed.terms_of_service == "https://ca.example/terms/2"
    assert healed.exit_status == 0


def test_new_terms_are_not_agreed_to_by_accident(machine: Machine) -> None:
    register(machine)
    machine.ca.terms_of_service = "https://ca.example/terms/2"
    del machine.flags["account.agree_tos"]

    with pytest.raises(ConsentRequired, match="terms/2"), machine.run() as run:
        accounts.agree_to_terms(run, the_account(machine))

    assert machine.ca.accounts[0].agreed_terms == "https://ca.example/terms/1"


# -- changes


def test_addresses_are_changed_at_the_ca_and_here(machine: Machine) -> None:
    register(machine, account__email=("old@a.example",))

    with machine.run() as run:
        accounts.update_contact(run, the_account(machine), ("new@a.example", "two@a.example"))

    wanted = ("mailto:new@a.example", "mailto:two@a.example")
    assert the_account(machine).contact == wanted
    assert tuple(machine.ca.accounts[0].contact) == wanted


def test_a_deactivated_account_is_used_no_more(machine: Machine) -> None:
    machine.issue("a.example")
    with machine.run() as run:
        accounts.deactivate(run, the_account(machine))

    again = register(machine)

    assert [one.status for one in machine.ca.accounts] == ["deactivated", "valid"]
    assert again.created
    assert machine.renew(force=True).exit_status == 0


def test_an_account_that_the_ca_deactivated_is_an_error_that_registering_heals(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.ca.deactivate_accounts()

    refused = machine.renew(force=True)
    again = register(machine)

    assert refused.exit_status == 1
    (error,) = refused.all_errors
    assert isinstance(error, AccountError)
    assert again.created
    assert machine.renew(force=True).exit_status == 0


# -- key change


def rolled(machine: Machine, kind: AccountKeyType | None = None) -> Account:
    with machine.run() as run:
        return accounts.rollover(run, the_account(machine), kind)


def test_a_key_change_is_made_at_the_ca_and_here(machine: Machine) -> None:
    machine.issue("a.example")
    before = key_file(machine).read_bytes()

    rolled(machine, AccountKeyType.ES384)

    after = key_file(machine).read_bytes()
    assert after != before
    assert account_key_type(after) is the_account(machine).key_type is AccountKeyType.ES384
    assert machine.renew(force=True).exit_status == 0
    assert machine.ca.count("new-account") >= 1
    assert len(machine.ca.accounts) == 1


def test_a_run_that_has_used_the_old_key_goes_on_with_the_new_one(machine: Machine) -> None:
    register(machine)

    with machine.run() as run:
        account = accounts.refresh(run, the_account(machine))
        account = accounts.rollover(run, account)
        current = accounts.refresh(run, account)

    assert current.status == "valid"


def test_a_key_that_another_account_has_is_refused_and_the_old_one_stays(
    machine: Machine,
) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.ca.script("key-change", problem("malformed", 409))

    with pytest.raises(AccountError) as error:
        rolled(machine)

    assert error.value.code == "acme.key_in_use"
    assert key_file(machine).read_bytes() == before
    assert machine.store.accounts.next_key(the_account(machine)) is None
    assert machine.issue("a.example").exit_status == 0


def test_a_kill_after_the_change_is_mended_by_the_next_use(machine: Machine) -> None:
    machine.issue("a.example")
    before = key_file(machine).read_bytes()

    machine.killed_at("key-change", "account", "rollover", "--account-key-type", "es384")
    assert machine.store.accounts.next_key(the_account(machine)) is not None
    report = machine.renew(force=True)

    assert report.exit_status == 0
    assert key_file(machine).read_bytes() != before
    assert machine.store.accounts.next_key(the_account(machine)) is None
    assert the_account(machine).key_type is AccountKeyType.ES384


def test_a_kill_before_the_change_is_mended_by_the_next_use(machine: Machine) -> None:
    machine.issue("a.example")
    before = key_file(machine).read_bytes()

    machine.ca.key_change_has_effect = False
    machine.killed_at("key-change", "account", "rollover")
    report = machine.renew(force=True)

    assert report.exit_status == 0
    assert key_file(machine).read_bytes() == before
    assert machine.store.accounts.next_key(the_account(machine)) is None


@pytest.mark.parametrize("use", ["update", "terms", "deactivate", "refresh", "roll"])
def test_whatever_uses_the_account_next_mends_a_change_that_was_cut_off(
    machine: Machine, use: str
) -> None:
    register(machine)
    machine.killed_at("key-change", "account", "rollover")

    with machine.run() as run:
        account = the_account(machine)
        match use:
            case "update":
                accounts.update_contact(run, account, ("ops@a.example",))
            case "terms":
                accounts.agree_to_terms(run, account)
            case "deactivate":
                accounts.deactivate(run, account)
            case "refresh":
                accounts.refresh(run, account)
            case "roll":
                accounts.rollover(run, account)

    (account,) = machine.store.accounts.all()
    assert machine.store.accounts.next_key(account) is None
    assert len(machine.ca.accounts) == 1


def test_a_lost_reply_to_a_change_is_found_out_at_once(machine: Machine) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.ca.script("key-change", drop_connection(after_processing=True))

    rolled(machine)

    assert key_file(machine).read_bytes() != before
    assert machine.issue("a.example").exit_status == 0


def test_a_change_without_effect_is_an_error_and_the_old_key_stays(machine: Machine) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.ca.key_change_has_effect = False

    with pytest.raises(AccountError) as error:
        rolled(machine)

    assert error.value.code == "acme.key_change_refused"
    assert machine.issue("a.example").exit_status == 0
    assert key_file(machine).read_bytes() == before


@pytest.mark.parametrize("has_effect", [True, False])
def test_a_ca_that_wants_a_binding_before_it_looks_at_a_key_is_asked_by_the_accounts_url(
    machine: Machine, has_effect: bool
) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.ca.eab_first, machine.ca.key_change_has_effect = True, has_effect
    machine.killed_at("key-change", "account", "rollover")

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert (key_file(machine).read_bytes() != before) is has_effect
    assert machine.store.accounts.next_key(the_account(machine)) is None


def test_a_rollover_succeeds_at_a_ca_that_wants_a_binding_first(machine: Machine) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.ca.eab_first = True

    rolled(machine)

    assert key_file(machine).read_bytes() != before
    assert machine.issue("a.example").exit_status == 0


UNDECIDED = {
    "an outage": response(500),
    "an unhelpful answer": problem("serverInternal", 500),
    "a binding": problem("externalAccountRequired", 403),
    "a refusal": problem("unauthorized", 401),
    "a proxy": response(403, "<html>no</html>"),
    "no such method": response(405),
}


@pytest.mark.parametrize("fault", UNDECIDED.values(), ids=UNDECIDED)
@pytest.mark.parametrize("has_effect", [True, False])
def test_no_doubt_deletes_an_account_key(machine: Machine, fault: Fault, has_effect: bool) -> None:
    register(machine)
    machine.ca.eab_first, machine.ca.key_change_has_effect = True, has_effect
    machine.killed_at("key-change", "account", "rollover")
    account = the_account(machine)
    kept = key_file(machine).read_bytes(), machine.store.accounts.next_key(account)
    machine.ca.script("account", fault, times=ALWAYS)

    with suppress(AccountError, CertctlError), machine.run() as run:
        accounts.refresh(run, account)
    with pytest.raises(CertctlError) as again, machine.run() as run:
        accounts.rollover(run, account)

    assert again.value.code == "acme.account_key_unknown"
    assert (key_file(machine).read_bytes(), machine.store.accounts.next_key(account)) == kept
    assert "both keys are kept" in machine.happened("run.warning")[0].message


def test_the_key_that_counts_is_found_once_the_ca_shows_it(machine: Machine) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.ca.eab_first = True
    machine.ca.script("account", response(500), times=7)
    machine.killed_at("key-change", "account", "rollover")

    with machine.run() as run, suppress(CertctlError):
        accounts.refresh(run, the_account(machine))
    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert key_file(machine).read_bytes() != before


def test_a_new_key_that_a_server_of_the_ca_does_not_know_yet_is_kept(machine: Machine) -> None:
    register(machine)
    before = key_file(machine).read_bytes()
    machine.killed_at("key-change", "account", "rollover")
    machine.ca.script("account", problem("unauthorized", 401), times=2)
    machine.ca.script("new-account", problem("accountDoesNotExist"), times=2)

    report = machine.issue("a.example")

    assert report.exit_status == 0
    assert key_file(machine).read_bytes() != before


def test_account_files_are_for_nobody_else(machine: Machine) -> None:
    register(machine)

    key = key_file(machine)
    assert key.stat().st_mode & 0o777 == 0o600
    document = json.loads((key.parent / "account.json").read_text())
    assert (key.parent / "account.json").stat().st_mode & 0o777 == 0o600
    assert document["version"] == 2
