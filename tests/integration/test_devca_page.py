"""docs/dev-ca.md: its commands are run as they stand there."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

from certctl.devca.settings import load_profiles
from tests.lab.devca import DevCaServer

PAGE = (Path(__file__).parents[2] / "docs" / "dev-ca.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_requests_to_a_ca_that_is_served_do_what_the_page_says(tmp_path: Path) -> None:
    _, script = blocks("sh")  # the first is a recipe for a browser
    with DevCaServer(directory=tmp_path) as devca:
        base = devca.directory_url.removesuffix("/directory")
        done = subprocess.run(
            ["bash", "-eu", "-c", script.replace("\n# ", "\necho\n# ")],
            env={**os.environ, "CA": base, "ROOT": str(devca.ca_bundle)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == 6
    assert (answers[0]["bad-nonce"], answers[0]["lost-reply"]) == (20, 10)
    assert (answers[1]["times"], answers[1]["resources"]) == (2, ["new-order"])
    assert (answers[2]["processing"], answers[2]["lifetime"]) == (3, 900)
    assert answers[3]["values"] == ["here"]
    assert "counts" in answers[4]
    assert answers[5]["bad-nonce"] == 0


def test_the_file_of_profiles_is_one(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "profiles.toml").write_text(text)

    (profile,) = load_profiles(tmp_path / "profiles.toml").values()

    assert profile.name == next(iter(tomllib.loads(text)))
    assert profile.lifetime.total_seconds() == 600
