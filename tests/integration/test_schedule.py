"""`schedule`: one scheduler for a home directory, nothing twice, nothing of others touched.

The machine is a directory, in which cron and systemd would find their files. systemctl is a small
program that does what it is asked to do with links; crontab is one that keeps one file.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from certctl import config
from certctl.engine.run import Run
from certctl.engine.services import Services
from certctl.model.errors import CertctlError, ConfigurationError, StoreError, UsageError
from certctl.model.events import Event, Warned
from certctl.operations import schedule
from certctl.operations.schedule import Schedule
from certctl.schedule.job import Job
from certctl.schedule.scheduler import Machine
from certctl.store.home.tree import LocalTree
from tests.lab.clock import START, SteerableClock
from tests.support.local_store import LocalStore
from tests.support.operations import executable, lines

SYSTEMCTL = """
echo "$@" >>{log}
case $1 in
enable) mkdir -p {units}/timers.target.wants
        ln -sf ../$3 {units}/timers.target.wants/$3 ;;
disable) rm -f {units}/timers.target.wants/$3 ;;
show) echo Thu 2026-01-01 12:00:00 UTC ;;
esac
"""

CRONTAB = """
case $1 in
-l) cat {table} 2>/dev/null || {{ echo "no crontab for you" >&2; exit 1; }} ;;
*) cp "$1" {table} ;;
esac
"""


class Place:
    """A machine below a directory, with neither systemd nor cron until it is told."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.units = self.root / "etc" / "systemd" / "system"
        self.cron_d = self.root / "etc" / "cron.d"
        self.table = directory / "crontab"
        self.calls = directory / "calls"
        self.home = directory / "home"
        self.program = directory / "certctl"
        executable(self.program, "exit 0")
        self.machine = Machine(
            self.root, 0, (str(directory / "absent"),), (str(directory / "absent"),)
        )
        self.directory = directory
        self.events: list[Event] = []

    @property
    def job(self) -> Job:
        return Job((str(self.program),), self.home, "certctl", 19)

    def with_systemd(self) -> None:
        (self.root / "run" / "systemd" / "system").mkdir(parents=True)
        self.units.mkdir(parents=True)
        path = self.directory / "systemctl"
        executable(path, SYSTEMCTL.format(log=self.calls, units=self.units))
        self.machine = replace(self.machine, systemctl=(str(path),))

    def with_cron(self) -> None:
        self.cron_d.mkdir(parents=True)
        executable(self.root / "usr" / "sbin" / "cron", "exit 0")

    def with_crontab(self, user_id: int = 1000) -> None:
        path = self.directory / "crontab-command"
        executable(path, CRONTAB.format(table=self.table))
        self.machine = replace(self.machine, crontab=(str(path),), user_id=user_id)

    @contextmanager
    def run(self, variables: Mapping[str, str] | None = None) -> Iterator[Run]:
        clock = SteerableClock()
        settings = config.load(self.home, variables or {}, {}, directory=self.directory)
        store = LocalStore(self.home, settings, clock)
        services = Services(
            records=store.records,
            machine=store.machine,
            tree=LocalTree(self.home),
            clock=clock,
            settings=settings,
            emit=self.events.append,
            ask=lambda _question: None,
        )
        with Run(services) as run:
            yield run

    def install(
        self,
        wanted: str | None = None,
        *,
        force: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Schedule:
        with self.run() as run:
            return schedule.install(
                run, self.job, self.machine, wanted, force=force, variables=variables or {}
            )

    def show(self) -> Schedule:
        with self.run() as run:
            return schedule.show(run, self.job, self.machine)

    def remove(self) -> Schedule:
        with self.run() as run:
            return schedule.remove(run, self.job, self.machine)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# systemd.


def test_where_systemd_runs_a_timer_is_installed_and_started(place: Place) -> None:
    place.with_systemd()
    place.with_cron()

    found = place.install()

    assert found.scheduler == "systemd"
    assert lines(place.calls)[:2] == ["daemon-reload", "enable --now certctl.timer"]
    assert [each.partition(" ")[0] for each in found.done] == ["wrote", "wrote", "enabled"]
    assert found.installed is not None
    assert (found.installed.enabled, found.installed.current) == (True, True)
    assert found.installed.next == START.replace(hour=12)
    assert (place.units / "certctl.service").stat().st_mode & 0o777 == 0o644
    assert list(place.cron_d.iterdir()) == []


def test_installed_again_nothing_is_done(place: Place) -> None:
    place.with_systemd()
    place.install()
    place.calls.unlink()

    assert place.install().done == ()
    assert [each for each in lines(place.calls) if not each.startswith("show ")] == []


def test_a_timer_that_somebody_disabled_is_enabled_again(place: Place) -> None:
    place.with_systemd()
    place.install()
    (place.units / "timers.target.wants" / "certctl.timer").unlink()

    shown, again = place.show(), place.install()

    assert shown.installed is not None
    assert not shown.installed.enabled
    assert again.done == ("enabled and started certctl.timer",)


def test_units_edited_by_hand_are_told_of_and_written_anew(place: Place) -> None:
    place.with_systemd()
    place.install()
    unit = place.units / "certctl.service"
    written = unit.read_text()
    unit.write_text(written.replace("ProtectClock=yes", "ProtectClock=no"))

    shown = place.show()
    place.install()

    assert shown.installed is not None
    assert not shown.installed.current
    assert unit.read_text() == written


def test_removed_the_timer_is_stopped_and_its_files_are_gone(place: Place) -> None:
    place.with_systemd()
    place.install()

    found = place.remove()

    assert lines(place.calls)[-2:] == ["disable --now certctl.timer", "daemon-reload"]
    assert [each for each in place.units.rglob("*") if not each.is_dir()] == []
    assert found.done[0] == "stopped and disabled certctl.timer"
    assert place.remove().done == ()


def test_what_systemctl_says_when_it_fails_is_told(place: Place) -> None:
    place.with_systemd()
    executable(place.directory / "systemctl", "echo no bus here; exit 1")

    with pytest.raises(StoreError) as caught:
        place.install()

    assert "no bus here" in caught.value.message


# cron.


def test_without_systemd_cron_has_a_file(place: Place) -> None:
    place.with_cron()

    found = place.install()

    text = (place.cron_d / "certctl").read_text()
    assert found.done == (f"wrote {place.cron_d}/certctl",)
    assert f"19 * * * * root {place.program} --home {place.home} renew" in text
    assert (place.cron_d / "certctl").stat().st_mode & 0o777 == 0o644
    assert found.installed is not None
    assert found.installed.next == START.replace(minute=19)
    assert place.install().done == ()


def test_once_systemd_runs_the_file_of_cron_makes_way(place: Place) -> None:
    place.with_cron()
    place.install()
    place.with_systemd()

    found = place.install()

    assert found.scheduler == "systemd"
    assert f"removed {place.cron_d}/certctl" in found.done
    assert list(place.cron_d.iterdir()) == []


def test_cron_can_be_asked_for_though_systemd_runs(place: Place) -> None:
    place.with_systemd()
    place.with_cron()
    place.install()

    found = place.install("cron")

    assert found.scheduler == "cron"
    assert not (place.units / "certctl.timer").exists()
    assert (place.cron_d / "certctl").exists()


@pytest.mark.parametrize(
    ("variables", "text", "expected"),
    [
        ({"https_proxy": "http://proxy.example:3128"}, "", "https_proxy"),
        ({"ALL_PROXY": "http://user:secret@proxy.example"}, "", "ALL_PROXY"),
        ({"CERTCTL_PROXY": "proxy.example"}, "", "CERTCTL_PROXY"),
        ({"https_proxy": "http://proxy.example"}, 'proxy = "proxy.example"', None),
        ({"no_proxy": "example.com"}, "", None),
    ],
)
def test_a_proxy_that_only_the_shell_knows_is_warned_about(
    place: Place, variables: dict[str, str], text: str, expected: str | None
) -> None:
    place.with_cron()
    place.home.mkdir()
    (place.home / "certctl.toml").write_text(text)

    with place.run(variables) as run:
        schedule.install(run, place.job, place.machine, None, force=False, variables=variables)

    found = [each.message for each in place.events if isinstance(each, Warned)]
    warning = (
        f"the proxy in the environment variable {expected} is not used by scheduled renewals: "
        'add it to certctl.toml as proxy = "URL"'
    )
    assert found == ([warning] if expected else [])


def test_two_homes_are_scheduled_beside_each_other(place: Place) -> None:
    place.with_cron()
    place.install()
    other = Job((str(place.program),), place.directory / "other", "certctl-other", 20)

    with place.run() as run:
        schedule.install(run, other, place.machine, None, force=False, variables={})

    assert sorted(each.name for each in place.cron_d.iterdir()) == ["certctl", "certctl-other"]
    assert place.install().others == ()


@pytest.mark.parametrize("name", ["certctl", "renewals"])
def test_a_line_of_somebody_else_is_left_alone_and_told_of(place: Place, name: str) -> None:
    place.with_cron()
    theirs = "7 3 * * * root certctl renew\n"
    (place.cron_d / name).write_text(theirs)

    with pytest.raises(UsageError) as caught:
        place.install()

    assert (caught.value.code, (place.cron_d / name).read_text()) == ("schedule.exists", theirs)
    assert str(place.cron_d / name) in caught.value.message
    assert place.remove().done == ()
    assert (place.cron_d / name).read_text() == theirs


def test_with_force_it_is_installed_all_the_same(place: Place) -> None:
    place.with_cron()
    (place.cron_d / "renewals").write_text("7 3 * * * root certctl renew\n")

    found = place.install(force=True)

    assert found.others == (str(place.cron_d / "renewals"),)
    assert (place.cron_d / "certctl").exists()


def test_a_line_that_only_checks_is_no_renewal(place: Place) -> None:
    place.with_cron()
    (place.cron_d / "checks").write_text("7 * * * * root certctl metrics --out /tmp/certctl.prom\n")

    assert place.install().others == ()


def test_a_program_that_others_could_change_is_not_run_by_root(place: Place) -> None:
    place.with_cron()
    place.program.chmod(0o777)

    if os.geteuid() == 0:
        with pytest.raises(ConfigurationError) as caught:
            place.install()
        assert caught.value.code == "configuration.permissions"
        assert list(place.cron_d.iterdir()) == []


# A user's crontab.


def test_who_is_not_root_gets_a_line_in_their_crontab_and_keeps_the_others(place: Place) -> None:
    place.with_systemd()
    place.with_crontab()
    place.table.write_text("MAILTO=me\n0 4 * * * backup\n")

    found = place.install()

    assert found.scheduler == "crontab"
    mail, backup, mark, line = lines(place.table)
    assert (mail, backup) == ("MAILTO=me", "0 4 * * * backup")
    assert str(place.home) in mark
    assert line.startswith(f"19 * * * * {place.program} --home {place.home} renew")
    assert place.install().done == ()
    assert len(lines(place.table)) == 4


def test_removed_only_our_line_is_gone_from_a_crontab(place: Place) -> None:
    place.with_crontab()
    place.table.write_text("0 4 * * * backup\n")
    place.install()

    assert place.remove().done == ("removed certctl's line from your crontab",)
    assert lines(place.table) == ["0 4 * * * backup"]


def test_a_renewal_in_a_crontab_that_is_not_ours_is_told_of(place: Place) -> None:
    place.with_crontab()
    place.table.write_text("0 4 * * * /usr/bin/certctl renew\n")

    with pytest.raises(UsageError) as caught:
        place.install()

    assert "your crontab" in caught.value.message
    assert lines(place.table) == ["0 4 * * * /usr/bin/certctl renew"]


def test_a_crontab_that_is_no_text_is_not_touched(place: Place) -> None:
    place.with_crontab()
    place.table.write_bytes(b"# caf\xe9\n")

    with pytest.raises(StoreError):
        place.install()

    assert place.table.read_bytes() == b"# caf\xe9\n"


# Nothing.


def test_where_there_is_no_scheduler_the_error_has_the_command_to_run(place: Place) -> None:
    with pytest.raises(CertctlError) as caught:
        place.install()

    assert caught.value.code == "schedule.unavailable"
    assert f"{place.program} --home {place.home} renew" in (caught.value.hint or "")


def test_a_scheduler_that_is_not_here_cannot_be_asked_for(place: Place) -> None:
    place.with_cron()

    with pytest.raises(ConfigurationError) as caught:
        place.install("systemd")

    assert "systemd is not available" in caught.value.message


def test_before_anything_is_installed_show_says_what_would_be(place: Place) -> None:
    place.with_cron()

    found = place.show()

    assert (found.installed, found.scheduler) == (None, "cron")
    assert list(found.content) == [f"{place.cron_d}/certctl"]
    assert list(place.cron_d.iterdir()) == []
