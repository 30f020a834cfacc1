"""`certctl verify` looks at servers that nobody here wrote, in TLS and after plain words."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from certctl.demo.application import application
from tests.lab.authority import AcmeServer
from tests.lab.dovecot import dovecot
from tests.lab.nginx import nginx
from tests.lab.postfix import postfix
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.sites import Front, Site, made_up_site
from tests.lab.slapd import slapd
from tests.real.driver import Host, Running, host

HERE = "127.0.0.1"


def verify(home: Path, *services: str, **variables: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and what was seen."""
    with Running(["verify", *services, "--json"], home, variables=variables) as running:
        done = running.finish()
    return done.exit_status, done.json()["data"]["verified"]


@contextmanager
def nginx_with(directory: Path, site: Site) -> Iterator[Front]:
    with application() as backend, nginx(directory, [site], backend) as front:
        yield front


def issued_here(authority: AcmeServer, tmp_path: Path) -> Host:
    """A home with a certificate for this machine's address in it."""
    here = host(tmp_path, authority)
    here.given(HERE)
    return here


def test_nginx_shows_ours_and_who_trusts_the_root_trusts_it(
    authority: AcmeServer, tmp_path: Path
) -> None:
    require("nginx")
    here = issued_here(authority, tmp_path)
    root = tmp_path / "root.pem"
    root.write_bytes(authority.root())

    with nginx_with(tmp_path / "nginx", Site(HERE, here.live(HERE).parent)) as front:
        place = f"{HERE}:{front.port}"
        status, (seen,) = verify(here.home, place, SSL_CERT_FILE=str(root))
        _, (untrusted,) = verify(here.home, place)

    assert (status, int(seen["serial"], 16)) == (0, here.leaf(HERE).serial_number)
    assert (seen["good"], seen["trusted"]) == (True, True)
    assert (untrusted["good"], untrusted["trusted"]) == (True, False)


def test_a_leaf_that_nginx_shows_without_its_chain_is_told(
    authority: AcmeServer, tmp_path: Path
) -> None:
    require("nginx")
    here = issued_here(authority, tmp_path)
    site = Site(HERE, tmp_path / "site")
    site.directory.mkdir()
    shutil.copy(here.live(HERE, "cert.pem"), site.fullchain)
    shutil.copy(here.live(HERE, "privkey.pem"), site.privkey)

    with nginx_with(tmp_path / "nginx", site) as front:
        status, (lame,) = verify(here.home, f"{HERE}:{front.port}")
        shutil.copy(here.live(HERE), site.fullchain)
        os.kill(front.process.pid, signal.SIGHUP)
        wait_until(
            lambda: verify(here.home, f"{HERE}:{front.port}")[0] == 0, "nginx to show the chain"
        )

    assert status == 1
    assert lame["problem"].startswith("its chain is missing: clients may not know ")


@pytest.mark.skipif(os.geteuid() != 0, reason="mail servers start as root only")
def test_each_protocol_that_begins_in_plain_words_is_spoken_with_a_real_server(
    tmp_path: Path,
) -> None:
    require("postfix", "dovecot", "/usr/lib/dovecot/pop3-login", "slapd")
    site = made_up_site(tmp_path / "site", HERE)

    with ExitStack() as stack:
        smtp = stack.enter_context(postfix(tmp_path / "smtp", [site]))
        mail = stack.enter_context(dovecot(tmp_path / "mail", [site], pop3=True))
        ldap = stack.enter_context(slapd(tmp_path / "ldap", site))
        services = [
            f"{HERE}:{smtp.port}/starttls=smtp",
            f"{HERE}:{mail.imap_port}/starttls=imap",
            f"{HERE}:{mail.pop3_port}/starttls=pop3",
            f"{HERE}:{ldap.port}/starttls=ldap",
            f"{HERE}:{mail.port}",
        ]
        status, found = verify(tmp_path / "home", *services)
        wrong, (plain,) = verify(tmp_path / "home", f"{HERE}:{mail.imap_port}")
        other, (imap,) = verify(tmp_path / "home", f"{HERE}:{smtp.port}/starttls=imap")

    assert (status, [each["service"] for each in found]) == (0, services)
    assert {each["issuer"] for each in found} == {"certctl test root"}
    assert len({each["sha256"] for each in found}) == 1
    assert (wrong, plain["problem"]) == (
        1,
        "the TLS handshake failed: the server does not speak TLS on this port",
    )
    assert other == 1
    assert imap["problem"].startswith("unexpected response from the server: '220 ")
