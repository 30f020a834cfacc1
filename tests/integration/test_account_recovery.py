"""An account that its CA has lost: registered again where that is safe, and a way out elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.model.ca import Account
from certctl.model.errors import CertctlError
from tests.lab.scripted_ca.faults import problem, response
from tests.lab.scripted_ca.settings import ALWAYS
from tests.lab.scripted_dns import ScriptedDns
from tests.support.operations import Machine, reached_at

LOST = {
    "as the RFC says": ("accountDoesNotExist", 400),
    "as unauthorized": ("unauthorized", 403),
    "as a 401": ("malformed", 401),
    "as malformed": ("malformed", 404),
    "as its own failure": ("serverInternal", 500),
}


AT_ONCE = {name: said for name, said in LOST.items() if said[1] != 500}
"""Those that are believed without retries, for which the commands that are run here really wait."""


@pytest.fixture
def dns() -> Iterator[ScriptedDns]:
    """A resolver that knows nothing until a test says more."""
    with ScriptedDns({}) as dns:
        yield dns


@pytest.fixture
def agreed(machine: Machine, dns: ScriptedDns) -> Machine:
    """A machine with a certificate, whose settings agree to terms and have a contact."""
    machine.home.mkdir(mode=0o711)
    (machine.home / "certctl.toml").write_text(
        f'[account]\nagree_tos = true\n[challenge]\ndns_resolver = "{dns.address}"\n'
    )
    machine.issue("a.example", options={"account.email": ("ops@a.example",)})
    return machine


def the_account(machine: Machine) -> Account:
    (account,) = machine.store.accounts.all()
    return account


def key_of(machine: Machine) -> bytes:
    (path,) = machine.home.glob("accounts/*/*/key.pem")
    return path.read_bytes()


def the_error(machine: Machine) -> CertctlError:
    """What a renewal without anybody at the terminal ends with."""
    report = machine.renew(force=True)
    (error,) = report.all_errors
    return error


@pytest.mark.parametrize("said", LOST.values(), ids=LOST)
def test_a_renewal_registers_a_lost_account_again_with_its_key_and_contact(
    agreed: Machine, said: tuple[str, int]
) -> None:
    before, key = the_account(agreed), key_of(agreed)
    agreed.ca.forget_accounts()
    agreed.ca.unknown_account = said

    report = agreed.renew(force=True)

    assert report.exit_status == 0
    after = the_account(agreed)
    assert (after.id, after.contact, key_of(agreed)) == (before.id, before.contact, key)
    assert [one.url for one in agreed.ca.accounts] == [after.url]
    assert [one.contact for one in agreed.ca.accounts] == [["mailto:ops@a.example"]]
    assert any("registered again" in one.message for one in agreed.happened("run.warning"))


def test_many_certificates_register_a_lost_account_once(agreed: Machine) -> None:
    agreed.ca.authorizations_start = "valid"
    for number in range(6):
        agreed.issue(f"n{number}.example")
    agreed.ca.forget_accounts()

    report = agreed.renew(force=True)

    assert report.exit_status == 0
    assert len(agreed.ca.accounts) == 1


UNDECIDED = {
    "an outage": response(503),
    "a failure": problem("serverInternal", 500),
    "a failure with the right word": problem("accountDoesNotExist", 500),
    "a deactivation": problem("unauthorized", 401),
    "a binding": problem("externalAccountRequired", 403),
    "no problem document": response(403, "<html>no</html>"),
}


@pytest.mark.parametrize("answer", UNDECIDED)
def test_no_account_is_registered_unless_the_ca_says_that_there_is_none(
    agreed: Machine, answer: str
) -> None:
    agreed.ca.forget_accounts()
    agreed.ca.script("new-account", UNDECIDED[answer], times=ALWAYS)

    error = the_error(agreed)

    assert agreed.ca.accounts == []
    assert all(one == {"onlyReturnExisting": True} for one in agreed.ca.payloads("new-account")[1:])
    assert "certctl register --ca" in (error.hint or "")


def test_a_deactivated_account_is_not_replaced(agreed: Machine) -> None:
    agreed.ca.deactivate_accounts()

    error = the_error(agreed)

    assert [one.status for one in agreed.ca.accounts] == ["deactivated"]
    assert f"certctl register --ca {agreed.ca.directory_url}" in (error.hint or "")


def test_a_failure_of_the_ca_is_not_taken_for_a_lost_account(agreed: Machine) -> None:
    agreed.ca.script("new-order", problem("serverInternal", 500), times=ALWAYS)

    agreed.renew(force=True)

    assert len(agreed.ca.accounts) == 1
    assert agreed.happened("account.registered")[1:] == []


def test_terms_that_the_settings_do_not_agree_to_are_not_agreed_to(agreed: Machine) -> None:
    (agreed.home / "certctl.toml").write_text("")
    agreed.ca.forget_accounts()

    error = the_error(agreed)

    assert agreed.ca.accounts == []
    assert (error.hint or "").endswith(
        f"certctl register --ca {agreed.ca.directory_url} --agree-tos"
    )
    hint = (error.hint or "").rpartition(": ")[2].removeprefix("certctl ").split()
    assert agreed.command(*hint).exit_status == 0
    assert agreed.renew(force=True).exit_status == 0


def test_a_ca_that_wants_a_binding_gets_none_made_up(agreed: Machine) -> None:
    agreed.ca.forget_accounts()
    agreed.ca.eab_required = True

    error = the_error(agreed)

    assert "--eab-kid KID --eab-hmac-key-file FILE" in (error.hint or "")


@pytest.mark.parametrize("tag", ["issue", "issuewild"])
def test_an_account_that_caa_records_name_is_not_replaced(
    agreed: Machine, dns: ScriptedDns, tag: str
) -> None:
    url = the_account(agreed).url
    dns.records = {("example", "CAA"): (f'0 {tag} "ca.example; accounturi={url}"',)}
    agreed.ca.forget_accounts()

    error = the_error(agreed)

    assert agreed.ca.accounts == []
    assert "CAA records (accounturi) of example" in (error.hint or "")


def test_an_account_that_a_persistent_record_names_is_not_replaced(agreed: Machine) -> None:
    other = agreed.home / "certificates" / "p.example.toml"
    other.write_text(
        f'names = ["p.example"]\nca = "{agreed.ca.directory_url}"\n'
        '[challenge]\nmethod = "dns-persist"\n'
    )
    agreed.ca.forget_accounts()

    error = next(iter(agreed.renew("a.example", force=True).all_errors))

    assert agreed.ca.accounts == []
    assert "persistent validation records of p.example" in (error.hint or "")


def test_an_account_that_was_registered_meanwhile_is_found(agreed: Machine) -> None:
    """As after a kill between the registration and writing it down."""
    agreed.ca.forget_accounts()
    agreed.killed_at("new-account", "renew", "--force", "a.example", after=2)
    assert len(agreed.ca.accounts) == 1

    report = agreed.renew(force=True)

    assert report.exit_status == 0
    assert [one.url for one in agreed.ca.accounts] == [the_account(agreed).url]


# -- commands


@pytest.mark.parametrize("said", AT_ONCE.values(), ids=AT_ONCE)
def test_register_registers_a_lost_account_again(agreed: Machine, said: tuple[str, int]) -> None:
    key = key_of(agreed)
    agreed.ca.forget_accounts()
    agreed.ca.unknown_account = said

    done = agreed.command("register")

    assert done.exit_status == 0, done.stderr
    assert key_of(agreed) == key
    assert [one.contact for one in agreed.ca.accounts] == [["mailto:ops@a.example"]]


@pytest.mark.parametrize("said", AT_ONCE.values(), ids=AT_ONCE)
def test_what_was_lost_is_shown_with_the_way_out(agreed: Machine, said: tuple[str, int]) -> None:
    agreed.ca.forget_accounts()
    agreed.ca.unknown_account = said

    shown = agreed.command("account", "show", "--refresh")

    assert shown.exit_status == 0, shown.stderr
    assert "status   unknown" in shown.stdout
    assert f"certctl register --ca {agreed.ca.directory_url}" in shown.stdout
    assert agreed.renew(force=True).exit_status == 0
    assert the_account(agreed).status == "valid"


@pytest.mark.parametrize("said", LOST.values(), ids=LOST)
def test_a_lost_account_can_be_given_up(agreed: Machine, said: tuple[str, int]) -> None:
    agreed.ca.forget_accounts()
    agreed.ca.unknown_account = said

    gone = agreed.command("account", "deactivate", "--yes")
    forgotten = agreed.command("account", "forget", "--yes")

    assert (gone.exit_status, forgotten.exit_status) == (0, 0), gone.stderr
    assert "no longer knows" in gone.stdout
    assert agreed.store.accounts.all() == []
    assert list(agreed.home.glob("accounts/*/*")) == []
    assert agreed.renew(force=True).exit_status == 0


def test_an_account_is_not_forgotten_by_accident(agreed: Machine) -> None:
    done = agreed.command("account", "forget")

    assert done.exit_status == 2
    assert the_account(agreed).status == "valid"


def test_an_account_that_a_certificate_is_ordered_with_is_not_forgotten(agreed: Machine) -> None:
    agreed.issue("b.example", options={"account.id": the_account(agreed).id})

    done = agreed.command("account", "forget", "--yes")

    assert done.exit_status == 2
    assert "b.example" in done.stderr
    assert the_account(agreed).status == "valid"


@pytest.mark.parametrize("command", ["rollover", "deactivate", "forget", "update"])
def test_the_only_account_is_meant_wherever_it_is(agreed: Machine, command: str) -> None:
    agreed.environment["CERTCTL_CA"] = "letsencrypt"
    more = {"update": ["--email", "a@b.example"], "rollover": []}.get(command, ["--yes"])

    done = agreed.command("account", command, *more)

    assert done.exit_status == 0, done.stderr


def test_a_corrupt_account_key_names_its_file_and_the_way_out(agreed: Machine) -> None:
    (path,) = agreed.home.glob("accounts/*/*/key.pem")
    path.write_bytes(b"nonsense\n")

    error = the_error(agreed)

    assert error.message.startswith(f"{path}: ")
    account = the_account(agreed)
    assert f"certctl account forget --account {account.id}" in (error.hint or "")
    assert agreed.ca.count("new-order") == 1
    assert agreed.command("account", "forget", "--account", account.id, "--yes").exit_status == 0
    assert agreed.renew(force=True).exit_status == 0


def test_a_corrupt_next_key_is_left_alone_and_named(agreed: Machine) -> None:
    (path,) = agreed.home.glob("accounts/*/*/key.pem")
    next_key = path.with_name("next-key.pem")
    next_key.write_bytes(b"nonsense\n")
    next_key.chmod(0o600)

    report = agreed.renew(force=True)

    assert report.exit_status == 0
    assert next_key.read_bytes() == b"nonsense\n"
    assert str(next_key) in agreed.happened("run.warning")[0].message


@pytest.mark.parametrize("text", ["ops@bücher.example", "mailto:ops@bücher.example"])
def test_an_address_in_unicode_reaches_the_ca_as_it_must_be(machine: Machine, text: str) -> None:
    done = machine.command("register", "--email", text)

    assert done.exit_status == 0, done.stderr
    assert [one.contact for one in machine.ca.accounts] == [["mailto:ops@xn--bcher-kva.example"]]


def test_a_key_for_a_binding_that_cannot_be_read_is_told_before_the_ca_hears_of_it(
    machine: Machine, tmp_path: Path
) -> None:
    done = machine.command(
        *("register", "--eab-kid", "kid-1", "--eab-hmac-key-file", str(tmp_path / "gone"))
    )

    assert done.exit_status == 2
    assert str(tmp_path / "gone") in done.stderr
    assert machine.ca.count("new-account") == 0


def test_a_certificate_that_names_its_account_by_id_keeps_it(agreed: Machine) -> None:
    chosen = the_account(agreed).id
    agreed.issue("b.example", options={"account.id": chosen})
    agreed.ca.forget_accounts()

    report = agreed.renew("b.example", force=True)

    assert report.exit_status == 0
    assert the_account(agreed).id == chosen


def test_a_certificate_that_names_its_account_by_url_waits_for_somebody(agreed: Machine) -> None:
    agreed.issue("b.example", options={"account.id": the_account(agreed).url})
    agreed.ca.forget_accounts()

    (error,) = agreed.renew("b.example", force=True).all_errors

    assert agreed.ca.accounts == []
    assert "named by the setting account.id" in (error.hint or "")


def test_a_dry_run_registers_a_lost_account_again(agreed: Machine) -> None:
    staging = "https://acme-staging-v02.api.letsencrypt.org/directory"
    agreed.endpoints[staging] = reached_at(agreed.ca)
    flags = {"ca": "letsencrypt-staging"}
    assert agreed.issue("b.example", options=flags, dry_run=True).exit_status == 0
    agreed.ca.forget_accounts()

    report = agreed.issue("b.example", options=flags, dry_run=True)

    assert report.exit_status == 0, report.all_errors
    assert len(agreed.ca.accounts) == 1


def test_a_revocation_by_a_lost_account_uses_the_certificates_key(agreed: Machine) -> None:
    agreed.ca.forget_accounts()
    agreed.ca.unknown_account = ("serverInternal", 500)

    done = agreed.command("revoke", "a.example", "--stop", "--yes")

    assert done.exit_status == 0, done.stderr
    assert len(agreed.ca.revoked) == 1
