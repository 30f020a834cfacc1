"""What the development CA issues, before a strict linter and before openssl (RFC 5280, CA/B BR)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from tests.real.driver import openssl
from tests.support.command import certctl

PROFILES = ("classic", "tlsserver", "shortlived")
LINTERS = Path(sys.executable).parent

ALLOWED = {
    # It is trusted by nobody, names `.example`, and everything of it is at one HTTPS port.
    "cabf.internal_domain_name",
    "cabf.serverauth.aia_location_uri_not_http",
    "cabf.serverauth.crldp_dpname_prohibited_uri_scheme",
    "msft.end_entity.revocation_information_absent",  # which takes http only, too
    # It claims to follow no policy, and belongs to no country.
    "cabf.serverauth.subscriber.certificate_policies_extension_absent",
    "cabf.serverauth.ca.certificate_policies_extension_absent",
    "cabf.serverauth.ca.country_attribute_absent",
    # Its intermediate is never revoked: the root is thrown away with it.
    "cabf.serverauth.ca.crl_distribution_points_extension_absent",
    "cabf.serverauth.ca.authority_info_access_extension_absent",
    # What only public CAs have been told to leave out: ACME clients still meet it elsewhere.
    "cabf.serverauth.subscriber.subject_key_identifier_extension_present",
}
"""Findings of a linter for public CAs that are right, and that a CA for development may ignore."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a certificate of each profile, and one with an RSA key."""
    home = tmp_path_factory.mktemp("linted")
    for profile in PROFILES:
        issue(home, f"{profile}.example", "--profile", profile)
    issue(home, "rsa.example", "--key-type", "rsa-2048")
    issue(home, "192.0.2.7", "--profile", "shortlived")
    for name in ("classic.example", "rsa.example"):
        (home / f"intermediate-{name}.pem").write_bytes(
            (home / "live" / name / "chain.pem").read_bytes()
        )
    return home


def issue(home: Path, name: str, *options: str) -> None:
    done = certctl("issue", name, "--ca", "dev", *options, home=home)
    assert done.exit_status == 0, done.stderr


def found(linter: str, certificate: Path, *options: str) -> set[str]:
    """The codes of what a linter complains about, notices left out."""
    done = subprocess.run(
        [LINTERS / linter, "lint", *options, certificate],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return set(
        re.findall(r"^\s+([a-z0-9_.]+) \((?:WARNING|ERROR|FATAL)\)", done.stdout, re.MULTILINE)
    )


@pytest.mark.parametrize(
    "path",
    [
        *(f"live/{profile}.example/cert.pem" for profile in PROFILES),
        "live/rsa.example/cert.pem",
        "live/192.0.2.7/cert.pem",
        "intermediate-classic.example.pem",
        "dev-ca/root.pem",
    ],
)
def test_a_linter_for_rfc_5280_finds_nothing(home: Path, path: str) -> None:
    assert found("lint_pkix_cert", home / path) == set()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_linter_for_public_cas_finds_only_what_a_development_ca_may_do(
    home: Path, profile: str
) -> None:
    codes = found("lint_cabf_serverauth_cert", home / f"live/{profile}.example/cert.pem", "-d")

    named = {"cabf.serverauth.dv.common_name_attribute_present"} if profile == "classic" else set()
    assert codes - ALLOWED == named


def test_the_intermediate_too_is_one_that_public_cas_could_have(home: Path) -> None:
    path = home / "intermediate-classic.example.pem"

    assert found("lint_cabf_serverauth_cert", path, "-d") - ALLOWED == set()


@pytest.mark.parametrize("name", ["classic.example", "rsa.example", "192.0.2.7"])
def test_openssl_accepts_the_chain_where_it_is_strict(home: Path, name: str) -> None:
    live = home / "live" / name

    said = openssl(
        *("verify", "-x509_strict", "-purpose", "sslserver"),
        *("-CAfile", home / "dev-ca" / "root.pem", "-untrusted", live / "chain.pem"),
        live / "cert.pem",
    )

    assert said.endswith("cert.pem: OK\n")


def test_serial_numbers_have_at_least_64_random_bits(home: Path) -> None:
    serials = {
        x509.load_pem_x509_certificate(path.read_bytes()).serial_number
        for path in home.glob("live/*/cert.pem")
    }

    assert len(serials) == 5
    assert min(serials).bit_length() > 64
