"""A raw ACME client for tests of the development CA: each request as it is, nothing repeated.

Signs with the `acme` library; what a test wants to get wrong, it gives.
"""

import ipaddress
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.message import Message
from pathlib import Path
from typing import Any

import josepy
from acme import challenges
from acme import jws as acme_jws
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.devca.server import DevCa
from tests.lab.processes import wait_until

JOSE = "application/jose+json"


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The problem type, without its prefix."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        document = self.json
        assert document["status"] == self.status
        return str(document["type"]).removeprefix("urn:ietf:params:acme:error:")

    def links(self, relation: str) -> list[str]:
        found = [each for each in self.headers.get_all("Link", []) if f'rel="{relation}"' in each]
        return [each[1 : each.index(">")] for each in found]


def request(
    url: str,
    bundle: Path,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send one request; every status is an answer."""
    context = ssl.create_default_context(cafile=bundle)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    asked = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with opener.open(asked, timeout=20) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


@dataclass
class RawClient:
    """One key, and with `register` its account."""

    ca: DevCa
    key: josepy.JWK = field(
        default_factory=lambda: josepy.JWKEC(
            key=josepy.ComparableECKey(ec.generate_private_key(ec.SECP256R1()))
        )
    )
    algorithm: Any = josepy.ES256
    kid: str | None = None

    @property
    def directory(self) -> Any:
        return self.get("directory").json

    def url(self, *path: object) -> str:
        return "/".join([self.ca.base_url, *map(str, path)])

    def get(self, *path: object, method: str = "GET") -> Answer:
        return request(self.url(*path), self.ca.tls_ca_bundle, method=method)

    def manage(self, method: str, what: str, **document: Any) -> Answer:
        """Ask for something below /manage."""
        return request(
            self.url("manage", what),
            self.ca.tls_ca_bundle,
            method=method,
            body=json.dumps(document).encode() if document else None,
            headers={"Content-Type": "application/json"},
        )

    def nonce(self) -> bytes:
        answer = self.get("new-nonce", method="HEAD")
        return josepy.decode_b64jose(answer.headers["Replay-Nonce"])

    def signed(
        self,
        url: str,
        payload: Any = None,
        *,
        by_key: bool = False,
        nonce: bytes | None = None,
        header_url: str | None = None,
        kid: str | None = None,
    ) -> bytes:
        """The body of a request; a payload of None is a POST-as-GET."""
        return (
            acme_jws.JWS.sign(
                b"" if payload is None else json.dumps(payload).encode(),
                key=self.key,
                alg=self.algorithm,
                nonce=nonce or self.nonce(),
                url=header_url or url,
                kid=None if by_key else kid or self.kid,
            )
            .json_dumps()
            .encode()
        )

    def send(self, url: str, body: bytes, *, media: str = JOSE) -> Answer:
        return request(
            url,
            self.ca.tls_ca_bundle,
            method="POST",
            body=body,
            headers={"Content-Type": media},
        )

    def post(self, url: str, payload: Any = None, **how: Any) -> Answer:
        """Sign and send; `url` may be a path of the CA."""
        whole = url if url.startswith("https:") else self.url(url)
        return self.send(whole, self.signed(whole, payload, **how))

    def register(self, **fields: Any) -> Answer:
        answer = self.post("new-account", {"termsOfServiceAgreed": True, **fields}, by_key=True)
        if answer.status < 300:
            self.kid = answer.headers["Location"]
        return answer

    # the way through an order

    def order(self, *names: str, **fields: Any) -> Answer:
        identifiers = [
            {"type": "ip" if name[0].isdigit() or ":" in name else "dns", "value": name}
            for name in names
        ]
        return self.post("new-order", {"identifiers": identifiers, **fields})

    def prove(self, order: Answer) -> None:
        """Put DNS-01 answers into the built-in zone, and wait until all is validated."""
        for url in order.json["authorizations"]:
            authorization = self.post(url).json
            if authorization["status"] != "pending":
                continue
            challenge = next(
                each for each in authorization["challenges"] if each["type"] == "dns-01"
            )
            name = f"_acme-challenge.{authorization['identifier']['value']}"
            self.ca.zone.add(name, self.txt_value(challenge["token"]))
            self.post(challenge["url"], {})
            self.settled(url)

    def settled(self, url: str) -> Any:
        """An authorization, once it is no more pending."""
        wait_until(lambda: self.post(url).json["status"] != "pending", "the validation")
        return self.post(url).json

    def txt_value(self, token: str) -> str:
        return str(challenges.DNS01(token=josepy.decode_b64jose(token)).validation(self.key))

    def key_authorization(self, token: str) -> str:
        answer = challenges.HTTP01(token=josepy.decode_b64jose(token))
        return str(answer.validation(self.key))

    def finalize(self, order: Answer, csr: bytes) -> Answer:
        return self.post(order.json["finalize"], {"csr": josepy.encode_b64jose(csr)})

    def issue(self, *names: str, **fields: Any) -> Answer:
        """A valid order."""
        order = self.order(*names, **fields)
        assert order.status == 201, order.body
        self.prove(order)
        done = self.finalize(order, csr(names))
        assert (done.status, done.json["status"]) == (200, "valid"), done.body
        return done

    def certificate(self, order: Answer) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.post(order.json["certificate"]).body)


def begin(client: RawClient, kind: str, name: str = "a.example") -> tuple[str, dict[str, Any]]:
    """An authorization's URL, and the challenge of that kind."""
    (url,) = client.order(name).json["authorizations"]
    offered = client.post(url).json["challenges"]
    return url, next(each for each in offered if each["type"] == kind)


def outcome(client: RawClient, url: str, challenge: dict[str, Any]) -> str:
    """Answer a challenge; return `valid`, or the problem and its detail."""
    client.post(challenge["url"], {})
    (found,) = client.settled(url)["challenges"]
    if found["status"] == "valid":
        assert datetime.fromisoformat(found["validated"]).tzinfo is not None
        return "valid"
    return f"{found['error']['type'].rpartition(':')[2]}: {found['error']['detail']}"


CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def csr(
    names: Sequence[str], key: CertificateKey | None = None, common_name: str | None = None
) -> bytes:
    """A signing request in DER."""
    subject = [] if common_name is None else [common_name]
    general = [_general(name) for name in names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in subject])
    )
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), SHA256())
    return signed.public_bytes(Encoding.DER)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
