"""`list` of many certificates: what did not change is not read again, and what did is seen at once.

Whether files are read shows in what an interpreter reports of each file that it opens.
"""

import json
import os
import shutil
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


@pytest.fixture(params=["listed once", "never listed"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A home with many certificates, whose rows are known: from a list, or from their issuance."""
    home = tmp_path / "home"
    add_copies(home, MANY)
    if request.param == "listed once":
        forget_saved_rows(home)
        certctl("list", home=home)
    return home


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A home with many certificates that were listed once."""
    home = tmp_path / "home"
    add_copies(home, MANY)
    certctl("list", home=home)
    return home


def forget_saved_rows(home: Path) -> None:
    """Leave the renewal states as an earlier certctl wrote them."""
    for path in (home / "renewal").iterdir():
        state = json.loads(path.read_text())
        state.pop("row")
        path.write_text(json.dumps(state))


def opened(home: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """List; return the rows, and how many specs and versions were opened for them."""
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(home)], capture_output=True, text=True, check=True
    )
    listed = json.loads(done.stdout)["data"]["certificates"]
    return {each["name"]: each for each in listed}, int(done.stderr)


def rows(home: Path) -> dict[str, dict[str, Any]]:
    listed = certctl("list", "--json", home=home).json()["data"]["certificates"]
    return {each["name"]: each for each in listed}


def test_what_did_not_change_is_listed_without_being_read(home: Path) -> None:
    listed, count = opened(home)

    assert (len(listed), count) == (MANY, 0)


def test_what_was_just_issued_is_listed_without_being_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_copies(home, MANY)
    certctl("issue", "new.example", "--ca", "dev", "--reload", "true", home=home)

    listed, count = opened(home)

    assert (len(listed), count) == (MANY + 1, 0)
    assert listed["new.example"]["state"] == "valid"


def test_it_is_listed_as_if_it_had_been_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_copies(home, MANY)
    remembered = rows(home)
    (home / "list.json").unlink()
    forget_saved_rows(home)
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


def test_a_renewal_state_edited_by_hand_is_seen_at_once(home: Path) -> None:
    path = home / "renewal" / "copy7.example.json"
    path.write_text(path.read_text().replace('"revoked": []', '"revoked": [1]'))

    assert rows(home)["copy7.example"]["state"] == "revoked"


def test_a_renewal_state_that_is_gone_is_seen_at_once(home: Path) -> None:
    (home / "renewal" / "copy7.example.json").write_text("{")

    assert rows(home)["copy7.example"]["state"] == "valid"


def test_a_live_link_that_leads_elsewhere_is_seen_at_once(home: Path) -> None:
    link = home / "live" / "copy7.example"
    link.unlink()
    link.symlink_to("../archive/copy9.example/1")

    assert rows(home)["copy7.example"]["state"] == "missing"


def test_a_link_replaced_by_the_directory_is_refused_as_ever(home: Path) -> None:
    link = home / "live" / "copy7.example"
    link.unlink()
    (home / "archive" / "copy7.example" / "1").rename(link)

    assert rows(home)["copy7.example"]["state"] == "unreadable"


def test_a_home_that_was_moved_lists_the_same(home: Path) -> None:
    before = rows(home)
    moved = home.rename(home.with_name("moved"))

    after = rows(moved)

    for row in (*before.values(), *after.values()):
        row.pop("seconds_left")
    assert after == before


def test_a_backup_of_another_day_is_listed_as_it_is(home: Path) -> None:
    saved = home.with_name("backup")
    shutil.copytree(home, saved, symlinks=True)
    spec = saved / "certificates" / "copy7.example.toml"
    spec.write_text(spec.read_text() + "autorenew = false\n")
    shutil.rmtree(home)
    shutil.copytree(saved, home, symlinks=True)

    listed = rows(home)

    assert {name for name, row in listed.items() if row["state"] == "stopped"} == {"copy7.example"}


@pytest.mark.parametrize("row", ["{}", "null", "[", '{"of": 1}', '{"row": {}, "seen": []}'])
def test_a_saved_row_that_makes_no_sense_is_made_anew(tmp_path: Path, row: str) -> None:
    home = tmp_path / "home"
    add_copies(home, MANY)
    path = home / "renewal" / "copy7.example.json"
    head, mark, _ = path.read_text().rpartition(',\n  "row": ')
    path.write_text(f"{head}{mark}{row}\n}}\n")

    assert rows(home)["copy7.example"]["state"] == "valid"


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
def test_what_was_kept_and_makes_no_sense_is_made_anew(listed: Path, text: str) -> None:
    (listed / "list.json").write_text(text)

    assert len(rows(listed)) == MANY
    assert len(json.loads((listed / "list.json").read_text())["rows"]) == MANY


@pytest.mark.parametrize("row", [{}, {"live": []}, {"live": None}, None, 3])
def test_a_row_that_makes_no_sense_is_made_anew(listed: Path, row: object) -> None:
    kept = json.loads((listed / "list.json").read_text())
    kept["rows"]["copy7.example"]["row"] = row
    (listed / "list.json").write_text(json.dumps(kept))

    assert rows(listed)["copy7.example"]["state"] == "valid"


def test_few_certificates_leave_no_such_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_copies(home, 3)

    certctl("list", home=home)

    assert not (home / "list.json").exists()
