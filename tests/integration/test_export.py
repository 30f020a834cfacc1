"""`certctl export`: other forms by hand, and no private key where it was not asked for."""

import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.command import certctl
from tests.support.homes import add_certificate

NAME = "a.example"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("form", ["fullchain", "cert", "chain", "privkey", "combined"])
def test_pem_goes_to_standard_output_as_it_lies_in_live(home: Path, form: str) -> None:
    finished = certctl("export", NAME, "--format", form, home=home)

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert finished.stdout == (home / "live" / NAME / f"{form}.pem").read_text()


@pytest.mark.parametrize("form", ["privkey", "combined"])
def test_a_private_key_goes_to_a_terminal_only_where_that_is_said(home: Path, form: str) -> None:
    refused = certctl("export", NAME, "--format", form, home=home, terminal=True)
    shown = certctl("export", NAME, "--format", form, "--out", "-", home=home, terminal=True)

    assert (refused.exit_status, refused.stdout) == (2, "")
    assert "--out" in refused.stderr
    assert shown.exit_status == 0
    assert "PRIVATE KEY" in shown.stdout


def test_a_private_key_is_in_no_json(home: Path, tmp_path: Path) -> None:
    there = tmp_path / "key.pem"

    refused = certctl("export", NAME, "--format", "privkey", "--out", "-", "--json", home=home)
    written = certctl(
        "export", NAME, "--format", "privkey", "--out", str(there), "--json", home=home
    )
    public = certctl("export", NAME, "--json", home=home)

    assert refused.exit_status == 2
    assert "PRIVATE KEY" not in refused.stdout + written.stdout
    assert written.json()["data"] == {
        "name": NAME,
        "version": 1,
        "format": "privkey",
        "path": str(there),
    }
    assert public.json()["data"]["pem"] == (home / "live" / NAME / "fullchain.pem").read_text()


def test_a_file_with_a_key_is_its_owners_alone_and_is_replaced_only_with_force(
    home: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "out"
    directory.mkdir()
    (directory / "there.pem").write_text("precious")

    for form, name in (("combined", "key.pem"), ("fullchain", "chain.pem")):
        certctl("export", NAME, "--format", form, "--out", name, home=home, directory=directory)
    refused = certctl("export", NAME, "--out", "there.pem", home=home, directory=directory)
    kept = (directory / "there.pem").read_text()
    forced = certctl(
        "export", NAME, "--out", "there.pem", "--force", home=home, directory=directory
    )

    assert (mode(directory / "key.pem"), mode(directory / "chain.pem")) == (0o600, 0o644)
    assert (refused.exit_status, kept) == (2, "precious")
    assert forced.exit_status == 0
    assert (directory / "there.pem").read_text().startswith("-----BEGIN CERTIFICATE")


def test_pkcs12_wants_a_password_and_is_opened_with_it(home: Path, tmp_path: Path) -> None:
    password, out = tmp_path / "password", tmp_path / "a.p12"
    password.touch(mode=0o600)
    password.write_text("open sesame\n")
    words = ("export", NAME, "--format", "pkcs12", "--out", str(out))

    without = certctl(*words, home=home)
    finished = certctl(*words, "--password-file", str(password), home=home)

    opened = subprocess.run(
        ["openssl", "pkcs12", "-in", out, "-passin", "pass:open sesame", "-nokeys"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert (without.exit_status, finished.exit_status) == (2, 0)
    assert opened.stdout.count("BEGIN CERTIFICATE") == 2
    assert "open sesame" not in finished.stdout + finished.stderr


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_a_legacy_pkcs12_file_is_read_by_programs_that_know_only_that(
    tmp_path: Path, key_type: str
) -> None:
    home, password, out = tmp_path / "home", tmp_path / "password", tmp_path / "a.p12"
    add_certificate(home, NAME, rsa_key=key_type == "rsa")
    password.touch(mode=0o600)
    password.write_text("open sesame\n")
    words = ["export", NAME, "--format", "pkcs12", "--out", str(out), "--force"]
    words += ["--password-file", str(password)]

    described = {}
    for encryption in ("legacy", "modern"):
        finished = certctl(*words, "--encryption", encryption, home=home)
        assert finished.exit_status == 0
        opened = subprocess.run(
            ["openssl", "pkcs12", "-in", out, "-passin", "pass:open sesame", "-nodes", "-info"],
            capture_output=True,
            check=True,
            text=True,
        )
        assert opened.stdout.count("BEGIN PRIVATE KEY") == 1
        assert opened.stdout.count("BEGIN CERTIFICATE") == 2
        described[encryption] = opened.stderr

    assert "MAC: sha1" in described["legacy"]
    assert described["legacy"].count("pbeWithSHA1And3-KeyTripleDES-CBC") == 2
    assert "PBES2" in described["modern"]
    refused = certctl("export", NAME, "--encryption", "legacy", home=home)
    assert refused.exit_status == 2


@pytest.mark.parametrize("form", ["der", "pkcs12"])
def test_what_is_no_text_needs_a_file(home: Path, form: str) -> None:
    finished = certctl("export", NAME, "--format", form, home=home)

    assert finished.exit_status == 2
    assert "--out FILE" in finished.stderr


def test_a_version_that_is_not_there_is_said(home: Path) -> None:
    finished = certctl("export", NAME, "--version", "7", home=home)

    assert finished.exit_status == 2
    assert "has no version 7" in finished.stderr
