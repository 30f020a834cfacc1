"""Where certbot has an answer of its own, `certctl-certbot` gives the same: which lines it prints,
what it refuses, and what is in the directory. The CA is the development CA.
"""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.devca import DevCaServer
from tests.support.certbot_place import Place
from tests.support.command import certctl

A, B = "a.example", "b.example"


@pytest.fixture
def place(tmp_path: Path, devca: DevCaServer) -> Place:
    found = Place(tmp_path, devca)
    found.home.mkdir(mode=0o711)
    return found


def request(path: Path, *names: str) -> Path:
    """Write a signing request."""
    wanted = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.add_extension(wanted, critical=False).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return path


def test_the_files_of_a_signing_request_are_numbered_and_named(place: Place) -> None:
    csr = request(place.directory / "request.pem", A)

    done = place.certonly("--csr", str(csr), "-n")

    assert done.stdout.splitlines()[:4] == [
        "Successfully received certificate.",
        f"Certificate is saved at:            {place.directory}/0000_cert.pem",
        f"Intermediate CA chain is saved at:  {place.directory}/0000_chain.pem",
        f"Full certificate chain is saved at: {place.directory}/0001_chain.pem",
    ]
    leaf, chain, full = (
        (place.directory / name).read_text()
        for name in ("0000_cert.pem", "0000_chain.pem", "0001_chain.pem")
    )
    assert full == leaf + chain


def test_a_signing_request_for_other_names_than_those_given_is_refused(place: Place) -> None:
    csr = request(place.directory / "request.pem", A)

    done = place.certonly("--csr", str(csr), "-d", A, "-d", B, "-n")

    assert (done.exit_status, place.ca.orders()) == (1, place.ca.orders())
    assert f"is for {A}, not for {B}" in done.stderr
    assert not (place.directory / "0000_cert.pem").exists()


def test_the_type_of_a_key_is_kept_unless_the_certificate_is_named(place: Place) -> None:
    place.certonly("-d", A, "-n", "--key-type", "rsa")

    refused = place.certonly("-d", A, "-n", "--key-type", "ecdsa")
    curve = place.certonly("-d", A, "-n", "--elliptic-curve", "secp384r1")
    before = place.certbot("certificates").stdout
    place.certonly("--cert-name", A, "-n", "--key-type", "ecdsa")

    assert (refused.exit_status, f"--cert-name {A}" in refused.stderr) == (1, True)
    assert "not yet due" in curve.stdout
    assert "Key Type: RSA" in before
    assert "Key Type: ECDSA" in place.certbot("certificates").stdout


@pytest.mark.parametrize(("answer", "kind"), [("y", "ECDSA"), ("n", "RSA")])
def test_a_person_is_asked_before_the_type_of_a_key_changes(
    answer: str, kind: str, place: Place
) -> None:
    place.certonly("-d", A, "-n", "--key-type", "rsa")

    done = place.certonly("-d", A, "--key-type", "ecdsa", terminal=f"{answer}\n")

    assert done.exit_status == (0 if kind == "ECDSA" else 1)
    assert f"Key Type: {kind}" in place.certbot("certificates").stdout


def test_a_list_for_a_name_says_that_it_is_one(place: Place) -> None:
    place.certonly("-d", A, "-n")

    assert "Found the following certs:" in place.certbot("certificates").stdout
    assert "Found the following matching certs:" in place.certbot("certificates", "-d", A).stdout


def test_what_is_revoked_or_deleted_is_named_as_scripts_expect(place: Place) -> None:
    place.certonly("-d", A, "-n")
    place.certonly("-d", B, "-n")
    file = str(place.live(B, "cert"))

    by_name = place.certbot("revoke", "--cert-name", A, "-n", "--reason", "Superseded")
    by_file = place.certbot("revoke", "--cert-path", file, "-n", "--server", place.ca.directory_url)

    told = "Congratulations! You have successfully revoked the certificate that was located at"
    for done, name in ((by_name, A), (by_file, B)):
        assert done.stdout.splitlines() == [
            f"Deleted all files relating to certificate {name}.",
            f"{told} {place.live(name, 'cert')}.",
        ]


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked_whether_a_revoked_certificate_is_deleted(
    answer: str, place: Place
) -> None:
    place.certonly("-d", A, "-n")

    done = place.certbot("revoke", "--cert-name", A, terminal=f"{answer}\n")

    assert done.exit_status == 0
    assert place.live(A).exists() is (answer == "n")


def test_an_account_is_shown_as_certbot_shows_it(place: Place) -> None:
    server = ("--server", place.ca.directory_url)
    place.certbot("register", "-n", "--agree-tos", "-m", "a@b.example,c@b.example", *server)

    shown = place.certbot("show_account", *server).stdout.splitlines()
    removed = place.certbot("update_account", "-n", "--register-unsafely-without-email", *server)

    assert shown[0] == f"Account details for server {place.ca.directory_url}:"
    assert [each.split(":")[0] for each in shown[1:]] == [
        "  Account URL",
        "  Account Thumbprint",
        "  Email contacts",
    ]
    assert shown[3].endswith(": a@b.example, c@b.example")
    assert "has been removed" in removed.stdout
    assert "Email contact: none" in place.certbot("show_account", *server).stdout


def test_a_directory_that_is_certctls_home_is_refused(place: Place) -> None:
    same = {"CERTCTL_HOME": str(place.letsencrypt)}
    place.letsencrypt.mkdir(mode=0o711)

    done = place.certonly("-d", A, "-n", variables=same)

    assert done.exit_status == 1
    assert f"CERTCTL_HOME={place.letsencrypt}/certctl" in done.stderr
    assert not (place.letsencrypt / "live").exists()


def test_links_are_found_again_by_another_path_to_the_same_home(place: Place) -> None:
    link = place.directory / "link"
    link.symlink_to(place.home)
    place.certonly("-d", A, "-n", variables={"CERTCTL_HOME": str(link)})

    done = place.certbot("delete", "--cert-name", A, "-n")

    assert done.exit_status == 0
    assert not place.live(A).parent.exists()


def test_renew_makes_links_that_a_killed_run_did_not_make(place: Place) -> None:
    seen = place.directory / "seen"
    place.certonly("-d", A, "-n", "--deploy-hook", f"cat $RENEWED_LINEAGE/fullchain.pem > {seen}")
    for each in place.live(A).parent.iterdir():
        each.unlink()
    place.live(A).parent.rmdir()

    done = place.certbot("renew", "--force-renewal")

    assert done.exit_status == 0, done
    assert seen.read_bytes() == place.live(A).read_bytes()


def test_renew_removes_the_links_of_what_certctl_has_deleted(place: Place) -> None:
    place.certonly("-d", A, "-n")
    place.certonly("-d", B, "-n")
    certctl("delete", A, "--yes", home=place.home)
    there = place.live(A).is_symlink()

    place.certbot("renew")

    assert there
    assert not place.live(A).parent.exists()
    assert place.live(B).exists()


def test_a_renewal_that_fails_is_counted_as_certbot_counts_it(place: Place) -> None:
    stop = place.directory / "stop"
    place.certonly("-d", A, "-n", "--pre-hook", f"test ! -e {stop}")
    place.certonly("-d", B, "-n")
    stop.touch()

    done = place.certbot("renew", "--force-renewal")

    assert done.exit_status == 1
    assert done.stdout.splitlines() == [
        "The following renewals succeeded:",
        f"  {place.live(B)} (success)",
        "The following renewals failed:",
        f"  {place.live(A)} (failure)",
        "1 renew failure(s), 0 parse failure(s)",
    ]


def test_an_inline_hook_that_fails_can_be_corrected(place: Place) -> None:
    failed = place.certonly("-d", A, "-n", "--post-hook", "exit 3")

    corrected = place.certbot("reconfigure", "--cert-name", A, "-n", "--post-hook", "true")
    last_time = place.certbot("renew")
    after = place.certbot("renew", "--force-renewal")

    assert (failed.exit_status, corrected.exit_status) == (1, 1)
    assert "Successfully updated configuration." in corrected.stdout
    assert "it is given up: exit 3" in last_time.stderr
    assert after.exit_status == 0, after


def test_new_options_of_which_a_hook_fails_are_not_saved(place: Place) -> None:
    place.certonly("-d", A, "-n")

    tried = place.certbot("reconfigure", "--cert-name", A, "-n", "--pre-hook", "exit 3")
    after = place.certbot("renew", "--force-renewal")

    assert (tried.exit_status, tried.stdout, after.exit_status) == (1, "", 0)


def certbots(place: Place, name: str) -> None:
    """Make a certificate that certbot itself manages, as far as that is looked at here."""
    (place.letsencrypt / "renewal").mkdir(parents=True, exist_ok=True)
    (place.letsencrypt / "renewal" / f"{name}.conf").write_text("")


def test_certificates_that_certbot_itself_renews_are_not_skipped_in_silence(
    place: Place,
) -> None:
    place.certonly("-d", A, "-n")
    certbots(place, B)
    certbots(place, A)

    renewed, listed = place.certbot("renew"), place.certbot("certificates")

    hint = f"certctl import {B} --from {place.letsencrypt}"
    assert [each.exit_status for each in (renewed, listed)] == [0, 0]
    for each in (renewed, listed):
        assert (hint in each.stderr, f"import {A}" in each.stderr) == (True, False)


@pytest.mark.parametrize("line", ["renew", "delete -n", "revoke -n", "reconfigure --standalone -n"])
def test_a_certificate_of_certbot_itself_has_to_be_taken_over_first(
    line: str, place: Place
) -> None:
    certbots(place, B)

    done = place.certbot(*line.split(), "--cert-name", B)

    assert done.exit_status == 1
    assert f"certctl import {B} --from {place.letsencrypt}" in done.stderr


def test_the_directory_of_a_deleted_certificate_is_gone_with_certbots_readme(place: Place) -> None:
    place.certonly("-d", A, "-n")
    place.certonly("-d", B, "-n")
    for name, note in ((A, "README"), (B, "mine.txt")):
        (place.live(name).parent / note).write_text("This directory contains your keys.")

    for name in (A, B):
        place.certbot("delete", "--cert-name", name, "-n")

    assert not place.live(A).parent.exists()
    assert [each.name for each in place.live(B).parent.iterdir()] == ["mine.txt"]
