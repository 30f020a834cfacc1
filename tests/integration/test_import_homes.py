"""Homes of clients that cannot be run here: certificates are taken over and given back, and nothing
in the home is different then.
"""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.support.command import certctl
from tests.support.foreign_homes import unpack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the homes belong to root")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "certctl"
    home.mkdir(mode=0o711)
    assert certctl("schedule", "external", home=home).exit_status == 0
    return home


def contents(directory: Path) -> dict[str, tuple[str, int]]:
    """What is in a directory: links by their target, files by a digest; and the modes."""
    return {
        str(path.relative_to(directory)): (
            os.fspath(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest(),
            path.lstat().st_mode,
        )
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("name", ["sa.example.org", "dual.example.org-ecc", "csr.example.org"])
def test_a_certificate_of_acme_sh_goes_over_and_back(home: Path, tmp_path: Path, name: str) -> None:
    acme = unpack("acmesh3.1", tmp_path / "machine") / "root/.acme.sh"
    before = contents(acme)
    domain = name.removesuffix("-ecc")
    directory = acme / f"{domain}_ecc"
    (tmp_path / "www").mkdir()

    taken = certctl(
        *("import", name, "--from", str(acme), "--webroot", str(tmp_path / "www"), "--yes"),
        home=home,
    )

    assert (taken.exit_status, taken.stderr) == (0, "")
    assert not (directory / f"{domain}.conf").exists()
    assert (directory / f"{domain}.conf.removed").exists()
    assert (directory / "fullchain.cer").readlink() == home / "live" / name / "fullchain.pem"
    spec = (home / "certificates" / f"{name}.toml").read_text()
    assert "https://acme-v02.api.letsencrypt.org/directory" in spec
    undone = certctl("import", "--undo", name, "--yes", home=home)
    assert (undone.exit_status, undone.stderr) == (0, "")
    assert contents(acme) == before


def test_a_name_that_two_clients_have_is_asked_for(home: Path, tmp_path: Path) -> None:
    acme = unpack("acmesh3.1", tmp_path / "machine") / "root/.acme.sh"
    shutil.copytree(
        unpack("lego5.3", tmp_path / "lego") / "var/lib/lego/certificates", acme / "certificates"
    )
    shutil.copytree(tmp_path / "lego/var/lib/lego/accounts", acme / "accounts")

    refused = certctl("import", "sa.example.org", "--from", str(acme), "--yes", home=home)

    assert refused.exit_status == 2
    assert "acme.sh:sa.example.org, lego:sa.example.org" in refused.stderr


def test_a_home_that_others_can_write_is_shown_and_not_taken_over(
    home: Path, tmp_path: Path
) -> None:
    acme = unpack("acmesh3.1", tmp_path / "machine") / "root/.acme.sh"
    acme.chmod(0o777)

    shown = certctl("import", "--from", str(acme), "--json", home=home)
    refused = certctl("import", "sa.example.org", "--from", str(acme), "--yes", home=home)

    assert {each["state"] for each in shown.json()["data"]["certificates"]} == {"not moved"}
    assert (refused.exit_status, "other users can write" in refused.stderr) == (2, True)
