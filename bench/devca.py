"""How many certificates a second the development CA issues, over 8 connections.

The CA runs in a process of its own; the clients share another one, and do as little as a client
can: signing requests made beforehand, one request after the other. First each name is validated by
HTTP-01, then the same names are ordered again with authorizations that are valid still.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import multiprocessing
import ssl
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings

CONNECTIONS = 8
EACH = 60
POLL_SECONDS = 0.02


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    """One account on one connection."""

    def __init__(self, directory_url: str, bundle: str, thumbprints: dict[str, str]) -> None:
        self.base = directory_url.removesuffix("/directory")
        host = self.base.removeprefix("https://")
        context = ssl.create_default_context(cafile=bundle)
        self.connection = http.client.HTTPSConnection(host, context=context)
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        x, y = (encoded(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
        self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        text = json.dumps(self.jwk, separators=(",", ":"), sort_keys=True)
        self.thumbprint = encoded(hashlib.sha256(text.encode()).digest())
        self.thumbprints = thumbprints
        self.connection.request("HEAD", "/new-nonce")
        response = self.connection.getresponse()
        response.read()
        self.nonce = response.headers["Replay-Nonce"]
        self.kid: str | None = None
        _, headers = self.post(f"{self.base}/new-account", {"termsOfServiceAgreed": True})
        self.kid = headers["Location"]

    def post(self, url: str, payload: Any = None) -> tuple[bytes, Any]:
        header = {"alg": "ES256", "nonce": self.nonce, "url": url}
        by: dict[str, Any] = {"kid": self.kid} if self.kid else {"jwk": self.jwk}
        protected = encoded(json.dumps({**header, **by}).encode())
        content = "" if payload is None else encoded(json.dumps(payload).encode())
        der = self.key.sign(f"{protected}.{content}".encode(), ec.ECDSA(SHA256()))
        signature = b"".join(each.to_bytes(32, "big") for each in decode_dss_signature(der))
        body = {"protected": protected, "payload": content, "signature": encoded(signature)}
        path = url.removeprefix(self.base)
        headers = {"Content-Type": "application/jose+json"}
        self.connection.request("POST", path, json.dumps(body), headers)
        response = self.connection.getresponse()
        read = response.read()
        assert response.status < 300, read
        self.nonce = response.headers["Replay-Nonce"]
        return read, response.headers

    def issue(self, name: str, request: str) -> None:
        identifiers = [{"type": "dns", "value": name}]
        body, headers = self.post(f"{self.base}/new-order", {"identifiers": identifiers})
        order = json.loads(body)
        if order["status"] == "pending":
            found = json.loads(self.post(order["authorizations"][0])[0])
            challenge = next(each for each in found["challenges"] if each["type"] == "http-01")
            self.thumbprints[challenge["token"]] = self.thumbprint
            self.post(challenge["url"], {})
            while order["status"] == "pending":
                time.sleep(POLL_SECONDS)
                order = json.loads(self.post(headers["Location"])[0])
        done = json.loads(self.post(order["finalize"], {"csr": request})[0])
        assert b"BEGIN CERTIFICATE" in self.post(done["certificate"])[0]


def signing_request(name: str) -> str:
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    )
    return encoded(request.public_bytes(Encoding.DER))


@contextmanager
def responder(port: int, thumbprints: dict[str, str]) -> Iterator[None]:
    """Answer HTTP-01 for every token that a client of this process was given."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.path.rpartition("/")[2]
            body = f"{token}.{thumbprints[token]}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def order(pipe: Connection, directory_url: str, bundle: str, port: int) -> None:
    """All clients: make ready, wait for the start, issue, tell."""
    thumbprints: dict[str, str] = {}
    count = CONNECTIONS
    clients = [Client(directory_url, bundle, thumbprints) for _ in range(count)]
    names = [[f"c{i}-{n}.example" for n in range(EACH)] for i in range(count)]
    requests = {name: signing_request(name) for some in names for name in some}

    def work(client: Client, own: list[str]) -> None:
        for name in own:
            client.issue(name, requests[name])

    with responder(port, thumbprints), ThreadPoolExecutor(count) as pool:
        for _ in range(2):
            pipe.send("ready")
            pipe.recv()
            list(pool.map(work, clients, names))
            pipe.send("done")


def serve(pipe: Connection, port: int) -> None:
    """The CA, until it is told to stop."""
    settings = DevCaSettings(http_port=port, reuse_authorizations=True)
    with DevCa(None, settings=settings) as ca:
        pipe.send((ca.directory_url, str(ca.tls_ca_bundle)))
        pipe.recv()
        assert ca.breakdowns == []


def main() -> None:
    """Measure, and print the figures."""
    spawn = multiprocessing.get_context("spawn")
    port = 21_980
    theirs, ours = spawn.Pipe()
    server = spawn.Process(target=serve, args=(theirs, port))
    server.start()
    directory_url, bundle = ours.recv()
    inner, outer = spawn.Pipe()
    clients = spawn.Process(target=order, args=(inner, directory_url, bundle, port))
    clients.start()
    total = CONNECTIONS * EACH
    for what in ("HTTP-01 validated", "authorization reused"):
        outer.recv()
        begun = time.perf_counter()
        outer.send("go")
        outer.recv()
        seconds = time.perf_counter() - begun
        print(f"{what:22} {total / seconds:7.0f} a second ({total} in {seconds:.2f} s)")
    clients.join()
    ours.send("stop")
    server.join()


if __name__ == "__main__":
    main()
