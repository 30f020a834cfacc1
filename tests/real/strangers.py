"""Clients that nobody here wrote, with a development CA: certbot, lego, dehydrated, uacme."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509

from certctl.devca.dns_server import DnsServer
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from tests.lab.http import get, get_json
from tests.lab.ports import free_port
from tests.lab.programs import program, require
from tests.real.driver import names, openssl, script

CERTBOT = Path(sys.executable).with_name("certbot")

HOOK = f"""#!{sys.executable}
import json, os, ssl, sys, urllib.request
from pathlib import Path

def dns(method, name, value):
    request = urllib.request.Request(
        os.environ["MANAGE_DNS"],
        json.dumps({{"name": name, "value": value}}).encode(),
        {{"Content-Type": "application/json"}},
        method=method,
    )
    context = ssl.create_default_context(cafile=os.environ["MANAGE_ROOT"])
    urllib.request.urlopen(request, context=context).close()

"""

TRUST = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


@dataclass(frozen=True)
class Lab:
    """A development CA, its zone over the wire, and a directory for a client."""

    ca: DevCa
    dns: str
    directory: Path
    http_port: int

    def run(self, *command: str | Path, variables: Mapping[str, str] | None = None) -> str:
        """Run a client to its end; return what it printed."""
        done = subprocess.run(
            [*map(str, command)],
            env={
                **os.environ,
                "HOME": str(self.directory),
                "MANAGE_DNS": f"{self.ca.base_url}/manage/dns",
                "MANAGE_ROOT": str(self.ca.tls_ca_bundle),
                "WEBROOT": str(self.directory / "web"),
                **(variables or {}),
            },
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{self.ca.requests.all()[-6:]}"
        return done.stdout

    def hook(self, body: str) -> Path:
        """Write a client's hook."""
        return script(self.directory / "hook", HOOK + body)

    @contextmanager
    def web(self) -> Iterator[Path]:
        """Serve the directory `web` at the port where the CA looks."""
        directory = self.directory / "web"
        directory.mkdir()
        answering = partial(_Quiet, directory=str(directory))
        with ThreadingHTTPServer(("127.0.0.1", self.http_port), answering) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield directory
            finally:
                server.shutdown()
                thread.join()

    def check(self, fullchain: Path, *wanted: str) -> int:
        """Check what a client got, by openssl; return the serial."""
        root = self.directory / "root.pem"
        root.write_bytes(self.ca.root_pem)
        shown = openssl(
            "verify", "-x509_strict", "-CAfile", root, "-untrusted", fullchain, fullchain
        )
        assert shown.endswith("OK\n")
        leaf = x509.load_pem_x509_certificate(fullchain.read_bytes())
        assert names(leaf) == sorted(wanted)
        return leaf.serial_number

    def revoked(self) -> set[int]:
        """The serials on the CA's lists."""
        found: set[int] = set()
        for issuer in ("ec", "rsa"):
            der = self.get(f"/crl/{issuer}")
            found |= {each.serial_number for each in x509.load_der_x509_crl(der)}
        return found

    def get(self, path: str) -> bytes:
        """What is at a path of the CA."""
        return get(self.ca.base_url + path, ca_bundle=self.ca.tls_ca_bundle)

    def counts(self) -> Any:
        """How many requests each resource had, as its log says over the wire."""
        url = f"{self.ca.base_url}/manage/requests"
        return get_json(url, ca_bundle=self.ca.tls_ca_bundle)["counts"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def opened_lab(directory: Path) -> Iterator[Lab]:
    """A lab with a client's directory below `directory`."""
    require("openssl")
    port = free_port()
    client = directory / "client"
    client.mkdir()
    settings = DevCaSettings(http_port=port, tls_alpn_port=free_port())
    with DevCa(None, settings=settings) as ca, DnsServer(ca.zone) as dns:
        yield Lab(ca, dns.address, client, port)
    assert ca.internal_errors == []


def certbot(lab: Lab, *arguments: str | Path) -> str:
    """Run certbot, in directories of its own."""
    if not CERTBOT.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("certbot is not installed (pip install certbot)", pytrace=False)
        pytest.skip("certbot is not installed (pip install certbot)")
    directories = [f"--{name}-dir={lab.directory / name}" for name in ("config", "work", "logs")]
    return lab.run(
        *(CERTBOT, *arguments, "--non-interactive", "--server", lab.ca.directory_url, *directories),
        variables={"REQUESTS_CA_BUNDLE": str(lab.ca.tls_ca_bundle)},
    )


CERTBOT_ISSUE = ("certonly", "--agree-tos", "--email", "admin@example.com", "--no-eff-email")


def lego(lab: Lab, *arguments: str, **variables: str) -> str:
    """Run lego, in a directory of its own."""
    require("lego")
    common = ("--server", lab.ca.directory_url, "--path", str(lab.directory / "lego"))
    return lab.run(
        *(program("lego"), *common, "--accept-tos", "--email", "admin@example.com", *arguments),
        variables={"LEGO_CA_CERTIFICATES": str(lab.ca.tls_ca_bundle), **variables},
    )
