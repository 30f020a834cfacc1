"""PEM from a CA is taken strictly; what is written has one normal form."""

import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import InspectionFailed
from certctl.rules import formats

FIRST, SECOND = b"first certificate " * 10, b"second certificate " * 7
KEY_TEXT = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"


def block(der: bytes, label: str = "CERTIFICATE", newline: str = "\n", width: int = 64) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), width)
    text = newline.join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))
    return text.encode()


@given(st.binary(min_size=1, max_size=300))
def test_der_survives_the_way_through_pem(der: bytes) -> None:
    assert formats.to_der(formats.to_pem(der)) == der


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_what_is_joined_can_be_split_again(certificates: list[bytes]) -> None:
    pem = [formats.to_pem(each) for each in certificates]

    assert formats.split_certificates(formats.join(pem)) == pem


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(InspectionFailed):
        formats.split_certificates(b"-----BEGIN CERTIFICATE-----\n" + data)


def test_pem_is_written_in_lines_of_64_characters() -> None:
    assert formats.to_pem(FIRST) == block(FIRST)


@pytest.mark.parametrize(
    "download",
    [
        block(FIRST, newline="\r\n") + block(SECOND, newline="\r\n"),
        block(FIRST) + b"\n\n" + block(SECOND) + b"\n",
        block(FIRST, width=76) + block(SECOND, width=1000),
        (block(FIRST) + block(SECOND)).rstrip(b"\n"),
        block(FIRST).replace(b"\n", b"  \n") + block(SECOND),
    ],
    ids=["CRLF", "empty lines", "long lines", "no newline at the end", "blanks at line ends"],
)
def test_harmless_differences_are_brought_to_one_form(download: bytes) -> None:
    assert formats.split_certificates(download) == [block(FIRST), block(SECOND)]


@pytest.mark.parametrize(
    ("download", "reason"),
    [
        (block(FIRST) + block(SECOND, "PRIVATE KEY"), "not a certificate: PRIVATE KEY"),
        (block(SECOND, "EC PRIVATE KEY") + block(FIRST), "not a certificate: EC PRIVATE KEY"),
        (block(FIRST) + block(SECOND, "X509 CRL"), "not a certificate: X509 CRL"),
        (block(FIRST) + block(SECOND, "TRUSTED CERTIFICATE"), "TRUSTED CERTIFICATE"),
        (block(FIRST, "PRIVATE KEY").replace(b"BEGIN PRIVATE KEY", b"BEGIN CERTIFICATE"), "text"),
        (b"subject=CN = example.com\n" + block(FIRST), "text outside of certificates"),
        (block(FIRST) + KEY_TEXT.encode() + b"\n", "text outside of certificates"),
        (block(FIRST) + b"-----END CERTIFICATE-----\n", "text outside of certificates"),
        (block(FIRST)[:-30], "truncated within a certificate"),
        (b"-----BEGIN CERTIFICATE-----\n" + block(FIRST), "not a certificate: CERTIFICATE"),
        (block(FIRST).replace(b"a", b"!", 1), "not valid base64"),
        (block(FIRST).replace(b"\n-----END", b"=\n-----END"), "not valid base64"),
        (block(b""), "empty"),
        (b"", "no certificate"),
        (b"<html>Service unavailable</html>", "text outside of certificates"),
        (b"\x30\x82\x03\xff", "not PEM"),
        ("-----BEGIN CERTIFICATE-----\n\N{NEXT LINE}".encode(), "not PEM"),
        (b"-----BEGIN CERTIFICATE-----\x0b" + FIRST, "text outside of certificates"),
    ],
    ids=[
        "a private key after it",
        "a private key before it",
        "a revocation list",
        "OpenSSL's trusted form",
        "labels that differ",
        "a comment",
        "bare base64",
        "an end without a beginning",
        "truncated",
        "a beginning within",
        "a foreign character",
        "wrong padding",
        "an empty block",
        "nothing",
        "HTML",
        "DER",
        "a Unicode line end",
        "a vertical tab",
    ],
)
def test_a_download_is_refused_with_the_reason(download: bytes, reason: str) -> None:
    with pytest.raises(InspectionFailed) as caught:
        formats.split_certificates(download)

    assert reason in caught.value.message
    assert caught.value.code == "certificate.refused.pem"


def test_a_refusal_does_not_show_what_could_be_a_key() -> None:
    with pytest.raises(InspectionFailed) as caught:
        formats.split_certificates(block(FIRST) + KEY_TEXT.encode())

    assert KEY_TEXT not in str(caught.value)


def test_two_certificates_are_rejected_if_one_is_expected() -> None:
    with pytest.raises(InspectionFailed, match="expected one certificate, found 2"):
        formats.to_der(block(FIRST) + block(SECOND))
