"""Servers of the Internet in a network of a test's own: at one address, by their real names, with
a certificate that is trusted through `ca_bundle` only.

Let's Encrypt's two directories are those of a CA that the test runs, and Cloudflare's API writes
into a name server of the test.
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
CLOUDFLARE = "api.cloudflare.com"
NAMES = (*DIRECTORIES, CLOUDFLARE)


@dataclass
class Cloudflare:
    """The zone of a name server, as Cloudflare's API shows it: TXT records only."""

    bind: BindServer
    zone: str
    token: str
    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def answer(self, method: str, path: str, token: str, given: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and the result of a request."""
        if token != f"Bearer {self.token}":
            return 403, []
        parsed = urllib.parse.urlsplit(path)
        wanted = dict(urllib.parse.parse_qsl(parsed.query))
        if parsed.path == "/client/v4/zones":
            return 200, [{"id": "z", "name": self.zone, "status": "active"}]
        if method == "GET":
            return 200, [
                {"id": each, "type": "TXT", "ttl": 60, **record}
                for each, record in self.records.items()
                if all(record.get(key, value) == value for key, value in wanted.items())
            ]
        if method == "POST":
            new = str(len(self.records) + 1)
            self.records[new] = {"name": given["name"], "content": given["content"]}
            self._update(self.records[new], add=True)
            return 200, {"id": new}
        self._update(self.records.pop(parsed.path.rpartition("/")[2]), add=False)
        return 200, {}

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
def named_servers(
    directory: Path, ca: DevCaServer, cloudflare: Cloudflare, port: int = 443
) -> Iterator[Path]:
    """Run them; give the file with the roots of these servers and of the CA."""
    files = make_server_certificate(directory, NAMES)
    bundle = directory / "all-roots.pem"
    bundle.write_bytes(files.ca_bundle.read_bytes() + ca.ca_bundle.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers["Host"] in DIRECTORIES:
                data, status = get(ca.directory_url, ca_bundle=ca.ca_bundle), 200
            else:
                given = json.loads(body or b"{}")
                token = self.headers.get("Authorization") or ""
                status, result = cloudflare.answer(self.command, self.path, token, given)
                document = {
                    "success": status == 200,
                    "result": result,
                    "result_info": {"page": 1, "total_pages": 1},
                }
                data = json.dumps(document | {"errors": []}).encode()
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
