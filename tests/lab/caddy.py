"""Caddy in front of a plain HTTP backend: one address and port, sites by SNI."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens


@contextmanager
def caddy(directory: Path, sites: Sequence[Site], backend_port: int) -> Iterator[Front]:
    """Run it with a Caddyfile in `directory`, which is made; `caddy reload --force --config CONFIG`
    makes it read its files again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "Caddyfile"
    config.write_text(configuration(sites, port, free_port(), backend_port))
    command = [program("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    with ServerProcess(
        command,
        directory=directory,
        ready=lambda: listens(port),
        environment={"HOME": str(directory), "XDG_DATA_HOME": str(directory)},
    ) as process:
        yield Front(config, port, process, mistake="mistake {")


def configuration(sites: Sequence[Site], port: int, admin_port: int, backend_port: int) -> str:
    """Return a whole Caddyfile; certificates of its own are none of its affairs."""
    servers = "".join(
        f"""
https://{site.name}:{port} {{
	bind {HOST}
	tls {site.fullchain} {site.privkey}
	reverse_proxy {HOST}:{backend_port}
}}
"""
        for site in sites
    )
    return f"""{{
	admin {HOST}:{admin_port}
	auto_https disable_redirects
	http_port {free_port()}
}}
{servers}"""
