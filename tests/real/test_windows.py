"""A new version that waits for its deploy window, with a real nginx: the old one is served until
the window opens, whoever reloads the server meanwhile.
"""

import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.operations.versions import rollback
from tests.lab.nginx import nginx
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.sites import Front, Site, leaf_at
from tests.support.operations import Machine

NAME = "a.example"
NIGHT = "02:00-05:00 UTC"
HOUR = timedelta(hours=1)


def _for_as_long(seconds: float) -> None:
    """Take about as long as the wait on the steered clock: nginx needs real time for a reload."""
    time.sleep(min(seconds, 1.0))


@pytest.fixture
def noon(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which it is noon, with a certificate."""
    require("nginx")
    with ScriptedCA() as ca:
        ca.renewal_info = False
        machine = Machine(tmp_path / "home", ca)
        noon = machine.clock.now().replace(hour=12, minute=0, second=0) + timedelta(days=1)
        machine.pass_time(noon - machine.clock.now())
        machine.issue(NAME)
        machine.clock.on_wait = _for_as_long
        yield machine


@pytest.fixture
def front(noon: Machine, tmp_path: Path) -> Iterator[Front]:
    with nginx(tmp_path / "nginx", [Site(NAME, noon.home / "live" / NAME)], 1) as front:
        report = noon.issue(
            NAME,
            options={
                "deploy.targets": ("nginx",),
                "deploy.nginx.config": str(front.config),
                "deploy_window": (NIGHT,),
            },
        )
        assert report.exit_status == 0
        yield front


def serves(front: Front, machine: Machine, number: int) -> None:
    serial = int(machine.store.versions(NAME)[number - 1].facts.serial, 16)
    # a worker of before the reload may take a last connection
    wait_until(lambda: leaf_at(front.port, NAME).serial_number == serial, f"version {number}")


def with_a_new_version(machine: Machine) -> None:
    file = machine.spec_file(NAME)
    file.write_text(file.read_text().replace('["a.example"]', '["a.example", "b.example"]'))
    report = machine.renew(unattended=True)
    assert (report.exit_status, report.outcomes[0].action) == (0, "issued")


def test_the_old_version_is_served_until_the_window_opens(noon: Machine, front: Front) -> None:
    with_a_new_version(noon)
    foreign = subprocess.run(
        ["nginx", "-c", front.config, "-s", "reload"], check=True, capture_output=True
    )
    assert foreign.returncode == 0
    serves(front, noon, 1)
    noon.pass_time(13 * HOUR)
    early = noon.renew(unattended=True)
    serves(front, noon, 1)

    noon.pass_time(1.5 * HOUR)
    report = noon.renew(unattended=True)

    assert (early.exit_status, report.exit_status) == (0, 0)
    serves(front, noon, 2)
    assert noon.status(NAME).waiting is None


def test_a_rollback_while_a_version_waits_is_served_and_stays(noon: Machine, front: Front) -> None:
    noon.renew(force=True)
    serves(front, noon, 2)
    with_a_new_version(noon)

    with noon.run() as run:
        report = rollback(run, (NAME,), None)
    serves(front, noon, 1)
    noon.pass_time(15 * HOUR)
    later = noon.renew(unattended=True)

    assert (report.exit_status, later.exit_status) == (0, 0)
    serves(front, noon, 1)
