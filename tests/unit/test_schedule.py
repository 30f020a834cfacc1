"""What is written for cron and for systemd: names, quoting, and times."""

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.model.errors import UsageError
from certctl.schedule.cron import cron_command, cron_file, next_run
from certctl.schedule.job import Job, job_for
from certctl.schedule.systemd import quoted, service_unit, timer_unit

PROGRAM = ("/usr/local/bin/certctl",)
USUAL = Path("/etc/certctl")


def job(home: str = "/etc/certctl", program: tuple[str, ...] = PROGRAM, node: str = "a") -> Job:
    return job_for(program, Path(home), default_home=USUAL, node=node)


def lines(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_the_usual_home_has_the_plain_name_and_others_have_their_own() -> None:
    assert job().name == "certctl"
    other = job("/srv/shop.example/tls").name
    assert other.startswith("certctl-srv-shop-example-tls-")
    # cron reads no file with a dot in its name.
    assert set(other) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
    assert job("/srv/a-b").name != job("/srv/a/b").name


def test_the_minute_is_always_the_same_on_a_machine_and_another_on_others() -> None:
    assert job().minute == job().minute
    minutes = {job(node=f"host{each}").minute for each in range(200)}
    assert minutes <= set(range(60))
    assert len(minutes) > 30


def test_the_command_has_whole_paths_and_the_home() -> None:
    assert job("/srv/tls").command == (*PROGRAM, "--home", "/srv/tls", "renew")


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(UsageError):
        job("/srv/a\n* * * * * root reboot")


def test_the_line_for_cron_is_read_by_a_shell_as_it_was_meant() -> None:
    written = job("/srv/100% $HOME/it's", ("/opt/my certctl/bin/certctl",))

    command = cron_command(written)

    assert command.count("%") == command.count("\\%") == 1
    assert shlex.split(command.replace("\\%", "%")) == [
        *("/opt/my certctl/bin/certctl", "--home", "/srv/100% $HOME/it's", "renew"),
        *("--random-delay", "50s"),
    ]


def test_the_file_for_cron_has_one_line_that_runs_something() -> None:
    text = cron_file(job())

    (line,) = [each for each in text.splitlines() if " root " in each]
    assert line.startswith(f"{job().minute} * * * * root /usr/local/bin/certctl ")
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/etc/certctl", "/etc/certctl"),
        ("/srv/100%", '"/srv/100%%"'),
        ("/srv/my home", '"/srv/my home"'),
        ('/srv/"a"\\b', '"/srv/\\"a\\"\\\\b"'),
        ("/srv/$HOME", '"/srv/$$HOME"'),
    ],
)
def test_words_of_a_command_are_quoted_for_systemd(word: str, written: str) -> None:
    assert quoted(word, command=True) == written


def test_a_service_may_write_its_home_wherever_that_is() -> None:
    unit = service_unit(job("/usr/share/my tls"))

    assert lines(unit, "ReadWritePaths") == ['"-/usr/share/my tls" -/usr/local -/usr/share/nginx']
    assert lines(unit, "ExecStart") == [
        '/usr/local/bin/certctl --home "/usr/share/my tls" renew',
    ]


def test_a_home_below_tmp_is_not_hidden_from_its_service() -> None:
    assert lines(service_unit(job("/var/tmp/tls")), "PrivateTmp") == ["no"]  # noqa: S108
    assert lines(service_unit(job()), "PrivateTmp") == ["yes"]


def test_the_timer_is_hourly_and_makes_good_what_was_missed() -> None:
    unit = timer_unit()

    assert lines(unit, "OnCalendar") == ["hourly"]
    assert lines(unit, "Persistent") == ["true"]
    assert lines(unit, "RandomizedDelaySec") == ["30min"]


@pytest.mark.parametrize(
    ("now", "then"), [((10, 0), (10, 19)), ((10, 19), (11, 19)), ((10, 59), (11, 19))]
)
def test_the_next_run_of_cron_is_at_the_jobs_minute(
    now: tuple[int, int], then: tuple[int, int]
) -> None:
    hourly = Job(PROGRAM, USUAL, "certctl", 19)

    found = next_run(hourly, datetime(2026, 5, 1, *now, tzinfo=UTC))

    assert found == datetime(2026, 5, 1, *then, tzinfo=UTC)
