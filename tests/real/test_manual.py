"""man formats the manual pages without a word of complaint, and the shells complete what certctl
knows.
"""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from certctl.cli.main import COMMANDS
from tests.lab.programs import program, require

ROOT = Path(__file__).parents[2]
SIZES = (2048, 3072, 4096)
PAGES = sorted((ROOT / "man").glob("*/*"))
PROGRAMS = Path(sys.executable).parent
"""Where the command certctl is installed."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_man_formats_a_page_without_a_warning(page: Path) -> None:
    require("man")

    done = subprocess.run(
        [program("man"), "--warnings", "-E", "UTF-8", "-l", page],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stderr == ""
    assert page.stem.upper() in done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with three certificates, as a shell sees them: by the names of their files."""
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    for name in ("mail.example.com", "www.example.com", "www.example.org"):
        (certificates / f"{name}.toml").touch()
    (certificates / ".new-x.toml").touch()
    return tmp_path


def _variables(home: Path) -> Mapping[str, str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "CERTCTL_HOME": str(home), "PATH": path, "HOME": str(home)}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("certctl rev", ["revoke"]),
        ("certctl renew www", ["www.example.com", "www.example.org"]),
        ("certctl renew www.example.org www", ["www.example.com"]),
        ("certctl show --home /nowhere ", []),
        ("certctl issue --ca letse", ["letsencrypt", "letsencrypt-staging"]),
        ("certctl issue --key-type rsa-", ["rsa-2048", "rsa-3072", "rsa-4096"]),
        ("certctl account roll", ["rollover"]),
        ("certctl list --where key", ["key_type="]),
        ("certctl list --where key_type=rsa-", [f"key_type=rsa-{each}" for each in SIZES]),
    ],
)
def test_bash_and_fish_complete_commands_names_and_values(
    words: str, offered: list[str], home: Path
) -> None:
    require("bash", "fish")

    in_bash = subprocess.run(
        [program("bash"), "-c", f"{_BASH}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"", "-", words],
        env={**_variables(home), "SCRIPT": str(ROOT / "completions" / "certctl.bash")},
        capture_output=True,
        check=True,
        text=True,
    )
    in_fish = subprocess.run(
        [program("fish"), "--no-config", "-c", 'source $SCRIPT; complete -C "$argv[1]"', words],
        env={**_variables(home), "SCRIPT": str(ROOT / "completions" / "certctl.fish")},
        capture_output=True,
        check=True,
        text=True,
    )

    assert sorted(in_bash.stdout.split()) == offered
    assert sorted(each.partition("\t")[0] for each in in_fish.stdout.splitlines()) == offered


def test_fish_shows_a_description_with_a_comma_whole(home: Path) -> None:
    require("fish")

    done = subprocess.run(
        [
            program("fish"),
            "--no-config",
            "-c",
            'certctl completion fish | source; complete -C "$argv"',
            "certctl rene",
        ],
        env=_variables(home),
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stdout == f"renew\t{COMMANDS['renew']}\n"
    assert "," in COMMANDS["renew"]


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", "certctl.bash"), ("zsh", "_certctl"), ("fish", "certctl.fish")]
)
def test_the_command_prints_the_script_that_packages_install(
    shell: str, file: str, home: Path
) -> None:
    done = subprocess.run(
        [PROGRAMS / "certctl", "completion", shell],
        env=_variables(home),
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stdout == (ROOT / "completions" / file).read_text(encoding="utf-8")


_BASH = """\
. "$SCRIPT"
read -ra COMP_WORDS <<<"$1"
[ "${1% }" = "$1" ] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_certctl_completion certctl
"""


_ZSH = (
    "PS1='ready> '; fpath=($HOME/zsh $fpath)",
    "autoload -Uz compinit && compinit -u -d $HOME/dump; echo is-$((1+1))",
)
_BASH_SETUP = ("PS1='ready> '; . $HOME/certctl.bash; echo is-$((1+1))",)
_SHELLS = {
    "zsh": (("-f", "-i"), _ZSH),
    "bash": (("--norc", "--noprofile", "-i"), _BASH_SETUP),
}


@contextmanager
def _shell_at_terminal(name: str, home: Path) -> Iterator[int]:
    """Run a shell that completes certctl's words, and yield its terminal."""
    options, setup = _SHELLS[name]
    (home / "zsh").mkdir()
    for directory, file in ((home / "zsh", "_certctl"), (home, "certctl.bash")):
        (directory / file).write_bytes((ROOT / "completions" / file).read_bytes())
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        [program(name), *options],
        env={**_variables(home), "TERM": "dumb", "ZDOTDIR": str(home), "HOME": str(home)},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        for line in setup:
            os.write(leader, f"{line}\n".encode())
        _read_until(leader, "is-2")
        yield leader
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("certctl show mai", "mail.example.com"),
        ("certctl list --where key", "key_type="),
        ("certctl list --where key_type=ecdsa-p3", "key_type=ecdsa-p384"),
        ("certctl renew --where state=val", "state=valid"),
        ("certctl issue a.example --key-type=ecdsa-p3", "--key-type=ecdsa-p384"),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_what_only_one_word_begins_with(
    shell: str, typed: str, completed: str, home: Path
) -> None:
    require(shell)

    with _shell_at_terminal(shell, home) as terminal:
        os.write(terminal, f"{typed}\t".encode())
        screen = _read_until(terminal, completed)

    assert completed in screen


def _read_until(stream: int, text: str) -> str:
    """Return what a terminal showed until `text` came, or until nothing came for half a minute."""
    shown = ""
    end = time.monotonic() + 30
    while text not in shown and time.monotonic() < end:
        if select.select([stream], [], [], 1)[0]:
            shown += os.read(stream, 4096).decode("utf-8", errors="replace")
    return shown
