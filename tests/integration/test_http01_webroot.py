"""HTTP-01 through a web server's directory: real files, real links, real modes."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.challenges.http01_webroot import WebrootSolver, create
from certctl.challenges.system import SolverSystem
from certctl.model.errors import ChallengeError
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement
from tests.lab.clock import SteerableClock
from tests.support.http01 import http_task


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    root.mkdir()
    return root


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def directory_of(root: Path) -> Path:
    return root / ".well-known" / "acme-challenge"


def solver_at(root: Path) -> WebrootSolver:
    return WebrootSolver(str(root), {})


def present(solver: WebrootSolver, *tokens: str, certificate: str = "a") -> list[Placement]:
    placements = [solver.plan(http_task(token, certificate=certificate)) for token in tokens]
    solver.present(placements)
    return placements


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(solver: WebrootSolver) -> ChallengeError:
    with pytest.raises(ChallengeError) as caught:
        solver.plan(http_task("abc"))
    assert caught.value.code == "challenge.http.webroot"
    return caught.value


def test_the_answer_is_a_file_where_the_ca_looks(root: Path) -> None:
    present(solver_at(root), "abc")

    assert (directory_of(root) / "abc").read_text() == "abc.thumbprint"


def test_a_challenge_directory_is_the_directory_itself(root: Path) -> None:
    spec = ChallengeSpec("webroot", directory=str(root))

    solver = create(spec, SolverSystem(SteerableClock(), threading.Event()))
    placements = [solver.plan(http_task("abc"))]
    solver.present(placements)

    assert [each.name for each in root.iterdir()] == ["abc"]
    solver.cleanup(placements)
    assert list(root.iterdir()) == []


def test_placing_changes_nothing(root: Path) -> None:
    solver_at(root).plan(http_task("abc"))

    assert list(root.iterdir()) == []


@pytest.mark.usefixtures("umask_077")
def test_the_web_server_can_read_it_whatever_the_umask(root: Path) -> None:
    present(solver_at(root), "abc")

    assert mode(directory_of(root) / "abc") == 0o644
    assert mode(directory_of(root)) == 0o755
    assert mode(root / ".well-known") == 0o755


def test_cleaning_up_leaves_the_webroot_as_it_was(root: Path) -> None:
    (root / "index.html").write_text("hello")
    solver = solver_at(root)

    solver.cleanup(present(solver, "abc", "def"))

    assert [each.name for each in root.iterdir()] == ["index.html"]


def test_directories_that_were_there_before_stay_with_their_modes(root: Path) -> None:
    directory_of(root).mkdir(parents=True)
    directory_of(root).chmod(0o711)
    solver = solver_at(root)

    solver.cleanup(present(solver, "abc"))

    assert mode(directory_of(root)) == 0o711


def test_created_directories_stay_while_another_uses_them(root: Path) -> None:
    solver = solver_at(root)
    placements = present(solver, "abc")
    (directory_of(root) / "theirs").write_text("x")

    solver.cleanup(placements)

    assert [each.name for each in directory_of(root).iterdir()] == ["theirs"]


def test_another_process_cleans_up_by_the_placement_alone(root: Path) -> None:
    placements = present(solver_at(root), "abc")

    solver_at(root).cleanup(placements)

    assert list(root.iterdir()) == []


def test_cleaning_up_removes_what_a_kill_in_the_middle_of_a_write_left(root: Path) -> None:
    placement = solver_at(root).plan(http_task("abc"))
    directory_of(root).mkdir(parents=True)
    (directory_of(root) / ".abc.tmp").write_text("abc.thu")

    solver_at(root).cleanup([placement])

    assert list(root.iterdir()) == []


def test_cleaning_up_twice_or_without_a_webroot_is_no_failure(root: Path) -> None:
    solver = solver_at(root)
    placements = present(solver, "abc")

    solver.cleanup(placements)
    solver.cleanup(placements)
    root.rmdir()
    solver.cleanup(placements)

    assert not root.exists()


def test_the_last_order_removes_the_directories_that_another_created(root: Path) -> None:
    solver = solver_at(root)
    first = present(solver, "abc", certificate="a")
    second = present(solver, "def", certificate="b")

    solver.cleanup(first)
    assert [each.name for each in directory_of(root).iterdir()] == ["def"]

    solver.cleanup(second)
    assert list(root.iterdir()) == []


def test_two_orders_that_share_a_token_both_have_their_answer(root: Path) -> None:
    solver = solver_at(root)
    first = present(solver, "shared", certificate="a")
    second = present(solver, "shared", certificate="b")

    solver.cleanup(first)
    assert (directory_of(root) / "shared").exists()

    solver.cleanup(second)
    assert list(root.iterdir()) == []


def test_processes_that_come_and_go_do_not_take_each_others_directories_away(root: Path) -> None:
    failures: list[Exception] = []

    def come_and_go(name: str) -> None:
        try:
            for number in range(50):
                solver = solver_at(root)
                placements = present(solver, f"{name}-{number}")
                assert (directory_of(root) / f"{name}-{number}").read_text().startswith(name)
                solver.cleanup(placements)
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another user")


@as_root
@pytest.mark.parametrize("link", [".well-known", ".well-known/acme-challenge"])
def test_a_link_out_of_the_webroot_that_another_user_created_is_refused(
    root: Path, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(outside)
    os.chown(root / link, NOBODY, NOBODY, follow_symlinks=False)

    error = refusal(solver_at(root))

    assert f"{root / link} leads to {outside}, outside {root}" in error.message
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("link", "inside"),
    [(".well-known", "acme-challenge/abc"), (".well-known/acme-challenge", "abc")],
)
def test_a_link_out_of_the_webroot_that_root_created_is_followed(
    root: Path, tmp_path: Path, link: str, inside: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(outside)
    solver = solver_at(root)

    placements = present(solver, "abc")
    assert (outside / inside).read_text() == "abc.thumbprint"

    solver.cleanup(placements)
    assert list(outside.iterdir()) == []
    assert (root / link).is_symlink()


@as_root
def test_behind_a_link_of_root_a_link_of_another_user_is_refused(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "outside").mkdir()
    (root / ".well-known").symlink_to(tmp_path / "shared")
    link = tmp_path / "shared" / "acme-challenge"
    link.symlink_to(tmp_path / "outside")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)

    assert f"{link} leads to {tmp_path / 'outside'}" in refusal(solver_at(root)).message


@as_root
def test_a_hard_link_to_a_link_of_root_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    os.link(tmp_path / "link", root / ".well-known", follow_symlinks=False)

    assert str(tmp_path / "outside") in refusal(solver_at(root)).message


def test_a_link_out_of_the_webroot_that_dangles_is_refused(root: Path, tmp_path: Path) -> None:
    (root / ".well-known").symlink_to(tmp_path / "not-there-yet")

    with pytest.raises(ChallengeError):
        present(solver_at(root), "abc")


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "shared").mkdir()
    (root / ".well-known").symlink_to("shared")
    solver = solver_at(root)

    placements = present(solver, "abc")
    assert (root / "shared" / "acme-challenge" / "abc").exists()

    solver.cleanup(placements)
    assert list((root / "shared").iterdir()) == []


def test_a_webroot_that_is_itself_a_link_is_accepted(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(root)

    present(solver_at(tmp_path / "current"), "abc")

    assert (directory_of(root) / "abc").exists()


def test_a_link_created_after_the_check_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "acme-challenge").mkdir(parents=True)
    solver = solver_at(root)
    placements = [solver.plan(http_task("abc"))]
    (root / ".well-known").symlink_to(outside)

    with pytest.raises(ChallengeError):
        solver.present(placements)

    assert list((outside / "acme-challenge").iterdir()) == []


def test_cleaning_up_removes_nothing_behind_a_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "acme-challenge").mkdir(parents=True)
    (outside / "acme-challenge" / "abc").write_text("precious")
    solver = solver_at(root)
    placements = present(solver, "abc")
    (root / ".well-known").rename(root / "aside")
    (root / ".well-known").symlink_to(outside)

    with pytest.raises(ChallengeError):
        solver.cleanup(placements)

    assert (outside / "acme-challenge" / "abc").read_text() == "precious"


def test_a_link_in_the_files_place_is_replaced_and_not_written_through(
    root: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    directory_of(root).mkdir(parents=True)
    for name in ("abc", ".abc.tmp"):
        (directory_of(root) / name).symlink_to(precious)

    present(solver_at(root), "abc")

    assert precious.read_text() == "precious"
    assert (directory_of(root) / "abc").read_text() == "abc.thumbprint"
    assert not (directory_of(root) / "abc").is_symlink()


def test_a_loop_of_links_is_refused(root: Path) -> None:
    (root / ".well-known").symlink_to(".well-known")
    solver = solver_at(root)

    with pytest.raises(ChallengeError):
        present(solver, "abc")


def test_a_webroot_that_does_not_exist_is_named(root: Path) -> None:
    error = refusal(solver_at(root / "missing"))

    assert error.message == f"the webroot {root / 'missing'} does not exist"


def test_a_webroot_that_is_a_file_is_refused(root: Path) -> None:
    (root / "file").write_text("x")

    assert str(root / "file") in refusal(solver_at(root / "file")).message


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_webroot_without_the_right_to_write_is_named(root: Path) -> None:
    root.chmod(0o555)
    solver = solver_at(root)

    with pytest.raises(ChallengeError, match="Permission denied"):
        present(solver, "abc")


def test_each_name_has_its_own_directory_and_the_others_the_default(
    root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    solver = WebrootSolver(str(root), {"other.example": str(other)})

    solver.present(
        [
            solver.plan(http_task("abc", name="example.com")),
            solver.plan(http_task("def", name="other.example")),
        ]
    )

    assert [each.name for each in directory_of(root).iterdir()] == ["abc"]
    assert [each.name for each in directory_of(other).iterdir()] == ["def"]


def test_a_name_without_a_directory_is_an_error_that_says_what_to_add(tmp_path: Path) -> None:
    solver = WebrootSolver(None, {"other.example": str(tmp_path)})

    error = refusal(solver)

    assert error.hint is not None
    assert "--webroot example.com=DIR" in error.hint


def test_nobody_waits_for_a_web_server(root: Path) -> None:
    solver = solver_at(root)
    placements = present(solver, "abc")

    solver.wait(placements)
    solver.wait_for_validation(placements)
    solver.close()
    solver.close()

    assert (directory_of(root) / "abc").exists()
