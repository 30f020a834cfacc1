"""A minimal ACME client for tests of a CA: it signs a request, sends it once, and returns the
response. It does not retry, follow redirects, wait or check anything."""

from __future__ import annotations

import hashlib
import hmac
import json
from types import TracebackType
from typing import Any, Self

import josepy
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.lab.scripted_ca.jws import b64
from tests.lab.scripted_ca.server import ScriptedCA

TIMEOUT = 20  # seconds


def new_key() -> josepy.JWKEC:
    return josepy.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


def csr_for(*names: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A CSR for DNS names, in the form that finalize requires."""
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.add_extension(alternatives, critical=False).sign(
        key or ec.generate_private_key(ec.SECP256R1()), SHA256()
    )
    return b64(csr.public_bytes(Encoding.DER))


def flattened(protected: dict[str, Any], payload: object, sign: Any) -> dict[str, str]:
    """A flattened JWS; the payload "" makes a POST-as-GET."""
    header = b64(json.dumps(protected).encode())
    body = "" if payload == "" else b64(json.dumps(payload).encode())
    return {
        "protected": header,
        "payload": body,
        "signature": b64(sign(f"{header}.{body}".encode())),
    }


class RawClient:
    """One account key at one CA. Call `register` first."""

    def __init__(self, ca: ScriptedCA, key: josepy.JWKEC | None = None) -> None:
        self.key = key or new_key()
        self.account_url = ""
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca.ca_bundle)
        self.directory: dict[str, Any] = self.get(ca.directory_url).json()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.session.close()

    # -- requests

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.session.get(url, timeout=options.pop("timeout", TIMEOUT), **options)

    def nonce(self) -> str:
        answer = self.session.head(self.directory["newNonce"], timeout=TIMEOUT)
        return answer.headers["Replay-Nonce"]

    def post(
        self,
        url: str,
        payload: object = "",
        *,
        key: josepy.JWKEC | None = None,
        protected: dict[str, Any] | None = None,
        **options: Any,
    ) -> requests.Response:
        """Posts a payload; a POST-as-GET without one. `key` signs with that key's jwk instead of
        the account's kid. Fields of `protected` replace those of the header; None removes one."""
        header: dict[str, Any] = {"alg": "ES256", "nonce": self.nonce(), "url": url}
        if key:
            header["jwk"] = key.public_key().to_json()
        else:
            header["kid"] = self.account_url
        changed = {**header, **(protected or {})}
        kept = {name: value for name, value in changed.items() if value is not None}
        body = json.dumps(self.signed(kept, payload, key or self.key))
        options.setdefault("headers", {"Content-Type": "application/jose+json"})
        return self.session.post(
            url, body, timeout=options.pop("timeout", TIMEOUT), allow_redirects=False, **options
        )

    def signed(
        self, protected: dict[str, Any], payload: object, key: josepy.JWKEC
    ) -> dict[str, str]:
        return flattened(protected, payload, lambda data: josepy.ES256.sign(key.key, data))

    # -- the steps of RFC 8555

    def register(self, **fields: Any) -> requests.Response:
        payload = {"termsOfServiceAgreed": True, **fields}
        answer = self.post(self.directory["newAccount"], payload, key=self.key)
        self.account_url = answer.headers.get("Location", "")
        return answer

    def binding(self, kid: str, mac_key: bytes) -> dict[str, str]:
        header = {"alg": "HS256", "kid": kid, "url": self.directory["newAccount"]}
        jwk = self.key.public_key().to_json()
        return flattened(header, jwk, lambda data: hmac.digest(mac_key, data, hashlib.sha256))

    def change_key(self, new: josepy.JWKEC) -> requests.Response:
        url = self.directory["keyChange"]
        header = {"alg": "ES256", "jwk": new.public_key().to_json(), "url": url}
        content = {"account": self.account_url, "oldKey": self.key.public_key().to_json()}
        return self.post(url, self.signed(header, content, new))

    def order(self, *names: str, **fields: Any) -> requests.Response:
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post(self.directory["newOrder"], {"identifiers": identifiers, **fields})

    def answer(self, authorization_url: str, kind: str = "dns-01") -> requests.Response:
        challenges = self.post(authorization_url).json()["challenges"]
        url = next(one["url"] for one in challenges if one["type"] == kind)
        return self.post(url, {})

    def finalize(self, order: dict[str, Any], *names: str, **options: Any) -> requests.Response:
        return self.post(order["finalize"], {"csr": csr_for(*names)}, **options)

    def issue(self, *names: str, **fields: Any) -> dict[str, Any]:
        """Runs all steps of an order at a CA without faults; returns the valid order."""
        order = self.order(*names, **fields).json()
        for url in order["authorizations"]:
            if self.post(url).json()["status"] == "pending":
                self.answer(url)
        finished: dict[str, Any] = self.finalize(order, *names).json()
        return finished
