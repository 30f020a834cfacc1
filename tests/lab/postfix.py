"""Postfix that offers STARTTLS at one address and port, sites by SNI. It runs for root only."""

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens

_SERVICES = """
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class PostfixFront(Front):
    """Postfix, with the directory of its configuration, which `postfix -c` takes."""

    config_directory: Path = Path()


@contextmanager
def postfix(directory: Path, sites: Sequence[Site]) -> Iterator[PostfixFront]:
    """Run it with a configuration in `directory`, which is made. The first site is for all who ask
    for no other one; the map of the others is compiled with `postmap -F`, which copies their files.
    """
    config_directory = directory / "postfix"
    config_directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # its own user must get there, which a test's directory does not allow
        spool = Path(stack.enter_context(TemporaryDirectory(prefix="certctl-test-postfix-")))
        spool.chmod(0o755)
        owner = pwd.getpwnam("postfix")
        for each in ("queue", "data"):
            (spool / each).mkdir()
        os.chown(spool / "data", owner.pw_uid, owner.pw_gid)
        yield stack.enter_context(_running(directory, config_directory, spool, sites))


@contextmanager
def _running(
    directory: Path, config_directory: Path, spool: Path, sites: Sequence[Site]
) -> Iterator[PostfixFront]:
    port = free_port()
    config = config_directory / "main.cf"
    names = config_directory / "sni"
    names.write_text("".join(f"{site.name} {chain(site, ' ')}\n" for site in sites))
    config.write_text(configuration(spool, sites[0], names))
    (config_directory / "master.cf").write_text(_SERVICES.format(port=f"{HOST}:{port}"))
    subprocess.run(
        [program("postmap"), "-c", str(config_directory), "-F", f"hash:{names}"], check=True
    )
    command = [program("postfix"), "-c", str(config_directory), "start-fg"]
    with ServerProcess(command, directory=directory, ready=lambda: listens(port)) as process:
        try:
            yield PostfixFront(
                config, port, process, mistake="a mistake", config_directory=config_directory
            )
        finally:
            subprocess.run(
                [program("postfix"), "-c", str(config_directory), "stop"],
                check=False,
                capture_output=True,
            )


def chain(site: Site, separator: str) -> str:
    """Return the files of a site, each key before its chain."""
    files = (path for each in site.halves for path in (each.privkey, each.fullchain))
    return separator.join(map(str, files))


def configuration(spool: Path, first: Site, names: Path) -> str:
    """Return main.cf."""
    return f"""compatibility_level = 3.6
queue_directory = {spool}/queue
data_directory = {spool}/data
maillog_file = {spool}/mail.log
maillog_file_prefixes = {spool}
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks_style = host
smtpd_tls_security_level = may
smtpd_tls_chain_files = {chain(first, ", ")}
tls_server_sni_maps = hash:{names}
smtpd_peername_lookup = no
"""
