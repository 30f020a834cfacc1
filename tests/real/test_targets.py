"""Deploy targets with the real programs: what is renewed is served, what is broken left alone."""

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.demo.application import application
from certctl.deploy.handshake import HandshakeFailed, handshake
from certctl.deploy.hooks import HookSystem
from certctl.deploy.loading import create_target
from certctl.deploy.system import TargetSystem
from certctl.system.clock import SystemClock
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
from tests.lab.stunnel import stunnel
from tests.real.driver import Host, host

NAMES = ("one.target.example", "two.target.example")


@pytest.fixture
def here(tmp_path: Path, pebble: PebbleServer) -> Host:
    """A home with a certificate for each of `NAMES`, deployed to nobody yet."""
    found = host(tmp_path, pebble)
    for name in NAMES:
        found.given(name)
    return found


@pytest.fixture
def backend() -> Iterator[int]:
    with application() as port:
        yield port


def sites(here: Host) -> list[Site]:
    return [Site(name, here.home / "live" / name) for name in NAMES]


def flags(kind: str, front: Front) -> list[str]:
    """What certctl is told of a server that the lab started."""
    match kind:
        case "haproxy":
            return [
                "--haproxy-config",
                str(front.config),
                "--haproxy-pid-file",
                f"{front.config.parent}/pid",
            ]
        case "postfix":
            return ["--postfix-config-directory", str(front.config.parent)]
    return [f"--{kind}-config", str(front.config)]


def proxy(
    kind: str, directory: Path, found: Sequence[Site], backend: int
) -> AbstractContextManager[Front]:
    match kind:
        case "nginx":
            return nginx(directory, found, backend)
        case "apache":
            return apache(directory, found, backend)
        case "haproxy":
            return haproxy(directory, found, backend)
        case "caddy":
            return caddy(directory, found, backend)
    return stunnel(directory, found, backend)


PROGRAMS = {
    "nginx": "nginx",
    "apache": "apache2",
    "haproxy": "haproxy",
    "caddy": "caddy",
}


def serves(front: Front, here: Host) -> bool:
    """Whether each site shows what is live, or soon does."""
    return all(front.comes_to_serve(name, here.leaf(name)) for name in NAMES)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_proxy_serves_what_is_renewed_and_keeps_serving_when_its_configuration_is_broken(
    here: Host, tmp_path: Path, backend: int, kind: str
) -> None:
    require(PROGRAMS[kind])
    with proxy(kind, tmp_path / "front", sites(here), backend) as front:
        for name in NAMES:
            here.issue(name, "--deploy", kind, *flags(kind, front))
        renewed = here.certctl("renew", "--force")
        served = serves(front, here)
        good = [here.leaf(name) for name in NAMES]

        front.spoil()
        broken = here.certctl("renew", "--force")
        during = [front.served(name) for name in NAMES]
        front.mend()
        paid = here.certctl("deploy", "--pending")
        healed = serves(front, here)

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert (served, healed) == (True, True)
    assert broken.exit_status == 4
    assert "configuration test" in broken.stderr
    assert during == good
    assert (paid.exit_status, paid.stderr) == (0, "")
    assert [here.show(name)["state"] for name in NAMES] == ["valid", "valid"]


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_proxy_that_refuses_the_new_certificate_gets_the_one_before_back(
    here: Host, tmp_path: Path, backend: int, kind: str
) -> None:
    require(PROGRAMS[kind])
    name = NAMES[0]
    with proxy(kind, tmp_path / "front", sites(here), backend) as front:
        here.issue(
            name,
            *("--deploy", kind, *flags(kind, front), "--on-failure", "rollback"),
            *("--verify", f"127.0.0.1:{front.port}"),
            # refuses every version but the first
            *("--reload", f"test $(readlink {here.home}/live/{name}) = ../archive/{name}/1"),
        )
        first = here.leaf(name)
        renewed = here.certctl("renew", "--force", name)
        served = front.comes_to_serve(name, first)

    assert renewed.exit_status == 4
    assert "ROLLED BACK: version 1 is live and deployed again" in renewed.stderr
    assert served
    assert (here.version(name), here.show(name)["state"]) == (1, "undeployed")


def test_stunnel_serves_what_is_renewed_and_is_owed_where_it_is_seen_not_to(
    here: Host, tmp_path: Path, backend: int
) -> None:
    require("stunnel4")
    with stunnel(tmp_path / "front", sites(here), backend) as front:
        for name in NAMES:
            here.issue(name, "--deploy", "stunnel", "--stunnel-config", str(front.config))
        renewed = here.certctl("renew", "--force")
        good = serves(front, here)

        front.spoil()
        broken = here.certctl("renew", "--force", NAMES[0])

    # It says nothing of a configuration that it cannot load: only a look tells.
    assert (renewed.exit_status, renewed.stderr, good) == (0, "", True)
    assert broken.exit_status == 4
    assert "another certificate is served" in broken.stderr


def test_haproxy_takes_certificates_at_its_runtime_socket_without_a_reload(
    here: Host, tmp_path: Path, backend: int
) -> None:
    require("haproxy")
    with haproxy(tmp_path / "front", sites(here), backend) as front:
        for name in NAMES:
            here.issue(
                name,
                *("--deploy", "haproxy", "--haproxy-config", str(front.config)),
                *("--haproxy-socket", str(front.socket)),
            )
        # Nobody could be told to reload.
        front.pid_file.unlink()
        with connected(front.port) as kept:
            renewed = here.certctl("renew", "--force")
            served = [front.served(name) for name in NAMES]
            alive = asked_again(kept)

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert served == [here.leaf(name) for name in NAMES]
    assert alive.startswith("HTTP/1.1 200")


def test_haproxy_loads_copies_from_its_directory_of_certificates(
    here: Host, tmp_path: Path, backend: int
) -> None:
    require("haproxy")
    directory = tmp_path / "certificates"
    directory.mkdir()
    for site in sites(here):
        (directory / f"{site.name}.pem").write_bytes(site.combined.read_bytes())
    with haproxy(tmp_path / "front", sites(here), backend, certificates=directory) as front:
        for name in NAMES:
            here.issue(
                name,
                *("--deploy", "haproxy", "--haproxy-config", str(front.config)),
                *(
                    "--haproxy-certificates",
                    str(directory),
                    "--haproxy-pid-file",
                    str(front.pid_file),
                ),
            )
        renewed = here.certctl("renew", "--force")
        wait_until(lambda: serves(front, here), "the renewed certificates")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert sorted(path.name for path in directory.iterdir()) == [f"{name}.pem" for name in NAMES]
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_haproxy_misses_no_reload_that_comes_while_it_is_reloading(
    here: Host, tmp_path: Path, backend: int
) -> None:
    require("haproxy")
    directory = tmp_path / "certificates"
    directory.mkdir()
    files = [site.combined.read_bytes() for site in sites(here)]
    (directory / "one.pem").write_bytes(files[0])
    with haproxy(tmp_path / "front", sites(here), backend, certificates=directory) as front:
        settings = {
            "deploy.haproxy.config": str(front.config),
            "deploy.haproxy.pid_file": str(front.pid_file),
        }
        system = TargetSystem(HookSystem(SystemClock(), lambda _event: None))
        target = create_target("haproxy", settings, system)
        for each in files * 4:
            (directory / "one.pem").write_bytes(each)
            target.reload(())

        assert front.comes_to_serve(NAMES[-1], here.leaf(NAMES[-1]))


def test_a_certificate_that_haproxy_has_not_loaded_yet_comes_by_a_reload(
    here: Host, tmp_path: Path, backend: int
) -> None:
    require("haproxy")
    directory = tmp_path / "certificates"
    directory.mkdir()
    first, second = sites(here)
    (directory / f"{first.name}.pem").write_bytes(first.combined.read_bytes())
    with haproxy(tmp_path / "front", [first], backend, certificates=directory) as front:
        here.issue(
            second.name,
            *("--deploy", "haproxy", "--haproxy-config", str(front.config)),
            *("--haproxy-certificates", str(directory), "--haproxy-pid-file", str(front.pid_file)),
            *("--haproxy-socket", str(front.socket)),
        )
        wait_until(lambda: serves(front, here), "a certificate that is new to it")


@pytest.mark.skipif(os.geteuid() != 0, reason="mail servers start as root only")
def test_postfix_serves_what_is_renewed_from_its_map_too(here: Host, tmp_path: Path) -> None:
    require("postfix")
    with postfix(tmp_path / "smtp", sites(here)) as front:
        for name in NAMES:
            here.issue(name, "--deploy", "postfix", *flags("postfix", front))
        renewed = here.certctl("renew", "--force")
        good = mail_serves(front.port, "smtp", here)
        states = [here.show(name)["verified_at"] is not None for name in NAMES]

        front.spoil()
        broken = here.certctl("renew", "--force")

    assert (renewed.exit_status, renewed.stderr, good) == (0, "", True)
    assert states == [True, True]
    assert broken.exit_status == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="mail servers start as root only")
def test_dovecot_serves_what_is_renewed_and_is_not_reloaded_when_it_would_fail(
    here: Host, tmp_path: Path
) -> None:
    require("dovecot")
    with dovecot(tmp_path / "imap", sites(here)) as front:
        for name in NAMES:
            here.issue(name, "--deploy", "dovecot", *flags("dovecot", front))
        renewed = here.certctl("renew", "--force")
        wait_until(lambda: mail_serves(front.imap_port, "imap", here), "the renewed certificates")
        good = [front.served(name) for name in NAMES]
        verified = here.certctl("verify", "--json")

        front.spoil()
        broken = here.certctl("renew", "--force")
        during = [front.served(name) for name in NAMES]

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert verified.exit_status == 0, verified
    ports = {each["port"] for each in verified.json()["data"]["verified"]}
    assert ports >= {front.imap_port, front.port}
    assert broken.exit_status == 4
    assert during == good


def mail_serves(port: int, starttls: str, here: Host) -> bool:
    """Whether a mail server shows for each name what is live, after STARTTLS."""
    try:
        shown = [
            handshake("127.0.0.1", port, server_name=name, starttls=starttls).leaf for name in NAMES
        ]
    except HandshakeFailed:
        return False
    return shown == [here.leaf(name).public_bytes(Encoding.DER) for name in NAMES]


@contextmanager
def connected(port: int) -> Iterator[ssl.SSLSocket]:
    """A connection of a visitor who keeps it, and has asked once."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=NAMES[0]) as secured,
    ):
        assert asked_again(secured).startswith("HTTP/1.1 200")
        yield secured


def asked_again(connection: ssl.SSLSocket) -> str:
    """What is answered to one more request on a connection."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {NAMES[0]}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"by https\n"):
        part = connection.recv(4096)
        assert part, "the connection was closed"
        answer += part
    return answer.decode()
