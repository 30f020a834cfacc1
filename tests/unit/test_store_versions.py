"""Versions: saved completely, made live atomically, with inherited permissions."""

import grp
import os
import subprocess
import sys
from pathlib import Path

import pytest

from certctl.model.delivery import Deployment
from certctl.model.errors import (
    ConfigurationError,
    FilesDamaged,
    LockHeld,
    StoreError,
    UnknownCertificate,
    UsageError,
)
from certctl.store.home.tree import LocalTree
from tests.unit.store_samples import (
    NAME,
    NOW,
    REPOSITORY,
    everything_below,
    issued,
    mark_of,
    material,
    mode,
    open_store,
    save,
    wanted,
)

ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give files to another group")

FILES = ["cert.pem", "chain.pem", "combined.pem", "fullchain.pem", "issued.json", "privkey.pem"]


def test_a_saved_version_is_live_and_has_every_file(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    version = save(store)
    live = tmp_path / "home" / "live" / NAME
    assert version.number == 1
    assert os.readlink(live) == f"../archive/{NAME}/1"  # noqa: PTH115
    assert everything_below(live.resolve()) == FILES
    assert (live / "fullchain.pem").read_bytes() == material().fullchain
    assert (live / "combined.pem").read_bytes() == material().combined
    assert store.versions(NAME) == [version]
    assert store.material(NAME, 1) == material()


@pytest.mark.parametrize("lost", [("privkey.pem", "combined.pem"), ("cert.pem", "fullchain.pem")])
def test_what_became_of_a_version_that_was_just_saved_is_noticed(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    store = open_store(tmp_path)
    save(store)
    for each in (*lost, "combined.pem"):
        (tmp_path / "archive" / NAME / "1" / each).unlink(missing_ok=True)

    with pytest.raises(FilesDamaged):
        store.material(NAME, 1)


def test_a_version_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    version = save(open_store(tmp_path))
    status = open_store(tmp_path).status(NAME)
    assert status.live == version
    assert status.deployment == Deployment(wanted=1)
    assert status.undeployed


def test_without_a_key_of_ours_there_is_no_key_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    version = store.save_version(wanted(), issued(), material(with_key=False))
    assert not version.has_key
    assert store.material(NAME, 1).privkey is None
    assert everything_below(tmp_path / "archive" / NAME / "1") == [
        "cert.pem",
        "chain.pem",
        "fullchain.pem",
        "issued.json",
    ]


def test_pem_blocks_never_run_into_each_other(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    cut = material()
    store.save_version(
        wanted(),
        issued(),
        type(cut)(cut.cert.rstrip(), cut.chain.rstrip(), (cut.privkey or b"").rstrip()),
    )
    assert (tmp_path / "live" / NAME / "combined.pem").read_bytes() == (material().combined)


def test_keys_are_private_and_the_directories_of_certificates_can_be_traversed(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    before = os.umask(0o000)
    try:
        save(open_store(home))
    finally:
        os.umask(before)
    found = {str(each.relative_to(home)): mode(each) for each in (home, *home.rglob("*"))}
    assert found.pop(f"live/{NAME}") == 0o777  # a link's own
    assert found == {
        ".": 0o711,
        "archive": 0o711,
        f"archive/{NAME}": 0o700,
        f"archive/{NAME}/1": 0o700,
        f"archive/{NAME}/1/cert.pem": 0o644,
        f"archive/{NAME}/1/chain.pem": 0o644,
        f"archive/{NAME}/1/combined.pem": 0o600,
        f"archive/{NAME}/1/fullchain.pem": 0o644,
        f"archive/{NAME}/1/issued.json": 0o644,
        f"archive/{NAME}/1/privkey.pem": 0o600,
        "deployed": 0o700,
        f"deployed/{NAME}.json": 0o600,
        "live": 0o711,
    }


@needs_root
def test_the_group_that_a_spec_names_can_read_the_keys(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    save(store, mark="2", key_group="nogroup")
    group = (tmp_path / "archive" / NAME).stat().st_gid
    assert group == (tmp_path / "archive" / NAME / "2" / "privkey.pem").stat().st_gid != 0
    assert mode(tmp_path / "archive" / NAME) == 0o750
    assert mode(tmp_path / "archive" / NAME / "2") == 0o750
    assert mode(tmp_path / "archive" / NAME / "2" / "privkey.pem") == 0o640
    assert mode(tmp_path / "archive" / NAME / "2" / "combined.pem") == 0o640
    assert mode(tmp_path / "archive" / NAME / "1" / "privkey.pem") == 0o600


def test_a_missing_group_is_an_error_before_anything_is_live(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(ConfigurationError, match=r"group 'no-such-group' .* does not exist"):
        save(store, key_group="no-such-group")
    assert store.status(NAME).live is None
    assert everything_below(tmp_path) == ["archive", f"archive/{NAME}"]


@needs_root
def test_a_key_that_a_group_may_read_by_hand_alone_is_warned_of(tmp_path: Path) -> None:
    said: list[str] = []
    store = open_store(tmp_path, warn=said.append)
    save(store)
    first = tmp_path / "archive" / NAME / "1" / "privkey.pem"
    os.chown(first, -1, NOBODY)
    first.chmod(0o640)

    save(store, mark="2")
    save(store, mark="3", key_group="nogroup")

    group = grp.getgrgid(NOBODY).gr_name
    (message,) = said
    assert message.startswith(f"the group {group} can read the new private key of {NAME}")
    assert f"certctl edit {NAME} --key-group {group}" in message


@needs_root
def test_a_new_version_inherits_the_group_of_the_previous_one_and_never_more(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    save(store)
    first = tmp_path / "archive" / NAME / "1"
    os.chown(first, -1, NOBODY)
    first.chmod(0o755)
    os.chown(first / "combined.pem", -1, NOBODY)
    (first / "combined.pem").chmod(0o664)
    save(store, mark="2")
    second = tmp_path / "archive" / NAME / "2"
    assert (second.stat().st_gid, mode(second)) == (NOBODY, 0o750)
    assert (second / "combined.pem").stat().st_gid == NOBODY
    assert mode(second / "combined.pem") == 0o640
    assert ((second / "privkey.pem").stat().st_gid, mode(second / "privkey.pem")) == (0, 0o600)


def test_a_number_is_never_reused_even_after_delete(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    numbers = [save(store).number, save(store).number]
    store.delete(NAME)
    assert everything_below(tmp_path / "archive") == []
    numbers.append(save(open_store(tmp_path)).number)
    assert numbers == [1, 2, 3]


def test_a_number_is_never_reused_after_a_user_removed_the_newest(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    save(store)
    store.save_renewal_state(NAME, store.status(NAME).renewal_state, next_action_at=None)
    store.activate(NAME, 1)
    for each in (tmp_path / "archive" / NAME / "2").iterdir():
        each.unlink()
    (tmp_path / "archive" / NAME / "2").rmdir()
    assert save(store).number == 3


def test_a_missing_version_cannot_be_activated(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    with pytest.raises(UnknownCertificate, match="has no version 7") as caught:
        store.activate(NAME, 7)
    assert caught.value.code == "usage.unknown_version"
    assert store.status(NAME).deployment.wanted == 1


def test_a_version_whose_key_is_lost_cannot_be_activated(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    save(store, mark="2")
    for filename in ("privkey.pem", "combined.pem"):
        (tmp_path / "archive" / NAME / "1" / filename).unlink()
    for activate in (store.activate, store.revert_live):
        with pytest.raises(
            FilesDamaged, match=r"privkey\.pem is missing; combined\.pem is missing"
        ):
            activate(NAME, 1)
    assert store.status(NAME).deployment.wanted == 2
    assert mark_of(tmp_path / "live" / NAME) == {"2"}


def test_activating_an_older_version_makes_it_wanted_and_live_with_deployment_pending(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    save(store)
    save(store, mark="2")
    store.save_deployment(NAME, Deployment(wanted=2, deployed=2, deployed_at=NOW))
    store.activate(NAME, 1)
    status = store.status(NAME)
    assert status.live is not None
    assert status.live.number == 1
    assert status.deployment == Deployment(wanted=1, deployed=2, deployed_at=NOW)
    assert status.undeployed
    assert mark_of(tmp_path / "live" / NAME) == {"1"}


def test_activating_the_wanted_version_again_keeps_its_failures(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    failed = Deployment(wanted=1, failures=3, retry_at=NOW)
    store.save_deployment(NAME, failed)
    (tmp_path / "live" / NAME).unlink()
    store.activate(NAME, 1)
    assert store.status(NAME).deployment == failed
    assert mark_of(tmp_path / "live" / NAME) == {"1"}


def test_pruning_keeps_the_newest_and_those_that_are_live_wanted_or_served(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(1, 9):
        save(store, mark=str(number))
    store.activate(NAME, 2)
    store.save_deployment(NAME, Deployment(wanted=3, deployed=1))
    store.prune(NAME, keep=2)
    assert [each.number for each in store.versions(NAME)] == [1, 2, 3, 7, 8]
    assert everything_below(tmp_path / "archive" / NAME / "8") == FILES
    store.prune(NAME, keep=5)
    assert [each.number for each in store.versions(NAME)] == [1, 2, 3, 7, 8]


def test_a_version_that_cannot_be_written_leaves_the_old_one_live_and_no_trace(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    save(store)
    before = everything_below(tmp_path)
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.unit.store_samples import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "save(open_store(Path(sys.argv[1])), mark='2')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert "StoreError: cannot write" in ended.stderr
    assert everything_below(tmp_path) == before
    assert mark_of(tmp_path / "live" / NAME) == {"1"}


def test_a_kill_at_any_time_leaves_the_old_version_or_the_new_one(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.unit.store_samples import *\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "with store.lock(NAME, timeout=0):\n"
        "    print('locked', flush=True)\n"
        "    for mark in range(10**6): save(store, mark=str(mark)); store.prune(NAME, 3)\n"
    )
    save(open_store(tmp_path))
    for delay in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"locked\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.03 + delay * 0.0137)
            writer.kill()
        store = open_store(tmp_path)
        with store.lock(NAME, timeout=0):
            status = store.status(NAME)
            assert status.live is not None
            assert status.deployment.wanted is not None
            assert everything_below((tmp_path / "live" / NAME).resolve()) == FILES
            assert len(mark_of(tmp_path / "live" / NAME)) == 1
            assert all(len(mark_of(each)) == 1 for each in (tmp_path / "archive" / NAME).iterdir())
            assert not [each for each in everything_below(tmp_path) if ".new-" in each]
            store.activate(NAME, status.deployment.wanted)
            assert save(store).number == max(each.number for each in store.versions(NAME))


def test_the_lock_removes_temporary_files_of_this_certificate_only(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    save(store, "other.example")
    left = [
        f"archive/{NAME}/.new-version-0a0b0c0d",
        f"pending/.new-{NAME}-0a0b0c0d",
        f"live/.new-{NAME}-0a0b0c0d",
        f"renewal/.new-{NAME}.json-0a0b0c0d",
        f"deployed/.new-{NAME}.json-0a0b0c0d",
        f"certificates/.new-{NAME}.toml-0a0b0c0d",
        f"certificates/.new-{NAME}.csr-0a0b0c0d",
        f"journal/.new-placements-{NAME}-0011223344556677.json-0a0b0c0d",
    ]
    others = ["live/.new-other.example-0a0b0c0d", "archive/other.example/.new-version-0a0b0c0d"]
    before = everything_below(tmp_path)
    for each in (*left, *others):
        (tmp_path / each).mkdir(parents=True)
        (tmp_path / each / "privkey.pem").touch()
    with open_store(tmp_path).lock(NAME, timeout=0):
        pass
    after = set(everything_below(tmp_path))
    assert [each for each in left if each in after] == []
    assert [each for each in others if each not in after] == []
    assert [each for each in before if each not in after] == []


def test_a_locked_certificate_does_not_lock_another_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with (
        store.lock(NAME, timeout=0),
        open_store(tmp_path).lock("other.example", timeout=0),
        pytest.raises(LockHeld, match=f"{NAME} is locked by") as caught,
    ):
        open_store(tmp_path).lock(NAME, timeout=0)
    assert caught.value.name == NAME
    with store.lock_run(timeout=0), pytest.raises(LockHeld, match="pre and post hooks"):
        store.lock_run(timeout=0)


def test_deleting_removes_everything_but_the_lock_and_the_number(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.lock(NAME, timeout=0):
        save(store)
        store.save_spec(wanted())
        store.save_csr(NAME, b"csr")
        store.save_renewal_state(NAME, store.status(NAME).renewal_state, next_action_at=None)
        store.delete(NAME)
        store.delete(NAME)
    left = [each for each in everything_below(tmp_path) if (tmp_path / each).is_file()]
    assert left == [f"locks/certificates/{NAME}.lock", f"renewal/{NAME}.json"]
    assert store.names() == []
    assert store.status(NAME).live is None
    assert not store.status(NAME).undeployed


def test_the_files_of_the_live_version_are_reached_through_the_link(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first, second = save(store), save(store, mark="2")
    tree = LocalTree(tmp_path)
    assert tree.home == str(tmp_path)
    assert tree.files(second).fullchain == f"{tmp_path}/live/{NAME}/fullchain.pem"
    assert tree.files(second).combined == f"{tmp_path}/live/{NAME}/combined.pem"
    assert tree.files(first).privkey == f"{tmp_path}/archive/{NAME}/1/privkey.pem"
    assert tree.files(first).live == f"{tmp_path}/live/{NAME}"


def test_a_live_link_to_another_place_counts_as_missing_and_is_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    (tmp_path / "live" / NAME).unlink()
    (tmp_path / "live" / NAME).symlink_to("../../../etc")
    assert store.status(NAME).live is None
    assert store.status(NAME).undeployed
    store.activate(NAME, 1)
    assert mark_of(tmp_path / "live" / NAME) == {"1"}


def test_a_directory_in_place_of_the_live_link_is_an_error(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    save(store)
    (tmp_path / "live" / NAME).unlink()
    (tmp_path / "live" / NAME).mkdir()
    with pytest.raises(StoreError, match="must be a link to a version") as caught:
        store.status(NAME)
    assert caught.value.hint is not None
    assert f"mv {tmp_path}/live/{NAME}" in caught.value.hint


def test_a_live_version_that_cannot_be_parsed_counts_as_missing(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = open_store(tmp_path, warn=warnings.append)
    save(store)
    (tmp_path / "archive" / NAME / "1" / "issued.json").write_text("{}")
    assert store.status(NAME).live is None
    assert store.versions(NAME) == []
    assert "issued.json is not valid: version must be a positive integer" in warnings[0]
    assert save(store).number == 2


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "a\0b", "..", "-rf"])
def test_no_name_leads_out_of_the_home_directory(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    store = open_store(home)
    for attempt in (
        lambda: store.status(name),
        lambda: store.spec(name),
        lambda: store.delete(name),
        lambda: store.lock(name, timeout=0),
        lambda: store.pending(name),
        lambda: store.save_csr(name, b""),
        lambda: list(store.possibly_due([name], NOW)),
        lambda: store.save_version(wanted(), issued(name), material()),
    ):
        with pytest.raises(UsageError, match="is not a valid certificate name"):
            attempt()
    assert everything_below(tmp_path) == []
