"""What a home directory knows of its machine, through the port `machine`."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.model.certificate import Attempts, RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import FilesDamaged, LockHeld, StoreCorrupt, UnknownCertificate
from certctl.rules.current_state import current_state
from certctl.rules.settings import Settings
from certctl.store.home.home_machine import HomeMachine
from certctl.store.home.home_records import HomeRecords
from certctl.store.home.parts import Parts
from certctl.store.machine import Machine, OnMachine
from certctl.store.records import Changes, NextAction, Stored, Subject
from tests.lab.clock import SteerableClock
from tests.unit.store_samples import NAME, NOW, issued, material, wanted

LATER = NOW + timedelta(days=60)
DEPLOYED = Deployment(1, 1, NOW)


class Home:
    """A home directory, opened as one process opens it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        parts = Parts(directory, Settings(), SteerableClock(NOW))
        self.records = HomeRecords(parts)
        self.machine: Machine = HomeMachine(parts)

    def write(self, changes: Changes) -> None:
        stored = self.records.read(NAME) or Stored(NAME)
        with self.records.lease(Subject(NAME), wait=0) as lease:
            self.records.write(NAME, changes, expect=stored.gen, token=lease.token)

    def add(self, mark: str) -> Version:
        version = issued(mark=mark, order_url=f"https://ca.example/order/{mark}")
        with self.records.lease(Subject(NAME), wait=0) as lease:
            return self.records.add_version(NAME, version, material(mark), token=lease.token)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A certificate with one version, which is live, deployed, and idle."""
    home = Home(tmp_path)
    home.write(Changes(spec=wanted()))
    home.add("1")
    home.machine.flip(NAME, 1)
    home.machine.save_deployment(NAME, DEPLOYED)
    home.write(Changes(renewal_state=RenewalState(), next_action=NextAction(LATER)))
    return home


def due(home: Home) -> list[str]:
    """What another process finds to do on this machine."""
    return list(Home(home.directory).machine.due([NAME], NOW))


def test_a_version_that_is_added_is_not_live(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write(Changes(spec=wanted()))

    home.add("1")

    assert home.machine.read(NAME) == OnMachine(NAME)


def test_the_live_version_and_its_deployment_are_read_back(home: Home) -> None:
    assert Home(home.directory).machine.read(NAME) == OnMachine(NAME, 1, (DEPLOYED,))


def test_a_missing_version_cannot_be_live(home: Home) -> None:
    with pytest.raises(UnknownCertificate):
        home.machine.flip(NAME, 2)

    assert home.machine.read(NAME).live == 1


def test_a_damaged_version_is_restored_before_it_is_live(home: Home) -> None:
    home.add("2")
    archived = home.directory / "archive" / NAME / "2"
    whole = (archived / "fullchain.pem").read_bytes()
    (archived / "fullchain.pem").write_bytes(whole[:-100])

    home.machine.flip(NAME, 2)

    assert (archived / "fullchain.pem").read_bytes() == whole
    assert home.machine.read(NAME).live == 2


def test_a_version_without_its_key_is_not_made_live(home: Home) -> None:
    home.add("2")
    for name in ("privkey.pem", "combined.pem"):
        (home.directory / "archive" / NAME / "2" / name).unlink()

    with pytest.raises(FilesDamaged):
        home.machine.flip(NAME, 2)

    assert home.machine.read(NAME).live == 1


def test_damage_to_the_live_version_is_seen_by_the_next_process(home: Home) -> None:
    version = home.records.read(NAME).versions[1]  # type: ignore[union-attr] # it is stored
    assert home.machine.damage(version) is None
    (home.directory / "archive" / NAME / "1" / "cert.pem").write_bytes(b"")

    damage = Home(home.directory).machine.damage(version)

    assert damage is not None
    assert "cert.pem" in damage


def test_something_else_in_place_of_the_live_link_is_an_error(home: Home) -> None:
    link = home.directory / "live" / NAME
    link.unlink()
    link.mkdir()

    with pytest.raises(StoreCorrupt):
        home.machine.read(NAME)


def test_the_live_link_is_locked_apart_from_the_records(home: Home) -> None:
    with home.records.lease(Subject(NAME), wait=0), home.machine.lock(NAME, timeout=0):
        other = Home(home.directory)
        with pytest.raises(LockHeld):
            other.machine.lock(NAME, timeout=0)
        with other.machine.lock("other.example", timeout=0):
            pass

    with Home(home.directory).machine.lock(NAME, timeout=0):
        pass


def test_a_certificate_is_idle_on_its_machine_as_long_as_nothing_changes(home: Home) -> None:
    assert due(home) == []


def test_another_live_version_is_work_for_the_machine(home: Home) -> None:
    home.add("2")
    home.machine.flip(NAME, 2)

    assert due(home) == [NAME]


def test_a_pending_deployment_is_work_for_the_machine(home: Home) -> None:
    home.machine.save_deployment(NAME, replace(DEPLOYED, deployed=None))

    assert due(home) == [NAME]


def test_a_file_that_is_changed_is_work_for_the_machine(home: Home) -> None:
    (home.directory / "live" / NAME / "chain.pem").write_bytes(b"")

    assert due(home) == [NAME]


def test_an_edited_spec_is_work_for_the_records(home: Home) -> None:
    path = home.directory / "certificates" / f"{NAME}.toml"
    path.write_text(path.read_text() + "# mine\n")

    other = Home(home.directory)
    assert list(other.records.due(NOW)) == [NAME]


def test_a_forgotten_certificate_has_neither_link_nor_deployment(home: Home) -> None:
    home.machine.forget(NAME)
    home.machine.forget(NAME)

    assert Home(home.directory).machine.read(NAME) == OnMachine(NAME)


def test_deleting_the_records_leaves_no_link_to_what_is_gone(home: Home) -> None:
    with home.records.lease(Subject(NAME), wait=0) as lease:
        stored = home.records.read(NAME)
        assert stored is not None
        home.records.delete(NAME, expect=stored.gen, token=lease.token)

    assert home.machine.read(NAME) == OnMachine(NAME, None, (DEPLOYED,))


# The current state follows from both ports.


def test_the_current_state_is_made_of_what_both_ports_say(home: Home) -> None:
    second = home.add("2")
    home.machine.save_deployment(NAME, Deployment(2, 1, NOW))
    stored, here = home.records.read(NAME), home.machine.read(NAME)
    assert stored is not None

    state = current_state(
        NAME,
        stored.versions,
        stored.renewal_state,
        stored.saved_at,
        here.live,
        here.deployments,
        NOW,
    )

    assert (state.live, state.wanted_not_live) == (stored.versions[1], second)
    assert state.undeployed


def test_without_a_deployment_the_live_version_or_the_newest_is_wanted() -> None:
    versions = {number: replace(issued(), number=number) for number in (1, 2)}

    def wanted_with(live: int | None) -> int | None:
        state = current_state(NAME, versions, RenewalState(), None, live, (), NOW)
        return state.deployment.wanted

    assert [wanted_with(1), wanted_with(None), wanted_with(3)] == [1, 2, 2]


def test_times_that_a_wrong_clock_has_written_are_not_part_of_the_current_state() -> None:
    state = RenewalState((Attempts(None, failures=1, last_attempt=LATER, retry_at=LATER),))
    deployment = Deployment(1, 1, failures=1, retry_at=NOW + timedelta(days=3000))

    found = current_state(
        NAME, {1: replace(issued(), number=1)}, state, LATER, 1, (deployment,), NOW
    )

    assert (found.renewal_state.failures, found.renewal_state.retry_at) == (0, None)
    assert found.deployment.retry_at is None
