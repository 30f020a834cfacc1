"""Homes of clients that cannot be run here: certificates are taken over and given back, and nothing
in the home is different then.
"""

import hashlib
import os
import pty
import shutil
import sys
import tempfile
from collections.abc import Iterator
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


def test_that_something_else_renews_can_be_the_first_thing_said(tmp_path: Path) -> None:
    said = certctl("schedule", "external", home=tmp_path / "new")

    assert (said.exit_status, said.stderr) == (0, "")


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


def test_a_key_that_certctl_does_not_generate_stays_until_the_next_renewal(
    home: Path, tmp_path: Path
) -> None:
    letsencrypt = unpack("certbot5-all", tmp_path / "machine") / "etc/letsencrypt"
    name = "p521.example.org"
    key = (letsencrypt / "live" / name / "privkey.pem").read_bytes()
    shown = certctl("import", "--from", str(letsencrypt), "--json", home=home)

    taken = certctl("import", name, "--from", str(letsencrypt), "--yes", home=home)
    explained = certctl("explain", name, home=home)

    (found,) = [each for each in shown.json()["data"]["certificates"] if each["name"] == name]
    assert "it stays until the next renewal, whose key will be ecdsa-p384" in " ".join(found["say"])
    assert (taken.exit_status, explained.exit_status) == (0, 0)
    assert f"{name}: not due until " in explained.stdout
    assert (letsencrypt / "live" / name / "privkey.pem").read_bytes() == key


USER = 65534


@pytest.fixture
def of_a_user(tmp_path: Path) -> Iterator[Path]:
    """acme.sh in the home of a user, who can reach it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        acme = Path(directory) / ".acme.sh"
        shutil.copytree(unpack("acmesh3.1", tmp_path / "machine") / "root/.acme.sh", acme)
        for each in (acme, *acme.rglob("*")):
            os.chown(each, USER, USER, follow_symlinks=False)
        yield acme


def test_what_a_user_has_configured_is_shown_and_adopted_only_with_consent(
    home: Path, of_a_user: Path
) -> None:
    shown = certctl("import", "--from", str(of_a_user), "--json", home=home)
    before = contents(of_a_user)
    arguments = ("import", "dual.example.org-ecc", "--from", str(of_a_user), "--yes")
    refused = certctl(*arguments, "--key-group", "nogroup", home=home)
    taken = certctl(*arguments, "--key-group", "nogroup", "--yes-run-as-root", home=home)

    found = {each["name"]: each for each in shown.json()["data"]["certificates"]}
    said = [each["message"] for each in found["web.example.org"]["questions"]]
    assert [each.partition("as root: ")[2] for each in said] == [
        "write to /var/www/html",
        "write to /etc/nginx/certs/web.key",
        "write to /etc/nginx/certs/web.ca",
        "write to /etc/nginx/certs/web.pem",
        'run nginx -t -q && nginx -s reload; echo "done, it\'s ok"',
    ]
    assert {each["option"] for each in found["web.example.org"]["questions"]} == {
        "--yes-run-as-root"
    }
    assert (refused.exit_status, "--yes-run-as-root" in refused.stderr) == (2, True)
    assert (taken.exit_status, taken.stderr) == (0, "")
    link = of_a_user / "dual.example.org_ecc" / "fullchain.cer"
    assert link.is_symlink()
    assert link.lstat().st_uid == USER
    undone = certctl("import", "--undo", "dual.example.org-ecc", "--yes", home=home)
    assert (undone.exit_status, undone.stderr) == (0, "")
    assert contents(of_a_user) == before


def answered(home: Path, arguments: tuple[str, ...], *answers: str) -> tuple[int, str]:
    """Run certctl on a terminal, and answer its questions in turn; the status, and all of it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(CERTCTL_HOME=str(home), COLUMNS="200", NO_COLOR="1")
        words = [sys.executable, "-m", "certctl", *arguments]
        os.execv(words[0], words)  # noqa: S606 - no shell is wanted
    printed, left = "", list(answers)
    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        while True:
            try:
                data = stream.read(4096)
            except OSError:  # Linux's end of a terminal
                break
            if not data:
                break
            printed += data.decode()
            if left and printed.rstrip().endswith(("[y/N]:", "[y/N]", "[Y/n]:")):
                stream.write(f"{left.pop(0)}\n".encode())
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), printed


def test_on_a_terminal_each_command_of_a_user_is_asked_about(home: Path, of_a_user: Path) -> None:
    before = contents(of_a_user)
    name = "dual.example.org-ecc"
    arguments = ("import", name, "--from", str(of_a_user), "--key-group", "nogroup")
    asked = (
        f"{name}: the user nobody chose that certctl does as root: write to /var/www/html. Agree?"
    )

    refused, said = answered(home, arguments, "n")
    assert (refused, said.count(asked)) == (2, 1), said
    assert "Take over?" not in said
    assert "--yes-run-as-root" in said
    assert contents(of_a_user) == before

    declined, said = answered(home, arguments, "y", "n")
    assert (declined, said.count("Take over?")) == (0, 1), said
    assert "Nothing was changed." in said
    assert contents(of_a_user) == before

    taken, said = answered(home, arguments, "y", "y")
    assert (taken, said.count(asked)) == (0, 1), said
    assert "no longer renews it" in said


def test_nothing_is_read_through_a_users_link_that_the_user_cannot_read(
    home: Path, of_a_user: Path, tmp_path: Path
) -> None:
    directory = of_a_user / "dual.example.org_ecc"
    secret = tmp_path / "secret.key"
    shutil.copy(directory / "dual.example.org.key", secret)
    secret.chmod(0o600)
    (directory / "dual.example.org.key").unlink()
    (directory / "dual.example.org.key").symlink_to(secret)
    arguments = ("import", "dual.example.org-ecc", "--from", str(of_a_user), "--yes")

    refused = certctl(*arguments, "--yes-run-as-root", "--key-group", "nogroup", home=home)

    assert refused.exit_status == 2
    assert "Permission denied" in refused.stderr


def test_a_path_that_a_user_has_made_lead_elsewhere_is_not_written_as_root(
    home: Path, of_a_user: Path, tmp_path: Path
) -> None:
    arguments = ("import", "dual.example.org-ecc", "--from", str(of_a_user), "--yes")
    certctl(*arguments, "--yes-run-as-root", "--key-group", "nogroup", home=home)
    directory, elsewhere = of_a_user / "dual.example.org_ecc", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "fullchain.cer").write_text("root's")
    directory.rename(of_a_user / "gone")
    directory.symlink_to(elsewhere)

    undone = certctl("import", "--undo", "dual.example.org-ecc", "--yes", home=home)

    assert undone.exit_status != 0
    assert [each.name for each in elsewhere.iterdir()] == ["fullchain.cer"]
    assert (elsewhere / "fullchain.cer").read_text() == "root's"


@pytest.mark.parametrize("flag", ["--from", "--root"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere", "does not exist"),
        ("file", "is not a directory"),
        ("file/below", "is not a directory"),
        ("empty", "is empty"),
        ("others", "home"),
    ],
)
def test_a_directory_that_cannot_be_meant_is_an_error(
    home: Path, tmp_path: Path, flag: str, place: str, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "others/pictures").mkdir(parents=True)

    found = certctl("import", flag, str(tmp_path / place), home=home)

    expected = (
        "does not have the files of a machine"
        if (flag, place)
        == (
            "--root",
            "others",
        )
        else said
    )
    assert (found.exit_status, expected in found.stderr) == (2, True), found


def test_the_files_of_a_machine_without_another_client_are_no_error(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "machine/etc").mkdir(parents=True)

    found = certctl("import", "--root", str(tmp_path / "machine"), home=home)

    assert (found.exit_status, found.stdout) == (0, "No other ACME client was found.\n")


@pytest.fixture
def debians(tmp_path: Path) -> tuple[Path, Path]:
    """dehydrated as Debian has it: its configuration in one directory, all else in another."""
    config, base = tmp_path / "etc/dehydrated", tmp_path / "var/lib/dehydrated"
    base.parent.mkdir(parents=True)
    config.mkdir(parents=True)
    machine = unpack("dehydrated0.7.0-debian", tmp_path / "machine")
    shutil.copytree(machine / "var/lib/dehydrated", base, symlinks=True)
    (config / "config").write_text(
        f"BASEDIR={base}\nDOMAINS_TXT={config}/domains.txt\nWELLKNOWN={tmp_path}\n"
    )
    (config / "domains.txt").write_text("sa.example.org\n")
    return config, base


def test_a_certificate_of_debians_dehydrated_goes_over_and_back(
    home: Path, debians: tuple[Path, Path]
) -> None:
    before = [contents(each) for each in debians]
    config, base = debians
    name = "sa.example.org"

    taken = certctl("import", name, "--from", str(config), "--yes", home=home)

    assert (taken.exit_status, taken.stderr) == (0, "")
    assert (config / "domains.txt").read_text() == f"#imported {name}\n"
    link = base / "certs" / name / "fullchain.pem"
    assert link.readlink() == home / "live" / name / "fullchain.pem"
    undone = certctl("import", "--undo", name, "--yes", home=home)
    assert (undone.exit_status, undone.stderr) == (0, "")
    assert [contents(each) for each in debians] == before


def test_a_certificate_of_acme_sh_in_a_directory_of_its_own_goes_over_and_back(
    home: Path, tmp_path: Path
) -> None:
    acme, certs = unpack("acmesh3.1", tmp_path / "machine") / "root/.acme.sh", tmp_path / "certs"
    certs.mkdir()
    (acme / "sa.example.org_ecc").rename(certs / "sa.example.org_ecc")
    with (acme / "account.conf").open("a") as conf:
        conf.write(f"CERT_HOME='{certs}'\n")
    before = contents(acme), contents(certs)

    arguments = ("sa.example.org", "--from", str(acme), "--standalone", "--yes")
    taken = certctl("import", *arguments, home=home)

    assert (taken.exit_status, taken.stderr) == (0, "")
    link = certs / "sa.example.org_ecc/fullchain.cer"
    assert link.readlink() == home / "live/sa.example.org/fullchain.pem"
    undone = certctl("import", "--undo", "sa.example.org", "--yes", home=home)
    assert (undone.exit_status, undone.stderr) == (0, "")
    assert (contents(acme), contents(certs)) == before


def test_a_second_certificate_of_one_name_gets_another_one(
    home: Path, debians: tuple[Path, Path], tmp_path: Path
) -> None:
    acme = unpack("acmesh3.1", tmp_path / "other") / "root/.acme.sh"
    name = "sa.example.org"
    first = certctl("import", name, "--from", str(acme), "--standalone", "--yes", home=home)
    second = ("import", name, "--from", str(debians[0]), "--yes")

    refused = certctl(*second, home=home)
    taken = certctl(*second, "--name", "second", home=home)
    looked = certctl("import", "--from", str(debians[0]), home=home)

    assert (first.exit_status, refused.exit_status) == (0, 2)
    assert "--name NAME" in refused.stderr
    assert (taken.exit_status, taken.stderr) == (0, "")
    assert (home / "certificates/second.toml").exists()
    assert f"    {name}: renewed by certctl (certctl import --status)" in looked.stdout
    undone = certctl("import", "--undo", "second", name, "--yes", home=home)
    assert (undone.exit_status, undone.stderr) == (0, "")


def test_what_was_imported_is_deleted_only_by_force_and_can_be_given_back_then(
    home: Path, debians: tuple[Path, Path]
) -> None:
    before = [contents(each) for each in debians]
    name = "sa.example.org"
    certctl("import", name, "--from", str(debians[0]), "--yes", home=home)

    refused = certctl("delete", name, "--yes", home=home)
    deleted = certctl("delete", name, "--yes", "--force", home=home)
    again = certctl("import", name, "--from", str(debians[0]), "--yes", home=home)
    found = certctl("doctor", "--json", home=home).json()["data"]["findings"]
    undone = certctl("import", "--undo", f"dehydrated:{name}", "--yes", home=home)

    assert refused.exit_status == 2
    assert f"certctl import --undo {name}" in refused.stderr
    assert deleted.exit_status == 0
    assert (again.exit_status, "has been deleted since" in again.stderr) == (2, True)
    assert "import.deleted" in {each["code"] for each in found}
    assert (undone.exit_status, undone.stderr) == (0, "")
    assert [contents(each) for each in debians] == before


def test_a_certificate_that_is_left_must_be_one(home: Path, debians: tuple[Path, Path]) -> None:
    place = ("--from", str(debians[0]))
    certctl("import", "sa.example.org", *place, "--yes", home=home)

    refused = certctl("import", "--finish", *place, "--leave", "sa.exampel.org", "--yes", home=home)

    assert (refused.exit_status, "named sa.exampel.org" in refused.stderr) == (2, True)
