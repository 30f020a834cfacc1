"""The units of `schedule`, as systemd's own tools see them, and a crontab, as crontab keeps it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.schedule.job import Job
from certctl.schedule.systemd import service_unit, timer_unit
from tests.lab.programs import program, require

PACKAGING = Path(__file__).parents[2] / "packaging"

MOST_EXPOSED = 40
"""In tenths, what `systemd-analyze security` may say at most; 10 is the worst, below 5 is "OK"."""


def units(directory: Path, service: str, timer: str) -> tuple[Path, Path]:
    """Units in files; the program that they start must exist, so it is one that does."""
    files = directory / "certctl.service", directory / "certctl.timer"
    files[0].write_text(service.replace("/usr/bin/certctl", sys.executable))
    files[1].write_text(timer)
    return files


def analysed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("systemd-analyze"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_COLORS": "0"},
    )


@pytest.mark.parametrize("home", ["/etc/certctl", "/srv/my 100% certificates"])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, home: str) -> None:
    require("systemd-analyze")
    job = Job((sys.executable, "-m", "certctl"), Path(home), "certctl", 19)
    service, timer = units(tmp_path, service_unit(job), timer_unit())

    said = analysed("verify", "--man=no", service, timer)

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_systemd_finds_nothing_wrong_with_the_units_for_packages(tmp_path: Path) -> None:
    require("systemd-analyze")
    directory = PACKAGING / "systemd"
    service, timer = units(
        tmp_path,
        (directory / "certctl.service").read_text(),
        (directory / "certctl.timer").read_text(),
    )

    said = analysed("verify", "--man=no", service, timer)

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_service_is_confined_as_far_as_hooks_bear_it(tmp_path: Path) -> None:
    require("systemd-analyze")
    job = Job((sys.executable, "-m", "certctl"), Path("/etc/certctl"), "certctl", 19)
    service, _ = units(tmp_path, service_unit(job), timer_unit())

    said = analysed(
        "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", service
    )

    assert said.returncode == 0, said.stdout
    exposed = re.search(r"Overall exposure level for certctl.service: (\d+\.\d)", said.stdout)
    assert exposed is not None
    assert float(exposed[1]) < MOST_EXPOSED / 10


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory that other users can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="certctl-test-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_a_users_own_crontab_gets_a_line_and_loses_it_again(shared_directory: Path) -> None:
    require("crontab", "unshare", "setpriv")
    if os.geteuid() != 0 or not _namespaces():
        pytest.skip("only root can give a process a directory of crontabs of its own")
    home, spool, python = (shared_directory / each for each in ("home", "spool", "python"))
    certctl = f"{sys.executable} -m certctl"
    python.mkdir()
    spool.mkdir()
    shutil.chown(spool, group="crontab")
    spool.chmod(0o1730)
    home.mkdir()
    shutil.chown(home, "nobody")
    script = f"""
        set -e
        cd /
        mount --make-rprivate /
        mount --bind {spool} /var/spool/cron/crontabs
        # An interpreter in root's own directory is one that another user cannot run.
        case {sys.base_prefix} in /root/*)
            mount --bind {sys.base_prefix} {python}
            mount -t tmpfs -o mode=755 tmpfs /root
            mkdir -p {sys.base_prefix}
            mount --bind {python} {sys.base_prefix} ;;
        esac
        as_nobody() {{
            setpriv --reuid nobody --regid nogroup --clear-groups env HOME={home} "$@"
        }}
        schedule() {{ as_nobody {certctl} --home {home} schedule "$@"; }}
        echo '5 5 * * * true' | as_nobody crontab -
        schedule install --with crontab
        schedule install
        echo ---
        as_nobody crontab -l
        echo ---
        schedule remove
        as_nobody crontab -l
    """

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    installed, table, removed = done.stdout.split("---\n")
    assert "Added a line to your crontab." in installed
    assert "Already installed." in installed
    kept, mark, line = table.splitlines()
    assert (kept, mark[0]) == ("5 5 * * * true", "#")
    assert f"--home {home} renew --random-delay 50s" in line
    assert removed.splitlines() == ["Removed certctl's line from your crontab.", "5 5 * * * true"]


def _namespaces() -> bool:
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return tried.returncode == 0
