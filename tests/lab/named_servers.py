"""Servers of the Internet in a network of a test's own: at one address, by their real names, with
a certificate that is trusted through `ca_bundle` only.

Let's Encrypt's two directories are those of a CA that the test runs, and the APIs of Cloudflare and
DigitalOcean write into a name server of the test.
"""

import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.query
import dns.rcode
import dns.tsig
import dns.update

from tests.lab.bind import BindServer
from tests.lab.certificates import make_server_certificate
from tests.lab.devca import DevCaServer
from tests.lab.http import get

ADDRESS = "127.0.0.3"
DIRECTORIES = ("acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org")
CLOUDFLARE, DIGITALOCEAN = "api.cloudflare.com", "api.digitalocean.com"
NAMES = (*DIRECTORIES, CLOUDFLARE, DIGITALOCEAN)


@dataclass
class Zone:
    """The TXT records of a zone, which providers' APIs show and change with a token."""

    bind: BindServer
    zone: str
    token: str
    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, name: str, value: str) -> str:
        """Add a record, and return its id."""
        new = str(len(self.records) + 1)
        self.records[new] = {"name": name, "content": value}
        self._update(self.records[new], add=True)
        return new

    def remove(self, number: str) -> None:
        self._update(self.records.pop(number), add=False)

    def cloudflare(self, method: str, path: str, given: dict[str, Any]) -> object:
        """Return what Cloudflare's API answers."""
        parsed = urllib.parse.urlsplit(path)
        wanted = dict(urllib.parse.parse_qsl(parsed.query))
        found: object = {}
        if parsed.path == "/client/v4/zones":
            found = [{"id": "z", "name": self.zone, "status": "active"}]
        elif method == "GET":
            found = [
                {"id": each, "type": "TXT", "ttl": 60, **record}
                for each, record in self.records.items()
                if all(record.get(key, value) == value for key, value in wanted.items())
            ]
        elif method == "POST":
            found = {"id": self.add(given["name"], given["content"])}
        else:
            self.remove(parsed.path.rpartition("/")[2])
        pages = {"page": 1, "total_pages": 1}
        return {"success": True, "errors": [], "result": found, "result_info": pages}

    def digitalocean(self, method: str, path: str, given: dict[str, Any]) -> object:
        """Return what DigitalOcean's API answers."""
        if method == "POST":
            self.add(f"{given['name']}.{self.zone}", given["data"])
        elif method == "DELETE":
            self.remove(path.rpartition("/")[2])
        records = [
            {
                "id": each,
                "type": "TXT",
                "ttl": 60,
                "name": record["name"].removesuffix(f".{self.zone}"),
                "data": record["content"],
            }
            for each, record in self.records.items()
        ]
        return {"domain_records": records, "links": {}}

    def _update(self, record: dict[str, str], *, add: bool) -> None:
        key = dns.tsig.Key(f"{self.bind.key_name}.", self.bind.key_secret, "hmac-sha256")
        update = dns.update.UpdateMessage(f"{self.zone}.")
        update.use_tsig(key)
        name, value = f"{record['name']}.", record["content"].strip('"')
        if add:
            update.add(name, 1, "TXT", f'"{value}"')
        else:
            update.delete(name, "TXT", f'"{value}"')
        answer = dns.query.tcp(update, self.bind.host, port=self.bind.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR, answer


@contextmanager
def named_servers(directory: Path, ca: DevCaServer, zone: Zone, port: int = 443) -> Iterator[Path]:
    """Run them; give the file with the roots of these servers and of the CA."""
    files = make_server_certificate(directory, NAMES)
    bundle = directory / "all-roots.pem"
    bundle.write_bytes(files.ca_bundle.read_bytes() + ca.ca_bundle.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            host, status = self.headers["Host"], 200
            if host in DIRECTORIES:
                data = get(ca.directory_url, ca_bundle=ca.ca_bundle)
            elif self.headers.get("Authorization") != f"Bearer {zone.token}":
                status, data = 403, b"{}"
            else:
                api = zone.cloudflare if host == CLOUDFLARE else zone.digitalocean
                document = api(self.command, self.path, json.loads(body or b"{}"))
                data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    with ThreadingHTTPServer((ADDRESS, port), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield bundle
        finally:
            server.shutdown()
            thread.join()
