"""What ordinary users meet: homes that only root can read, and variables of other programs."""

import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.alerts.hook import variables as failure_variables
from certctl.cli.environment import Environment
from certctl.cli.main import run
from certctl.deploy.hook_environment import run_variables, variables
from certctl.model.delivery import CertificateFiles
from certctl.model.run import RunSummary
from certctl.rules.variables import HOOK_VARIABLES, candidates, has_no_effect, is_of_provider
from tests.support.command import Finished, certctl
from tests.support.homes import add_certificate
from tests.unit.store_samples import issued


def as_user(user_id: int, system_home: Path, user_home: Path, *arguments: str) -> Finished:
    """Run a command of a user whose own home is below `user_home`."""
    stdout, stderr = io.StringIO(), io.StringIO()
    chosen: Mapping[str, str] = {"HOME": str(user_home)}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
    environment = Environment(
        io.StringIO(), stdout, stderr, {**kept, **chosen}, user_home, user_id, system_home
    )
    return Finished(run(arguments, environment), stdout.getvalue(), stderr.getvalue())


@pytest.mark.parametrize("command", ["list", "metrics", "report"])
def test_an_ordinary_user_is_told_where_the_certificates_of_the_system_are(
    tmp_path: Path, command: str
) -> None:
    add_certificate(tmp_path / "system", "a.example")

    finished = as_user(1000, tmp_path / "system", tmp_path, command)

    assert finished.exit_status == 0
    assert f"sudo certctl {command}" in finished.stderr
    assert str(tmp_path / "system") in finished.stderr


def test_nobody_is_told_of_a_home_that_is_not_there_or_not_needed(tmp_path: Path) -> None:
    without = as_user(1000, tmp_path / "system", tmp_path, "list")
    add_certificate(tmp_path / "system", "a.example")
    add_certificate(tmp_path / ".config" / "certctl", "b.example")
    with_own = as_user(1000, tmp_path / "system", tmp_path, "list")

    assert (without.stderr, "sudo" in with_own.stderr) == ("", False)
    assert "b.example" in with_own.stdout


def test_a_variable_that_is_unknown_is_warned_of_and_is_no_error(tmp_path: Path) -> None:
    strange = {"CERTCTL_EMIAL": "a", "CERTCTL_OTHER": "b", "CERTCTL_CLOUDFLARE_AUTH_TOKEN": "c"}

    finished = certctl("list", home=tmp_path / "home", variables=strange)

    assert finished.exit_status == 0
    known = "has no effect: certctl does not know it"
    assert finished.stderr.splitlines() == [
        f"warning: the variable CERTCTL_EMIAL {known}; did you mean CERTCTL_EMAIL?",
        f"warning: the variable CERTCTL_OTHER {known}",
    ]


def test_cron_is_not_told_of_variables(tmp_path: Path) -> None:
    finished = certctl("renew", home=tmp_path / "home", variables={"CERTCTL_OTHER": "b"})

    assert (finished.exit_status, finished.stderr) == (0, "")


def test_what_a_hook_is_given_is_known() -> None:
    files = CertificateFiles("live", "cert", "chain", "fullchain", "privkey", "combined")
    given = {
        *variables("deploy", issued(), files, None),
        *run_variables("reload", (), ()),
        *failure_variables(RunSummary(datetime.now(UTC), 1, 1)),
        *(f"CERTCTL_DNS_{word}" for word in ("ACTION", "NAME", "VALUE", "ZONE", "DOMAIN")),
        *(f"CERTCTL_HTTP_{word}" for word in ("ACTION", "DOMAIN", "TOKEN", "ANSWER")),
    }

    assert {each for each in given if each.startswith("CERTCTL_")} == HOOK_VARIABLES


def test_only_variables_that_begin_like_ours_are_looked_at() -> None:
    present = ["PATH", "CERTCTL_HOME", "CERTCTL_LIVE", "CERTCTL_X", "_CERTCTL_COMPLETE"]

    assert candidates(present) == ["CERTCTL_X"]
    assert is_of_provider("CERTCTL_ACME_DNS_URL", ["acme-dns"])
    assert not is_of_provider("CERTCTL_X", ["x"])
    assert "did you mean" not in has_no_effect("CERTCTL_X", ["CERTCTL_EMAIL"])


def test_a_reason_is_known_in_any_case(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, "a.example")

    finished = certctl("revoke", "a.example", "--stop", "--reason", "KEYCOMPROMISE", home=home)

    assert "there is no terminal to ask on" in finished.stderr
