"""OpenLDAP's slapd with an empty directory, which offers StartTLS with one certificate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens


@contextmanager
def slapd(directory: Path, site: Site) -> Iterator[Front]:
    """Run it with a configuration in `directory`, which is made; `Front.served` does not fit, as
    TLS begins after plain words only.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), directory / "slapd.conf"
    # Debian's is built with GnuTLS, which takes the chain from the certificate's file.
    config.write_text(
        f"pidfile {directory}/slapd.pid\nTLSCertificateFile {site.fullchain}\n"
        f"TLSCertificateKeyFile {site.privkey}\nTLSVerifyClient never\n"
    )
    # -d: in the foreground
    command = [program("slapd"), "-d", "0", "-h", f"ldap://{HOST}:{port}", "-f", str(config)]
    with ServerProcess(command, directory=directory, ready=lambda: listens(port)) as process:
        yield Front(config, port, process)
