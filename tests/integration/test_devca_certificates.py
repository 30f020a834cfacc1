"""What the development CA signs, by a second opinion: openssl, and the letter of RFC 5280."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl.devca.server import DevCa
from tests.integration.devca_client import CertificateKey, RawClient, csr
from tests.lab.programs import require
from tests.real.driver import openssl


@pytest.fixture(scope="module")
def client() -> Iterator[RawClient]:
    with DevCa(None) as ca:
        client = RawClient(ca)
        client.register()
        yield client
    assert ca.internal_errors == []


def issue(
    client: RawClient, *names: str, key: CertificateKey | None = None, profile: str | None = None
) -> bytes:
    """A chain in PEM."""
    order = client.order(*names, **({"profile": profile} if profile else {}))
    client.prove(order)
    done = client.finalize(order, csr(names, key))
    return client.post(done.json["certificate"]).body


KEYS: dict[str, Callable[[], CertificateKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("profile", ["classic", "tlsserver", "shortlived"])
def test_openssl_verifies_the_chain_strictly(
    client: RawClient, tmp_path: Path, kind: str, profile: str
) -> None:
    require("openssl")
    chain, root = tmp_path / "chain.pem", tmp_path / "root.pem"
    chain.write_bytes(issue(client, "a.example", key=KEYS[kind](), profile=profile))
    root.write_bytes(client.ca.root_pem)

    shown = openssl(
        *("verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver"),
        *("-verify_hostname", "a.example", "-CAfile", root, "-untrusted", chain, chain),
    )

    assert shown.strip().endswith("OK")


@pytest.mark.parametrize("kind", KEYS)
def test_openssl_checks_the_revocation_list(client: RawClient, tmp_path: Path, kind: str) -> None:
    require("openssl")
    pem = issue(client, "a.example", key=KEYS[kind]())
    leaf = x509.load_pem_x509_certificate(pem)
    issuer = "rsa" if kind == "RSA" else "ec"
    client.manage("POST", "revoke", certificate=f"{leaf.serial_number:X}", reason=1)
    lists = tmp_path / "crl.der"
    lists.write_bytes(client.get("crl", issuer).body)

    shown = openssl("crl", "-inform", "DER", "-in", lists, "-noout", "-text")

    assert f"{leaf.serial_number:X}" in shown.replace(":", "")
    assert "Key Compromise" in shown


@pytest.mark.parametrize("profile", ["classic", "tlsserver", "shortlived"])
@pytest.mark.parametrize("kind", ["P-256", "RSA"])
def test_a_certificate_conforms_to_rfc_5280(client: RawClient, kind: str, profile: str) -> None:
    leaf, issuer = x509.load_pem_x509_certificates(
        issue(client, "a.example", "*.a.example", key=KEYS[kind](), profile=profile)
    )
    extensions = leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    common_names = [str(each.value) for each in leaf.subject]

    assert leaf.version is x509.Version.v3
    assert common_names == (["a.example"] if profile == "classic" else [])
    assert names.critical == (not common_names)  # RFC 5280 §4.2.1.6
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment == (kind == "RSA")
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (False, False)
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value == x509.SubjectKeyIdentifier.from_public_key(leaf.public_key())
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == issuer_id.digest


def test_serials_are_long_positive_and_never_the_same(client: RawClient) -> None:
    serials = {
        x509.load_pem_x509_certificate(issue(client, f"s{number}.example")).serial_number
        for number in range(8)
    }

    assert len(serials) == 8
    assert all(64 < serial.bit_length() <= 159 for serial in serials)  # RFC 5280 §4.1.2.2


def test_the_authorities_are_marked_as_such_and_as_made_for_development(client: RawClient) -> None:
    _, intermediate = x509.load_pem_x509_certificates(issue(client, "a.example"))
    roots = [client.ca.root_pem, client.ca.rsa_root_pem]
    certificates = [intermediate, *(x509.load_pem_x509_certificate(each) for each in roots)]

    for each in certificates:
        usage = each.extensions.get_extension_for_class(x509.KeyUsage)
        assert each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert (usage.critical, usage.value.key_cert_sign) == (True, True)
        (organization,) = each.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        assert "development only" in str(organization.value)


@pytest.mark.parametrize(
    ("profile", "lifetime"),
    [
        ("classic", timedelta(days=90)),
        ("tlsserver", timedelta(days=45)),
        ("shortlived", timedelta(hours=160)),
    ],
)
def test_a_profile_says_how_long_a_certificate_lives(
    client: RawClient, profile: str, lifetime: timedelta
) -> None:
    leaf = x509.load_pem_x509_certificate(issue(client, "a.example", profile=profile))

    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == lifetime
