"""nginx in front of a plain HTTP backend: one address and port, sites by SNI."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(directory: Path, sites: Sequence[Site], backend_port: int) -> Iterator[Front]:
    """Run it with a configuration in `directory`, which is made; `nginx -c CONFIG -s reload` and
    HUP make it read its files again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(configuration(directory, sites, port, backend_port))
    command = [program("nginx"), "-c", str(config), "-g", "daemon off;"]
    with ServerProcess(command, directory=directory, ready=lambda: listens(port)) as process:
        yield Front(config, port, process)


def pairs(site: Site) -> str:
    """Return the lines with the files of a site; with two, it speaks TLS 1.3 as well, which not
    every nginx does by itself.
    """
    lines = [
        f"    ssl_certificate {each.fullchain};\n    ssl_certificate_key {each.privkey};"
        for each in site.halves
    ]
    return "\n".join(lines if len(lines) == 1 else [*lines, "    ssl_protocols TLSv1.2 TLSv1.3;"])


def configuration(directory: Path, sites: Sequence[Site], port: int, backend_port: int) -> str:
    """Return a whole configuration, every file that it writes in `directory`."""
    servers = "".join(
        f"""
  server {{
    listen {HOST}:{port} ssl;
    server_name {site.name};
{pairs(site)}
    location / {{
      proxy_pass http://{HOST}:{backend_port};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Connection "";
    }}
  }}"""
        for site in sites
    )
    paths = "".join(f"\n  {kind}_temp_path {directory}/{kind};" for kind in _TEMPORARY)
    return f"""pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
  access_log off;{paths}{servers}
}}
"""
