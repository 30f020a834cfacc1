"""The lab's own TLS-terminating servers: each serves two names by SNI at one port."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography import x509

from certctl.demo.application import application
from certctl.deploy.handshake import handshake
from tests.lab.apache import apache
from tests.lab.caddy import caddy
from tests.lab.dovecot import dovecot
from tests.lab.haproxy import haproxy
from tests.lab.nginx import nginx
from tests.lab.postfix import postfix
from tests.lab.programs import require
from tests.lab.sites import Front, Site, made_up_site
from tests.lab.stunnel import stunnel

Started = Callable[[Path, Sequence[Site], int], AbstractContextManager[Front]]


def sites(directory: Path) -> list[Site]:
    return [made_up_site(directory / name, name) for name in ("one.example", "two.example")]


@pytest.mark.parametrize(
    ("server", "programs"),
    [
        (nginx, ["nginx"]),
        (apache, ["apache2"]),
        (haproxy, ["haproxy"]),
        (caddy, ["caddy"]),
        (stunnel, ["stunnel4"]),
    ],
    ids=["nginx", "apache", "haproxy", "caddy", "stunnel"],
)
def test_a_proxy_of_the_lab_shows_each_site_by_its_name(
    tmp_path: Path, server: Started, programs: list[str]
) -> None:
    require(*programs)
    both = sites(tmp_path)

    with application() as backend, server(tmp_path / "front", both, backend) as front:
        shown = [front.served(site.name) for site in both]

    assert [each.subject.rfc4514_string() for each in shown] == ["CN=one.example", "CN=two.example"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mail servers start as root only")
def test_the_mail_servers_of_the_lab_show_each_site_by_its_name(tmp_path: Path) -> None:
    require("postfix", "dovecot")
    both = sites(tmp_path)

    with postfix(tmp_path / "smtp", both) as smtp, dovecot(tmp_path / "imap", both) as imap:
        shown = [
            x509.load_der_x509_certificate(
                handshake("127.0.0.1", port, server_name=site.name, starttls=protocol).leaf
            )
            for site in both
            for port, protocol in ((smtp.port, "smtp"), (imap.imap_port, "imap"), (imap.port, None))
        ]

    subjects = [each.subject.rfc4514_string() for each in shown]
    assert subjects == ["CN=one.example"] * 3 + ["CN=two.example"] * 3
