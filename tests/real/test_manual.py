"""man formats the manual pages without a word of complaint, and the shells complete what certctl
knows.
"""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from certctl.cli.main import COMMANDS
from tests.lab.programs import program, require

ROOT = Path(__file__).parents[2]
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


def test_zsh_completes_the_only_name_that_begins_like_this(home: Path) -> None:
    require("zsh")
    (home / "zsh").mkdir()
    (home / "zsh" / "_certctl").write_bytes((ROOT / "completions" / "_certctl").read_bytes())
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        [program("zsh"), "-f", "-i"],
        env={**_variables(home), "TERM": "dumb", "ZDOTDIR": str(home)},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        os.write(leader, b"PS1='ready> '; fpath=($HOME/zsh $fpath)\n")
        os.write(leader, b"autoload -Uz compinit && compinit -u -d $HOME/dump; echo is-$((1+1))\n")
        _read_until(leader, "is-2")
        os.write(leader, b"certctl show mai\t")
        screen = _read_until(leader, "mail.example.com")
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)

    assert "mail.example.com" in screen


def _read_until(stream: int, text: str) -> str:
    """Return what a terminal showed until `text` came, or until nothing came for half a minute."""
    shown = ""
    end = time.monotonic() + 30
    while text not in shown and time.monotonic() < end:
        if select.select([stream], [], [], 1)[0]:
            shown += os.read(stream, 4096).decode("utf-8", errors="replace")
    return shown
