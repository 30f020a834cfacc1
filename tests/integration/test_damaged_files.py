"""Files of the live version that are gone, emptied or another's: seen, never spread, restored from
the same version or replaced by a new one.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.model.errors import FilesDamaged
from tests.support.command import certctl
from tests.support.homes import add_certificate
from tests.support.operations import Machine, key_matches, lines, noting

NAME = "a.example"


def live(machine: Machine) -> Path:
    return machine.home / "live" / NAME


def remove(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).unlink()


def empty(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(b"")


def cut(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:300])


def take(name: str) -> Callable[[Path], object]:
    """Put the file of another certificate in its place, as `cp` does."""

    def damage(directory: Path) -> None:
        shutil.copy(directory.parent / "b.example" / name, directory / name)

    return damage


def a_directory(name: str) -> Callable[[Path], object]:
    def damage(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).mkdir()

    return damage


DAMAGES = [
    remove("privkey.pem"),
    empty("privkey.pem"),
    take("privkey.pem"),
    cut("fullchain.pem"),
    take("fullchain.pem"),
    remove("cert.pem"),
    empty("chain.pem"),
    cut("combined.pem"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
def test_renew_restores_a_file_from_the_others_of_the_version_and_deploys_it_again(
    machine: Machine, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    seen = tmp_path / "seen"
    machine.issue(NAME, options={"deploy.deploy_hook": noting(seen, "$CERTCTL_CERT_VERSION")})
    machine.issue("b.example")
    machine.renew()
    before = {each.name: each.read_bytes() for each in live(machine).iterdir()}
    orders = machine.ca.count("new-order")

    damage(live(machine))
    mended = machine.renew()
    idle = machine.renew()

    assert {each.name: each.read_bytes() for each in live(machine).iterdir()} == before
    assert (live(machine) / "privkey.pem").stat().st_mode & 0o777 == 0o600
    assert (mended.exit_status, idle.exit_status) == (0, 0)
    assert [each.action for each in mended.outcomes] == ["deployed"]
    assert machine.happened("run.warning")[0].message.startswith(
        "restored damaged files of version 1"
    )
    assert idle.outcomes == ()
    assert lines(seen) == ["1", "1"]
    assert machine.ca.count("new-order") == orders


@pytest.mark.parametrize(
    "damages",
    [
        (remove("privkey.pem"), remove("combined.pem")),
        (take("privkey.pem"), take("combined.pem")),
        (a_directory("privkey.pem"), a_directory("combined.pem")),
        (empty("fullchain.pem"), empty("combined.pem"), empty("chain.pem")),
    ],
)
def test_what_cannot_be_restored_is_ordered_and_never_taken_from_an_older_version(
    machine: Machine, tmp_path: Path, damages: tuple[Callable[[Path], object], ...]
) -> None:
    copy = tmp_path / "copy.pem"
    machine.issue("b.example")
    machine.issue(NAME, options={"deploy.copy": (f"combined:{copy}",), "reuse_key": True})
    before = copy.read_bytes()

    for damage in damages:
        damage(live(machine))
    copied = machine.command("deploy", NAME)
    between = copy.read_bytes()
    ordered = machine.renew()

    assert copied.exit_status == 4
    assert "are damaged" in copied.stderr
    assert "certctl renew a.example" in copied.stderr
    assert between == before
    assert ordered.exit_status == 0
    assert machine.live(NAME).number == 2
    assert key_matches(live(machine))
    assert copy.read_bytes() == (live(machine) / "combined.pem").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        remove("issued.json"),
        empty("issued.json"),
        lambda directory: (directory / "issued.json").write_text("{}"),
        lambda directory: shutil.rmtree(directory.resolve()),
        lambda directory: [each.unlink() for each in directory.iterdir()],
    ],
    ids=["removed", "emptied", "of another format", "the whole version", "all its files"],
)
def test_a_version_that_cannot_be_described_any_more_is_ordered_again(
    machine: Machine, damage: Callable[[Path], object]
) -> None:
    machine.issue(NAME)
    machine.renew()

    damage(live(machine))
    ordered = machine.renew()
    idle = machine.renew()

    assert [each.action for each in ordered.outcomes] == ["issued"]
    assert idle.outcomes == ()
    assert machine.live(NAME).number == 2
    assert key_matches(live(machine))


def test_a_damaged_certificate_whose_order_fails_is_retried_with_backoff(machine: Machine) -> None:
    machine.issue(NAME)
    for name in ("privkey.pem", "combined.pem"):
        (live(machine) / name).unlink()
    machine.ca.validate_http01 = ("127.0.0.1", 1)

    failed = machine.renew()
    orders = machine.ca.count("new-order")
    waiting = machine.renew()
    machine.ca.validate_http01 = ("127.0.0.1", machine.port)
    machine.pass_time(timedelta(minutes=2))
    mended = machine.renew()

    assert (failed.exit_status, waiting.exit_status, mended.exit_status) == (1, 1, 0)
    assert machine.ca.count("new-order") - orders == 1
    assert machine.status(NAME).damage is None


def test_list_show_check_explain_and_metrics_see_the_damage(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    add_certificate(home, "b.example")
    (home / "live" / NAME / "privkey.pem").unlink()

    listed = certctl("list", "--json", home=home).json()["data"]["certificates"]
    shown = certctl("show", NAME, home=home)
    checked = certctl("check", home=home)
    explained = certctl("explain", NAME, home=home)
    measured = certctl("metrics", home=home)

    assert [(each["name"], each["state"], each["damage"]) for each in listed] == [
        (NAME, "damaged", "privkey.pem is missing"),
        ("b.example", "valid", None),
    ]
    assert "privkey.pem is missing" in shown.stdout
    assert checked.exit_status == 2
    assert "its files are damaged: privkey.pem is missing" in checked.stdout
    assert "its files are damaged" in explained.stdout
    damaged = re.findall(r'certctl_certificate_damaged{.*name="(.*?)"} (.*)', measured.stdout)
    assert damaged == [(NAME, "1.0"), ("b.example", "0.0")]


def test_an_export_takes_what_is_intact_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, NAME)
    add_certificate(home, "b.example")
    directory, other = (home / "live" / each for each in (NAME, "b.example"))
    key = (directory / "privkey.pem").read_text()
    shutil.copy(other / "privkey.pem", directory / "privkey.pem")

    recovered = certctl("export", NAME, "--format", "privkey", home=home)
    shutil.copy(other / "combined.pem", directory / "combined.pem")
    refused = certctl("export", NAME, "--format", "combined", home=home)
    public = certctl("export", NAME, home=home)

    assert (recovered.exit_status, recovered.stdout) == (0, key)
    assert (refused.exit_status, refused.stdout) == (1, "")
    assert "contains a key that does not fit the certificate" in refused.stderr
    assert public.stdout == (directory / "fullchain.pem").read_text()


def test_a_rollback_restores_the_old_version_or_is_refused_before_the_flip(
    machine: Machine,
) -> None:
    machine.issue(NAME)
    machine.renew(force=True)
    old = machine.home / "archive" / NAME / "1"
    key = (old / "privkey.pem").read_bytes()

    (old / "privkey.pem").unlink()
    back = machine.command("rollback", NAME)
    after = (live(machine) / "privkey.pem").read_bytes()
    machine.command("rollback", NAME, "--to", "2")
    for name in ("privkey.pem", "combined.pem"):
        (old / name).write_bytes(b"")
    refused = machine.command("rollback", NAME, "--to", "1")

    assert (back.exit_status, after) == (0, key)
    assert refused.exit_status == 1
    assert "privkey.pem is empty" in refused.stderr
    assert machine.live(NAME).number == 2


def test_an_automatic_rollback_does_not_return_to_a_damaged_version(
    machine: Machine, tmp_path: Path
) -> None:
    refuse = tmp_path / "refuse"
    machine.issue(
        NAME,
        options={"deploy.reload": f"test ! -e {refuse}", "deploy.on_failure": "rollback"},
    )
    for name in ("privkey.pem", "combined.pem"):
        (machine.home / "archive" / NAME / "1" / name).unlink()
    refuse.touch()

    report = machine.renew(force=True)

    assert report.exit_status == 4
    assert "not rolled back" in str(report.all_errors[0])
    assert "privkey.pem is missing" in str(report.all_errors[0])
    assert machine.live(NAME).number == 2
    assert key_matches(live(machine))


def test_a_certificate_can_be_revoked_without_its_key(machine: Machine) -> None:
    machine.issue(NAME)
    for name in ("privkey.pem", "combined.pem"):
        (live(machine) / name).unlink()

    revoked = machine.command("revoke", NAME, "--stop", "--yes")

    assert revoked.exit_status == 0, revoked.stderr


def test_a_pipe_in_place_of_a_key_holds_nobody_up(machine: Machine) -> None:
    machine.issue(NAME)
    (live(machine) / "privkey.pem").unlink()
    subprocess.run(["mkfifo", live(machine) / "privkey.pem"], check=True)

    damage = machine.status(NAME).damage
    machine.renew()

    assert damage == "privkey.pem cannot be read (it is not a regular file)"
    assert key_matches(live(machine))


def test_what_has_only_been_touched_is_read_once_and_then_idle(machine: Machine) -> None:
    machine.issue(NAME)
    machine.renew()
    (live(machine) / "privkey.pem").touch()

    first, second = machine.renew(), machine.renew()

    assert [each.action for each in first.outcomes] == ["unchanged"]
    assert second.outcomes == ()


def test_a_key_that_does_not_fit_is_never_saved(machine: Machine) -> None:
    machine.issue(NAME)
    machine.issue("b.example")
    store = machine.store
    mine, other = (store.material(each, 1) for each in (NAME, "b.example"))
    mixed = type(mine)(mine.cert, mine.chain, other.privkey)

    with pytest.raises(FilesDamaged):
        store.save_version(store.spec(NAME), machine.live(NAME), mixed)

    assert machine.live(NAME).number == 1
