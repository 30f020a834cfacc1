"""HTTP-01 by a command: its arguments and variables, when it is called, and its failures."""

import threading
from pathlib import Path

import pytest

from certctl.challenges.http01_hook import create
from certctl.challenges.system import SolverSystem
from certctl.model.errors import ChallengeError, ConfigurationError, Interrupted
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.system.clock import SystemClock
from tests.support.command import certctl
from tests.support.http01 import http_task, real_system


def solver_for(hook: str, system: SolverSystem | None = None, **more: str) -> Solver:
    challenge = ChallengeSpec(method="http-hook", http_hook=hook, hook_timeout=20, **more)  # type: ignore[arg-type]
    return create(challenge, system or real_system())


def noting(directory: Path) -> str:
    """A command line that notes its arguments and certctl's variables."""
    shown = "$CERTCTL_HTTP_ACTION $CERTCTL_HTTP_DOMAIN $CERTCTL_HTTP_TOKEN $CERTCTL_HTTP_ANSWER"
    return f'note() {{ echo "$* {shown}" >> {directory}/calls; }}; note'


def test_the_hook_is_told_what_to_place_and_to_remove(tmp_path: Path) -> None:
    solver = solver_for(noting(tmp_path))
    placements = [solver.plan(http_task("abc", name="a.example"))]

    solver.present(placements)
    solver.wait(placements)
    solver.wait_for_validation(placements)
    solver.cleanup(placements)

    assert (tmp_path / "calls").read_text().splitlines() == [
        "present present a.example abc abc.thumbprint",
        "cleanup cleanup a.example abc abc.thumbprint",
    ]


def test_an_answer_that_two_orders_share_is_removed_with_the_last(tmp_path: Path) -> None:
    solver = solver_for(noting(tmp_path))
    first = [solver.plan(http_task("abc", certificate="first"))]
    second = [solver.plan(http_task("abc", certificate="second"))]
    solver.present(first)
    solver.present(second)

    solver.cleanup(first)
    assert "cleanup" not in (tmp_path / "calls").read_text()

    solver.cleanup(second)
    assert (tmp_path / "calls").read_text().count("cleanup cleanup") == 1


def test_an_address_is_passed_unchanged(tmp_path: Path) -> None:
    solver = solver_for(noting(tmp_path))

    solver.present([solver.plan(http_task("abc", name="2001:db8::1"))])

    assert (tmp_path / "calls").read_text() == "present present 2001:db8::1 abc abc.thumbprint\n"


def test_the_output_of_a_failing_hook_is_quoted() -> None:
    solver = solver_for("echo no space; echo really >&2; exit 3; true")

    with pytest.raises(ChallengeError) as caught:
        solver.present([solver.plan(http_task("abc", name="a.example"))])

    assert caught.value.code == "challenge.http.hook"
    assert "the HTTP hook (present a.example) failed with exit status 3" in caught.value.message
    assert "no space" in caught.value.message
    assert "really" in caught.value.message


def test_a_hook_can_be_stopped() -> None:
    system = SolverSystem(SystemClock(), threading.Event())
    system.stop.set()
    solver = solver_for("sleep 60; true", system)

    with pytest.raises(Interrupted, match=r"while working on example\.com"):
        solver.present([solver.plan(http_task("abc"))])


def test_a_wildcard_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ChallengeError, match="wildcard"):
        solver_for(noting(tmp_path)).plan(http_task("abc", name="*.a.example"))

    assert not (tmp_path / "calls").exists()


def test_what_certbots_hook_printed_on_standard_output_alone_reaches_its_cleanup(
    tmp_path: Path,
) -> None:
    solver = solver_for(
        "echo warning >&2; echo id-1",
        http_cleanup_hook=f'echo "$CERTBOT_AUTH_OUTPUT" > {tmp_path}/output',
    )
    placements = [solver.plan(http_task("abc"))]

    solver.present(placements)
    solver.cleanup(placements)

    assert (tmp_path / "output").read_text() == "id-1\n"


def test_a_missing_command_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="http-hook needs a command"):
        create(ChallengeSpec(method="http-hook"), real_system())


def test_a_second_command_for_another_protocol_is_an_error_too(tmp_path: Path) -> None:
    finished = certctl(
        *("issue", "a.example", "--ca", "dev", "--http-hook", "true"),
        *("--http-cleanup-hook", "true", "--http-hook-protocol", "uacme"),
        home=tmp_path,
    )

    assert finished.exit_status == 2
    assert "uacme and a cleanup hook cannot be combined" in finished.stderr
