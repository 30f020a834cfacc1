"""Two keys with real programs: who knows only RSA gets that certificate, who knows only ECDSA the
other one, by TLS 1.2 and 1.3, with openssl's own limits on signature algorithms.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography import x509

from certctl.demo.application import application
from tests.lab.apache import apache
from tests.lab.caddy import caddy
from tests.lab.dovecot import dovecot
from tests.lab.haproxy import haproxy
from tests.lab.nginx import nginx
from tests.lab.pebble import PebbleServer
from tests.lab.postfix import postfix
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.sites import Front, Site
from tests.real.driver import Host, host
from tests.real.test_targets import flags

NAME = "two.keys.example"
BOTH = ("--key-type", "ecdsa-p256", "--key-type", "rsa-2048")
ALGORITHMS = {"ecdsa": "ECDSA+SHA256", "rsa": "RSA-PSS+SHA256:RSA+SHA256"}
VERSIONS = ("-tls1_2", "-tls1_3")


@pytest.fixture
def here(tmp_path: Path, pebble: PebbleServer) -> Host:
    """A home with a certificate with two keys, deployed to nobody yet."""
    found = host(tmp_path, pebble)
    found.given(NAME, *BOTH)
    return found


@pytest.fixture
def backend() -> Iterator[int]:
    with application() as port:
        yield port


def site(here: Host) -> Site:
    live = here.home / "live" / NAME
    return Site(NAME, live, live / "rsa")


def shown(port: int, kind: str, version: str, starttls: str | None = None) -> str | None:
    """The serial number of what a client gets that supports only one kind of key; None if it gets
    nothing.
    """
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME]
    words += ["-sigalgs", ALGORITHMS[kind], version]
    words += ["-starttls", starttls] if starttls else []
    done = subprocess.run(words, input=b"", capture_output=True, check=False, timeout=30)
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    if begin not in done.stdout:
        return None
    pem = done.stdout[done.stdout.index(begin) : done.stdout.index(end) + len(end)]
    return f"{x509.load_pem_x509_certificate(pem).serial_number:x}"


def live(here: Host) -> dict[str, str]:
    """The serial numbers of the live certificates."""
    directory = here.home / "live" / NAME
    files = {"ecdsa": directory / "cert.pem", "rsa": directory / "rsa" / "cert.pem"}
    return {
        kind: f"{x509.load_pem_x509_certificate(file.read_bytes()).serial_number:x}"
        for kind, file in files.items()
    }


def serves_both(port: int, here: Host, starttls: str | None = None) -> bool:
    """Whether each client gets its live certificate, by TLS 1.2 and by TLS 1.3, or soon does: after
    a graceful reload a process that is about to end may take a last connection.
    """

    def all_shown() -> bool:
        return all(
            shown(port, kind, version, starttls) == serial
            for version in VERSIONS
            for kind, serial in live(here).items()
        )

    with contextlib.suppress(TimeoutError):
        wait_until(all_shown, "both certificates")
        return True
    return False


def server(kind: str, directory: Path, found: Site, backend: int) -> AbstractContextManager[Front]:
    match kind:
        case "nginx":
            return nginx(directory, [found], backend)
        case "apache":
            return apache(directory, [found], backend)
    return haproxy(directory, [found], backend)


PROGRAMS = {"nginx": "nginx", "apache": "apache2", "haproxy": "haproxy"}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_each_client_gets_the_certificate_that_it_supports_after_a_renewal_too(
    here: Host, tmp_path: Path, backend: int, kind: str
) -> None:
    require(PROGRAMS[kind])
    with server(kind, tmp_path / "front", site(here), backend) as front:
        here.issue(NAME, "--deploy", kind, *flags(kind, front))
        first, before = serves_both(front.port, here), live(here)
        renewed = here.certctl("renew", "--force")
        second = serves_both(front.port, here)
        verified = here.certctl("verify", NAME, "--json")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert (first, second) == (True, True)
    assert live(here)["rsa"] != before["rsa"]
    rows = verified.json()["data"]["verified"]
    assert {(each["key"], int(each["serial"], 16), each["good"]) for each in rows} == {
        (kind, int(serial, 16), True) for kind, serial in live(here).items()
    }


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_server_that_serves_only_one_of_both_is_reported(
    here: Host, tmp_path: Path, backend: int, kind: str
) -> None:
    require(PROGRAMS[kind])
    found = Site(NAME, here.home / "live" / NAME)
    with server(kind, tmp_path / "front", found, backend) as front:
        limited = ("--verify-timeout", "0")
        finished = here.certctl("issue", NAME, "--deploy", kind, *flags(kind, front), *limited)

    assert finished.exit_status == 4
    if kind == "nginx":
        assert "ssl_certificate_key" in finished.stderr
        assert f"live/{NAME}/rsa/privkey.pem" in finished.stderr
    else:
        assert "no certificate to clients that support only RSA" in finished.stderr


def test_from_one_to_two_and_back_in_a_directory_of_haproxy(
    tmp_path: Path, pebble: PebbleServer, backend: int
) -> None:
    require("haproxy")
    here = host(tmp_path, pebble)
    here.given(NAME)
    directory = tmp_path / "certificates"
    directory.mkdir(mode=0o700)
    (directory / f"{NAME}.pem").write_bytes(here.live(NAME, "combined.pem").read_bytes())
    with haproxy(tmp_path / "front", [], backend, certificates=directory) as front:
        own = (*flags("haproxy", front), "--haproxy-certificates", str(directory))
        here.issue(NAME, "--deploy", "haproxy", *own, "--haproxy-socket", str(front.socket))
        two = here.certctl("edit", NAME, *BOTH)
        names = sorted(each.name for each in directory.iterdir())
        served = [serves_both(front.port, here)]
        renewed = here.certctl("renew", "--force")
        served.append(serves_both(front.port, here))
        one = here.certctl("edit", NAME, "--key-type", "ecdsa-p256")
        wait_until(lambda: shown(front.port, "rsa", VERSIONS[0]) is None, "one certificate")

    assert (two.exit_status, two.stderr) == (0, "")
    assert names == [f"{NAME}.pem", f"{NAME}.rsa.pem"]
    assert served == [True, True]
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert (one.exit_status, one.stderr) == (0, "")
    assert [each.name for each in directory.iterdir()] == [f"{NAME}.pem"]


@pytest.mark.parametrize("kind", ["postfix", "dovecot"])
def test_mail_servers_serve_both(here: Host, tmp_path: Path, kind: str) -> None:
    require(kind)
    if os.geteuid() != 0:
        pytest.skip("it runs for root only")
    starttls = {"postfix": "smtp", "dovecot": None}[kind]
    directory, found = tmp_path / "mail", [site(here)]
    running: AbstractContextManager[Front] = (
        postfix(directory, found) if kind == "postfix" else dovecot(directory, found)
    )
    with running as front:
        here.issue(NAME, "--deploy", kind, *flags(kind, front))
        served = [serves_both(front.port, here, starttls)]
        renewed = here.certctl("renew", "--force")
        served.append(serves_both(front.port, here, starttls))

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert served == [True, True]


def test_a_server_of_one_certificate_for_a_name_gets_the_first(
    here: Host, tmp_path: Path, backend: int
) -> None:
    require("caddy")
    found = Site(NAME, here.home / "live" / NAME)
    with caddy(tmp_path / "front", [found], backend) as front:
        here.issue(NAME, "--deploy", "caddy", *flags("caddy", front))
        renewed = here.certctl("renew", "--force")
        verified = here.certctl("verify", NAME)

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert verified.exit_status == 0


def test_files_that_a_server_names_do_not_go_away(here: Host, tmp_path: Path, backend: int) -> None:
    require("haproxy")
    with haproxy(tmp_path / "front", [site(here)], backend) as front:
        here.issue(NAME, "--deploy", "haproxy", *flags("haproxy", front))
        refused = here.certctl("edit", NAME, "--key-type", "ecdsa-p256")
        served = serves_both(front.port, here)
        version = here.version(NAME)
        text = front.config.read_text()
        front.config.write_text(text.replace(f" crt {site(here).halves[1].combined}", ""))
        allowed = here.certctl("edit", NAME, "--key-type", "ecdsa-p256")

    assert refused.exit_status != 0
    assert "which the configuration of a server names (haproxy)" in refused.stderr
    assert (served, version) == (True, 1)
    assert (allowed.exit_status, allowed.stderr) == (0, "")
    assert here.version(NAME) == 2
