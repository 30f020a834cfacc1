"""Apache in front of a plain HTTP backend: one address and port, sites by SNI."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens

MODULES = "/usr/lib/apache2/modules"

_NEEDED = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "headers", "proxy", "proxy_http")


@contextmanager
def apache(directory: Path, sites: Sequence[Site], backend_port: int) -> Iterator[Front]:
    """Run it with a configuration in `directory`, which is made; `apache2 -f CONFIG -k graceful`
    makes it read its files again. A graceful restart with a bad file ends it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "apache2.conf"
    config.write_text(configuration(directory, sites, port, backend_port))
    command = [program("apache2"), "-f", str(config), "-D", "FOREGROUND"]
    with ServerProcess(command, directory=directory, ready=lambda: listens(port)) as process:
        yield Front(config, port, process, mistake="ThisIsAMistake")


def pairs(site: Site) -> str:
    """Return the lines with the files of a site."""
    return "\n".join(
        f"  SSLCertificateFile {each.fullchain}\n  SSLCertificateKeyFile {each.privkey}"
        for each in site.halves
    )


def configuration(directory: Path, sites: Sequence[Site], port: int, backend_port: int) -> str:
    """Return a whole configuration, every file that it writes in `directory`."""
    modules = "".join(f"LoadModule {each}_module {MODULES}/mod_{each}.so\n" for each in _NEEDED)
    hosts = "".join(
        f"""
<VirtualHost {HOST}:{port}>
  ServerName {site.name}
  SSLEngine on
{pairs(site)}
  ProxyPreserveHost on
  RequestHeader set X-Forwarded-Proto https
  ProxyPass / http://{HOST}:{backend_port}/
</VirtualHost>"""
        for site in sites
    )
    return f"""{modules}
ServerRoot {directory}
ServerName {HOST}
PidFile {directory}/apache.pid
Mutex file:{directory} default
DefaultRuntimeDir {directory}
ErrorLog {directory}/error.log
SSLSessionCache none
GracefulShutdownTimeout 10
Listen {HOST}:{port}
{hosts}
"""
