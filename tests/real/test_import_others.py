"""Moving in from dehydrated and lego, against Pebble: a certificate is taken over, renewed through
certctl by the paths that servers know, given back, and renewed by its client again.
"""

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509

from tests.lab.pebble import PebbleServer
from tests.lab.programs import program, require
from tests.support.command import Finished, certctl

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the clients' homes belong to root")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(directory: Path, port: int) -> Iterator[None]:
    """Serve a directory as a web server does that has the challenge directory as an alias."""
    (directory / ".well-known").mkdir(parents=True)
    (directory / "challenges").mkdir()
    (directory / ".well-known" / "acme-challenge").symlink_to("../challenges")
    handler = partial(Quiet, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def client(*command: str | Path, variables: Mapping[str, str] | None = None) -> str:
    """Run a client to its end; return what it printed."""
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "certctl"
    home.mkdir(mode=0o711)
    assert certctl("schedule", "external", home=home).exit_status == 0
    return home


def good(finished: Finished) -> None:
    assert (finished.exit_status, finished.stderr) == (0, "")


def test_a_certificate_of_dehydrated_moves_in_and_out(
    home: Path, tmp_path: Path, pebble: PebbleServer
) -> None:
    require("dehydrated")
    base, name = tmp_path / "dehydrated", "dehydrated.example.test"
    base.mkdir(mode=0o700)
    www = tmp_path / "www"
    (base / "config").write_text(
        f'CA="{pebble.directory_url}"\nBASEDIR={base}\nWELLKNOWN="{www}/challenges"\n'
        f'CURL_OPTS="--cacert {pebble.ca_bundle}"\nKEY_ALGO=prime256v1\n'
    )
    (base / "domains.txt").write_text(f"# ours\n{name}\nother.example.test\n")
    dehydrated = (program("dehydrated"), "--config", base / "config")
    path = base / "certs" / name / "fullchain.pem"
    with serving(www, pebble.http_port):
        client(*dehydrated, "--register", "--accept-terms")
        client(*dehydrated, "--cron")
        first = serial(path)

        bundle = ("--ca-bundle", str(pebble.ca_bundle), "--yes")
        good(certctl("import", name, "--from", str(base), *bundle, home=home))

        assert (base / "domains.txt").read_text().splitlines()[1] == f"#imported {name}"
        assert name not in client(*dehydrated, "--cron")
        assert serial(path) == first
        good(certctl("renew", name, "--force", home=home))
        second = serial(path)
        good(certctl("import", "--undo", name, "--yes", home=home))
        assert (second != first, serial(path) == second) == (True, True)
        client(*dehydrated, "--cron", "--force", "--domain", name)
        assert serial(path) not in (first, second)
    assert not (base / "lock").exists()


def test_a_certificate_of_lego_moves_in_and_out(
    home: Path, tmp_path: Path, pebble: PebbleServer
) -> None:
    require("lego")
    base, name = tmp_path / "lego", "lego.example.test"
    lego = (
        *(program("lego"), "--path", base, "--email", "ops@example.com", "--accept-tos"),
        *("--server", pebble.directory_url, "--domains", name),
        *("--http", "--http.port", f":{pebble.http_port}"),
    )
    trusting = {"LEGO_CA_CERTIFICATES": str(pebble.ca_bundle)}
    path = base / "certificates" / f"{name}.crt"
    client(*lego, "run", variables=trusting)
    first = serial(path)
    way = ("--standalone", "--http-port", str(pebble.http_port), "--ca", pebble.directory_url)

    asked = certctl("import", name, "--from", str(base), "--yes", home=home)
    bundle = ("--ca-bundle", str(pebble.ca_bundle), "--yes")
    good(certctl("import", name, "--from", str(base), *way, *bundle, home=home))

    assert (asked.exit_status, "records nowhere how names are validated" in asked.stderr) == (
        2,
        True,
    )
    assert serial(path) == first
    good(certctl("renew", name, "--force", home=home))
    second = serial(path)
    good(certctl("import", "--undo", name, "--yes", home=home))
    assert (second != first, serial(path) == second) == (True, True)
    client(*lego, "renew", "--days", "9999", "--no-random-sleep", variables=trusting)
    assert serial(path) not in (first, second)
