"""Dovecot that offers IMAP with STARTTLS and IMAPS, POP3 with STLS too where it is wanted, sites by
SNI. It runs for root only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Front, Site, listens


@dataclass(frozen=True)
class DovecotFront(Front):
    """Dovecot; `port` is that of IMAPS, `imap_port` that of IMAP with STARTTLS, `pop3_port` that of
    POP3 with STLS, if there is one.
    """

    imap_port: int = 0
    pop3_port: int | None = None


@contextmanager
def dovecot(
    directory: Path, sites: Sequence[Site], *, pop3: bool = False
) -> Iterator[DovecotFront]:
    """Run it with a configuration in `directory`, which is made; HUP, or `doveadm -c CONFIG
    reload`, makes it read its files again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, imap_port, pop3_port = free_port(), free_port(), free_port() if pop3 else None
    config = directory / "dovecot.conf"
    command = [program("dovecot"), "-F", "-c", str(config)]
    # The names of its sockets are long, and a path of a socket is short: at most 107 bytes.
    with TemporaryDirectory(prefix="dovecot-") as run:
        Path(run).chmod(0o755)
        text = configuration(directory, run, sites, port, imap_port)
        config.write_text(text if pop3_port is None else text + _POP3.format(port=pop3_port))
        with ServerProcess(
            command,
            directory=directory,
            ready=lambda: all(listens(each) for each in (port, imap_port, pop3_port) if each),
        ) as process:
            yield DovecotFront(
                config, port, process, mistake="mistake {", imap_port=imap_port, pop3_port=pop3_port
            )


_POP3 = """
protocols = imap pop3
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


def lines(site: Site) -> str:
    """Return the lines with the files of a site."""
    prefixes = ("ssl", "ssl_alt")
    return "\n".join(
        f"{prefix}_cert = <{each.fullchain}\n{prefix}_key = <{each.privkey}"
        for prefix, each in zip(prefixes, site.halves, strict=False)
    )


def configuration(
    directory: Path, run: str, sites: Sequence[Site], port: int, imap_port: int
) -> str:
    """Return a whole configuration: the first site is for all who ask for no other one."""
    first, *others = sites
    named = "".join(f"local_name {site.name} {{\n{lines(site)}\n}}\n" for site in others)
    return f"""base_dir = {run}
state_dir = {directory}/state
log_path = {directory}/dovecot.log
listen = {HOST}
protocols = imap
ssl = required
{lines(first)}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/home
}}
{named}"""
