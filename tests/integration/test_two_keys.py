"""One certificate with an ECDSA and an RSA key: one unit, made by two orders."""

import grp
import json
import os
import shutil
import ssl
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certctl.engine.report import Report
from certctl.model.ca import LimitedAction, RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import ConfigurationError, UsageError
from certctl.operations.issue import edit
from certctl.operations.revoke import revoke
from certctl.operations.versions import rollback
from tests.lab.certificates import make_server_certificate
from tests.lab.scripted_ca.faults import Fault, calls, problem
from tests.lab.scripted_ca.settings import ALWAYS
from tests.lab.tls import TlsServer
from tests.support.command import certctl
from tests.support.operations import Machine, key_matches, noting

NAME = "a.example"
BOTH = {"key_type": ("ecdsa-p256", "rsa-2048")}
DAY = timedelta(days=1)


def leaf(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes())


def serial(directory: Path) -> str:
    return f"{leaf(directory).serial_number:x}"


def issue(machine: Machine, **options: Any) -> Report:
    return machine.issue(NAME, options={**BOTH, **options})


def changed(machine: Machine, **given: Any) -> Report:
    with machine.run() as run:
        return edit(run, (NAME,), (), (), given)


def done(report: Report) -> bool:
    return report.exit_status == 0 and not report.all_errors


def live(machine: Machine) -> Path:
    return machine.home / "live" / NAME


def fits(machine: Machine) -> bool:
    """Whether both halves of the live version are whole, and nothing else is left."""
    left = [path for path in machine.home.rglob("*") if ".new-" in path.name]
    halves = key_matches(live(machine)) and key_matches(live(machine) / "rsa")
    return halves and not left and not (machine.home / "pending" / NAME).exists()


def test_both_are_one_version_and_the_second_has_its_own_directory(machine: Machine) -> None:
    report = issue(machine)

    assert done(report)
    assert isinstance(leaf(live(machine)).public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(leaf(live(machine) / "rsa").public_key(), rsa.RSAPublicKey)
    assert fits(machine)
    assert sorted(each.name for each in (live(machine) / "rsa").iterdir()) == [
        "cert.pem",
        "chain.pem",
        "combined.pem",
        "fullchain.pem",
        "privkey.pem",
    ]
    assert stat.S_IMODE((live(machine) / "rsa" / "privkey.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((live(machine) / "rsa").stat().st_mode) == 0o700
    assert (machine.ca.count("new-order"), len(machine.ca.issued)) == (2, 2)


def test_the_first_key_type_has_the_files_at_the_usual_place(machine: Machine) -> None:
    issue(machine, key_type=("rsa-2048", "ecdsa-p384"))

    assert isinstance(leaf(live(machine)).public_key(), rsa.RSAPublicKey)
    assert isinstance(leaf(live(machine) / "ecdsa").public_key(), ec.EllipticCurvePublicKey)


def test_the_second_order_validates_nothing_again_where_the_ca_remembers(machine: Machine) -> None:
    machine.ca.script("certificate", calls(lambda: machine.ca.already_valid.add(NAME)))

    assert done(issue(machine))

    assert machine.ca.count("challenge") == 1


def test_a_ca_that_does_not_remember_validates_for_each(machine: Machine) -> None:
    assert done(issue(machine))

    assert machine.ca.count("challenge") == 2


@pytest.mark.parametrize(
    "key_types",
    [
        ("ecdsa-p256", "ecdsa-p384"),
        ("rsa-2048", "rsa-4096"),
        ("ecdsa-p256", "rsa-2048", "rsa-4096"),
    ],
)
def test_more_than_one_of_a_kind_is_refused(tmp_path: Path, key_types: tuple[str, ...]) -> None:
    flags = [word for each in key_types for word in ("--key-type", each)]

    finished = certctl("issue", NAME, "--ca", "dev", *flags, home=tmp_path)

    assert finished.exit_status == 2
    assert "'--key-type': " in finished.stderr
    assert "at most one ECDSA and one RSA key" in finished.stderr
    assert not (tmp_path / "certificates").exists()


def test_one_word_is_stored_as_a_word_and_two_as_a_list(machine: Machine) -> None:
    assert (
        machine.command("issue", "one.example", *(2 * ("--key-type", "rsa-2048"))).exit_status == 0
    )
    assert machine.command(*TYPED).exit_status == 0

    one, two = (machine.spec_file(each).read_text() for each in ("one.example", NAME))
    assert 'key_type = "rsa-2048"' in one
    assert "version = 1" in one
    assert 'key_type = ["ecdsa-p256", "rsa-2048"]' in two
    assert "version = 2" in two


def test_an_older_certctl_is_told_by_the_version_of_each_file(machine: Machine) -> None:
    machine.issue("one.example")
    issue(machine)

    one, two = (
        json.loads((machine.home / "archive" / each / "1" / "issued.json").read_text())["version"]
        for each in ("one.example", NAME)
    )
    assert (one, two) == (2, 3)


def signing_request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def test_a_signing_request_has_one_key(machine: Machine) -> None:
    with pytest.raises(UsageError, match="a signing request has one key"):
        machine.issue(NAME, options=BOTH, csr=signing_request())

    assert machine.ca.count("new-order") == 0


def test_a_signing_request_is_not_refused_for_a_default_of_two(machine: Machine) -> None:
    machine.home.mkdir(exist_ok=True)
    (machine.home / "certctl.toml").write_text('key_type = ["ecdsa-p256", "rsa-2048"]\n')

    assert done(machine.issue(NAME, csr=signing_request()))
    assert done(machine.issue("b.example"))

    assert len(machine.live(NAME).certificates) == 1
    assert len(machine.live("b.example").certificates) == 2


# -- the finished half


@pytest.mark.parametrize(
    "failure", [problem("rateLimited", 429), problem("serverInternal", 500)], ids=["429", "500"]
)
def test_what_was_issued_first_waits_for_the_second(machine: Machine, failure: Fault) -> None:
    broken = ["by now"]
    machine.ca.script("new-order", failure, times=ALWAYS, when=lambda _: bool(broken), after=1)
    assert issue(machine).exit_status != 0
    assert len(machine.ca.issued) == 1
    assert not live(machine).exists()

    broken.clear()
    machine.pass_time(8 * DAY)
    report = issue(machine)

    assert done(report)
    assert fits(machine)
    assert len(machine.ca.issued) == 2


def test_a_failed_validation_of_the_second_leaves_the_first_waiting(machine: Machine) -> None:
    machine.ca.script("certificate", calls(lambda: machine.ca.fail(NAME)))
    assert issue(machine).exit_status != 0

    machine.ca.failing.clear()
    report = issue(machine)

    assert done(report)
    assert fits(machine)
    assert len(machine.ca.issued) == 2


def test_what_waits_too_long_is_ordered_again(machine: Machine) -> None:
    machine.ca.script("new-order", problem("rateLimited", 429), after=1)
    assert issue(machine).exit_status != 0

    machine.pass_time(61 * DAY)

    assert done(issue(machine))
    assert len(machine.ca.issued) == 3


TYPED = ("issue", NAME, "--key-type", "ecdsa-p256", "--key-type", "rsa-2048")


@pytest.mark.parametrize("resource", ["new-order", "challenge", "finalize", "certificate"])
def test_nothing_is_bought_twice_after_a_kill(machine: Machine, resource: str) -> None:
    machine.ca.finalize_polls = 1
    if resource == "challenge":
        machine.ca.script(
            "certificate", calls(lambda: setattr(machine.ca, "validate_http01", None))
        )
    machine.killed_at(resource, *TYPED, after=1)
    machine.ca.validate_http01 = ("127.0.0.1", machine.port)

    report = issue(machine)

    assert done(report)
    assert fits(machine)
    assert len(machine.ca.issued) == 2


def test_a_version_is_not_there_before_both_are(machine: Machine) -> None:
    machine.killed_before_rename(f"archive/{NAME}/1", *TYPED)
    assert not live(machine).exists()

    assert done(issue(machine))
    assert fits(machine)
    assert len(machine.ca.issued) == 2
    assert machine.live(NAME).number == 1


def test_a_half_that_was_changed_by_hand_is_ordered_again(machine: Machine) -> None:
    machine.ca.script("new-order", problem("rateLimited", 429), after=1)
    issue(machine)
    pending = machine.home / "pending" / NAME / "order.json"
    document = json.loads(pending.read_text())
    assert document["version"] == 3  # an older certctl leaves it alone
    (order,) = [each for each in document["orders"] if each["finished"]]
    order["finished"]["cert"] = "nonsense"
    pending.write_text(json.dumps(document))
    machine.pass_time(DAY)

    assert done(issue(machine))
    assert fits(machine)


# -- renewal


def test_both_are_renewed_together_and_each_replaces_its_own(by_ari: Machine) -> None:
    machine = by_ari
    issue(machine)
    before = [each.facts.ari_id for each in machine.live(NAME).certificates]
    machine.pass_time(76 * DAY)

    report = machine.renew()

    assert done(report)
    assert fits(machine)
    assert machine.live(NAME).number == 2
    assert [each.get("replaces") for each in machine.ca.payloads("new-order")[2:]] == before
    assert machine.renew().outcomes == ()


def test_the_window_of_either_makes_both_due(by_ari: Machine) -> None:
    machine = by_ari
    issue(machine)
    _, second = machine.ca.issued
    machine.ca.revoke(second)
    machine.pass_time(2 * DAY)

    report = machine.renew()

    assert [each.action for each in report.outcomes] == ["issued"]
    assert fits(machine)
    assert len(machine.ca.issued) == 4


def test_a_reused_key_is_that_of_the_same_kind(machine: Machine) -> None:
    issue(machine, reuse_key=True)
    before = machine.live(NAME).keys_sha256

    assert done(machine.renew(NAME, force=True))

    assert machine.live(NAME).number == 2
    assert machine.live(NAME).keys_sha256 == before


def test_a_new_key_is_made_for_each(machine: Machine) -> None:
    issue(machine)
    before = machine.live(NAME).keys_sha256

    machine.renew(NAME, force=True)

    assert not machine.live(NAME).keys_sha256 & before


def test_from_one_to_two_and_back(by_ari: Machine) -> None:
    machine = by_ari
    machine.issue(NAME)
    (first,) = machine.live(NAME).certificates

    report = changed(machine, key_type=("ecdsa-p256", "rsa-2048"))
    assert done(report)
    assert "ecdsa-p256 and rsa-2048 instead of ecdsa-p256" in (report.outcomes[0].reason or "")
    assert fits(machine)
    both = machine.live(NAME).certificates
    assert len(both) == 2

    assert done(changed(machine, key_type="rsa-2048"))
    assert isinstance(leaf(live(machine)).public_key(), rsa.RSAPublicKey)
    assert not (live(machine) / "rsa").exists()
    replaced = [each.get("replaces") for each in machine.ca.payloads("new-order")]
    assert replaced == [None, first.facts.ari_id, None, both[1].facts.ari_id]
    assert machine.renew().outcomes == ()


def test_the_other_order_of_the_same_types_moves_the_files(machine: Machine) -> None:
    issue(machine)

    assert done(changed(machine, key_type=("rsa-2048", "ecdsa-p256")))

    assert isinstance(leaf(live(machine)).public_key(), rsa.RSAPublicKey)
    assert isinstance(leaf(live(machine) / "ecdsa").public_key(), ec.EllipticCurvePublicKey)


def test_a_half_that_waits_is_what_is_left_of_a_change_back_to_one(machine: Machine) -> None:
    issue(machine)
    machine.pass_time(61 * DAY)
    machine.ca.script("new-order", problem("rateLimited", 429), after=1)
    assert machine.renew().exit_status != 0
    assert len(machine.ca.issued) == 3

    assert done(changed(machine, key_type="ecdsa-p256"))

    assert len(machine.ca.issued) == 3
    assert [each.facts.key_type for each in machine.live(NAME).certificates] == ["ecdsa-p256"]
    assert not (machine.home / "pending" / NAME).exists()


def test_a_half_is_not_what_a_later_renewal_of_one_key_is_made_of(machine: Machine) -> None:
    machine.issue(NAME)
    machine.ca.script("new-order", problem("rateLimited", 429), after=1)
    assert changed(machine, key_type=BOTH["key_type"]).exit_status != 0
    assert len(machine.ca.issued) == 2
    assert [each.action for each in machine.renew().outcomes] == ["unchanged"]

    machine.pass_time(61 * DAY)
    assert done(machine.renew())

    assert len(machine.ca.issued) == 3
    assert machine.live(NAME).facts.not_after > machine.clock.now() + 80 * DAY


def test_a_rollback_is_of_both(machine: Machine) -> None:
    issue(machine)
    before = serial(live(machine)), serial(live(machine) / "rsa")
    machine.renew(NAME, force=True)
    assert serial(live(machine) / "rsa") != before[1]

    with machine.run() as run:
        assert done(rollback(run, (NAME,), None))

    assert (serial(live(machine)), serial(live(machine) / "rsa")) == before


# -- revocation


@pytest.mark.parametrize("reason", [RevocationReason.SUPERSEDED, RevocationReason.KEY_COMPROMISE])
def test_both_are_revoked_together(machine: Machine, reason: RevocationReason) -> None:
    issue(machine)
    old = machine.live(NAME)

    with machine.run() as run:
        revoke(run, NAME, reason, Afterwards.REPLACE)

    assert [each.certificate.serial for each in machine.ca.revoked] == [
        int(each.facts.serial, 16) for each in old.certificates
    ]
    state = machine.status(NAME).renewal_state
    compromised = old.keys_sha256 if reason is RevocationReason.KEY_COMPROMISE else set()
    assert set(state.compromised_keys) == compromised
    assert fits(machine)
    assert not machine.live(NAME).keys_sha256 & old.keys_sha256


def test_a_revocation_that_was_cut_off_between_both_is_finished(machine: Machine) -> None:
    issue(machine)
    machine.killed_at("revoke-cert", "revoke", NAME, "--stop", "--yes")
    assert len(machine.ca.revoked) == 1

    machine.renew()

    assert len(machine.ca.revoked) == 2
    assert machine.status(NAME).renewal_state.revocations == ()


# -- files


@pytest.mark.parametrize("file", ["rsa/privkey.pem", "rsa/chain.pem", "rsa/fullchain.pem"])
def test_a_damaged_file_of_the_second_is_restored(machine: Machine, file: str) -> None:
    issue(machine)
    path = live(machine) / file
    intact = path.read_bytes()
    path.write_bytes(b"")

    machine.renew()

    assert path.read_bytes() == intact
    assert machine.live(NAME).number == 1


def test_a_second_directory_that_is_gone_needs_a_new_version(machine: Machine) -> None:
    issue(machine)
    shutil.rmtree(live(machine) / "rsa")

    machine.renew()

    assert machine.live(NAME).number == 2
    assert fits(machine)


def test_a_key_group_reads_both_keys(machine: Machine) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    issue(machine)

    changed(machine, key_group=group)

    for directory in (live(machine), live(machine) / "rsa"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o750
        assert stat.S_IMODE((directory / "privkey.pem").stat().st_mode) == 0o640
        assert stat.S_IMODE((directory / "combined.pem").stat().st_mode) == 0o640
    machine.renew(NAME, force=True)
    assert stat.S_IMODE((live(machine) / "rsa" / "privkey.pem").stat().st_mode) == 0o640
    assert stat.S_IMODE((live(machine) / "rsa").stat().st_mode) == 0o750


def test_an_idle_run_reads_as_little_as_with_one_key_and_sees_a_change(machine: Machine) -> None:
    issue(machine)
    machine.renew()
    assert machine.renew().outcomes == ()

    (live(machine) / "rsa" / "cert.pem").write_bytes(b"")

    assert [each.action for each in machine.renew().outcomes] == ["deployed"]


# -- what is shown


def test_list_show_and_export_know_both(machine: Machine) -> None:
    issue(machine)
    second = machine.live(NAME).certificates[1].facts

    (row,) = certctl_json(machine, "list")["certificates"]
    assert (row["key_type"], row["second"]["key_type"]) == ("ecdsa-p256", "rsa-2048")
    shown = certctl_json(machine, "show", NAME)
    assert shown["second"]["serial"] == second.serial
    assert shown["files"]["second"]["privkey"].endswith(f"live/{NAME}/rsa/privkey.pem")
    text = certctl("show", NAME, home=machine.home).stdout
    assert f"live/{NAME}/rsa/fullchain.pem" in text
    assert second.serial in text
    found = certctl("list", "--where", "key_type=rsa-2048", home=machine.home)
    assert NAME in found.stdout
    exported = certctl("export", NAME, "--key", "rsa", home=machine.home)
    assert exported.stdout == (live(machine) / "rsa" / "fullchain.pem").read_text()
    default = certctl("export", NAME, home=machine.home)
    assert default.stdout == (live(machine) / "fullchain.pem").read_text()


def test_explain_shows_the_window_of_each(by_ari: Machine) -> None:
    issue(by_ari)

    text = certctl("explain", NAME, home=by_ari.home).stdout

    for key in ("ecdsa-p256", "rsa-2048"):
        assert text.count(f"randomly chosen renewal time in that window ({key})") == 1


def test_a_host_without_an_address_is_reported_once(machine: Machine) -> None:
    issue(machine)

    found = certctl("verify", NAME, "--json", home=machine.home).json()["data"]["verified"]

    assert [each["problem"] for each in found] == ["the host has no address in DNS"]


def test_an_export_of_a_key_that_is_not_there_is_refused(machine: Machine) -> None:
    machine.issue(NAME)

    finished = certctl("export", NAME, "--key", "rsa", home=machine.home)

    assert finished.exit_status == 2
    assert "has no certificate with an RSA key, only ECDSA" in finished.stderr


def test_copies_are_of_the_first_or_of_the_key_that_they_name(machine: Machine) -> None:
    first, second = machine.home.parent / "first.pem", machine.home.parent / "second.pem"
    copies = (f"combined:{first}", f"combined:{second},key=rsa")
    issue(machine, **{"deploy.copy": copies})

    assert first.read_bytes() == (live(machine) / "combined.pem").read_bytes()
    assert second.read_bytes() == (live(machine) / "rsa" / "combined.pem").read_bytes()


def test_a_copy_of_a_key_that_is_not_there_is_refused(machine: Machine) -> None:
    copies = (f"combined:{machine.home.parent}/x.pem,key=rsa",)

    with pytest.raises(ConfigurationError, match="no certificate with an RSA key"):
        machine.issue(NAME, options={"deploy.copy": copies})


def test_hooks_get_the_paths_of_both(machine: Machine) -> None:
    seen = machine.home.parent / "seen"
    words = "$CERTCTL_PRIVKEY_FILE $CERTCTL_ECDSA_PRIVKEY_FILE $CERTCTL_RSA_FULLCHAIN_FILE"
    issue(machine, **{"deploy.deploy_hook": noting(seen, words)})

    directory = live(machine)
    assert seen.read_text().split() == [
        f"{directory}/privkey.pem",
        f"{directory}/privkey.pem",
        f"{directory}/rsa/fullchain.pem",
    ]


def test_both_count_against_the_limits_of_the_ca(machine: Machine) -> None:
    issue(machine)

    with machine.run() as run:
        (account,) = run.services.records.accounts()
        asked = [each.action for each in run.services.records.asked(account)]

    assert asked.count(LimitedAction.ORDER) == 2
    assert asked.count(LimitedAction.CERTIFICATE) == 2


def certctl_json(machine: Machine, *words: str) -> Any:
    return json.loads(certctl(*words, "--json", home=machine.home).stdout)["data"]


# -- the live check


def served(*halves: Path) -> dict[str, list[tuple[Path, Path]]]:
    return {"": [(each / "fullchain.pem", each / "privkey.pem") for each in halves]}


def test_the_live_check_connects_as_a_client_of_each_kind(machine: Machine) -> None:
    issue(machine)
    with TlsServer(served(live(machine), live(machine) / "rsa")) as tls:
        report = changed(machine, **{"deploy.verify": (f"127.0.0.1:{tls.port}",)})

    assert done(report)
    (outcome,) = report.outcomes
    assert outcome.deploy is not None
    digests = [each.facts.sha256 for each in machine.live(NAME).certificates]
    probes = [(each.key, each.sha256) for each in outcome.deploy.probes]
    assert probes == list(zip(("ecdsa", "rsa"), digests, strict=True))


def test_a_server_with_only_one_of_both_leaves_the_deployment_pending(machine: Machine) -> None:
    issue(machine)
    machine.clock.on_wait = lambda _seconds: None
    with TlsServer(served(live(machine))) as tls:
        report = changed(machine, **{"deploy.verify": (f"127.0.0.1:{tls.port}",)})

    (error,) = report.all_errors
    assert "no certificate to clients that support only RSA" in error.message
    assert machine.status(NAME).undeployed


def test_an_older_half_is_not_taken_for_the_new_one(machine: Machine) -> None:
    issue(machine)
    old = machine.home / "archive" / NAME / "1"
    machine.clock.on_wait = lambda _seconds: None
    with TlsServer(served(old, old / "rsa")) as tls:
        changed(machine, **{"deploy.verify": (f"127.0.0.1:{tls.port}",)})
        tls.serve(served(old, old / "rsa"))
        report = machine.renew(NAME, force=True)

    (error,) = report.all_errors
    assert "to clients that support only RSA, another certificate is served" in error.message
    assert "to clients that support only ECDSA, another certificate is served" in error.message


@pytest.mark.parametrize("fits", [True, False])
def test_of_a_server_that_speaks_only_tls_1_3_one_of_both_is_enough(
    machine: Machine, fits: bool
) -> None:
    issue(machine)
    other = machine.home.parent / "other"
    other.mkdir()
    made = make_server_certificate(other, (NAME,))
    machine.clock.on_wait = lambda _seconds: None
    files = served(live(machine), live(machine) / "rsa")
    files = files if fits else {"": [(made.certificate, made.private_key)]}
    with TlsServer(files, oldest=ssl.TLSVersion.TLSv1_3) as tls:
        report = changed(machine, **{"deploy.verify": (f"127.0.0.1:{tls.port}",)})

    assert done(report) is fits
