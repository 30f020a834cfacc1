"""Copies of a certificate: all of a version or none, nobody else's file, readable for their own."""

import grp
import os
import stat
import subprocess
from pathlib import Path

import pytest

from certctl.model.errors import ConfigurationError
from tests.support.operations import Machine, lines, noting

NAME = "a.example"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory outside the home directory."""
    directory = tmp_path / "there"
    directory.mkdir()
    return directory


def issue(machine: Machine, *copies: str, name: str = NAME, **options: object) -> int:
    values: dict[str, object] = {"deploy.copy": copies, **options}
    return int(machine.issue(name, options=values).exit_status)  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_format_is_what_it_says(machine: Machine, there: Path) -> None:
    issue(
        machine,
        *(f"{each}:{there}/{each}.pem" for each in ("fullchain", "cert", "chain", "privkey")),
        f"combined:{there}/combined.pem",
        f"der:{there}/cert.der",
    )

    live = machine.home / "live" / NAME
    for each in ("fullchain", "cert", "chain", "privkey", "combined"):
        assert (there / f"{each}.pem").read_bytes() == (live / f"{each}.pem").read_bytes()
    read = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-in", there / "cert.der"],
        capture_output=True,
        check=True,
    )
    assert read.stdout == (live / "cert.pem").read_bytes()


def test_a_pkcs12_file_is_opened_with_the_password_of_its_file(
    machine: Machine, there: Path
) -> None:
    password = there / "password"
    password.touch(mode=0o600)
    password.write_text("correct horse\n")

    issue(machine, f"pkcs12:{there}/a.p12,password_file={password}")

    command = ["openssl", "pkcs12", "-in", f"{there}/a.p12", "-passin", "pass:correct horse"]
    opened = subprocess.run([*command, "-nodes"], capture_output=True, check=True, text=True)
    assert opened.stdout.count("BEGIN CERTIFICATE") == 2
    assert opened.stdout.count("BEGIN PRIVATE KEY") == 1
    assert mode(there / "a.p12") == 0o600


def test_a_password_that_others_can_read_is_refused_before_anything_is_ordered(
    machine: Machine, there: Path
) -> None:
    (there / "password").write_text("known to all")
    (there / "password").chmod(0o644)

    with pytest.raises(ConfigurationError, match="accessible to other users"):
        issue(machine, f"pkcs12:{there}/a.p12,password_file={there}/password")

    assert machine.ca.count("new-order") == 0


def test_a_copy_with_a_key_is_its_owners_alone_unless_it_is_said_otherwise(
    machine: Machine, there: Path
) -> None:
    issue(machine, *(f"{each}:{there}/{each}" for each in ("combined", "fullchain")))
    default = mode(there / "combined"), mode(there / "fullchain")
    issue(machine, f"combined:{there}/combined,mode=0640")

    assert default == (0o600, 0o644)
    assert mode(there / "combined") == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_a_copy_may_belong_to_others(machine: Machine, there: Path) -> None:
    group = grp.getgrall()[-1]

    issue(machine, f"privkey:{there}/key,owner=nobody,group={group.gr_name},mode=0440")

    facts = (there / "key").stat()
    assert (facts.st_gid, mode(there / "key")) == (group.gr_gid, 0o440)
    assert facts.st_uid != 0


def test_in_a_directory_a_copy_is_named_after_its_certificate(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"fullchain:{there}", f"der:{there}")

    assert sorted(path.name for path in there.iterdir()) == [f"{NAME}.der", f"{NAME}.pem"]


def test_copies_follow_each_renewal_before_hooks_and_reloads(
    machine: Machine, there: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    same = noting(seen, "same")
    issue(
        machine,
        f"cert:{there}/cert.pem",
        **{
            "deploy.deploy_hook": f"cmp {there}/cert.pem $CERTCTL_CERT_FILE && {same}",
            "deploy.reload": noting(seen, "reload"),
        },
    )

    machine.renew(force=True)

    assert lines(seen) == ["same", "reload"] * 2
    assert (there / "cert.pem").read_bytes() == (
        machine.home / "live" / NAME / "cert.pem"
    ).read_bytes()


def test_a_destination_of_another_certificate_is_refused(machine: Machine, there: Path) -> None:
    copy = f"fullchain:{there}/shared.pem"
    issue(machine, copy)
    before = (there / "shared.pem").read_bytes()
    (there.parent / "link").symlink_to(there)

    for path in (there / "shared.pem", there.parent / "link" / "shared.pem"):
        with pytest.raises(ConfigurationError, match=f"belongs to the certificate {NAME}"):
            issue(machine, f"fullchain:{path}", name="b.example")

    assert (there / "shared.pem").read_bytes() == before
    assert machine.store.names() == [NAME]


def test_a_destination_that_its_certificate_has_left_may_be_anothers(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"fullchain:{there}/one.pem")
    issue(machine, f"fullchain:{there}/other.pem")

    assert issue(machine, f"fullchain:{there}/one.pem", name="b.example") == 0


@pytest.mark.parametrize(
    ("copies", "reason"),
    [
        (("fullchain:{there}/x.pem", "cert:{there}/x.pem"), "is given twice"),
        (("fullchain:{home}/live/x.pem",), "is inside certctl.s home directory"),
        (("fullchain:{there}/nowhere/x.pem",), "nowhere does not exist"),
        (
            ("fullchain:{there}/x.pem,owner=nobody-of-that-name",),
            "user 'nobody-of-that-name', which does not exist",
        ),
        (
            ("fullchain:{there}/x.pem,group=no-such-group",),
            "group 'no-such-group', which does not exist",
        ),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_ordered(
    machine: Machine, there: Path, copies: tuple[str, ...], reason: str
) -> None:
    (machine.home / "live").mkdir(parents=True)

    with pytest.raises(ConfigurationError, match=reason):
        issue(machine, *(each.format(there=there, home=machine.home) for each in copies))

    assert machine.ca.count("new-order") == 0
    assert list(there.iterdir()) == []


def test_a_directory_that_others_can_write_is_refused(machine: Machine, there: Path) -> None:
    there.chmod(0o777)

    with pytest.raises(ConfigurationError, match="can be written by other users"):
        issue(machine, f"fullchain:{there}/x.pem")


def test_a_link_at_a_destination_is_replaced_and_not_followed(
    machine: Machine, there: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (there / "x.pem").symlink_to(elsewhere)

    issue(machine, f"fullchain:{there}/x.pem")

    assert elsewhere.read_text() == "precious"
    assert not (there / "x.pem").is_symlink()


def test_copies_that_cannot_all_be_written_stay_pending_and_none_is_changed(
    machine: Machine, there: Path
) -> None:
    (there / "later").mkdir()
    issue(machine, f"cert:{there}/a.pem", f"cert:{there}/later/b.pem")
    before = (there / "a.pem").read_bytes()
    (there / "later").rename(there / "gone")

    failed = machine.renew(force=True)
    between = (there / "a.pem").read_bytes()
    (there / "gone").rename(there / "later")
    machine.clock.advance(120)
    paid = machine.renew()

    live = (machine.home / "live" / NAME / "cert.pem").read_bytes()
    assert (failed.exit_status, paid.exit_status) == (4, 0)
    assert between == before
    assert {(there / each).read_bytes() for each in ("a.pem", "later/b.pem")} == {live}
    assert sorted(path.name for path in there.iterdir()) == ["a.pem", "later"]


def test_a_run_killed_between_two_copies_leaves_the_deployment_pending_and_no_stray_file(
    machine: Machine, there: Path
) -> None:
    issue(machine, f"privkey:{there}/a.pem", f"cert:{there}/b.pem")
    machine.flags["deploy.copy"] = ()

    machine.killed_before_rename(f"../{there.name}/b.pem", "renew", "--force")
    pending = machine.status(NAME).undeployed
    machine.renew()

    live = machine.home / "live" / NAME
    assert pending
    assert (there / "a.pem").read_bytes() == (live / "privkey.pem").read_bytes()
    assert (there / "b.pem").read_bytes() == (live / "cert.pem").read_bytes()
    assert sorted(path.name for path in there.iterdir()) == ["a.pem", "b.pem"]
