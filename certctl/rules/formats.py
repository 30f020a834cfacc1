"""Certificates as PEM and DER (RFC 7468, RFC 8555 §9.1), and the formats for copies and exports.

Plain text processing; PKCS#12 is made by `pkcs12`. Parsing is strict, because a download from a
CA becomes a file that a proxy loads: anything that is not a certificate is rejected.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from certctl.model.certificate import Material
from certctl.model.errors import ConfigurationError, InspectionFailed
from certctl.model.spec import CopyFormat, Pkcs12Encryption

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"
_LINE = 64


def split_certificates(pem: bytes) -> list[bytes]:
    """Return each certificate in `pem` as normalized PEM (64-character lines, LF, nothing else).

    Raises `InspectionFailed` if there is anything but CERTIFICATE blocks and empty lines, or no
    certificate at all.
    """
    return [to_pem(each) for each in _decode(pem)]


def join(certificates: Iterable[bytes]) -> bytes:
    """Return PEM certificates as one file, each ending with a newline."""
    return b"".join(each.strip() + b"\n" for each in certificates)


def to_der(certificate: bytes) -> bytes:
    """Return the single certificate in `certificate` (PEM) as DER. Raises `InspectionFailed`."""
    found = _decode(certificate)
    if len(found) != 1:
        raise _refused(f"expected one certificate, found {len(found)}")
    return found[0]


def to_pem(der: bytes) -> bytes:
    """Return a DER certificate as PEM (RFC 7468 §5)."""
    text = base64.b64encode(der).decode("ascii")
    lines = (text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return "\n".join((_BEGIN, *lines, _END, "")).encode("ascii")


def contents(
    form: CopyFormat,
    material: Material,
    *,
    name: str,
    password: str | None = None,
    encryption: Pkcs12Encryption | None = None,
) -> bytes:
    """Return a certificate in a format; `name`, `password` and `encryption` are used only for
    PKCS#12.

    Raises `ConfigurationError` if the format requires a private key and there is none.
    """
    privkey = material.privkey
    if form.secret and privkey is None:
        raise ConfigurationError(
            f"{form} requires the private key, but {name} was issued with --csr and has none here",
            hint="Use a format without the private key: fullchain, cert, chain or der.",
            name=name,
            code="configuration.no_key",
        )
    match form:
        case CopyFormat.FULLCHAIN:
            return material.fullchain
        case CopyFormat.CERT:
            return material.cert
        case CopyFormat.CHAIN:
            return material.chain
        case CopyFormat.DER:
            return to_der(material.cert)
        case CopyFormat.PRIVKEY:
            return privkey or b""
        case CopyFormat.COMBINED:
            return material.combined or b""
        case CopyFormat.PKCS12:
            # cryptography is slow to import, and only this format needs it
            from certctl.rules.pkcs12 import to_pkcs12  # noqa: PLC0415

            certificates = split_certificates(material.chain) if material.chain.strip() else []
            return to_pkcs12(material, certificates, name, password or "", encryption)


def _decode(pem: bytes) -> list[bytes]:
    try:
        text = pem.decode("ascii")
    except UnicodeDecodeError:
        raise _refused("it is not PEM") from None
    found: list[bytes] = []
    body: list[str] | None = None
    # Not splitlines(), which splits at more characters than the PEM parsers of proxies do.
    for line in (each.strip(" \t") for each in text.replace("\r\n", "\n").split("\n")):
        if body is None and line == _BEGIN:
            body = []
        elif body is not None and line == _END:
            found.append(_base64("".join(body)))
            body = None
        elif body is not None and not line.startswith("-----"):
            body.append(line)
        elif line:
            raise _refused(_unexpected(line))
    if body is not None:
        raise _refused("it is truncated within a certificate")
    if not found:
        raise _refused("it contains no certificate")
    return found


def _unexpected(line: str) -> str:
    # Only labels are quoted: any other line could be part of a private key.
    if line.startswith("-----BEGIN ") and line.endswith("-----"):
        return (
            "it contains a block that is not a certificate:"
            f" {line.strip('-').removeprefix('BEGIN ')[:40]}"
        )
    return "it contains text outside of certificates"


def _base64(text: str) -> bytes:
    try:
        der = base64.b64decode(text, validate=True)
    except ValueError:
        raise _refused("a certificate in it is not valid base64") from None
    # Even with validate=True the decoder accepts excess padding and non-zero trailing bits.
    if base64.b64encode(der).decode("ascii") != text:
        raise _refused("a certificate in it is not valid base64")
    if not der:
        raise _refused("a certificate in it is empty")
    return der


def _refused(reason: str) -> InspectionFailed:
    return InspectionFailed(
        f"the certificate file is invalid: {reason}", code="certificate.refused.pem"
    )
