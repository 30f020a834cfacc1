"""The files that certctl writes, as others read them: openssl, nginx, TLS clients, other users."""

import grp
import os
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from tests.lab.authority import AcmeServer
from tests.lab.http import get
from tests.lab.pebble import PebbleServer
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess, wait_until
from tests.lab.programs import program, require
from tests.real.driver import Host, host, openssl


def served(port: int, name: str, root: Path) -> x509.Certificate:
    """The certificate that a server at `port` shows for a name, verified up to `root`."""
    context = ssl.create_default_context(cafile=root)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def answers_tls(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def root_of(here: Host, directory: Path) -> Path:
    """Pebble's root in a file."""
    path = directory / "root.pem"
    path.write_bytes(here.authority.root())
    return path


def nginx_configuration(directory: Path, here: Host, port: int, *names: str) -> Path:
    """A configuration that serves each name with its live files, over TLS."""
    sites = "".join(
        f"server {{ listen 127.0.0.1:{port} ssl; server_name {name};\n"
        f"  ssl_certificate {here.live(name)};\n"
        f"  ssl_certificate_key {here.live(name, 'privkey.pem')};\n"
        f"  return 200 {name}; }}\n"
        for name in names
    )
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{ }}\nhttp {{ access_log off;\n{temporary}{sites}}}\n"
    )
    return config


def nginx_command(config: Path) -> list[str]:
    directory = config.parent
    return [
        program("nginx"),
        "-p",
        str(directory),
        "-e",
        f"{directory}/error.log",
        "-c",
        str(config),
    ]


@contextmanager
def nginx(config: Path, port: int) -> Iterator[ServerProcess]:
    with ServerProcess(
        [*nginx_command(config), "-g", "daemon off;"],
        directory=config.parent,
        ready=lambda: answers_tls(port),
    ) as server:
        yield server


def modes(home: Path) -> dict[str, str]:
    """The mode of everything below a home, numbers left out that differ from run to run."""
    found = {".": stat.filemode(home.stat().st_mode)}
    for path in sorted(home.rglob("*")):
        if not path.is_symlink():
            found[str(path.relative_to(home))] = stat.filemode(path.lstat().st_mode)
    return found


def test_openssl_verifies_the_chain_up_to_the_root(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)
    here.given("verify.example", "www.verify.example")
    cert, chain = (here.live("verify.example", file) for file in ("cert.pem", "chain.pem"))

    said = openssl(
        *("verify", "-CAfile", root_of(here, tmp_path), "-untrusted", chain),
        *("-verify_hostname", "www.verify.example", cert),
    )

    assert said == f"{cert}: OK\n"


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def test_openssl_finds_that_key_and_certificate_belong_together(
    pebble: PebbleServer, tmp_path: Path, key_type: str
) -> None:
    here = host(tmp_path, pebble)
    here.given("match.example", "--key-type", key_type)

    key = openssl("pkey", "-in", here.live("match.example", "privkey.pem"), "-pubout")
    cert = openssl("x509", "-in", here.live("match.example", "cert.pem"), "-noout", "-pubkey")
    combined = here.live("match.example", "combined.pem")

    assert key == cert
    assert openssl("pkey", "-in", combined, "-pubout") == key
    assert openssl("x509", "-in", combined, "-noout", "-pubkey") == key


def test_the_files_say_the_same_in_different_compositions(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.given("parts.example")
    part = {
        path.stem: path.read_bytes()
        for path in (here.home / "live" / "parts.example").glob("*.pem")
    }

    assert part["fullchain"] == part["cert"] + part["chain"]
    assert part["combined"] == part["privkey"] + part["fullchain"]
    assert [each.count(b"-----BEGIN ") for each in (part["cert"], part["privkey"])] == [1, 1]


def test_openssl_s_server_serves_what_is_live(pebble: PebbleServer, tmp_path: Path) -> None:
    here, port = host(tmp_path, pebble), free_port()
    here.given("s-server.example")
    command = [
        *(program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-www"),
        *("-cert", str(here.live("s-server.example", "cert.pem"))),
        *("-key", str(here.live("s-server.example", "privkey.pem"))),
        *("-cert_chain", str(here.live("s-server.example", "chain.pem"))),
    ]

    with ServerProcess(command, directory=tmp_path, ready=lambda: answers_tls(port)):
        shown = served(port, "s-server.example", root_of(here, tmp_path))

    assert shown == here.leaf("s-server.example")


def test_python_serves_the_combined_file(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("combined.example")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(here.live("combined.example", "combined.pem"))

    assert context.get_ca_certs() == []


def test_nginx_accepts_the_files_and_serves_the_new_ones_after_a_renewal(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    require("nginx")
    here, port = host(tmp_path, pebble), free_port()
    names = ["one.wire.example", "two.wire.example"]
    directory = tmp_path / "nginx"
    directory.mkdir()
    config = directory / "nginx.conf"
    reload = f"{' '.join(nginx_command(config))} -t && {' '.join(nginx_command(config))} -s reload"
    for name in names:
        here.given(name)
    nginx_configuration(directory, here, port, *names)
    tested = subprocess.run([*nginx_command(config), "-t"], capture_output=True, check=False)
    root = root_of(here, tmp_path)

    with nginx(config, port):
        before = [served(port, name, root) for name in names]
        # Given now, since before there was no nginx to reload.
        for name in names:
            here.issue(name, "--reload", reload)
        renewed = here.certctl("renew", "--force")
        after = [here.leaf(name) for name in names]
        wait_until(
            lambda: [served(port, name, root) for name in names] == after, "the new certificates"
        )

    assert (tested.returncode, tested.stderr.count(b"successful")) == (0, 1)
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert not {each.serial_number for each in before} & {each.serial_number for each in after}


def test_a_proxy_that_refuses_its_configuration_keeps_the_old_certificate_and_is_owed(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    require("nginx")
    here, port, name = host(tmp_path, pebble), free_port(), "broken.wire.example"
    directory = tmp_path / "nginx"
    directory.mkdir()
    here.given(name)
    config = nginx_configuration(directory, here, port, name)
    root, command = root_of(here, tmp_path), " ".join(nginx_command(config))

    with nginx(config, port):
        before = here.leaf(name)
        here.issue(name, "--reload", f"{command} -t && {command} -s reload")
        config.write_text(config.read_text() + "mistake")
        renewed = here.certctl("renew", "--force")
        shown = served(port, name, root)

    assert renewed.exit_status == 4
    assert "nginx.conf test failed" in renewed.stderr
    assert shown == before
    assert (here.version(name), here.show(name)["state"]) == (2, "undeployed")


def test_https_by_the_live_files_is_trusted_by_a_client(
    authority: AcmeServer, tmp_path: Path
) -> None:
    require("nginx")
    here, port = host(tmp_path, authority), free_port()
    here.given("localhost.example", "127.0.0.1")
    directory = tmp_path / "nginx"
    directory.mkdir()
    config = nginx_configuration(directory, here, port, "localhost.example")

    with nginx(config, port):
        body = get(f"https://127.0.0.1:{port}/", ca_bundle=root_of(here, tmp_path))

    assert body == b"localhost.example"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_the_same_whatever_the_umask(
    pebble: PebbleServer, tmp_path: Path, umask: int
) -> None:
    here = host(tmp_path, pebble)
    here.issue("modes.example", umask=umask)
    renewed = here.certctl("renew", "--force", umask=umask)

    assert renewed.exit_status == 0
    found = modes(here.home)
    keys = {"privkey.pem", "combined.pem", "key.pem"}
    public = {"cert.pem", "chain.pem", "fullchain.pem", "issued.json"}
    assert found["."] == found["archive"] == found["live"] == "drwx--x--x"
    assert found["archive/modes.example"] == "drwx------"
    assert {mode for path, mode in found.items() if Path(path).name in keys} == {"-rw-------"}
    assert {mode for path, mode in found.items() if Path(path).name in public} <= {
        "-rw-r--r--",
        "-rw-------",
    }
    private = ("accounts", "certificates", "deployed", "journal", "locks", "pending", "renewal")
    closed = {path: mode for path, mode in found.items() if path.startswith(private)}
    assert set(closed.values()) == {"drwx------", "-rw-------"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another group")
def test_a_group_may_read_the_keys_where_it_is_named(pebble: PebbleServer, tmp_path: Path) -> None:
    here, group = host(tmp_path, pebble), grp.getgrall()[-1]

    here.given("group.example", "--key-group", group.gr_name)
    assert here.certctl("renew", "--force").exit_status == 0

    directory = here.home / "archive" / "group.example"
    key = directory / "2" / "privkey.pem"
    assert stat.filemode(directory.stat().st_mode) == "drwxr-x---"
    assert stat.filemode(key.stat().st_mode) == "-rw-r-----"
    assert [path.stat().st_gid for path in (directory, directory / "2", key)] == [group.gr_gid] * 3


def test_live_is_one_link_to_a_directory_of_its_own(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("link.example")
    opened = here.live("link.example").resolve().parent

    here.certctl("renew", "--force")

    link = here.home / "live" / "link.example"
    assert link.readlink() == Path("../archive/link.example/2")
    # Who opened the version before still finds the whole of it.
    assert sorted(path.name for path in opened.iterdir()) == sorted(
        path.name for path in link.iterdir()
    )


def test_a_home_may_be_moved(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("moved.example")
    leaf = here.leaf("moved.example")
    moved = Host(here.home.rename(tmp_path / "elsewhere"), pebble)

    listed = moved.show("moved.example")

    assert moved.leaf("moved.example") == leaf
    assert listed["files"]["fullchain"] == str(moved.live("moved.example"))
    assert moved.certctl("renew", "--force").exit_status == 0


def test_only_so_many_versions_are_kept_as_the_settings_say(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble, "keep_versions = 2")
    here.given("kept.example")
    for _ in range(3):
        assert here.certctl("renew", "--force").exit_status == 0

    kept = sorted(int(path.name) for path in (here.home / "archive" / "kept.example").iterdir())

    assert kept == [3, 4]
