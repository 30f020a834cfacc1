"""Access to the keys with `--key-group` and `--key-mode`."""

import grp
import os
import stat
from pathlib import Path

import pytest

from certctl.model.errors import ConfigurationError
from certctl.store.home.permissions import permission_findings
from tests.support.operations import Machine

NAME = "a.example"

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")


@pytest.fixture
def group() -> grp.struct_group:
    return grp.getgrall()[-1]


def access(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return stat.S_IMODE(facts.st_mode), facts.st_gid


@root_only
def test_a_group_that_is_set_later_may_read_all_versions_at_once(
    machine: Machine, group: grp.struct_group
) -> None:
    machine.issue(NAME)
    machine.renew(force=True)

    machine.issue(NAME, options={"key_group": group.gr_name})
    machine.renew(force=True)

    archive = machine.home / "archive" / NAME
    for number in ("1", "2", "3"):
        for file in ("privkey.pem", "combined.pem"):
            assert access(archive / number / file) == (0o640, group.gr_gid)
        assert access(archive / number) == (0o750, group.gr_gid)
        assert access(archive / number / "cert.pem") == (0o644, group.gr_gid)
    assert access(archive) == (0o750, group.gr_gid)
    spec = machine.store.spec(NAME)
    assert list(permission_findings(machine.home, [spec])) == []


@root_only
def test_a_mode_keeps_the_keys_from_a_group_that_may_see_the_rest(
    machine: Machine, group: grp.struct_group
) -> None:
    machine.issue(NAME, options={"key_group": group.gr_name, "key_mode": "0600"})
    machine.renew(force=True)

    directory = machine.home / "archive" / NAME / "2"
    assert access(directory) == (0o750, group.gr_gid)
    assert access(directory / "privkey.pem")[0] == 0o600
    assert access(directory / "fullchain.pem") == (0o644, group.gr_gid)


def test_a_mode_alone_lets_the_group_of_who_runs_it_read(machine: Machine) -> None:
    machine.issue(NAME, options={"key_mode": "0640"})

    directory = machine.home / "archive" / NAME / "1"
    assert access(directory) == (0o750, os.getegid())
    assert access(directory / "privkey.pem") == (0o640, os.getegid())
    spec = machine.store.spec(NAME)
    assert list(permission_findings(machine.home, [spec])) == []


def test_a_removed_mode_takes_effect_at_once(machine: Machine) -> None:
    machine.issue(NAME, options={"key_mode": "0640"})

    machine.issue(NAME, options={"key_mode": "0600"})

    directory = machine.home / "archive" / NAME / "1"
    assert (access(directory)[0], access(directory / "privkey.pem")[0]) == (0o700, 0o600)


def test_a_missing_group_is_an_error_before_anything_is_ordered(machine: Machine) -> None:
    with pytest.raises(ConfigurationError, match=r"group 'nobody-of-that-name' .* does not exist"):
        machine.issue(NAME, options={"key_group": "nobody-of-that-name"})

    assert machine.ca.requests == []
