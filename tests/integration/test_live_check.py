"""The live check after a deploy: served at last, not served, something else; and the rollback."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.inspection.overview import overview
from certctl.model.values import Value
from certctl.operations.versions import deploy
from certctl.output.certificates import outcome_object
from tests.lab.certificates import make_server_certificate
from tests.lab.tls import TlsServer
from tests.support.operations import Machine, executable, lines, noting

NAME = "a.example"
DAY = timedelta(days=1)


@dataclass
class Server:
    """A TLS server that has the certificate of `machine` as it was when it was last reloaded.

    It reloads when certctl waits, and takes until the wait number `slow`; never without `heeds`.
    """

    machine: Machine
    tls: TlsServer
    heeds: bool = True
    slow: int = 1
    waits: int = field(default=0)

    def waited(self, _seconds: float) -> None:
        self.waits += 1
        if self.heeds and self.waits >= self.slow:
            self.reload()

    def reload(self, version: int | None = None) -> None:
        live = self.machine.home / "live" / NAME
        directory = live if version is None else self.machine.home / "archive" / NAME / f"{version}"
        self.tls.serve({"": [(directory / "fullchain.pem", directory / "privkey.pem")]})


@pytest.fixture
def server(machine: Machine) -> Iterator[Server]:
    """Serves the certificate of `NAME`, issued and deployed to nobody in particular."""
    machine.issue(NAME)
    live = machine.home / "live" / NAME
    with TlsServer({"": [(live / "fullchain.pem", live / "privkey.pem")]}) as tls:
        found = Server(machine, tls)
        machine.clock.on_wait = found.waited
        yield found


def verified(server: Server, **more: Value) -> dict[str, Value]:
    return {
        "deploy.verify": (f"127.0.0.1:{server.tls.port}",),
        **{f"deploy.{key}": value for key, value in more.items()},
    }


def likely(server: Server, directory: Path) -> dict[str, Value]:
    """A target that says that it listens where the server does, and uses the certificate."""
    program, live = directory / "nginx-here", directory / "home" / "live" / NAME
    files = f"ssl_certificate {live}/fullchain.pem; ssl_certificate_key {live}/privkey.pem;"
    block = f"server {{ listen {server.tls.port} ssl; {files} }}"
    dump = f"# configuration file /nginx.conf:\nhttp {{ {block} }}"
    executable(program, f'case "$*" in *-T*) echo "{dump}";; esac')
    return {"deploy.targets": ("nginx",), "deploy.nginx.binary": str(program)}


def state(machine: Machine) -> tuple[int | None, int | None, int | None]:
    """What is live, what is wanted, and what is deployed."""
    status = machine.status(NAME)
    found = status.deployment
    return (status.live.number if status.live else None), found.wanted, found.deployed


def test_a_certificate_that_is_seen_after_a_while_is_deployed(
    machine: Machine, server: Server
) -> None:
    machine.issue(NAME, options=verified(server))
    server.slow = 4

    report = machine.renew(force=True)

    (outcome,) = report.outcomes
    assert outcome.deploy is not None
    (probe,) = outcome.deploy.probes
    assert report.exit_status == 0
    assert (probe.error, probe.sha256) == (None, machine.live(NAME).facts.sha256)
    assert machine.status(NAME).deployment.verified_at == outcome.deploy.probes[0].at
    with machine.run() as run:
        assert overview(run)[0].verified_at == probe.at
    shown = outcome_object(outcome)["deploy"]
    assert isinstance(shown, dict)
    assert (shown["verified"], shown["rolled_back_to"]) == (True, None)


def test_a_certificate_that_is_not_seen_is_owed_until_it_is(
    machine: Machine, server: Server
) -> None:
    machine.issue(NAME, options=verified(server))
    server.heeds = False

    failed = machine.renew(force=True)

    (error,) = failed.all_errors
    assert (failed.exit_status, error.code) == (4, "verify.failed")
    assert f"127.0.0.1:{server.tls.port}" in error.message
    assert "another certificate is served" in error.message
    assert state(machine) == (2, 2, 1)
    remembered = json.loads((machine.home / "deployed" / f"{NAME}.json").read_text())
    assert remembered["deployments"][0]["last_error"]["code"] == "verify.failed"

    server.reload()
    machine.pass_time(timedelta(minutes=2))
    assert machine.renew().exit_status == 0
    assert state(machine) == (2, 2, 2)


def test_nobody_looks_where_that_is_not_wanted(machine: Machine, server: Server) -> None:
    machine.issue(NAME, options=verified(server, probe=False))
    server.heeds = False

    report = machine.renew(force=True)

    assert report.exit_status == 0
    assert server.tls.asked == []
    assert machine.status(NAME).deployment.verified_at is None


def test_saying_where_to_look_ends_that_nobody_looks(machine: Machine, server: Server) -> None:
    machine.issue(NAME, options={"deploy.probe": False})
    machine.issue(NAME, options=verified(server))

    assert server.tls.asked == [NAME]


def test_without_a_place_it_is_looked_for_where_its_targets_listen(
    machine: Machine, server: Server, tmp_path: Path
) -> None:
    machine.issue(NAME, options=likely(server, tmp_path))
    server.slow = 3

    report = machine.renew(force=True)

    assert report.exit_status == 0
    assert machine.status(NAME).deployment.verified_at is not None
    assert [each.service for each in machine.happened("verify.done")][-1] == (
        f"localhost:{server.tls.port}"
    )
    assert machine.happened("verify.failed") == []


def test_a_target_that_still_shows_the_version_before_has_not_been_reloaded(
    machine: Machine, server: Server, tmp_path: Path
) -> None:
    machine.issue(NAME, options=likely(server, tmp_path))
    server.heeds = False

    report = machine.renew(force=True)

    (error,) = report.all_errors
    assert (report.exit_status, error.code) == (4, "verify.failed")


def test_a_target_that_shows_somebody_elses_certificate_is_only_warned_of(
    machine: Machine, server: Server, tmp_path: Path
) -> None:
    other = make_server_certificate(tmp_path)
    server.tls.serve({"": [(other.certificate, other.private_key)]})
    server.heeds = False

    report = machine.issue(NAME, options=likely(server, tmp_path))

    (warning,) = machine.happened("run.warning")
    assert report.exit_status == 0
    assert "--verify HOST:PORT" in warning.message


# -- the way back


def rolling_back(server: Server, **more: Value) -> dict[str, Value]:
    return verified(server, on_failure="rollback", **more)


def test_the_version_before_is_put_back_where_the_new_one_is_not_served(
    machine: Machine, server: Server, tmp_path: Path
) -> None:
    hooks, there = tmp_path / "hooks", tmp_path / "there"
    there.mkdir()
    machine.issue(
        NAME,
        options=rolling_back(
            server,
            copy=(f"cert:{there}/cert.pem",),
            deploy_hook=noting(hooks, "$CERTCTL_CERT_VERSION"),
        ),
    )
    server.heeds = False
    hooks.unlink()

    report = machine.renew(force=True)

    (outcome,), (error,) = report.outcomes, report.all_errors
    assert outcome.deploy is not None
    assert (report.exit_status, outcome.deploy.rolled_back_to) == (4, 1)
    assert error.message.startswith("ROLLED BACK: version 1 is live and deployed again")
    assert state(machine) == (1, 2, 1)
    assert machine.status(NAME).undeployed
    assert lines(hooks) == ["2", "1"]
    archive = machine.home / "archive" / NAME
    assert (there / "cert.pem").read_bytes() == (archive / "1" / "cert.pem").read_bytes()


def test_what_was_put_back_stays_until_the_new_one_is_tried_again_and_nothing_is_ordered(
    machine: Machine, server: Server
) -> None:
    machine.issue(NAME, options=rolling_back(server))
    machine.pass_time(61 * DAY)
    server.heeds = False
    renewed = machine.renew()
    orders = machine.ca.count("new-order")

    waiting = machine.renew()
    between = state(machine)
    server.heeds = True
    machine.pass_time(timedelta(minutes=2))
    paid = machine.renew()

    assert [each.exit_status for each in (renewed, waiting, paid)] == [4, 4, 0]
    assert between == (1, 2, 1)
    assert state(machine) == (2, 2, 2)
    assert machine.ca.count("new-order") == orders == 2


def test_it_is_put_back_where_a_reload_refuses_the_new_one(
    machine: Machine, server: Server
) -> None:
    link = machine.home / "live" / NAME
    only_the_first = f"test $(basename $(readlink {link})) = 1"
    machine.issue(NAME, options=rolling_back(server, reload=only_the_first))

    report = machine.renew(force=True)

    assert report.exit_status == 4
    assert state(machine) == (1, 2, 1)


def test_it_is_not_put_back_where_it_fares_no_better(machine: Machine, server: Server) -> None:
    machine.issue(NAME, options=rolling_back(server, reload="true"))
    machine.spec_file(NAME).write_text(
        machine.spec_file(NAME).read_text().replace('"true"', '"echo broken; false"')
    )

    report = machine.renew(force=True)

    (error,) = report.all_errors
    assert report.exit_status == 4
    assert "It was not rolled back: version 1 fails as well" in error.message
    assert state(machine) == (2, 2, 1)


def test_it_is_not_put_back_where_it_has_expired_or_is_not_wanted_back(
    machine: Machine, server: Server
) -> None:
    machine.issue(NAME, options=rolling_back(server))
    server.heeds = False
    machine.pass_time(91 * DAY)

    report = machine.renew()

    (error,) = report.all_errors
    assert "no earlier version can be served" in error.message
    assert state(machine) == (2, 2, 1)


def test_without_being_asked_for_nothing_is_put_back(machine: Machine, server: Server) -> None:
    machine.issue(NAME, options=verified(server))
    server.heeds = False

    machine.renew(force=True)

    assert state(machine) == (2, 2, 1)


def test_a_deploy_by_hand_tries_the_new_one_at_once(machine: Machine, server: Server) -> None:
    machine.issue(NAME, options=rolling_back(server))
    server.heeds = False
    machine.renew(force=True)
    server.heeds = True

    with machine.run() as run:
        report = deploy(run, (NAME,), pending=False)

    assert report.exit_status == 0
    assert state(machine) == (2, 2, 2)
