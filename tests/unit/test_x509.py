"""Keys, requests and downloads, against certificate authorities that the tests build themselves."""

import base64
import ipaddress
import string
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import pytest
from cryptography import x509 as lib
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.ca import AccountKeyType
from certctl.model.errors import ConfigurationError, InspectionFailed, UsageError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.names import parse_identifiers
from certctl.model.spec import KeyType
from certctl.rules import keys, x509
from tests.lab.programs import require

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NAMES = parse_identifiers(["example.com", "*.example.com", "192.0.2.1", "2001:db8::1"])
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def elliptic() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: Key, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


def name_of(common_name: str, oid: lib.ObjectIdentifier = NameOID.COMMON_NAME) -> lib.Name:
    return lib.Name([lib.NameAttribute(oid, common_name)])


def general(name: str) -> lib.GeneralName:
    try:
        return lib.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return lib.DNSName(name)


@dataclass(frozen=True)
class Authority:
    """A CA of a test: a name, a key, and its certificate by whoever stands above it."""

    name: lib.Name
    key: Key = field(default_factory=elliptic)
    parent: "Authority | None" = None
    until: timedelta = timedelta(days=3650)

    @cached_property
    def certificate(self) -> bytes:
        above = self.parent or self
        return above.certify(self.name, self.key, (), until=self.until)

    def certify(
        self,
        subject: lib.Name,
        key: Key,
        names: Sequence[str],
        *,
        start: timedelta = timedelta(hours=-1),
        until: timedelta = timedelta(days=90),
        serial: int = 0x01F3A0,
        key_identifier: bytes | None = b"\x01\x02\x03",
        extensions: Sequence[tuple[lib.ExtensionType, bool]] = (),
    ) -> bytes:
        builder = (
            lib.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(NOW + start)
            .not_valid_after(NOW + until)
        )
        if names:
            alternatives = lib.SubjectAlternativeName([general(each) for each in names])
            builder = builder.add_extension(alternatives, critical=True)
        if key_identifier is not None:
            authority = lib.AuthorityKeyIdentifier(key_identifier, None, None)
            builder = builder.add_extension(authority, critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        algorithm = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(self.key, algorithm).public_bytes(serialization.Encoding.PEM)


ROOT = Authority(name_of("Root R1"))
INTERMEDIATE = Authority(name_of("Intermediate E1"), parent=ROOT)
STRANGER = Authority(name_of("Intermediate E1"), parent=ROOT)
"""Has the name of `INTERMEDIATE`, and another key."""
TWIN = Authority(INTERMEDIATE.name, INTERMEDIATE.key, parent=Authority(name_of("Root R2")))
"""The same intermediate, signed by another root."""
UNRELATED = Authority(name_of("Unrelated"))
LEAF_KEY = elliptic()
DIGEST = keys.key_sha256(pem_of(LEAF_KEY))
TEXTS = tuple(each.value for each in NAMES)


def leaf(  # the leaf that everything is right about, unless a test says otherwise
    names: Sequence[str] = TEXTS,
    *,
    by: Authority = INTERMEDIATE,
    key: Key = LEAF_KEY,
    start: timedelta = timedelta(hours=-1),
    until: timedelta = timedelta(days=90),
) -> bytes:
    return by.certify(lib.Name([]), key, names, start=start, until=until)


def inspect(
    download: bytes,
    *,
    now: datetime = NOW,
    anchors: bytes = b"",
    ca_time: datetime | None = None,
) -> x509.Inspected:
    return x509.inspect(
        download,
        identifiers=NAMES,
        key_sha256=DIGEST,
        now=now,
        anchors=anchors,
        ca_time=ca_time,
    )


# Keys


@pytest.mark.parametrize(
    ("key_type", "bits"),
    [
        (KeyType.ECDSA_P256, 256),
        (KeyType.ECDSA_P384, 384),
        (KeyType.RSA_2048, 2048),
        (KeyType.RSA_3072, 3072),
        (KeyType.RSA_4096, 4096),
    ],
)
def test_a_key_is_of_the_kind_asked_for(key_type: KeyType, bits: int) -> None:
    pem = keys.generate_key(key_type)

    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert key.key_size == bits
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert x509.read_csr(x509.build_csr(pem, NAMES)).key_type == key_type.value


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (AccountKeyType.ES256, "ecdsa-p256"),
        (AccountKeyType.ES384, "ecdsa-p384"),
        (AccountKeyType.RS256, "rsa-2048"),
    ],
)
def test_an_account_key_fits_its_algorithm(kind: AccountKeyType, word: str) -> None:
    pem = keys.generate_account_key(kind)

    assert x509.read_csr(x509.build_csr(pem, NAMES)).key_type == word


def test_two_keys_are_never_the_same() -> None:
    assert keys.generate_key(KeyType.ECDSA_P256) != keys.generate_key(KeyType.ECDSA_P256)


def test_a_key_knows_its_certificate() -> None:
    assert x509.matches(pem_of(LEAF_KEY), leaf()) is True
    assert x509.matches(pem_of(elliptic()), leaf()) is False


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (pem_of(elliptic(), serialization.BestAvailableEncryption(b"x")), "it is encrypted"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "not a private"),
        (b"secret", "not a private key in PEM"),
        (leaf(), "not a private key in PEM"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "neither an RSA nor an ECDSA key"),
    ],
    ids=["encrypted", "damaged", "no PEM", "a certificate", "Ed25519"],
)
def test_an_unusable_key_is_refused_without_being_shown(pem: bytes, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        keys.key_sha256(pem)

    assert reason in caught.value.message
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


# Requests

label = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=63)
dns_name = st.builds(
    lambda star, labels: star + ".".join((*labels, "test")),
    st.sampled_from(["", "*."]),
    st.lists(label, min_size=1, max_size=3),
)
identifier = st.one_of(
    dns_name.map(lambda name: Identifier(IdentifierType.DNS, name)),
    st.ip_addresses().map(lambda address: Identifier(IdentifierType.IP, str(address))),
)


@given(st.lists(identifier, min_size=1, max_size=20, unique=True))
def test_a_request_asks_for_exactly_the_names_given(identifiers: list[Identifier]) -> None:
    csr = x509.read_csr(x509.build_csr(pem_of(LEAF_KEY), identifiers))

    assert csr.identifiers == tuple(identifiers)
    assert csr.key_sha256 == DIGEST


def test_a_request_has_no_subject() -> None:
    der = x509.build_csr(pem_of(LEAF_KEY), parse_identifiers([f"{'a' * 60}.example.com"]))

    assert lib.load_der_x509_csr(der).subject == lib.Name([])


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048])
def test_openssl_accepts_a_request(key_type: KeyType, tmp_path: Path) -> None:
    require("openssl")
    file = tmp_path / "request.der"
    file.write_bytes(x509.build_csr(keys.generate_key(key_type), NAMES))

    shown = subprocess.run(
        ["openssl", "req", "-inform", "DER", "-in", file, "-noout", "-verify", "-text"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert "DNS:example.com, DNS:*.example.com, IP Address:192.0.2.1" in shown.stdout
    assert "self-signature verify OK" in shown.stdout + shown.stderr


def request(
    subject: lib.Name, names: Sequence[lib.GeneralName], key: Key = LEAF_KEY
) -> lib.CertificateSigningRequest:
    builder = lib.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(lib.SubjectAlternativeName(names), critical=False)
    return builder.sign(
        key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    )


def as_pem(csr: lib.CertificateSigningRequest) -> bytes:
    return csr.public_bytes(serialization.Encoding.PEM)


def test_a_request_reads_the_same_as_pem_and_as_der() -> None:
    csr = request(name_of("example.com"), [lib.DNSName("example.com")])

    assert x509.read_csr(as_pem(csr)) == x509.read_csr(csr.public_bytes(serialization.Encoding.DER))


def test_only_the_request_itself_is_kept_of_a_file() -> None:
    csr = as_pem(request(lib.Name([]), [lib.DNSName("example.com")]))

    assert x509.read_csr(b"made by hand\n" + csr + pem_of(LEAF_KEY)).pem == csr


@pytest.mark.parametrize(
    ("common_name", "alternatives", "expected"),
    [
        ("example.com", ["www.example.com"], ["example.com", "www.example.com"]),
        ("www.example.com", ["example.com", "www.example.com"], ["example.com", "www.example.com"]),
        ("Example.COM", ["example.com"], ["example.com"]),
        ("example.com", [], ["example.com"]),
    ],
    ids=["common name not in the SAN", "in the SAN", "in other case", "no SAN"],
)
def test_the_common_name_is_one_of_the_names(
    common_name: str, alternatives: list[str], expected: list[str]
) -> None:
    csr = as_pem(request(name_of(common_name), [lib.DNSName(each) for each in alternatives]))

    assert [each.value for each in x509.read_csr(csr).identifiers] == expected


def test_a_request_of_an_unusual_key_says_what_it_is() -> None:
    csr = request(lib.Name([]), [general("example.com")], ed25519.Ed25519PrivateKey.generate())

    assert x509.read_csr(as_pem(csr)).key_type == "ed25519"


def forged() -> bytes:
    """A request that is signed by another key than its own."""
    der = request(lib.Name([]), [lib.DNSName("example.com")]).public_bytes(
        serialization.Encoding.DER
    )
    others = elliptic().public_key()
    encoding = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return der.replace(
        LEAF_KEY.public_key().public_bytes(*encoding), others.public_bytes(*encoding)
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (forged(), "it is not signed with its own key"),
        (as_pem(request(lib.Name([]), [lib.RFC822Name("a@example.com")])), "RFC822Name"),
        (as_pem(request(lib.Name([]), [lib.DNSName("192.0.2.1")])), "as a DNS name"),
        (
            as_pem(request(lib.Name([]), [lib.IPAddress(ipaddress.ip_network("192.0.2.0/24"))])),
            "IPAddress",
        ),
        (as_pem(request(name_of("Example Inc."), [lib.DNSName("example.com")])), "Example Inc."),
        (as_pem(request(lib.Name([]), [lib.DNSName("a.*.example.com")])), "wildcard"),
        (as_pem(request(lib.Name([]), [])), "it has no names"),
        (leaf(), "cannot be parsed"),
        (b"", "cannot be parsed"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "parsed",
        ),
    ],
    ids=[
        "another key's signature",
        "an e-mail address",
        "an address as a name",
        "a network",
        "a common name that is no name",
        "a wildcard within",
        "no name",
        "a certificate",
        "nothing",
        "damaged",
    ],
)
def test_a_request_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        x509.read_csr(data)

    assert reason in caught.value.message
    assert caught.value.code == "usage.csr"


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_as_a_request(data: bytes) -> None:
    with pytest.raises(UsageError):
        x509.read_csr(data)


# What a certificate says of itself


def test_the_facts_of_a_certificate_are_what_was_certified() -> None:
    pem = leaf(["b.example.com", "A.example.com", "192.0.2.1"])

    facts = x509.facts(pem)

    assert facts.identifiers == parse_identifiers(["b.example.com", "a.example.com", "192.0.2.1"])
    assert facts.not_before == NOW - timedelta(hours=1)
    assert facts.not_after == NOW + timedelta(days=90)
    assert facts.serial == "01f3a0"
    assert facts.issuer == "Intermediate E1"
    assert facts.key_type == "ecdsa-p256"
    assert facts.key_sha256 == DIGEST
    assert facts.ari_id == "AQID.AfOg"


def test_openssl_sees_the_same_digest_and_serial(tmp_path: Path) -> None:
    require("openssl")
    file = tmp_path / "cert.pem"
    file.write_bytes(leaf())

    shown = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-serial", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    )

    serial, fingerprint = (line.partition("=")[2].lower() for line in shown.stdout.splitlines())
    facts = x509.facts(leaf_bytes := file.read_bytes())
    assert (facts.serial, facts.sha256) == (serial, fingerprint.replace(":", ""))
    assert x509.der(leaf_bytes) == base64.b64decode(b"".join(leaf_bytes.splitlines()[1:-1]))


def test_the_certid_is_that_of_the_rfc() -> None:
    """RFC 9773 §4.1's example: the serial's high bit is set, and a zero octet stands before it."""
    pem = INTERMEDIATE.certify(
        lib.Name([]),
        LEAF_KEY,
        ["example.com"],
        serial=0x0087654321,
        key_identifier=bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"),
    )

    assert x509.facts(pem).ari_id == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert x509.facts(pem).serial == "87654321"


@given(st.integers(min_value=1, max_value=2**159 - 1))
def test_the_serial_of_a_certid_is_its_der_without_tag_and_length(serial: int) -> None:
    pem = INTERMEDIATE.certify(lib.Name([]), LEAF_KEY, ["example.com"], serial=serial)

    encoded = (x509.facts(pem).ari_id or "").partition(".")[2]

    octets = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    assert bytes([2, len(octets)]) + octets in x509.der(pem)
    assert int.from_bytes(octets, "big") == serial


def test_without_an_authority_key_identifier_there_is_no_certid() -> None:
    pem = INTERMEDIATE.certify(lib.Name([]), LEAF_KEY, ["example.com"], key_identifier=None)

    assert x509.facts(pem).ari_id is None


def test_a_certificate_without_names_has_none() -> None:
    assert x509.facts(ROOT.certificate).identifiers == ()


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "ecdsa-p384"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa-p521"),
        (rsa.generate_private_key(65537, 2048), "rsa-2048"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    ],
    ids=["P-384", "P-521", "RSA", "Ed25519"],
)
def test_the_kind_of_key_has_a_word(key: Key, word: str) -> None:
    assert x509.facts(leaf(key=key)).key_type == word


def test_an_issuer_without_a_common_name_is_called_by_its_organisation() -> None:
    authority = Authority(name_of("Example Trust", NameOID.ORGANIZATION_NAME))

    assert x509.facts(leaf(by=authority)).issuer == "Example Trust"


def test_the_topmost_issuer_is_that_of_the_last_certificate() -> None:
    assert x509.topmost_issuer(leaf() + INTERMEDIATE.certificate) == "Root R1"


@pytest.mark.parametrize("read", [x509.facts, x509.topmost_issuer])
def test_an_invalid_certificate_is_rejected(read: Callable[[bytes], object]) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

    with pytest.raises(InspectionFailed, match="cannot be parsed"):
        read(pem)


# Inspection


def test_a_good_download_is_split_into_leaf_and_chain() -> None:
    certificate, chain = leaf(), INTERMEDIATE.certificate

    inspected = inspect(certificate + b"\n" + chain.replace(b"\n", b"\r\n"))

    assert inspected == x509.Inspected(certificate, chain, x509.facts(certificate), ())


@pytest.mark.parametrize(
    "order",
    ["LIR", "IL", "RIL", "LRI", "LIIL", "LTI", "LITR"],
    ids=["root", "backwards", "root first", "root amid", "twice", "twin", "twin and root"],
)
def test_a_chain_is_sorted_and_what_clients_do_not_need_is_left_out(order: str) -> None:
    certificate, intermediate = leaf(), INTERMEDIATE.certificate
    parts = {"L": certificate, "I": intermediate, "R": ROOT.certificate, "T": TWIN.certificate}

    inspected = inspect(b"".join(parts[each] for each in order))

    assert inspected.cert == certificate
    assert inspected.chain in {intermediate, TWIN.certificate}
    assert inspected.warnings == ()


def test_of_cross_signed_issuers_the_one_with_the_longer_path_is_used() -> None:
    """Clients with the old root only need the certificate that leads there."""
    old = Authority(name_of("Old Root"))
    cross = old.certify(ROOT.name, ROOT.key, (), until=timedelta(days=3650))
    certificate, intermediate = leaf(), INTERMEDIATE.certificate

    inspected = inspect(certificate + ROOT.certificate + intermediate + cross + old.certificate)

    assert inspected.chain == intermediate + cross


def test_a_root_that_issued_the_leaf_itself_stays_in_the_chain() -> None:
    assert inspect(leaf(by=ROOT) + ROOT.certificate).chain == ROOT.certificate


def test_a_certificate_that_does_not_belong_is_left_out_with_a_warning() -> None:
    inspected = inspect(leaf() + INTERMEDIATE.certificate + UNRELATED.certificate)

    assert inspected.chain == INTERMEDIATE.certificate
    assert "left out: 'Unrelated'" in inspected.warnings[0]


def test_a_name_that_the_ca_added_is_a_warning_and_is_a_fact() -> None:
    inspected = inspect(leaf([*TEXTS, "www.example.com"]) + INTERMEDIATE.certificate)

    assert inspected.warnings == ("the CA added names that were not requested: www.example.com",)
    assert "www.example.com" in {each.value for each in inspected.facts.identifiers}


def extended(*extensions: tuple[lib.ExtensionType, bool], key: Key = LEAF_KEY) -> bytes:
    """A leaf with these extensions, each critical or not."""
    return INTERMEDIATE.certify(lib.Name([]), key, TEXTS, extensions=extensions)


UNKNOWN = lib.UnrecognizedExtension(lib.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


@pytest.mark.parametrize(
    ("download", "kind", "reason"),
    [
        (extended((lib.BasicConstraints(True, None), True)), "ca", "CA:TRUE"),
        (extended((lib.PrecertPoison(), True)), "precertificate", "precertificate"),
        (
            extended((lib.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
            "purpose",
            "no serverAuth",
        ),
        (extended((UNKNOWN, True)), "extension", "1.2.3.4.5"),
    ],
    ids=["a CA", "a precertificate", "for clients", "a critical extension"],
)
def test_a_leaf_that_clients_reject_is_refused(download: bytes, kind: str, reason: str) -> None:
    with pytest.raises(InspectionFailed) as caught:
        inspect(download + INTERMEDIATE.certificate)

    assert reason in caught.value.message
    assert caught.value.code == f"certificate.refused.{kind}"


@pytest.mark.parametrize(
    "extensions",
    [
        [(UNKNOWN, False)],
        [(lib.BasicConstraints(False, None), True)],
        [(lib.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), True)],
        [(lib.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)],
        [(lib.TLSFeature([lib.TLSFeatureType.status_request]), False)],
    ],
    ids=["an unknown extension", "CA:FALSE", "for servers", "for anything", "must-staple"],
)
def test_a_leaf_that_clients_accept_is_accepted(
    extensions: list[tuple[lib.ExtensionType, bool]],
) -> None:
    assert inspect(extended(*extensions) + INTERMEDIATE.certificate).warnings == ()


def test_an_issuer_that_is_no_ca_is_refused() -> None:
    constraints = (lib.BasicConstraints(False, None), True)
    intermediate = ROOT.certify(INTERMEDIATE.name, INTERMEDIATE.key, (), extensions=[constraints])

    with pytest.raises(InspectionFailed, match="CA:FALSE"):
        inspect(leaf() + intermediate)


def test_what_some_clients_reject_is_a_warning() -> None:
    weak = Authority(name_of("Weak"), rsa.generate_private_key(65537, 1024), parent=ROOT)  # noqa: S505 - its use
    uri = lib.UniformResourceIdentifier("https://example.com/")
    names = lib.SubjectAlternativeName([*(general(each) for each in TEXTS), uri])
    certificate = weak.certify(lib.Name([]), LEAF_KEY, (), extensions=[(names, False)])

    first, second = inspect(certificate + weak.certificate).warnings

    assert {"RSA key of 1024 bits" in first, "https://example.com/" in second} == {True}


def test_a_download_of_very_many_certificates_is_refused() -> None:
    with pytest.raises(InspectionFailed, match="601 certificates"):
        inspect(leaf() + INTERMEDIATE.certificate * 600)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()],
    ids=["RSA", "Ed25519"],
)
def test_a_chain_may_be_signed_by_other_kinds_of_key(key: Key) -> None:
    authority = Authority(name_of("Intermediate R1"), key, parent=ROOT)

    assert inspect(leaf(by=authority) + authority.certificate).warnings == ()


def test_names_may_come_in_any_order_and_case() -> None:
    certificate = leaf([each.upper() for each in reversed(TEXTS)])

    assert inspect(certificate + INTERMEDIATE.certificate).cert == certificate


@pytest.mark.parametrize(
    ("download", "code", "reason"),
    [
        (
            leaf(key=elliptic()) + INTERMEDIATE.certificate,
            "certificate.refused.key",
            "for a different key",
        ),
        (
            leaf(TEXTS[:-1]) + INTERMEDIATE.certificate,
            "certificate.refused.names",
            "missing: 2001:db8::1",
        ),
        (
            leaf([*TEXTS[1:], "example.org"]) + INTERMEDIATE.certificate,
            "certificate.refused.names",
            "missing: example.com; not requested: example.org",
        ),
        (leaf(), "certificate.refused.chain", "without its chain: clients"),
        (
            leaf() + ROOT.certificate,
            "certificate.refused.chain",
            "was issued by 'Intermediate E1', which did not sign it",
        ),
        (
            leaf() + STRANGER.certificate,
            "certificate.refused.chain",
            "among the certificates sent with it ('Intermediate E1')",
        ),
        (
            leaf(start=timedelta(days=-90), until=timedelta()) + INTERMEDIATE.certificate,
            "certificate.refused.expired",
            "expired at 2026-01-01 12:00 UTC",
        ),
        (
            leaf() + INTERMEDIATE.certificate + pem_of(elliptic()),
            "certificate.refused.pem",
            "PRIVATE KEY",
        ),
    ],
    ids=[
        "another key",
        "a name missing",
        "another name",
        "leaf only",
        "no intermediate between",
        "an issuer's name without its key",
        "expired",
        "a private key",
    ],
)
def test_a_download_is_refused_naming_what_differs(download: bytes, code: str, reason: str) -> None:
    with pytest.raises(InspectionFailed) as caught:
        inspect(download)

    assert reason in caught.value.message
    assert caught.value.code == code


def test_a_leaf_may_stand_alone_under_an_anchor_that_issued_it() -> None:
    certificate = leaf(by=ROOT)
    anchors = b"a comment of the file's author\n" + INTERMEDIATE.certificate + ROOT.certificate

    inspected = inspect(certificate, anchors=anchors)

    assert (inspected.cert, inspected.chain) == (certificate, b"")


def test_an_anchor_with_another_key_does_not_stand_in_for_a_chain() -> None:
    impostor = Authority(name_of("Root R1"))

    with pytest.raises(InspectionFailed, match="without its chain"):
        inspect(leaf(by=ROOT), anchors=impostor.certificate)


def test_anchors_that_cannot_be_read_are_named() -> None:
    with pytest.raises(ConfigurationError, match="CA bundle cannot be parsed"):
        inspect(leaf(by=ROOT), anchors=b"not PEM at all")


def test_a_clock_that_is_behind_only_warns() -> None:
    inspected = inspect(leaf() + INTERMEDIATE.certificate, now=NOW - timedelta(days=2))

    assert len(inspected.warnings) == 1
    assert (
        "2026-01-01 11:00 UTC, but the clock of this machine shows 2025-12-30"
        in inspected.warnings[0]
    )
    assert "timedatectl" in inspected.warnings[0]


def test_a_certificate_from_the_future_is_the_fault_of_a_ca_whose_clock_is_ours() -> None:
    download = leaf(start=timedelta(days=2000), until=timedelta(days=2090))

    inspected = inspect(download + INTERMEDIATE.certificate, ca_time=NOW)

    assert "so the CA postdated the certificate" in inspected.warnings[0]


def test_an_expired_certificate_further_up_only_warns() -> None:
    authority = Authority(name_of("Old"), parent=ROOT, until=timedelta(minutes=-1))

    inspected = inspect(leaf(by=authority) + authority.certificate)

    assert inspected.warnings == (
        "the certificate 'Old' in the chain expired at 2026-01-01 11:59 UTC",
    )


GOOD_LEAF = leaf()


@pytest.mark.filterwarnings("ignore:Parsed a serial number:UserWarning")
@given(st.data())
def test_a_damaged_leaf_never_comes_through(data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(GOOD_LEAF) - 1))
    damaged = bytearray(GOOD_LEAF)
    damaged[where] = data.draw(st.integers(0, 255))

    try:
        inspected = inspect(bytes(damaged) + INTERMEDIATE.certificate)
    except InspectionFailed:
        return
    assert inspected.cert == GOOD_LEAF
