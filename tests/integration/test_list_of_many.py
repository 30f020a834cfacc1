"""`list` of many certificates: what did not change is not read again, and what did is seen at once.

Whether files are read shows in what an interpreter reports of each file that it opens.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import certctl
from tests.support.homes import add_certificate, add_copies

MANY = 120
OPENED = """
import sys
home = sys.argv[1]
count = 0
def look(happens, facts):
    global count
    read = (home + "/certificates/", home + "/archive/", home + "/live/")
    if happens == "open" and str(facts[0]).startswith(read):
        count += 1
sys.addaudithook(look)
from certctl.cli.main import main
main(["list", "--json", "--home", home])
print(count, file=sys.stderr)
"""
"""A program: `certctl list`, which tells at the end how many specs and versions it opened."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with many certificates that were listed once."""
    home = tmp_path / "home"
    add_copies(home, MANY)
    certctl("list", home=home)
    return home


def rows(home: Path) -> dict[str, dict[str, Any]]:
    listed = certctl("list", "--json", home=home).json()["data"]["certificates"]
    return {each["name"]: each for each in listed}


def test_what_did_not_change_is_listed_without_being_read(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(home)], capture_output=True, text=True, check=True
    )

    assert len(json.loads(done.stdout)["data"]["certificates"]) == MANY
    assert done.stderr.strip() == "0"


def test_it_is_listed_as_if_it_had_been_read(home: Path) -> None:
    remembered = rows(home)
    (home / "list.json").unlink()
    read = rows(home)

    for row in (*remembered.values(), *read.values()):
        row.pop("seconds_left")
    assert remembered == read


def test_the_time_left_is_that_of_now(home: Path) -> None:
    row = rows(home)["copy1.example"]

    until = datetime.fromisoformat(row["not_after"]) - datetime.now(UTC)
    assert abs(row["seconds_left"] - until.total_seconds()) < 60


def test_a_spec_edited_in_place_is_seen_at_once(home: Path) -> None:
    spec = home / "certificates" / "copy7.example.toml"
    with spec.open("a") as file:
        file.write("autorenew = false\n")

    assert rows(home)["copy7.example"]["state"] == "stopped"


def test_a_spec_whose_time_was_set_back_is_seen_all_the_same(home: Path) -> None:
    spec = home / "certificates" / "copy7.example.toml"
    facts = spec.stat()
    spec.write_text(spec.read_text().replace("copy7.example", "copy9.example"))
    os.utime(spec, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert rows(home)["copy7.example"]["names"] == ["copy9.example"]


def test_a_spec_that_others_may_write_now_is_refused_as_ever(home: Path) -> None:
    (home / "certificates" / "copy7.example.toml").chmod(0o666)

    assert rows(home)["copy7.example"]["state"] == "unreadable"


def test_a_version_that_is_gone_is_missing(home: Path) -> None:
    (home / "archive" / "copy7.example" / "1" / "issued.json").unlink()

    assert rows(home)["copy7.example"]["state"] == "missing"


def test_a_deploy_that_is_owed_shows(home: Path) -> None:
    deployed = home / "deployed" / "copy7.example.json"
    deployed.write_text(deployed.read_text().replace('"deployed": 1', '"deployed": null'))

    assert rows(home)["copy7.example"]["state"] == "undeployed"


def test_another_default_counts_for_all(home: Path) -> None:
    (home / "certctl.toml").write_text('key_type = "rsa-4096"\n')

    listed = rows(home)

    assert {row["state"] for row in listed.values()} == {"due"}


def test_a_row_holds_no_longer_than_its_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_copies(home, MANY)
    add_certificate(home, "old.example", age=timedelta(days=60) - timedelta(hours=1))
    certctl("list", home=home)

    kept = json.loads((home / "list.json").read_text())["rows"]

    assert kept.keys() == {f"copy{number}.example" for number in range(MANY)} | {"old.example"}
    until = datetime.fromisoformat(kept["old.example"]["until"])
    assert until - datetime.now(UTC) < timedelta(hours=1, seconds=2)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2, "rows": {}}', "null"],
)
def test_what_was_kept_and_makes_no_sense_is_made_anew(home: Path, text: str) -> None:
    (home / "list.json").write_text(text)

    assert len(rows(home)) == MANY
    assert len(json.loads((home / "list.json").read_text())["rows"]) == MANY


@pytest.mark.parametrize("row", [{}, {"live": []}, {"live": None}, None, 3])
def test_a_row_that_makes_no_sense_is_made_anew(home: Path, row: object) -> None:
    kept = json.loads((home / "list.json").read_text())
    kept["rows"]["copy7.example"]["row"] = row
    (home / "list.json").write_text(json.dumps(kept))

    assert rows(home)["copy7.example"]["state"] == "valid"


def test_few_certificates_leave_no_such_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_copies(home, 3)

    certctl("list", home=home)

    assert not (home / "list.json").exists()
