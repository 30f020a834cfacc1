"""`--deploy nginx` with a real nginx whose configuration does not use the certificate yet."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import UsageError
from certctl.model.values import Value
from certctl.operations.revoke import revoke
from certctl.operations.versions import delete
from tests.lab.nginx import nginx
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.sites import HOST, Front, Site, leaf_at, made_up_site
from tests.support.doctor import doctor, told
from tests.support.operations import Machine, codes

NAME, OTHER = "a.example", "other.example"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    require("nginx")
    with ScriptedCA() as ca:
        ca.renewal_info = False
        yield Machine(tmp_path / "home", ca)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """An nginx that serves another name only."""
    site = made_up_site(tmp_path / "other", OTHER)
    with nginx(tmp_path / "nginx", [site], 1) as front:
        yield front


def deploying(front: Front) -> Mapping[str, Value]:
    return {"deploy.targets": ("nginx",), "deploy.nginx.config": str(front.config)}


def use(front: Front, site: Site, *, line: str = "\n") -> None:
    """Add a server block for a site, on lines of its own or all on one."""
    block = (
        f"server {{ listen {HOST}:{front.port} ssl; server_name {site.name};",
        f"ssl_certificate {site.fullchain}; ssl_certificate_key {site.privkey}; return 204; }}",
    )
    text = front.config.read_text().rstrip()
    front.config.write_text(f"{text.removesuffix('}')}{line.join(block)}\n}}\n")


def test_a_certificate_that_no_block_uses_is_pending_until_one_does(
    machine: Machine, front: Front
) -> None:
    first = machine.issue(NAME, options=deploying(front))
    pending = machine.status(NAME).undeployed
    use(front, Site(NAME, machine.home / "live" / NAME))
    again = machine.issue(NAME, options=deploying(front))

    (error,) = first.all_errors
    assert (codes(first), first.exit_status, pending) == (["deploy.not_used"], 4, True)
    assert f"ssl_certificate {machine.home}/live/{NAME}/fullchain.pem;" in str(error.hint)
    assert f"certctl secure {NAME}" in str(error.hint)
    assert (again.exit_status, machine.status(NAME).undeployed) == (0, False)
    serial = int(machine.live(NAME).facts.serial, 16)
    # a worker of before the reload may take a last connection
    wait_until(lambda: leaf_at(front.port, NAME).serial_number == serial, "the certificate")


def test_the_success_says_what_was_done_and_where_it_is_served(
    machine: Machine, front: Front
) -> None:
    machine.issue(NAME, options=deploying(front))
    use(front, Site(NAME, machine.home / "live" / NAME), line=" ")

    finished = machine.command("issue", NAME)

    assert finished.exit_status == 0
    assert f"nginx: tested, reloaded; served at {HOST}:{front.port}." in finished.stdout


def test_a_copy_of_the_certificate_is_a_use_of_it(
    machine: Machine, front: Front, tmp_path: Path
) -> None:
    place = made_up_site(tmp_path / "copies", NAME)
    use(front, place)
    copies = (f"fullchain:{place.fullchain}", f"privkey:{place.privkey}")

    report = machine.issue(NAME, options={**deploying(front), "deploy.copy": copies})

    assert (report.exit_status, codes(report)) == (0, [])


def test_doctor_names_what_is_not_used_and_an_nginx_that_does_not_run(
    machine: Machine, front: Front
) -> None:
    machine.issue(NAME, options=deploying(front))
    running = told(doctor(machine, NAME, write=False))
    front.process.stop()
    stopped = told(doctor(machine, NAME, write=False))

    unused = ("deploy.not_used", "error", NAME)
    assert unused in running
    assert ("deploy.stopped", "error", "nginx") not in running
    assert {unused, ("deploy.stopped", "error", "nginx")} <= set(stopped)


# What a configuration names stays.


def used(machine: Machine, front: Front, directory: str = "") -> None:
    """Issue a certificate, and have a server block name its files."""
    machine.issue(NAME)
    use(front, Site(NAME, machine.home / (directory or f"live/{NAME}")))


def test_a_certificate_in_use_is_deleted_only_by_force(machine: Machine, front: Front) -> None:
    used(machine, front)

    with machine.run() as run:
        with pytest.raises(UsageError, match="names its files") as refused:
            delete(run, NAME)
        assert (refused.value.code, machine.live(NAME).number) == ("usage.in_use", 1)
        delete(run, NAME, force=True)

    assert machine.store.names() == []


def test_a_certificate_in_use_is_not_revoked_to_be_deleted(machine: Machine, front: Front) -> None:
    used(machine, front)

    with machine.run() as run, pytest.raises(UsageError, match="names its files") as refused:
        revoke(run, NAME, RevocationReason.UNSPECIFIED, Afterwards.DELETE)

    assert "or revoke it with --replace or --stop" in str(refused.value.hint)
    assert (machine.live(NAME).number, machine.ca.revoked) == (1, [])


def test_a_version_that_a_configuration_names_is_kept(machine: Machine, front: Front) -> None:
    used(machine, front, f"archive/{NAME}/1")

    for _ in range(3):
        machine.issue(NAME, options={"keep_versions": 1}, force=True)

    kept = sorted(path.name for path in (machine.home / "archive" / NAME).iterdir())
    (warning, *_) = [each.message for each in machine.happened("run.warning")]
    assert kept == ["1", "3", "4"]
    assert "version 1 is kept, since the configuration of a web server names its files" in warning
