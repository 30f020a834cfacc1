"""stunnel in front of anything that speaks TCP: one address and port, sites by SNI."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens


@contextmanager
def stunnel(directory: Path, sites: Sequence[Site], backend_port: int) -> Iterator[Front]:
    """Run it with a configuration in `directory`, which is made; HUP makes it reload its files."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "stunnel.conf"
    config.write_text(configuration(directory, sites, port, backend_port))
    command = [program("stunnel4"), str(config)]
    with ServerProcess(command, directory=directory, ready=lambda: listens(port)) as process:
        yield Front(config, port, process, mistake="mistake = yes")


def configuration(directory: Path, sites: Sequence[Site], port: int, backend_port: int) -> str:
    """Return a whole configuration: the first site is for all who ask for no other one."""
    sections = "".join(
        f"""
[site{number}]
{f"accept = {HOST}:{port}" if number == 0 else f"sni = site0:{site.name}"}
connect = {HOST}:{backend_port}
cert = {site.fullchain}
key = {site.privkey}
"""
        for number, site in enumerate(sites)
    )
    return f"foreground = yes\npid = {directory}/stunnel.pid\n{sections}"
