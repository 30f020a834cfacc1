"""Certificates at a CA: download, alternate chains, revocation (RFC 8555 §7.4.2, §7.6).

The caller checks that a certificate matches the request before saving it.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from certctl.ca import messages
from certctl.ca.network import Network
from certctl.ca.problems import Resource
from certctl.ca.signing import Signer, base64url
from certctl.model.ca import Order
from certctl.model.errors import (
    AcmeError,
    BadResponse,
    CaUnavailable,
    CertificateNotFound,
    RateLimited,
)

_MISSING_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before a certificate that a valid order has, but that the CA does not find, is requested
again: parts of a CA may learn of it later than others.
"""

_PEM_CHAIN = "application/pem-certificate-chain"


def certificate(network: Network, url: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a certificate with its chain as PEM, and the URLs of its alternate chains.

    Raises `BadResponse` if the download contains anything but certificates.
    """
    response = network.send(url, None, resource=Resource.CERTIFICATE, accept=_PEM_CHAIN)
    return messages.chain(response), messages.alternates(response)


def chains(network: Network, order: Order) -> Iterator[bytes]:
    """Yield the certificate with the CA's default chain, then with each alternate chain. Alternates
    are downloaded on demand; one that cannot be downloaded is skipped.
    """
    if order.certificate_url is None:
        raise BadResponse(f"{network.host} has not issued a certificate for the order yet")
    pem, alternates = _issued(network, order.certificate_url)
    yield pem
    for url in alternates:
        try:
            pem, _ = certificate(network, url)
        except AcmeError:
            continue
        yield pem


def _issued(network: Network, url: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the certificate of a valid order. An error can be resumed: the CA has issued it."""
    for delay in (*_MISSING_DELAYS, None):
        try:
            return certificate(network, url)
        except AcmeError as error:
            if error.status not in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                raise
            if delay is None:
                raise CertificateNotFound(
                    f"the order is valid, but its certificate cannot be downloaded: "
                    f"{error.message}",
                    status=error.status,
                ) from error
            network.pause(delay)
    raise AssertionError  # the last attempt returns or raises


def revoke(
    network: Network,
    certificate_der: bytes,
    reason: int | None,
    *,
    certificate_key: bytes | None = None,
) -> bool:
    """Revoke a certificate (RFC 8555 §7.6), signing with `certificate_key` (PEM) if given, else
    with the account key. Return False if it was revoked already.

    Some CAs require a reason: if they refuse a request without one, 0 (unspecified) is sent.
    """
    url = network.url("revokeCert", Resource.REVOCATION)
    signing = (
        network if certificate_key is None else network.signed_by(Signer.load(certificate_key))
    )
    payload: dict[str, object] = {"certificate": base64url(certificate_der)}
    if reason is not None:
        payload["reason"] = reason
    try:
        signing.send(url, payload, resource=Resource.REVOCATION)
    except (CaUnavailable, RateLimited):
        raise
    except AcmeError as error:
        if error.type == "alreadyRevoked":
            return False
        if reason is None and error.type in {None, "malformed", "badRevocationReason"}:
            return revoke(network, certificate_der, 0, certificate_key=certificate_key)
        raise
    return True
