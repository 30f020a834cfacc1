"""A word or flag of certbot typed at `certctl` is answered with certctl's word for it."""

import re
from pathlib import Path

import click
import pytest

from certctl.cli.main import COMMANDS
from certctl.rules.certbot_flags import FLAGS, OTHER_VERBS, SUBCOMMANDS
from certctl.rules.certbot_words import answer_for_command, answer_for_flag
from tests.support.command import certctl, every_command

CALLS = dict(every_command())
SPELLINGS = {
    spelling
    for command in CALLS.values()
    for parameter in command.params
    if isinstance(parameter, click.Option)
    for spelling in (*parameter.opts, *parameter.secondary_opts)
}
OF_CERTBOT = {name for flag in FLAGS for name in flag.names}


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["certonly", "--nginx", "-d", "a.example"], "certonly", "certctl issue example.com"),
        (["certificates"], "certificates", "certctl list"),
        (["run"], "run", "certctl secure"),
        (["--nginx", "-d", "a.example"], "--nginx", "certctl secure"),
        (["-d", "a.example"], "-d", "certctl issue example.com www.example.com"),
        (["issue", "a.example", "-w", "/srv"], "-w", "--webroot DIR"),
        (["issue", "a.example", "--cert-name", "b"], "--cert-name", "--name NAME"),
        (["issue", "a.example", "--cert-name=b"], "--cert-name", "--name NAME"),
        (["issue", "a.example", "--expand"], "--expand", "certctl edit NAME --add"),
        (["issue", "a.example", "--staging"], "--staging", "--ca letsencrypt-staging"),
        (["issue", "a.example", "-n"], "-n", "--agree-tos"),
        (["issue", "a.example", "-m", "a@a.example"], "-m", "--email ADDRESS"),
        (["renew", "--force-renewal"], "--force-renewal", "certctl renew NAME --force"),
        (["issue", "a.example", "--dns-route53"], "--dns-route53", "certctl dns show route53"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_is_answered_and_nothing_is_guessed(
    tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    finished = certctl(*arguments, home=tmp_path / "home")
    document = certctl(*arguments, "--json", home=tmp_path / "home").json()

    assert (finished.exit_status, finished.stdout) == (2, "")
    assert finished.stderr.startswith(f"error: {message} is a ")
    assert hint in finished.stderr
    assert "Did you mean" not in finished.stderr
    assert document["errors"][0]["code"] == "usage.certbot"
    assert list(tmp_path.iterdir()) == []


def test_every_subcommand_and_every_flag_has_an_answer() -> None:
    own = {"renew", "delete", "revoke", "register", "rollback", "help"}
    words = {*SUBCOMMANDS, *(each for each, meant in OTHER_VERBS.items() if meant)}

    assert [each for each in words - own if answer_for_command(each) is None] == []
    assert {each for each in OF_CERTBOT if answer_for_flag(each) is None} <= SPELLINGS
    assert (answer_for_command("lst"), answer_for_flag("--jsn")) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (["renew", "--post-hook", "true"], "certctl issue, certctl edit"),
        (["issue", "a.example", "--hsts"], "certctl secure"),
        (["list", "--webroot", "/srv"], "certctl issue, certctl edit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_of_another_command_is_answered_with_that_command(
    tmp_path: Path, arguments: list[str], others: str
) -> None:
    finished = certctl(*arguments, home=tmp_path / "home")

    assert finished.exit_status == 2
    assert f"It is an option of {others}" in finished.stderr


def test_what_is_answered_exists() -> None:
    answers = [
        *(answer_for_command(each) for each in SUBCOMMANDS),
        *(answer_for_flag(each) for each in OF_CERTBOT),
    ]
    hints = [str(each.hint or "") for each in answers if each is not None]

    commands = {word for hint in hints for word in re.findall(r"certctl ([a-z][a-z-]*)", hint)}
    flags = {word for hint in hints for word in re.findall(r"(?<!\w)--[a-z][a-z-]+", hint)}
    assert commands - set(COMMANDS) == set()
    assert flags - SPELLINGS - OF_CERTBOT == set()


@pytest.mark.parametrize("command", [["list"], ["issue", "a.example"], ["renew"], ["doctor"]])
def test_a_home_of_certbot_is_refused_and_stays_as_it_is(
    tmp_path: Path, command: list[str]
) -> None:
    home = tmp_path / "letsencrypt"
    for each in ("live", "renewal", "archive", "accounts"):
        (home / each).mkdir(parents=True)
    (home / "renewal" / "a.example.conf").write_text("version = 5.0\n")
    before = sorted(home.rglob("*"))

    finished = certctl(*command, "--home", str(home), home=tmp_path / "home")

    assert finished.exit_status == 2
    assert f"{home} is the directory of certbot" in finished.stderr
    assert f"certctl import --from {home}" in finished.stderr
    assert sorted(home.rglob("*")) == before


def test_a_home_below_that_of_certbot_is_certctls(tmp_path: Path) -> None:
    (tmp_path / "letsencrypt" / "renewal-hooks").mkdir(parents=True)
    (tmp_path / "letsencrypt" / "live").mkdir()

    finished = certctl("list", home=tmp_path / "letsencrypt" / "certctl")

    assert finished.exit_status == 0
