"""The command line as a whole: help, usage errors, and names that mean one thing only."""

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from certctl.alerts.hook import variables as failure_variables
from certctl.cli.main import COMMANDS
from certctl.deploy.hook_environment import run_variables, variables
from certctl.engine.plugins import plugin_options
from certctl.model.delivery import CertificateFiles
from certctl.model.run import RunSummary
from certctl.rules.options import OPTIONS
from certctl.rules.settings import check
from certctl.version import VERSION
from tests.support.command import certctl, certctl_process, every_command
from tests.unit.store_samples import issued

SETTINGS = {option.key: option for option in (*OPTIONS, *plugin_options())}


CALLS = dict(every_command())
"""Every command by what one types; the first one is `certctl` itself, under ''."""


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help is laid out for a width, which is not to be that of the developer's terminal."""
    monkeypatch.setenv("COLUMNS", "80")


# Help.


def test_the_list_of_commands_is_that_of_the_modules() -> None:
    directory = Path(__file__).parents[2] / "certctl" / "cli" / "commands"

    modules = {path.stem.replace("_", "-") for path in directory.glob("[!_]*.py")}

    assert set(COMMANDS) == modules


@pytest.mark.parametrize("path", CALLS)
def test_help_begins_with_usage_and_a_summary_of_one_sentence(tmp_path: Path, path: str) -> None:
    finished = certctl(*path.split(), "--help", home=tmp_path / "home")

    usage, _, summary, *_ = finished.stdout.splitlines()
    assert (finished.exit_status, finished.stderr) == (0, "")
    assert usage.startswith(f"Usage: certctl {path}".rstrip())
    assert summary.strip()[0].isupper()
    assert (CALLS[path].help or "").partition("\n\n")[0].rstrip().endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_of_each_what_its_own_help_says(name: str) -> None:
    listed, own = (
        set(re.findall(r"[a-z]{4,}", text.lower()))
        for text in (COMMANDS[name], (CALLS[name].help or "").partition("\n\n")[0])
    )

    assert len(listed & own) >= 2


def test_the_help_of_certctl_lists_each_command_in_one_line(tmp_path: Path) -> None:
    lines = certctl("--help", home=tmp_path / "home").stdout.splitlines()

    for name, summary in COMMANDS.items():
        assert [line.split(maxsplit=1) for line in lines if line.startswith(f"  {name} ")] == [
            [name, summary]
        ]


@pytest.mark.parametrize("path", ["account", "dns", "schedule", "dev-ca"])
def test_the_help_of_a_group_shows_the_summary_of_each_subcommand_in_full(
    tmp_path: Path, path: str
) -> None:
    shown = certctl(path, "--help", home=tmp_path / "home").stdout

    assert "..." not in shown.partition("Commands:\n")[2].partition("\n\n")[0]


@pytest.mark.parametrize("path", CALLS)
def test_every_option_says_what_it_does_in_whole_sentences(path: str) -> None:
    said = {
        option.name: (option.help or "").partition(" [default:")[0]
        for option in CALLS[path].params
        if isinstance(option, click.Option)
    }

    wanting = [name for name, text in said.items() if not re.fullmatch(r"[A-Z].*\.", text)]
    assert wanting == []


@pytest.mark.parametrize("path", CALLS)
def test_help_all_shows_every_option(tmp_path: Path, path: str) -> None:
    finished = certctl(*path.split(), "--help-all", home=tmp_path / "home")

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert spellings_of(CALLS[path]) - words(finished.stdout) == set()


@pytest.mark.parametrize("path", CALLS)
def test_help_shows_every_option_or_ends_with_how_to_see_the_others(
    tmp_path: Path, path: str
) -> None:
    shown = certctl(*path.split(), "--help", home=tmp_path / "home").stdout

    missing = spellings_of(CALLS[path]) - words(shown)
    pointer = f"All options and examples: certctl {path} --help-all"
    assert (missing != set(), shown.splitlines()[-1] == pointer) in {(False, False), (True, True)}


@pytest.mark.parametrize("path", ["issue", "edit", "doctor", "dns test", "dns persist"])
def test_the_help_of_a_command_with_many_options_fits_a_screen(tmp_path: Path, path: str) -> None:
    shown = certctl(*path.split(), "--help", home=tmp_path / "home").stdout.splitlines()

    assert len(shown) <= 44
    assert max(len(line) for line in shown) <= 80


def test_the_help_of_issue_has_the_common_options_by_subject(tmp_path: Path) -> None:
    shown = certctl("issue", "--help", home=tmp_path / "home").stdout

    assert re.findall(r"^(\w.*):$", shown, re.MULTILINE) == [
        "Options",
        "CA and account",
        "Domain validation",
        "Certificate",
        "Deployment",
        "Timeouts and concurrency",
    ]
    assert {"--webroot", "--dns", "--deploy", "--dry-run", "--agree-tos"} - words(shown) == set()
    assert "--rfc2136-server" not in words(shown)


def test_help_all_has_the_options_of_each_plug_in_under_its_name(tmp_path: Path) -> None:
    shown = certctl("issue", "--help-all", home=tmp_path / "home").stdout

    sections = dict(re.findall(r"^(\w.*):\n((?:  .*\n)+)", shown, re.MULTILINE))
    for option in (each for each in plugin_options() if each.flag):
        kind, name, _ = option.key.split(".")
        heading = f"{'DNS provider' if kind == 'dns' else 'Deploy target'} {name}"
        assert option.flag in words(sections[heading])


@pytest.mark.parametrize("path", CALLS)
def test_help_of_a_command_is_what_its_option_prints(tmp_path: Path, path: str) -> None:
    by_command = certctl("help", *path.split(), home=tmp_path / "home")
    by_option = certctl(*path.split(), "--help", home=tmp_path / "home")

    assert by_command == by_option


def spellings_of(command: click.Command) -> set[str]:
    """All spellings of the options of a command that are not hidden."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    shown = [each for each in options if not each.hidden]
    return {text for each in shown for text in (*each.opts, *each.secondary_opts)}


def words(text: str) -> set[str]:
    return {word.rstrip(",") for word in text.split()}


@pytest.mark.parametrize("path", CALLS)
def test_help_leaves_no_home_behind(tmp_path: Path, path: str) -> None:
    certctl(*path.split(), "--help", home=tmp_path / "home")

    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    finished = certctl("--version", home=tmp_path / "home")

    assert (finished.exit_status, finished.stdout) == (0, f"certctl {VERSION}\n")
    assert list(tmp_path.iterdir()) == []


def test_called_bare_it_shows_the_help_and_fails(tmp_path: Path) -> None:
    finished = certctl(home=tmp_path / "home")

    assert (finished.exit_status, finished.stdout) == (2, "")
    assert "certctl issue example.com" in finished.stderr


def test_a_process_and_a_call_in_this_one_give_the_same(tmp_path: Path) -> None:
    for arguments in (("--help",), ("nosuch",), ("issue",), ("list", "--json")):
        one = certctl(*arguments, home=tmp_path / "home")
        other = certctl_process(*arguments, home=tmp_path / "home")

        assert one == other


# Settings.


def test_no_two_settings_share_a_flag() -> None:
    spellings = Counter(
        spelling
        for option in SETTINGS.values()
        if option.flag
        for spelling in option.flag.split("/")
    )

    assert [spelling for spelling, count in spellings.items() if count > 1] == []


def test_no_two_settings_share_a_key_or_a_variable() -> None:
    every = [*OPTIONS, *plugin_options()]
    names = Counter(name for option in every for name in (option.key, option.environment) if name)

    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", CALLS)
def test_no_two_options_of_a_command_share_a_spelling(path: str) -> None:
    spellings = Counter(
        spelling
        for parameter in CALLS[path].params
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    )

    assert [spelling for spelling, count in spellings.items() if count > 1] == []


def test_no_variable_of_a_hook_is_that_of_a_setting() -> None:
    files = CertificateFiles("live", "cert", "chain", "fullchain", "privkey", "combined")
    told = {
        *variables("deploy", issued(), files, None),
        *run_variables("reload", (), ()),
        *failure_variables(RunSummary(datetime.now(UTC), 1, 1)),
        *(f"CERTCTL_DNS_{word}" for word in ("ACTION", "NAME", "VALUE", "ZONE", "DOMAIN")),
    }

    assert told & {option.environment for option in SETTINGS.values()} == set()


def test_every_variable_of_a_setting_has_the_prefix() -> None:
    strangers = [
        option.environment
        for option in SETTINGS.values()
        if option.environment and not option.environment.startswith("CERTCTL_")
    ]

    assert strangers == []


@pytest.mark.parametrize("key", [key for key, option in SETTINGS.items() if option.flag])
def test_every_setting_with_a_flag_is_taken_by_a_command(key: str) -> None:
    flag = str(SETTINGS[key].flag).partition("/")[0]

    assert [path for path, command in CALLS.items() if flag in _spellings(command)] != []


def _spellings(command: click.Command) -> set[str]:
    return {spelling for parameter in command.params for spelling in parameter.opts}


@pytest.mark.parametrize("key", SETTINGS)
def test_a_default_is_a_value_that_its_setting_takes(key: str) -> None:
    option = SETTINGS[key]

    if option.default is not None:
        assert check(option, option.default) == option.default


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_is_explained_in_whole_sentences(key: str) -> None:
    assert SETTINGS[key].doc[0].isupper()
    assert SETTINGS[key].doc.endswith(".")


def test_a_secret_has_no_flag_and_no_place_in_a_file_for_all() -> None:
    secrets = [option for option in SETTINGS.values() if option.secret]

    assert {(option.flag, option.in_file) for option in secrets} == {(None, False)}


# Usage errors.


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["nosuch"], "nosuch", "certctl --help"),
        (["--nosuch", "list"], "--nosuch", "certctl --help"),
        (["list", "--nosuch"], "--nosuch", "certctl list --help"),
        (["account", "nosuch"], "nosuch", "certctl account --help"),
        (["account", "show", "--nosuch"], "--nosuch", "certctl account show --help"),
        (["show"], "no certificate was given", "certctl list"),
        (["help", "isue"], "'isue' is not a command of certctl", "certctl issue"),
        (["help", "account", "nosuch"], "'nosuch'", "certctl account --help"),
        (["help", "list", "all"], "certctl list has no subcommands", "certctl list --help"),
        (["show", "a.example", "b.example"], "a.example", "certctl list"),
        (["issue", "example.com", "--webroot"], "'--webroot'", "certctl issue --help"),
        (["list", "--jsn"], "no such option '--jsn'", "Did you mean '--json'?"),
        (
            ["renew", "--dry"],
            "no such option '--dry'",
            "Did you mean one of: '--dry-run', '--every'?",
        ),
        (["issue", "--key-type", "dsa"], "dsa", "the default, ecdsa-p256"),
        (["rollback", "a.example", "--to", "0"], "--to", "certctl rollback --help"),
        (["rollback", "a.example", "--to", "x"], "'x' is not a whole number", "rollback --help"),
        (["issue", "a.example", "--copy", "pem:/a"], "'pem:/a' is not a valid copy", "fullchain"),
        (["issue", "a.example", "--verify", "a:99999"], "99999", "[IPV6]:PORT"),
        (
            ["issue", "example.com", "--lock-timeout", "soon"],
            "'--lock-timeout': 'soon' is not a duration",
            "the default, 60",
        ),
        (
            ["issue", "example.com", "--http-port", "65536"],
            "'--http-port': 65536 is not a whole number from 1 to 65535",
            "the default, 80",
        ),
        (["issue"], "no name was given", "certctl issue"),
        (["issue", "fe80::1%eth0"], "cannot have a zone index", "192.0.2.1"),
        (["issue", "https://bücher.example/"], "bücher", "Give only the host name"),
        (["issue", "example"], "example", "example.com"),
        (["issue", "https://example.com/"], "https://example.com/", "example.com"),
        (["revoke"], "--cert-path", "certctl revoke"),
        (["deploy"], "no certificate was given", "certctl deploy --pending"),
        (["show", "nosuch.example"], "nosuch.example", "certctl list"),
        (["renew", "nosuch.example"], "nosuch.example", "certctl list"),
        (["delete", "nosuch.example"], "nosuch.example", "certctl list"),
        (["list", "--home", "~no.such.user/certs"], "~no.such.user/certs", "an absolute path"),
        (["show", "../../etc/passwd"], "../../etc/passwd", "letters, digits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_is_named_and_the_next_step_with_it(
    tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    finished = certctl(*arguments, home=tmp_path / "home")

    error, *_, last = finished.stderr.splitlines()
    assert (finished.exit_status, finished.stdout) == (2, "")
    assert error.startswith("error: ")
    assert message in error
    assert last.startswith(" hint: ")
    assert hint in last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["issue", "example.com", "--standalone", "--webroot", "/srv"], "--webroot"),
        (["issue", "example.com", "--webroot", "/srv", "--dns", "exec"], "--dns"),
        (["issue", "example.com", "--profile", "a", "--required-profile", "b"], "--profile"),
        (["issue", "example.com", "--lock-timeout", "soon"], "'soon'"),
        (["issue", "example.com", "--http-port", "http"], "'http'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_combined_or_parsed_are_refused_before_anything_is_done(
    tmp_path: Path, arguments: list[str], shown: str
) -> None:
    finished = certctl(*arguments, home=tmp_path / "home")

    assert (finished.exit_status, finished.stdout) == (2, "")
    assert shown in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_asked_whether_to_delete_what_is_not_there(tmp_path: Path) -> None:
    finished = certctl(
        "delete", "nosuch.example", home=tmp_path / "home", stdin="y\n", terminal=True
    )

    assert finished.exit_status == 2
    assert "[y/N]" not in finished.stderr
    assert "there is no certificate named nosuch.example" in finished.stderr


def test_a_traceback_is_shown_with_debug_only(tmp_path: Path) -> None:
    plain = certctl("show", "nosuch.example", home=tmp_path / "home")
    debug = certctl("show", "nosuch.example", "--debug", home=tmp_path / "home")

    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_the_home_is_that_of_the_flag_before_that_of_the_environment(tmp_path: Path) -> None:
    flagged = tmp_path / "flagged"
    flagged.mkdir()
    (flagged / "certctl.toml").write_text("nosuch = 1\n")

    for arguments in (["--home", str(flagged), "list"], ["list", "--home", str(flagged)]):
        finished = certctl(*arguments, home=tmp_path / "home")

        assert finished.exit_status == 2
        assert str(flagged / "certctl.toml") in finished.stderr


def test_a_missing_argument_is_told_on_one_line(tmp_path: Path) -> None:
    finished = certctl("completion", home=tmp_path)

    assert finished.stderr.startswith(
        "error: missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish\n"
    )
