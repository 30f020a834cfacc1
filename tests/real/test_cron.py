"""cron really runs it: the file that `schedule install` writes, read by Debian's cron, whose one
tick renews what is due, reloads nginx, and visitors see the new certificate.

cron reads directories of the machine, so it runs in a mount namespace in which those are the
test's. It can be told neither a file nor a time: the machine's name, which decides about the
minute, is one by which that minute is the next one.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.schedule.job import job_for
from tests.lab.pebble import PebbleServer
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess, wait_until
from tests.lab.programs import program, require
from tests.real.driver import Host, host
from tests.real.test_proxies_files import nginx, nginx_command, nginx_configuration, served

TICK_SECONDS = 200.0
"""At most two minutes to the tick, and up to 50 seconds that a run with something due waits."""

_NAMESPACE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount --bind {directory}/cron.d /etc/cron.d
mount --bind {directory}/crontabs /var/spool/cron/crontabs
mount --bind /dev/null /etc/crontab
hostname {node}
{certctl} --home {home} schedule install --with cron
exec {cron} -f -L 15
"""


def node_for(home: Path, minute: int) -> str:
    """A name of a machine on which a home's minute is this one."""
    return next(
        node
        for node in (f"cron-{number}" for number in range(10_000))
        if job_for(("certctl",), home, default_home=home, node=node).minute == minute
    )


@contextmanager
def cron(directory: Path, here: Host) -> Iterator[ServerProcess]:
    """cron with the schedule of a home installed, which it will run within two minutes."""
    for name in ("cron.d", "crontabs"):
        (directory / name).mkdir()
    # far enough off that cron has read its files by then
    at = datetime.now(UTC).astimezone() + timedelta(seconds=70)
    script = _NAMESPACE.format(
        directory=directory,
        home=here.home,
        node=node_for(here.home, at.minute),
        certctl=f"{sys.executable} -m certctl",
        cron=program("cron"),
    )
    table = directory / "cron.d"
    with ServerProcess(
        ["unshare", "--mount", "--uts", "sh", "-c", script],
        directory=directory,
        ready=lambda: any(table.iterdir()),
    ) as server:
        yield server


@pytest.mark.timeout(300)
def test_cron_renews_what_is_due_and_visitors_see_it(pebble: PebbleServer, tmp_path: Path) -> None:
    require("cron", "nginx", "unshare")
    allowed = subprocess.run(["unshare", "--mount", "--uts", "true"], check=False)
    if os.geteuid() != 0 or allowed.returncode != 0:
        pytest.skip("cron reads /etc/cron.d: only root can give it another one, by a namespace")
    here, port = host(tmp_path, pebble), free_port()
    here.given("cron.example")
    site = tmp_path / "nginx"
    site.mkdir()
    config = nginx_configuration(site, here, port, "cron.example")
    reload = shlex.join([*nginx_command(config), "-s", "reload"])
    root = tmp_path / "root.pem"
    root.write_bytes(pebble.root())
    spec = here.home / "certificates" / "cron.example.toml"
    # Another key is wanted from now on: the certificate is due, and nothing else is.
    spec.write_text(f'{spec.read_text()}\nkey_type = "ecdsa-p384"\n'.replace("\n\n", "\n"))
    spec.write_text(f"{spec.read_text()}[deploy]\nreload = {reload!r}\n")

    with nginx(config, port):
        assert served(port, "cron.example", root) == here.leaf("cron.example")
        with cron(tmp_path, here) as daemon:
            wait_until(
                lambda: here.version("cron.example") == 2,
                f"cron to renew; it says:\n{daemon.output()}",
                seconds=TICK_SECONDS,
            )
            # For a moment after a reload the workers of before still take connections.
            wait_until(
                lambda: served(port, "cron.example", root) == here.leaf("cron.example"),
                "nginx to serve what is live",
            )
            wait_until(lambda: here.show("cron.example")["deployed"], "the deploy to hold")

    assert here.version("cron.example") == 2
    shown = here.show("cron.example")
    assert (shown["deployed"], shown["deployed_version"]) == (True, 2)
    assert here.certctl("check", "--run-age", "1h").exit_status == 0
