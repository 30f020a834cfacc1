"""A certificate that changes: edited, put back, revoked, forgotten; chains and foreign keys."""

import json
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.lab.authority import AcmeServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.real.driver import host, names, openssl, public_key


def test_edit_adds_and_removes_names_and_issues_again(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("edit.example", "old.edit.example")

    finished = here.certctl(
        *("edit", "edit.example", "--add", "new.edit.example", "--remove", "old.edit.example"),
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert names(here.leaf("edit.example")) == ["edit.example", "new.edit.example"]
    assert here.version("edit.example") == 2


def test_edit_without_a_change_of_names_can_save_options_alone(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, told = host(tmp_path, pebble), tmp_path / "told"
    here.given("option.example")
    before = pebble.request_count()

    finished = here.certctl("edit", "option.example", "--deploy-hook", f"echo here > {told}")

    assert finished.exit_status == 0
    assert (pebble.request_count(), here.version("option.example")) == (before, 1)
    # What is given again is deployed.
    assert told.read_text() == "here\n"


def test_other_names_are_a_question_that_needs_an_answer(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("question.example", "old.question.example")

    refused = here.certctl("issue", "question.example", "new.question.example")
    agreed = here.certctl("issue", "question.example", "new.question.example", "--yes")

    assert refused.exit_status == 2
    assert "+ new.question.example" in refused.stderr
    assert "- old.question.example" in refused.stderr
    assert agreed.exit_status == 0
    assert names(here.leaf("question.example")) == ["new.question.example", "question.example"]


def test_a_person_may_edit_the_file_and_renew_does_the_rest(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("file.example")
    spec = here.home / "certificates" / "file.example.toml"
    text = spec.read_text()
    spec.write_text(text.replace('"file.example"', '"file.example", "www.file.example"'))

    finished = here.certctl("renew")

    assert finished.exit_status == 0, finished
    assert names(here.leaf("file.example")) == ["file.example", "www.file.example"]


# Back, revoked, gone.


def test_a_rollback_is_live_deployed_and_left_alone_by_renew(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, told = host(tmp_path, pebble), tmp_path / "told"
    here.given("back.example", "--deploy-hook", f"echo $CERTCTL_CERT_VERSION >> {told}")
    first = here.leaf("back.example")
    here.certctl("renew", "--force")

    finished = here.certctl("rollback", "back.example")
    renewed = here.certctl("renew")

    assert (finished.exit_status, renewed.exit_status) == (0, 0)
    assert "Its renewal is paused until " in finished.stdout
    assert (here.version("back.example"), here.leaf("back.example")) == (1, first)
    assert told.read_text().split() == ["1", "2", "1"]


def test_a_rollback_goes_to_the_version_named_and_a_later_one_is_newer_than_all(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("to.example")
    for _ in range(2):
        here.certctl("renew", "--force")

    assert here.certctl("rollback", "to.example", "--to", "1").exit_status == 0
    assert here.version("to.example") == 1
    assert "also kept    versions 2, 3" in here.certctl("show", "to.example").stdout
    assert here.certctl("renew", "--force").exit_status == 0
    assert here.version("to.example") == 4


def test_revoke_replace_has_the_new_one_live_before_the_old_one_is_revoked(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here, told = host(tmp_path, authority), tmp_path / "told"
    here.given("replace.example", "--reuse-key", "--deploy-hook", f"echo deployed >> {told}")
    old = here.leaf("replace.example")

    finished = here.certctl(
        *("revoke", "replace.example", "--replace", "--yes", "--reason", "keyCompromise")
    )

    new = here.leaf("replace.example")
    assert (finished.exit_status, finished.stderr) == (0, "")
    assert (here.status(old), here.status(new)) == ("Revoked", "Valid")
    assert told.read_text().split() == ["deployed", "deployed"]
    # A key that was compromised is never used again, though the spec says to keep it.
    assert public_key(old) != public_key(new)


def test_revoke_replace_revokes_nothing_where_the_new_one_cannot_be_deployed(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here, broken = host(tmp_path, authority), tmp_path / "broken"
    here.given("stuck.example", "--deploy-hook", f"test ! -e {broken}")
    old = here.leaf("stuck.example")
    broken.touch()

    finished = here.certctl("revoke", "stuck.example", "--replace", "--yes")

    assert finished.exit_status == 4
    assert here.status(old) == "Valid"
    assert "is not revoked yet" in finished.stderr


def test_revoke_delete_leaves_no_file_of_it(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)
    here.given("delete.example")
    leaf = here.leaf("delete.example")

    finished = here.certctl("revoke", "delete.example", "--delete", "--yes")

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert here.status(leaf) == "Revoked"
    assert not (here.home / "live" / "delete.example").is_symlink()
    assert not list(here.home.glob("archive/delete.example/*"))
    assert here.certctl("list", "--json").json()["data"]["certificates"] == []


def test_revoke_stop_keeps_the_files_and_renews_no_more(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.given("stop.example")
    leaf = here.leaf("stop.example")

    finished = here.certctl("revoke", "stop.example", "--stop", "--yes")
    renewed = here.certctl("renew")
    forced = here.certctl("renew", "--force")

    assert (finished.exit_status, renewed.exit_status, forced.exit_status) == (0, 0, 0)
    assert (here.status(leaf), here.version("stop.example")) == ("Revoked", 1)


def test_what_was_stopped_is_renewed_again_once_it_is_issued_by_hand(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.given("revived.example")
    here.certctl("revoke", "revived.example", "--stop", "--yes")

    here.issue("revived.example")

    shown = here.show("revived.example")
    assert (shown["version"], shown["state"]) == (2, "valid")
    assert shown["renews_at"] is not None


def test_revoke_by_name_wants_to_know_what_is_to_become_of_it(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("undecided.example")
    leaf = here.leaf("undecided.example")

    finished = here.certctl("revoke", "undecided.example", "--yes")

    assert finished.exit_status == 2
    assert "--replace" in finished.stderr
    assert here.status(leaf) == "Valid"


def test_a_file_is_revoked_with_its_key_from_another_home(
    authority: AcmeServer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    here, other = host(tmp_path, authority), host(tmp_path / "other", authority)
    here.given("by-file.example")
    leaf = here.leaf("by-file.example")
    arguments = (
        *("revoke", "--cert-path", str(here.live("by-file.example", "cert.pem")), "--yes"),
        *("--key-path", str(here.live("by-file.example", "privkey.pem"))),
    )

    first = other.certctl(*arguments, "--json")
    second = other.certctl(*arguments, "--json")

    assert here.status(leaf) == "Revoked"
    assert (first.exit_status, first.json()["data"]["already_revoked"]) == (0, False)
    # Revoked already is success.
    assert (second.exit_status, second.json()["data"]["already_revoked"]) == (0, True)


def test_the_wrong_key_revokes_nothing(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)
    here.given("one.keys.example")
    here.given("two.keys.example")

    finished = here.certctl(
        *("revoke", "--cert-path", str(here.live("one.keys.example", "cert.pem")), "--yes"),
        *("--key-path", str(here.live("two.keys.example", "privkey.pem"))),
    )

    assert finished.exit_status == 2
    assert here.status(here.leaf("one.keys.example")) == "Valid"


def test_a_version_that_was_revoked_by_its_file_is_replaced_by_renew(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.given("own-file.example")
    cert = here.live("own-file.example", "cert.pem")

    revoked = here.certctl("revoke", "--cert-path", str(cert), "--yes")
    renewed = here.certctl("renew")

    assert (revoked.exit_status, renewed.exit_status) == (0, 0), (revoked, renewed)
    assert here.version("own-file.example") == 2


def test_delete_asks_first_and_then_leaves_nothing_behind(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("gone.example")
    leaf = here.leaf("gone.example")

    refused = here.certctl("delete", "gone.example")
    finished = here.certctl("delete", "gone.example", "--yes")

    assert (refused.exit_status, finished.exit_status) == (2, 0)
    assert here.certctl("renew").exit_status == 0
    assert not (here.home / "live" / "gone.example").is_symlink()
    # Forgotten here, and not revoked.
    assert here.status(leaf) == "Valid"


def test_a_number_is_never_used_again_after_delete(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("number.example")
    here.certctl("delete", "number.example", "--yes")

    here.issue("number.example")

    assert here.version("number.example") == 2


def test_the_audit_log_has_a_line_for_each_thing_that_happened(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("audit.example")
    here.certctl("revoke", "audit.example", "--delete", "--yes")

    log = here.home / "log" / "audit.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["kind"], line["name"]) for line in lines] == [
        ("account.registered", None),
        ("order.placed", "audit.example"),
        ("certificate.saved", "audit.example"),
        ("deploy.done", "audit.example"),
        ("certificate.revoked", "audit.example"),
    ]
    assert all(datetime.fromisoformat(line["at"]).tzinfo == UTC for line in lines)


# Chains, and keys that live elsewhere.


def test_a_preferred_chain_is_taken_where_the_ca_offers_it(
    challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    (tmp_path / "ca").mkdir()
    with PebbleServer(
        directory=tmp_path / "ca",
        dns_server=challenge_dns.dns_address,
        alternate_roots=2,
        chain_length=2,
    ) as authority:
        here = host(tmp_path, authority)
        root = x509.load_pem_x509_certificate(authority.root(2))
        (attribute,) = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        here.issue("chain.example", "--preferred-chain", str(attribute.value))
        renewed = here.certctl("renew", "--force")
        unknown = here.certctl(
            "issue", "unknown-chain.example", "--preferred-chain", "No Such Root"
        )
        # All have the same length here: the default is one of the shortest.
        here.issue("default-chain.example")
        here.issue("short-chain.example", "--preferred-chain", "shortest")

    issuers = [
        x509.load_pem_x509_certificates(here.live(name, "chain.pem").read_bytes())[-1].issuer
        for name in ("default-chain.example", "short-chain.example")
    ]
    assert issuers[0] == issuers[1]
    chain = x509.load_pem_x509_certificates(here.live("chain.example", "chain.pem").read_bytes())
    chain[-1].verify_directly_issued_by(root)
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert unknown.exit_status == 0
    assert "offers no chain up to 'No Such Root'" in unknown.stderr


def test_a_request_made_elsewhere_is_certified_and_renewed(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here, key, csr = host(tmp_path, authority), tmp_path / "key.pem", tmp_path / "request.pem"
    openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", key, "-out", csr, "-subj", "/CN=csr.example"),
        *("-addext", "subjectAltName=DNS:csr.example,DNS:www.csr.example"),
    )
    here.issue("--csr", str(csr))
    first = here.leaf("csr.example")
    csr.unlink()

    renewed = here.certctl("renew", "--force")

    second = here.leaf("csr.example")
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert names(second) == ["csr.example", "www.csr.example"]
    assert second.serial_number != first.serial_number
    assert public_key(second) == public_key(first)
    ours = openssl("pkey", "-in", key, "-pubout")
    assert openssl("x509", "-in", here.live("csr.example"), "-noout", "-pubkey") == ours
    files = sorted(path.name for path in (here.home / "live" / "csr.example").iterdir())
    assert files == ["cert.pem", "chain.pem", "fullchain.pem", "issued.json"]


def test_a_request_for_other_names_than_those_given_is_refused(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, csr = host(tmp_path, pebble), tmp_path / "request.pem"
    openssl(
        *("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem"),
        *("-out", csr, "-subj", "/", "-addext", "subjectAltName=DNS:csr-names.example"),
    )

    finished = here.certctl("issue", "other.example", "--csr", str(csr))

    assert finished.exit_status == 2
    assert not (here.home / "certificates").exists()
