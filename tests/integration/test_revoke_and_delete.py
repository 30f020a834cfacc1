"""Revocation with what follows it, deletion, and rollback."""

from datetime import timedelta
from pathlib import Path

import pytest

from certctl.engine.report import Report
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import AcmeError, DeployFailed, UnknownCertificate, UsageError
from certctl.model.spec import KeyType
from certctl.operations.revoke import Revocation, revoke, revoke_file
from certctl.operations.versions import delete, deploy, rollback
from certctl.rules.keys import generate_key
from certctl.rules.x509 import build_csr, facts
from tests.lab.scripted_ca.faults import calls, problem
from tests.support.operations import Machine, key_matches, lines, noting

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
COMPROMISED = RevocationReason.KEY_COMPROMISE


def revoked(
    machine: Machine,
    name: str,
    afterwards: Afterwards,
    reason: RevocationReason = RevocationReason.UNSPECIFIED,
) -> tuple[Revocation, Report]:
    with machine.run() as run:
        return revoke(run, name, reason, afterwards)


def pem_of(machine: Machine, name: str, version: int, file: str = "cert.pem") -> bytes:
    return (machine.home / "archive" / name / str(version) / file).read_bytes()


def at_the_ca(machine: Machine) -> list[tuple[str, int]]:
    """The serials that the CA has revoked, as certctl writes them, and the reasons."""
    return [(f"{one.certificate.serial:x}", one.reason) for one in machine.ca.revoked]


def serial(machine: Machine, name: str, version: int) -> str:
    return f"{int(facts(pem_of(machine, name, version)).serial, 16):x}"


# -- replace, delete, stop


def test_replacing_deploys_a_new_certificate_before_the_old_one_is_revoked(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    hook = noting(seen, "$CERTCTL_CERT_VERSION")
    machine.issue("a.example", options={"deploy.deploy_hook": hook})
    at_revocation: list[str] = []
    machine.ca.script("revoke-cert", calls(lambda: at_revocation.extend(lines(seen))))

    revocation, report = revoked(machine, "a.example", Afterwards.REPLACE)

    assert (revocation.already, report.exit_status) == (False, 0)
    assert lines(seen) == at_revocation == ["1", "2"]
    assert at_the_ca(machine) == [(serial(machine, "a.example", 1), 0)]
    assert machine.live("a.example").number == 2
    assert machine.renew().outcomes == ()


def test_a_replacement_that_cannot_be_deployed_leaves_the_old_one_unrevoked(
    machine: Machine, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    machine.issue("a.example", options={"deploy.reload": f"test ! -e {broken}"})
    broken.touch()

    with pytest.raises(DeployFailed) as error:
        revoked(machine, "a.example", Afterwards.REPLACE)

    assert machine.ca.revoked == []
    assert "certctl deploy a.example" in (error.value.hint or "")
    assert machine.status("a.example").undeployed


@pytest.mark.parametrize("by_hand", [True, False], ids=["deploy", "renew"])
def test_what_waited_for_its_replacement_is_revoked_once_that_is_deployed(
    machine: Machine, tmp_path: Path, by_hand: bool
) -> None:
    broken = tmp_path / "broken"
    machine.issue("a.example", options={"deploy.reload": f"test ! -e {broken}"})
    broken.touch()
    with pytest.raises(DeployFailed):
        revoked(machine, "a.example", Afterwards.REPLACE)
    broken.unlink()
    machine.pass_time(timedelta(hours=1))

    if by_hand:
        with machine.run() as run:
            deploy(run, ("a.example",), pending=False)
    else:
        machine.renew()

    assert at_the_ca(machine) == [(serial(machine, "a.example", 1), 0)]
    assert machine.status("a.example").renewal_state.revocations == ()
    assert machine.live("a.example").number == 2


@pytest.mark.parametrize("afterwards", list(Afterwards))
def test_a_revocation_that_failed_is_done_by_the_next_run(
    machine: Machine, afterwards: Afterwards
) -> None:
    machine.issue("a.example")
    first = serial(machine, "a.example", 1)
    machine.ca.script("revoke-cert", problem("rateLimited", 429, retry_after=3600))
    with pytest.raises(AcmeError) as error:
        revoked(machine, "a.example", afterwards)

    machine.pass_time(timedelta(hours=2))
    report = machine.renew()

    assert "certctl renew" in (error.value.hint or "")
    assert (report.exit_status, at_the_ca(machine)) == (0, [(first, 0)])
    left = machine.store.names()
    assert left == ([] if afterwards is Afterwards.DELETE else ["a.example"])


@pytest.mark.parametrize("resource", ["new-order", "finalize", "revoke-cert"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_replacement_that_was_killed_is_finished_by_the_next_run(
    machine: Machine, resource: str, done: bool
) -> None:
    machine.issue("a.example")
    old = serial(machine, "a.example", 1)

    revoke_command = ("revoke", "a.example", "--replace", "--yes")
    machine.killed_at(resource, *revoke_command, after_processing=done)
    report = machine.renew()

    assert (report.exit_status, at_the_ca(machine)) == (0, [(old, 0)])
    assert machine.live("a.example").number == 2
    assert machine.status("a.example").renewal_state.revocations == ()


def test_a_replacement_that_was_killed_while_it_was_deployed_is_finished_by_the_next_run(
    machine: Machine, tmp_path: Path
) -> None:
    armed = tmp_path / "armed"
    hook = f"test ! -e {armed} || {{ rm {armed}; kill -9 $PPID; }}"
    machine.issue("a.example", options={"deploy.deploy_hook": hook})
    armed.touch()
    old = serial(machine, "a.example", 1)

    killed = machine.command("revoke", "a.example", "--replace", "--yes")
    revoked_then = at_the_ca(machine)
    report = machine.renew()

    assert (killed.exit_status, revoked_then) == (-9, [])
    assert (report.exit_status, at_the_ca(machine)) == (0, [(old, 0)])
    assert machine.live("a.example").number == 2


def test_all_valid_versions_with_a_compromised_key_are_revoked(machine: Machine) -> None:
    machine.issue("a.example", options={"reuse_key": True})
    machine.renew("a.example", force=True)

    revoked(machine, "a.example", Afterwards.REPLACE, RevocationReason.KEY_COMPROMISE)

    assert sorted(at_the_ca(machine)) == sorted(
        (serial(machine, "a.example", number), 1) for number in (1, 2)
    )


def test_the_post_hook_is_told_of_a_failed_replacement_as_failed(
    machine: Machine, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    hook = f'echo "$RENEWED_DOMAINS/$FAILED_DOMAINS" > {told}'
    machine.issue("a.example", options={"deploy.post_hook": hook})
    machine.ca.script("new-order", problem("rateLimited", 429, retry_after=3600))

    with pytest.raises(AcmeError):
        revoked(machine, "a.example", Afterwards.REPLACE)

    assert told.read_text() == "/a.example\n"


def test_a_replacement_that_cannot_be_had_leaves_the_old_one_unrevoked(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.script("new-order", problem("rateLimited", 429, retry_after=3600))

    with pytest.raises(AcmeError):
        revoked(machine, "a.example", Afterwards.REPLACE)

    assert machine.ca.revoked == []
    assert machine.live("a.example").number == 1


def test_stopping_keeps_the_files_and_renews_no_more(machine: Machine) -> None:
    machine.issue("a.example")

    revoked(machine, "a.example", Afterwards.STOP)
    requests = machine.ca.count()
    machine.pass_time(100 * DAY)
    report = machine.renew()

    assert (report.exit_status, machine.ca.count()) == (0, requests)
    assert (machine.home / "live/a.example/cert.pem").exists()
    assert machine.live("a.example").number == 1


def test_issuing_what_was_stopped_begins_anew(machine: Machine) -> None:
    machine.issue("a.example")
    revoked(machine, "a.example", Afterwards.STOP)

    report = machine.issue("a.example")

    assert (report.exit_status, machine.live("a.example").number) == (0, 2)
    machine.pass_time(61 * DAY)
    machine.renew()
    assert machine.live("a.example").number == 3


def test_deleting_with_the_revocation_leaves_nothing_to_renew(machine: Machine) -> None:
    machine.issue("a.example")

    revoked(machine, "a.example", Afterwards.DELETE)

    assert len(machine.ca.revoked) == 1
    assert machine.store.names() == []
    assert not (machine.home / "live/a.example").is_symlink()


def test_a_revoked_version_without_a_stop_is_replaced_by_the_next_run(machine: Machine) -> None:
    machine.issue("a.example")
    with machine.run() as run:
        pem = pem_of(machine, "a.example", 1)
        revoke_file(run, None, pem, None, RevocationReason.SUPERSEDED)

    report = machine.renew()

    assert (report.exit_status, report.outcomes[0].reason) == (0, "it has been revoked")
    assert machine.live("a.example").number == 2


def test_what_was_revoked_already_is_a_success(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.revoke(machine.ca.issued[0])

    revocation, report = revoked(machine, "a.example", Afterwards.STOP)

    assert (revocation.already, report.exit_status) == (True, 0)
    assert machine.status("a.example").renewal_state.revoked == (1,)


# -- keys that were compromised


@pytest.mark.parametrize("afterwards", [Afterwards.REPLACE, Afterwards.STOP, Afterwards.DELETE])
def test_a_compromised_key_is_never_used_again(machine: Machine, afterwards: Afterwards) -> None:
    machine.issue("a.example", options={"reuse_key": True})
    condemned = machine.live("a.example").facts.key_sha256

    revoked(machine, "a.example", afterwards, COMPROMISED)
    machine.issue("a.example", options={"reuse_key": True}, force=True)
    machine.issue("a.example", force=True)

    assert [reason for _, reason in at_the_ca(machine)] == [1]
    later = {one.facts.key_sha256 for one in machine.store.versions("a.example") if one.number > 1}
    assert len(later) == 1
    assert condemned not in later


def test_an_order_under_way_does_not_bring_a_compromised_key_back(machine: Machine) -> None:
    machine.issue("a.example", options={"reuse_key": True})
    condemned = machine.live("a.example").facts.key_sha256
    machine.killed_at("new-order", "renew", "--force", after_processing=True)
    assert machine.store.pending("a.example") is not None

    revoked(machine, "a.example", Afterwards.REPLACE, COMPROMISED)

    assert machine.live("a.example").facts.key_sha256 != condemned
    assert key_matches(machine.home / "live/a.example")


def test_an_order_under_way_does_not_bring_it_back_after_a_stop_either(machine: Machine) -> None:
    machine.issue("a.example", options={"reuse_key": True})
    condemned = machine.live("a.example").facts.key_sha256
    machine.killed_at("new-order", "renew", "--force", after_processing=True)

    revoked(machine, "a.example", Afterwards.STOP, COMPROMISED)
    machine.issue("a.example")

    assert machine.live("a.example").facts.key_sha256 != condemned


def test_a_replacement_has_a_new_key_even_where_keys_are_kept(machine: Machine) -> None:
    machine.issue("a.example", options={"reuse_key": True})

    revoked(machine, "a.example", Afterwards.REPLACE)

    assert pem_of(machine, "a.example", 1, "privkey.pem") != pem_of(
        machine, "a.example", 2, "privkey.pem"
    )
    assert "reuse_key = true" in machine.spec_file("a.example").read_text()


def test_a_compromised_key_of_a_signing_request_cannot_be_replaced_by_certctl(
    machine: Machine,
) -> None:
    key = generate_key(KeyType.ECDSA_P256)
    machine.issue("plain.example")
    csr = build_csr(key, machine.live("plain.example").facts.identifiers)
    machine.issue(csr=csr, name="by-request")

    with pytest.raises(UsageError) as error:
        revoked(machine, "by-request", Afterwards.REPLACE, COMPROMISED)

    assert error.value.code == "usage.csr"
    assert machine.ca.revoked == []


# -- by file, by key, by account


def test_a_file_of_ours_is_revoked_by_the_account_that_ordered_it(machine: Machine) -> None:
    machine.issue("a.example")
    machine.renew(force=True)
    flags, machine.flags = machine.flags, {}

    with machine.run() as run:
        pem = pem_of(machine, "a.example", 1)
        revocation = revoke_file(run, None, pem, None, RevocationReason.SUPERSEDED)
    machine.flags = flags

    assert (revocation.name, revocation.already) == ("a.example", False)
    assert at_the_ca(machine) == [(serial(machine, "a.example", 1), 4)]
    assert machine.renew().exit_status == 0
    assert machine.live("a.example").number == 2


def test_of_a_file_with_its_chain_the_first_certificate_is_revoked(machine: Machine) -> None:
    machine.issue("a.example")

    with machine.run() as run:
        pem = pem_of(machine, "a.example", 1, "fullchain.pem")
        revocation = revoke_file(run, None, pem, None, RevocationReason.SUPERSEDED)

    assert (revocation.name, revocation.already) == ("a.example", False)
    assert at_the_ca(machine) == [(serial(machine, "a.example", 1), 4)]


def test_a_file_is_revoked_by_its_own_key_without_an_account(
    machine: Machine, tmp_path: Path
) -> None:
    machine.issue("a.example")
    pem, key = pem_of(machine, "a.example", 1), pem_of(machine, "a.example", 1, "privkey.pem")
    stranger = Machine(tmp_path / "another", machine.ca)

    with stranger.run() as run:
        revocation = revoke_file(run, machine.ca.directory_url, pem, key, COMPROMISED)

    assert (revocation.name, revocation.already) == (None, False)
    assert stranger.store.accounts.all() == []
    assert [reason for _, reason in at_the_ca(machine)] == [1]


def test_a_key_that_is_not_the_certificates_is_refused(machine: Machine) -> None:
    machine.issue("a.example")

    other = generate_key(KeyType.ECDSA_P256)

    with pytest.raises(UsageError) as error, machine.run() as run:
        revoke_file(run, None, pem_of(machine, "a.example", 1), other, COMPROMISED)

    assert error.value.code == "usage.key_mismatch"
    assert machine.ca.count("revoke-cert") == 0


def test_without_the_account_the_key_of_the_certificate_revokes_it(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.forget_accounts()

    revocation, _ = revoked(machine, "a.example", Afterwards.STOP)

    assert not revocation.already
    assert len(machine.ca.revoked) == 1


def test_it_is_revoked_where_it_was_issued_though_another_ca_is_wanted_now(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    spec = machine.spec_file("a.example")
    spec.write_text(spec.read_text().replace(machine.ca.directory_url, "https://other.example/d"))

    revocation, _ = revoked(machine, "a.example", Afterwards.STOP)

    assert not revocation.already
    assert len(machine.ca.revoked) == 1


def test_a_reason_that_the_ca_does_not_take_is_its_error(machine: Machine) -> None:
    machine.issue("a.example")

    with pytest.raises(AcmeError) as error:
        revoked(machine, "a.example", Afterwards.STOP, RevocationReason.AFFILIATION_CHANGED)

    assert error.value.type == "badRevocationReason"
    assert machine.status("a.example").renewal_state.revoked == ()


# -- deletion


def test_deleting_removes_everything_and_renews_nothing(machine: Machine) -> None:
    machine.issue("a.example")

    with machine.run() as run:
        delete(run, "a.example")

    left = [path.name for path in machine.home.rglob("*") if "a.example" in path.name]
    # its number, and its locks
    assert sorted(left) == ["a.example.json", "a.example.lock", "a.example.lock"]
    assert machine.renew().considered == 0
    with pytest.raises(UnknownCertificate), machine.run() as run:
        delete(run, "a.example")


def test_a_number_is_never_given_twice(machine: Machine) -> None:
    machine.issue("a.example")
    with machine.run() as run:
        delete(run, "a.example")

    machine.issue("a.example")

    assert machine.live("a.example").number == 2


# -- rollback


def rolled_back(machine: Machine, name: str, number: int | None = None) -> Report:
    with machine.run() as run:
        return rollback(run, (name,), number)


def test_a_rollback_deploys_the_version_before_and_pauses_renewal(
    machine: Machine, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    machine.issue("a.example", options={"deploy.reload": noting(seen, "reload")})
    machine.renew(force=True)
    lifetime = machine.live("a.example").facts.lifetime

    report = rolled_back(machine, "a.example")

    status = machine.status("a.example")
    assert report.exit_status == 0
    assert (status.live and status.live.number, status.undeployed) == (1, False)
    assert lines(seen) == ["reload"] * 3
    machine.pass_time(lifetime * 0.8)
    # its CA is asked about this version once more
    assert machine.renew().outcomes == ()
    assert machine.renew().outcomes == ()
    machine.pass_time(lifetime * 0.05)
    machine.renew()
    assert machine.live("a.example").number == 3


def test_a_rollback_that_cannot_be_deployed_is_owed(machine: Machine, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    machine.issue("a.example", options={"deploy.reload": f"test ! -e {broken}"})
    machine.renew(force=True)
    broken.touch()

    report = rolled_back(machine, "a.example", 1)
    broken.unlink()
    machine.pass_time(2 * MINUTE)
    healed = machine.renew()

    assert (report.exit_status, healed.exit_status) == (4, 0)
    status = machine.status("a.example")
    assert (status.live and status.live.number, status.undeployed) == (1, False)


def test_issuing_something_else_ends_the_pause(machine: Machine) -> None:
    machine.issue("a.example")
    machine.renew(force=True)
    rolled_back(machine, "a.example")

    machine.issue("a.example", options={"key_type": "ecdsa-p384"})

    assert machine.live("a.example").number == 3
    assert machine.status("a.example").renewal_state.paused_until is None


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (None, "no version older than the live one"),
        (1, "is already live"),
        (7, "no version 7; it has 1"),
    ],
)
def test_a_rollback_needs_another_version(machine: Machine, number: int | None, why: str) -> None:
    machine.issue("a.example")

    with pytest.raises(UsageError, match=why):
        rolled_back(machine, "a.example", number)


def test_a_rollback_to_what_has_expired_is_refused(machine: Machine) -> None:
    machine.issue("a.example")
    machine.pass_time(80 * DAY)
    machine.renew()
    machine.pass_time(20 * DAY)

    with pytest.raises(UsageError, match="expired on"):
        rolled_back(machine, "a.example", 1)

    assert machine.live("a.example").number == 2


def test_a_rollback_to_what_was_revoked_is_refused(machine: Machine) -> None:
    machine.issue("a.example")
    revoked(machine, "a.example", Afterwards.REPLACE)

    with pytest.raises(UsageError, match="was revoked"):
        rolled_back(machine, "a.example", 1)


def test_a_rollback_to_a_key_that_was_compromised_is_refused(machine: Machine) -> None:
    machine.issue("a.example", options={"reuse_key": True})
    machine.renew(force=True)
    with machine.run() as run:
        revoke_file(run, None, pem_of(machine, "a.example", 2), None, COMPROMISED)

    with pytest.raises(UsageError, match="compromised"):
        rolled_back(machine, "a.example", 1)
