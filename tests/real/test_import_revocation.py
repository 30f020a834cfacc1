"""`import --check` asks whether a certificate is revoked, as the certificate says: OpenSSL signs as
the CA here, lists of revoked certificates and OCSP responses.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certctl.model.errors import InspectionFailed
from certctl.rules.revocation import of_answer, of_list, question
from tests.lab.programs import program, require
from tests.support.command import certctl

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="certbot's home belongs to root")

NAME = "revoked.example"
START = datetime.now(UTC) - timedelta(hours=1)
CONFIG = """[ca]
default_ca = own
[own]
database = {directory}/index.txt
certificate = {directory}/ca.pem
private_key = {directory}/ca.key
default_md = sha256
default_crl_days = 1
crl_extensions = list
[list]
{extensions}
"""


class Issuer:
    """A CA whose lists and responses OpenSSL signs, behind HTTP."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An issuer")])
        self.certificate = (
            self._builder(name, name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        (directory / "ca.pem").write_bytes(self.pem)
        (directory / "ca.key").write_bytes(_private(self.key))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, url: str, *ways: str, serial: int = 4660) -> tuple[bytes, bytes]:
        """A certificate that names a list, a responder, both or neither, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        builder = self._builder(subject, self.certificate.subject, key.public_key(), serial)
        names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
        builder = builder.add_extension(names, critical=False)
        if "list" in ways:
            point = x509.DistributionPoint(
                [x509.UniformResourceIdentifier(f"{url}/list")], None, None, None
            )
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        if "ocsp" in ways:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{url}/ocsp")
            )
            builder = builder.add_extension(
                x509.AuthorityInformationAccess([access]), critical=False
            )
        made = builder.sign(self.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM), _private(key)

    def remember(self, *, revoked: bool, serial: int = 4660) -> None:
        """Write OpenSSL's index of certificates."""
        until = f"{START + timedelta(days=30):%y%m%d%H%M%SZ}"
        state, when = ("R", f"{START:%y%m%d%H%M%SZ},keyCompromise") if revoked else ("V", "")
        line = f"{state}\t{until}\t{when}\t{serial:X}\tunknown\t/CN={NAME}\n"
        (self.directory / "index.txt").write_text(line)
        (self.directory / "index.txt.attr").write_text("unique_subject = no\n")

    def revocation_list(self, *options: str, extensions: str = "") -> bytes:
        config = self.directory / "config"
        config.write_text(CONFIG.format(directory=self.directory, extensions=extensions))
        return self._openssl("ca", "-gencrl", "-config", str(config), *options)

    def response(self, request: bytes, *options: str) -> bytes:
        asked, answered = self.directory / "request", self.directory / "response"
        asked.write_bytes(request)
        ca, key = (str(self.directory / each) for each in ("ca.pem", "ca.key"))
        self._openssl(
            *("ocsp", "-index", str(self.directory / "index.txt"), "-CA", ca, "-rsigner", ca),
            *("-rkey", key, "-reqin", str(asked), "-respout", str(answered), "-ndays", "1"),
            *options,
        )
        return answered.read_bytes()

    def _openssl(self, *arguments: str) -> bytes:
        done = subprocess.run(
            [program("openssl"), *arguments], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePublicKey,
        serial: int = 1,
    ) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            issuer, subject, key, serial, START, START + timedelta(days=30)
        )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@contextmanager
def serving(issuer: Issuer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(issuer.revocation_list())

        def do_POST(self) -> None:
            self._send(issuer.response(self.rfile.read(int(self.headers["Content-Length"]))))

        def _send(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    require("openssl")
    return Issuer(tmp_path / "issuer")


def certbots(home: Path, issuer: Issuer, made: tuple[bytes, bytes]) -> None:
    """A certificate in a home of certbot, of a CA that nobody can ask."""
    live = home / "live" / NAME
    live.mkdir(parents=True)
    (home / "renewal").mkdir()
    (home / "renewal" / f"{NAME}.conf").write_text(
        "[renewalparams]\nauthenticator = standalone\nserver = https://127.0.0.1:1/directory\n"
    )
    for kind, data in (("fullchain", made[0] + issuer.pem), ("privkey", made[1])):
        (live / f"{kind}.pem").write_bytes(data)
        (live / f"{kind}.pem").chmod(0o600)


@pytest.mark.parametrize("ways", [("list",), ("ocsp",)])
@pytest.mark.parametrize("revoked", [True, False])
def test_a_check_says_whether_the_issuer_has_revoked_it(
    tmp_path: Path, issuer: Issuer, ways: tuple[str, ...], revoked: bool
) -> None:
    with serving(issuer) as url:
        certbots(tmp_path / "letsencrypt", issuer, issuer.issue(url, *ways))
        issuer.remember(revoked=revoked)
        found = certctl(
            *("import", "--check", "--from", str(tmp_path / "letsencrypt"), "--json"),
            home=tmp_path / "certctl",
        )

    checked = found.json()["data"]["checked"]
    said = next(each for each in checked if "revoked" in each["text"])
    expected = (
        f"revoked by its CA on {START:%Y-%m-%d} (keyCompromise)" if revoked else "not revoked"
    )
    assert (said["subject"], said["problem"]) == (NAME, revoked)
    assert said["text"].startswith(expected), said


def test_a_check_says_unknown_where_nobody_can_be_asked(tmp_path: Path, issuer: Issuer) -> None:
    certbots(tmp_path / "letsencrypt", issuer, issuer.issue("http://127.0.0.1:1"))
    nowhere = tmp_path / "nowhere"
    certbots(nowhere, issuer, issuer.issue("http://127.0.0.1:1", "list", "ocsp"))

    texts = [
        each["text"]
        for home in (tmp_path / "letsencrypt", nowhere)
        for each in certctl(
            *("import", "--check", "--from", str(home), "--json"), home=tmp_path / "certctl"
        ).json()["data"]["checked"]
        if "revoked" in each["text"]
    ]

    assert texts[0].endswith(
        "whether it is revoked: it names neither a list of revoked ones nor an OCSP responder"
    )
    assert "http://127.0.0.1:1/list: Connection refused; http://127.0.0.1:1/ocsp:" in texts[1]


def now() -> datetime:
    return datetime.now(UTC)


def test_a_list_counts_only_if_it_is_the_issuers_current_one_for_this_certificate(
    tmp_path: Path, issuer: Issuer
) -> None:
    stranger = Issuer(tmp_path / "stranger")
    cert, _ = issuer.issue("http://ca.example", "list")
    for each in (issuer, stranger):
        each.remember(revoked=True)
    url = "http://ca.example/list"
    good = issuer.revocation_list()
    scope = "issuingDistributionPoint = critical, @scope\n[scope]\nfullname = URI:{}\n"
    own = issuer.revocation_list(extensions=scope.format(url))
    other = issuer.revocation_list(extensions=scope.format("http://ca.example/other"))
    authorities = issuer.revocation_list(extensions=scope.format(url) + "onlyCA = TRUE\n")

    def asked(data: bytes, later: timedelta = timedelta(0)) -> str | None:
        return of_list(data, url, cert, issuer.pem, now() + later).reason

    assert (asked(good), asked(own)) == ("keyCompromise", "keyCompromise")
    for data, why in (
        (stranger.revocation_list(), "not signed by the issuer"),
        (other, "about other certificates"),
        (authorities, "about other certificates"),
        (b"\x30\x03\x02\x01\x01", "cannot be read"),
    ):
        with pytest.raises(InspectionFailed, match=why):
            asked(data)
    with pytest.raises(InspectionFailed, match="out of date"):
        asked(good, timedelta(days=3))


def test_a_response_counts_only_if_it_is_the_issuers_current_one_for_this_certificate(
    tmp_path: Path, issuer: Issuer
) -> None:
    stranger = Issuer(tmp_path / "stranger")
    cert, _ = issuer.issue("http://ca.example", "ocsp")
    another, _ = issuer.issue("http://ca.example", "ocsp", serial=4661)
    issuer.remember(revoked=True)
    stranger.remember(revoked=True)
    asked = question(cert, issuer.pem)
    good = issuer.response(asked)

    assert of_answer(good, cert, issuer.pem, now()).reason == "keyCompromise"
    by_stranger = ("-rsigner", str(stranger.directory / "ca.pem"))
    key_of_stranger = ("-rkey", str(stranger.directory / "ca.key"))
    for data, of, why in (
        (issuer.response(asked, *by_stranger, *key_of_stranger), cert, "not signed for the issuer"),
        (good, another, "about another certificate"),
        (issuer.response(question(another, issuer.pem)), another, "does not know"),
        (b"\x30\x03\x0a\x01\x06", cert, "says unauthorized"),
        (b"<html>", cert, "cannot be read"),
    ):
        with pytest.raises(InspectionFailed, match=why):
            of_answer(data, of, issuer.pem, now())
    with pytest.raises(InspectionFailed, match="out of date"):
        of_answer(good, cert, issuer.pem, now() + timedelta(days=3))
