"""The manual pages and completions in the repository are those of the commands as they are, and
their examples could be typed.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from certctl.cli.environment import of_this_process
from certctl.cli.invocation import Invocation
from certctl.cli.main import COMMANDS, group

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "man" / "man1").glob("*.1"))


def test_pages_and_completions_are_those_of_the_commands_as_they_are() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "manual")]

    stale = subprocess.run(script, capture_output=True, check=False, text=True)

    assert (stale.stdout, stale.returncode) == ("", 0), (
        "run .venv/bin/python scripts/manual --write, and look at the difference"
    )


def test_every_command_has_a_page_and_no_page_is_left_over() -> None:
    assert {each.stem for each in PAGES} == {"certctl", *(f"certctl-{each}" for each in COMMANDS)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_sections_that_readers_look_for(page: Path) -> None:
    sections = re.findall(r"^\.SH (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)

    for wanted in (
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "EXAMPLES",
        "FILES",
        "EXIT STATUS",
        "ENVIRONMENT",
        "SEE ALSO",
    ):
        assert wanted in sections


def test_the_wheel_takes_every_page_and_every_completion_along() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]

    assert shared.pop("man") == "share/man"
    assert {Path(each).name for each in shared} == {
        each.name for each in (ROOT / "completions").iterdir()
    }


def _example_lines() -> Iterator[str]:
    context = click.Context(group, info_name="certctl", **group.context_settings)
    for name in (None, *COMMANDS):
        command = group if name is None else group.get_command(context, name)
        assert command is not None
        _, _, examples = (command.epilog or "").partition("Examples:\n")
        yield from (line.strip() for line in examples.splitlines())


def test_an_example_fits_into_eighty_columns_with_its_indentation() -> None:
    assert [line for line in _example_lines() if len(line) > 76] == []


@pytest.mark.parametrize("line", dict.fromkeys(_example_lines()))
def test_an_example_could_be_typed_as_it_stands(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(line.partition(" > ")[0])
    for file in (each for each in arguments if each.endswith((".pem", ".csr"))):
        Path(file).touch()
    command: click.Command = group
    context = click.Context(group, info_name=program, obj=Invocation(of_this_process()))
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None, arguments[0]
        command = found
        context = click.Context(command, info_name=arguments.pop(0), parent=context)

    command.parse_args(context, arguments)  # raises where an option or an argument is wrong
