"""A hint to install a library names the installation that runs certctl."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from certctl.system.installation import install_command


def test_an_environment_with_pip_installs_with_its_own_pip() -> None:
    command = install_command("dns-lexicon[route53]")

    assert command == f"{sys.executable} -m pip install 'dns-lexicon[route53]'"


@pytest.mark.parametrize(
    ("file", "content", "command"),
    [
        ("pipx_metadata.json", "{}", "pipx inject web dns-lexicon"),
        ("pyvenv.cfg", "home = /usr/bin\nuv = 0.9.1\n", "uv pip install --python {} dns-lexicon"),
        ("pyvenv.cfg", "home = /usr/bin\n", "python3 -m pip --python {} install dns-lexicon"),
    ],
)
def test_an_environment_without_pip_installs_with_what_made_it(
    file: str, content: str, command: str, tmp_path: Path
) -> None:
    environment = tmp_path / "web"
    environment.mkdir()
    (environment / file).write_text(content, encoding="utf-8")
    python = str(environment / "bin" / "python")

    found = install_command("dns-lexicon", python=python, environment=environment, has_pip=False)

    assert found == command.format(python)


def test_the_command_for_an_environment_without_pip_can_be_run(tmp_path: Path) -> None:
    environment = tmp_path / "a b"
    venv.create(environment, with_pip=False)
    python = str(environment / "bin" / "python")
    command = install_command("nothing", python=python, environment=environment, has_pip=False)
    shown = command.replace("python3", sys.executable, 1).replace("install nothing", "list")

    done = subprocess.run(["sh", "-c", shown], capture_output=True, check=True, text=True)

    assert "certctl" not in done.stdout
