"""Measures the throughput of a CA with minimal clients on several connections.

Keys and CSRs are created in advance, nothing is written to disk, and responses are only parsed as
far as the next request requires. The result approximates the best that a real client could achieve.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.lab.http import serving

POLL_SECONDS = 0.02
"""How often an order is read, unless the CA sends a `Retry-After`."""


class Load:
    """Several accounts at a CA, each with its own connection and its own names."""

    def __init__(
        self, directory_url: str, ca_bundle: Path, http_port: int, *, connections: int, each: int
    ) -> None:
        self._answers: dict[str, str] = {}
        self._http_port = http_port
        self._clients = [
            MinimalClient(directory_url, ca_bundle, self._answers) for _ in range(connections)
        ]
        self._names = [
            [f"n{number}.load{index}.example" for number in range(each)]
            for index in range(connections)
        ]
        self._requests = {name: signing_request(name) for names in self._names for name in names}

    def __len__(self) -> int:
        return len(self._requests)

    def issue(self) -> float:
        """Obtain a certificate for each name; return the seconds that all of them took."""
        with answering(self._http_port, self._answers), ThreadPoolExecutor() as pool:
            started = time.perf_counter()
            list(pool.map(self._work, self._clients, self._names))
            return time.perf_counter() - started

    def _work(self, client: MinimalClient, names: Sequence[str]) -> None:
        for name in names:
            client.issue(name, self._requests[name])


class MinimalClient:
    """One account on one connection: a new one, unless its key and URL are given."""

    def __init__(
        self,
        directory_url: str,
        ca_bundle: Path,
        answers: dict[str, str],
        key: ec.EllipticCurvePrivateKey | None = None,
        account: str | None = None,
    ) -> None:
        parts = urlsplit(directory_url)
        context = ssl.create_default_context(cafile=ca_bundle)
        self._connection = http.client.HTTPSConnection(parts.netloc, context=context)
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (_encoded(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
        self._jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        text = json.dumps(self._jwk, separators=(",", ":"), sort_keys=True)
        self._thumbprint = _encoded(hashlib.sha256(text.encode()).digest())
        self._answers = answers
        self._connection.request("GET", parts.path)
        self._directory = json.loads(self._connection.getresponse().read())
        self._connection.request("HEAD", urlsplit(self._directory["newNonce"]).path)
        response = self._connection.getresponse()
        response.read()
        self._nonce = response.headers["Replay-Nonce"]
        self.account = account
        if account is not None:
            return
        _, headers = self._post(self._directory["newAccount"], {"termsOfServiceAgreed": True})
        self.account = headers["Location"]

    def issue(self, name: str, request: str) -> None:
        identifiers = [{"type": "dns", "value": name}]
        body, headers = self._post(self._directory["newOrder"], {"identifiers": identifiers})
        order = json.loads(body)
        if order["status"] == "pending":
            found = json.loads(self._post(order["authorizations"][0])[0])
            challenge = next(each for each in found["challenges"] if each["type"] == "http-01")
            token = challenge["token"]
            self._answers[token] = f"{token}.{self._thumbprint}"
            self._post(challenge["url"], {})
            order = self._awaited(headers["Location"], order)
        body, finalized = self._post(order["finalize"], {"csr": request})
        order = self._awaited(headers["Location"], json.loads(body), finalized)
        assert b"BEGIN CERTIFICATE" in self._post(order["certificate"])[0]

    def _awaited(self, url: str, order: Any, headers: Mapping[str, str] = {}) -> Any:
        while order["status"] in {"pending", "processing"}:
            time.sleep(float(headers.get("Retry-After", POLL_SECONDS)))
            body, headers = self._post(url)
            order = json.loads(body)
        return order

    def _post(self, url: str, payload: Any = None) -> tuple[bytes, Any]:
        header = {"alg": "ES256", "nonce": self._nonce, "url": url}
        by: dict[str, Any] = {"kid": self.account} if self.account else {"jwk": self._jwk}
        protected = _encoded(json.dumps({**header, **by}).encode())
        content = "" if payload is None else _encoded(json.dumps(payload).encode())
        der = self._key.sign(f"{protected}.{content}".encode(), ec.ECDSA(SHA256()))
        signature = b"".join(each.to_bytes(32, "big") for each in decode_dss_signature(der))
        body = {"protected": protected, "payload": content, "signature": _encoded(signature)}
        headers = {"Content-Type": "application/jose+json"}
        self._connection.request("POST", urlsplit(url).path, json.dumps(body), headers)
        response = self._connection.getresponse()
        read = response.read()
        assert response.status < 300, read
        self._nonce = response.headers["Replay-Nonce"]
        return read, response.headers


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signing_request(name: str) -> str:
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    )
    return _encoded(request.public_bytes(Encoding.DER))


@contextmanager
def answering(port: int, answers: dict[str, str]) -> Iterator[None]:
    """Answer HTTP-01 for the tokens in `answers`."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers[self.path.rpartition("/")[2]].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Answering, port):
        yield
