"""A small HTTP service that writes TXT records into BIND, and speaks two protocols: that of
acme-dns (`/register`, `/update`) and that of lego's httpreq (`/present`, `/cleanup`).

acme-dns itself is in no Debian package; its protocol is four short messages.
"""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import dns.query
import dns.rcode
import dns.tsig
import dns.update

from tests.lab.bind import BindServer

MAX_VALUES = 2


@dataclass
class RecordService:
    """Writes into `zone` of `bind` what acme-dns is asked for, and where httpreq says.

    `user` and `password` are wanted of httpreq. `refusals` are statuses that are answered first,
    with their Retry-After. `asked` has each message, with its path.
    """

    bind: BindServer
    zone: str
    user: str = "lego"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    accounts: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = service.answer(self.path, dict(self.headers), body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                if "retry" in answer:
                    self.send_header("Retry-After", answer["retry"])
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._guard = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, Any]]:
        """Do what a request asks for; return the status and the document of the answer."""
        message = json.loads(body or b"{}")
        with self._guard:
            self.asked.append((path, message))
            if self.refusals:
                status, retry = self.refusals.pop(0)
                return status, {"retry": retry, "said": headers.get("X-Api-Key", "")}
            if path == "/register":
                return 201, self._register()
            if path == "/update":
                return self._update(headers, message)
            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            if headers.get("Authorization") != f"Basic {login}":
                return 401, {"message": "who are you?"}
            name, value = _record(message)
            self.change(name, value, add=path == "/present")
            return 200, {}

    def change(self, name: str, value: str, *, add: bool, kind: str = "TXT") -> None:
        """Add or delete one record."""
        zone = next(each for each in self.bind.zones if f".{name}".endswith(f".{each}."))
        update = dns.update.UpdateMessage(f"{zone}.")
        update.use_tsig(dns.tsig.Key(f"{self.bind.key_name}.", self.bind.key_secret, "hmac-sha256"))
        if add:
            update.add(name, 1, kind, value)
        else:
            update.delete(name, kind, value)
        answer = dns.query.tcp(update, self.bind.host, port=self.bind.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR, answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _register(self) -> Mapping[str, Any]:
        label = secrets.token_hex(8)
        account = {
            "username": secrets.token_hex(8),
            "password": secrets.token_urlsafe(30),
            "fulldomain": f"{label}.{self.zone}",
            "subdomain": label,
        }
        self.accounts[label] = account
        return {**account, "allowfrom": []}

    def _update(
        self, headers: Mapping[str, str], message: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Any]]:
        account = self.accounts.get(message["subdomain"])
        given = (headers.get("X-Api-User"), headers.get("X-Api-Key"))
        if account is None or given != (account["username"], account["password"]):
            return 401, {"error": "forbidden"}
        held = self.values.setdefault(message["subdomain"], [])
        name = f"{account['fulldomain']}."
        self.change(name, message["txt"], add=True)
        held.append(message["txt"])
        if len(held) > MAX_VALUES:
            self.change(name, held.pop(0), add=False)
        return 200, {"txt": message["txt"]}


def _record(message: Mapping[str, str]) -> tuple[str, str]:
    """Return name and value of what httpreq asks for, in either of its modes."""
    if "fqdn" in message:
        return message["fqdn"], message["value"]
    assert message["keyAuth"].startswith(f"{message['token']}.")
    digest = hashlib.sha256(message["keyAuth"].encode()).digest()
    value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"_acme-challenge.{message['domain']}.", value
