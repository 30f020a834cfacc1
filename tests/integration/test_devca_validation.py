"""The development CA looks whether an answer is where it should be (RFC 8555 §8, RFC 8737)."""

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certctl.devca.dns_server import DnsServer
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from certctl.devca.zone import MockZone
from tests.integration.devca_client import RawClient, begin, outcome
from tests.lab.certificates import make_server_certificate
from tests.lab.ports import free_port

Page = tuple[int, dict[str, str], bytes]


@pytest.fixture
def client() -> Iterator[RawClient]:
    settings = DevCaSettings(http_port=free_port(), tls_alpn_port=free_port())
    with DevCa(None, settings=settings) as ca:
        client = RawClient(ca)
        client.register()
        yield client
    assert ca.internal_errors == []


@contextmanager
def web(
    port: int, answer: Callable[[str, str], Page], context: ssl.SSLContext | None = None
) -> Iterator[list[str]]:
    """An HTTP server: `answer` is given host and path. Yields what was asked."""
    asked: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.headers['Host']}{self.path}")
            status, headers, body = answer(self.headers["Host"], self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Answering)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


# HTTP-01.


def test_the_answer_is_fetched_by_http_and_may_end_in_white_space(client: RawClient) -> None:
    url, challenge = begin(client, "http-01")
    answer = client.key_authorization(challenge["token"]).encode()

    with web(client.ca.settings.http_port, lambda *_: (200, {}, answer + b"\r\n ")) as asked:
        assert outcome(client, url, challenge) == "valid"

    assert asked == [f"a.example/.well-known/acme-challenge/{challenge['token']}"]


def test_an_ipv6_address_is_asked_for_in_brackets(client: RawClient) -> None:
    url, challenge = begin(client, "http-01", "2001:db8::1")
    answer = client.key_authorization(challenge["token"]).encode()

    with web(client.ca.settings.http_port, lambda *_: (200, {}, answer)) as asked:
        assert outcome(client, url, challenge) == "valid"

    assert asked[0].startswith("[2001:db8::1]/")


def test_redirects_are_followed_to_other_names_and_to_https(
    client: RawClient, tmp_path: Path
) -> None:
    url, challenge = begin(client, "http-01")
    answer = client.key_authorization(challenge["token"]).encode()
    files = make_server_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    settings = client.ca.settings

    def away(host: str, path: str) -> Page:
        if host == "a.example":
            return 301, {"Location": f"http://b.example:80{path}"}, b""
        return 307, {"Location": f"https://c.example{path}?x=1"}, b""

    with (
        web(settings.http_port, away) as first,
        web(settings.tls_alpn_port, lambda *_: (200, {}, answer), context) as second,
    ):
        assert outcome(client, url, challenge) == "valid"

    assert [each.partition("/")[0] for each in first + second] == [
        *("a.example", "b.example:80", "c.example"),
    ]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ((404, {}, b""), "unauthorized: http://a.example"),
        ((200, {}, b"something else"), "unauthorized: http://a.example"),
        ((200, {}, b"x" * 2000), "unauthorized: http://a.example"),
        ((302, {"Location": "http://a.example/x"}, b""), "connection: http://a.example/x"),
        ((302, {"Location": "http://a.example:8080/"}, b""), "connection: http://a.example:8080/"),
        ((302, {"Location": "ftp://a.example/"}, b""), "connection: ftp://a.example/"),
        ((302, {"Location": "http://[/"}, b""), "connection: http://"),
        ((302, {}, b""), "unauthorized: http://a.example"),
    ],
)
def test_a_wrong_response_is_reported(client: RawClient, page: Page, said: str) -> None:
    url, challenge = begin(client, "http-01")

    with web(client.ca.settings.http_port, lambda *_: page):
        found = outcome(client, url, challenge)

    assert found.startswith(said)


def test_a_refused_connection_is_reported(client: RawClient) -> None:
    assert "refused" in outcome(client, *begin(client, "http-01")).lower()


def test_endless_redirects_end(client: RawClient) -> None:
    url, challenge = begin(client, "http-01")

    def further(_: str, path: str) -> Page:
        return 302, {"Location": f"{path}x"}, b""

    with web(client.ca.settings.http_port, further) as asked:
        assert outcome(client, url, challenge).startswith("connection")

    assert len(asked) == 11


def test_another_accounts_key_authorization_is_wrong(client: RawClient) -> None:
    url, challenge = begin(client, "http-01")
    other = RawClient(client.ca).key_authorization(challenge["token"]).encode()

    with web(client.ca.settings.http_port, lambda *_: (200, {}, other)):
        assert outcome(client, url, challenge).startswith("unauthorized")


# DNS-01.


def test_a_txt_record_is_found_among_others(client: RawClient) -> None:
    url, challenge = begin(client, "dns-01", "*.a.example")
    client.ca.zone.add("_acme-challenge.A.example.", "something else")
    wrong = begin(client, "dns-01")
    client.ca.zone.add("_acme-challenge.a.example", client.txt_value(challenge["token"]))

    assert outcome(client, url, challenge) == "valid"
    assert outcome(client, *wrong).startswith("unauthorized: the TXT record")


def test_a_resolver_is_queried_if_one_is_set(client: RawClient) -> None:
    zone = MockZone()
    with DnsServer(zone) as dns:
        client.ca.settings.dns = dns.address
        missing = outcome(client, *begin(client, "dns-01", "b.example"))
        url, challenge = begin(client, "dns-01")
        zone.add("_acme-challenge.a.example", client.txt_value(challenge["token"]))
        found = outcome(client, url, challenge)

    assert missing == "unauthorized: there is no TXT record at _acme-challenge.b.example"
    assert found == "valid"


def test_a_resolver_gives_the_addresses_where_names_are_tried(client: RawClient) -> None:
    url, challenge = begin(client, "http-01")
    answer = client.key_authorization(challenge["token"]).encode()
    client.ca.settings.validate_at = None
    with (
        DnsServer(MockZone()) as dns,
        web(client.ca.settings.http_port, lambda *_: (200, {}, answer)),
    ):
        client.ca.settings.dns = dns.address

        assert outcome(client, url, challenge) == "valid"


# TLS-ALPN-01.


def proof(name: str, key_authorization: str, **wrong: Any) -> tuple[bytes, bytes]:
    """The certificate of RFC 8737 §3 and its key, but for what is `wrong`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proof")])
    digest = hashlib.sha256(key_authorization.encode()).digest()
    value = wrong.get("value", b"\x04\x20" + digest)
    general = wrong.get("names", [name])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in general]), critical=False)
    )
    if value is not None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"), value)
        builder = builder.add_extension(extension, critical=wrong.get("critical", True))
    certificate = builder.sign(wrong.get("signer", key), SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextmanager
def tls(port: int, directory: Path, files: tuple[bytes, bytes], alpn: str) -> Iterator[list[str]]:
    """A TLS server; yields the names that it was asked for by SNI."""
    (directory / "proof.pem").write_bytes(b"".join(files))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "proof.pem")
    context.set_alpn_protocols([alpn])
    names: list[str] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with web(port, lambda *_: (200, {}, b""), context):
        yield names


@pytest.mark.parametrize(
    ("name", "sni"), [("a.example", "a.example"), ("192.0.2.7", "7.2.0.192.in-addr.arpa")]
)
def test_a_certificate_with_the_digest_passes_validation(
    client: RawClient, tmp_path: Path, name: str, sni: str
) -> None:
    url, challenge = begin(client, "tls-alpn-01", name)
    files = proof(name, client.key_authorization(challenge["token"]))

    with tls(client.ca.settings.tls_alpn_port, tmp_path, files, "acme-tls/1") as names:
        assert outcome(client, url, challenge) == "valid"

    assert names == [sni]


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": b"\x04\x20" + bytes(32)},
        {"value": None},
        {"critical": False},
        {"names": ["b.example"]},
        {"names": ["a.example", "b.example"]},
        {"signer": ec.generate_private_key(ec.SECP256R1())},
        {"alpn": "http/1.1"},
    ],
    ids=["digest", "none", "not critical", "name", "more names", "not self-signed", "protocol"],
)
def test_any_other_certificate_does_not(
    client: RawClient, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    url, challenge = begin(client, "tls-alpn-01")
    files = proof("a.example", client.key_authorization(challenge["token"]), **wrong)
    alpn = str(wrong.get("alpn", "acme-tls/1"))

    with tls(client.ca.settings.tls_alpn_port, tmp_path, files, alpn):
        found = outcome(client, url, challenge)

    assert found.partition(":")[0] in {"unauthorized", "tls"}


def test_a_validation_takes_the_time_that_is_set(client: RawClient) -> None:
    client.ca.settings.validation_seconds = 0.3
    url, challenge = begin(client, "dns-01")
    client.post(challenge["url"], {})
    begun = time.monotonic()

    still = client.post(url).json
    client.settled(url)

    assert still["status"] == "pending"
    assert [each["status"] for each in still["challenges"] if each["type"] == "dns-01"] == [
        "processing"
    ]
    assert time.monotonic() - begun > 0.1
