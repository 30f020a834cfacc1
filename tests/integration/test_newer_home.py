"""A home directory that a newer certctl has written in part: what it wrote is refused by name and
left alone, and everything else goes on.
"""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.command import certctl
from tests.support.homes import add_certificate
from tests.support.operations import Machine

DAY = timedelta(days=1)


def newer(path: Path) -> bytes:
    """Have a document say that it has a newer format; return what is in it then."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 4}))
    return path.read_bytes()


@pytest.mark.parametrize(
    "file", ["renewal/{}.json", "deployed/{}.json", "archive/{}/1/issued.json"]
)
def test_a_certificate_of_a_newer_certctl_fails_by_name_and_the_others_are_renewed(
    machine: Machine, file: str
) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    machine.pass_time(61 * DAY)
    path = machine.home / file.format("a.example")
    content = newer(path)

    report = machine.renew()

    assert [(each.name, each.action) for each in report.outcomes] == [
        ("a.example", "failed"),
        ("b.example", "issued"),
    ]
    (error,) = report.all_errors
    assert (error.code, str(path) in error.message) == ("store.newer", True)
    assert path.read_bytes() == content
    assert machine.live("b.example").number == 2
    archive = machine.home / "archive" / "a.example"
    assert [each.name for each in archive.iterdir()] == ["1"]


@pytest.mark.parametrize("command", ["delete", "deploy", "rollback"])
def test_commands_refuse_a_certificate_of_a_newer_certctl(tmp_path: Path, command: str) -> None:
    add_certificate(tmp_path, "a.example")
    path = tmp_path / "renewal" / "a.example.json"
    content = newer(path)

    finished = certctl(command, "a.example", *(["--yes"] * (command == "delete")), home=tmp_path)

    assert finished.exit_status != 0
    assert str(path) in finished.stderr
    assert "Update certctl." in finished.stderr
    assert path.read_bytes() == content
    assert (tmp_path / "certificates" / "a.example.toml").exists()


def test_the_list_shows_a_certificate_of_a_newer_certctl_as_unreadable(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    add_certificate(tmp_path, "b.example")
    newer(tmp_path / "renewal" / "a.example.json")

    listed = json.loads(certctl("list", "--json", home=tmp_path).stdout)

    rows = listed["data"]["certificates"]
    assert [(each["name"], each["state"]) for each in rows] == [
        ("a.example", "unreadable"),
        ("b.example", "valid"),
    ]
    assert rows[0]["problem"]["code"] == "store.newer"


def test_a_specification_with_a_higher_version_is_refused_and_left_alone(machine: Machine) -> None:
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    spec = machine.spec_file("a.example")
    spec.write_text(spec.read_text().replace("version = 1", "version = 3"))
    content = spec.read_bytes()

    report = machine.renew()

    (error,) = report.all_errors
    assert (error.code, error.name) == ("configuration.format", "a.example")
    assert spec.read_bytes() == content
