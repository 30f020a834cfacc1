"""HAProxy in front of a plain HTTP backend: one address and port, sites by SNI."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens


@dataclass(frozen=True)
class HaproxyFront(Front):
    """HAProxy with a master process: `socket` is its runtime socket, `pid_file` the master's, and
    `certificates` the directory that it loads whole, where there is one.
    """

    socket: Path = Path()
    pid_file: Path = Path()
    certificates: Path | None = None


@contextmanager
def haproxy(
    directory: Path,
    sites: Sequence[Site],
    backend_port: int,
    *,
    certificates: Path | None = None,
) -> Iterator[HaproxyFront]:
    """Run it with a configuration in `directory`, which is made. It loads the combined file of each
    site, or all files of the directory `certificates`; USR2 to its master makes it read them again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config, pid_file, socket = (directory / each for each in ("haproxy.cfg", "pid", "socket"))
    loaded = (
        [certificates]
        if certificates
        else [each.combined for site in sites for each in site.halves]
    )
    files = " ".join(f"crt {each}" for each in loaded)
    config.write_text(configuration(socket, files, port, backend_port))
    command = [program("haproxy"), "-W", "-db", "-f", str(config), "-p", str(pid_file)]
    with ServerProcess(command, directory=directory, ready=lambda: listens(port)) as process:
        pid_file.write_text(f"{process.pid}\n")  # in the foreground it writes none
        yield HaproxyFront(
            config,
            port,
            process,
            socket=socket,
            pid_file=pid_file,
            certificates=certificates,
        )


def configuration(socket: Path, files: str, port: int, backend_port: int) -> str:
    """Return a whole configuration."""
    return f"""global
  stats socket {socket} mode 600 level admin expose-fd listeners

defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s

frontend tls
  bind {HOST}:{port} ssl {files}
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  default_backend application

backend application
  server one {HOST}:{backend_port}
"""
