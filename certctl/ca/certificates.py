"""Certificates at a CA: download, other chains, revocation (RFC 8555 §7.4.2, §7.6).

Whether a chain is what was asked for is inspected before it is saved, not here.
"""

from __future__ import annotations

from collections.abc import Iterator

from certctl.ca import messages
from certctl.ca.network import Network
from certctl.ca.problems import Resource
from certctl.ca.signing import Signer, base64url
from certctl.errors import AcmeError, BadResponse, CaUnavailable, RateLimited
from certctl.models import Order

_PEM_CHAIN = "application/pem-certificate-chain"


def certificate(network: Network, url: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a certificate with its chain as PEM, and the URLs of its other chains.

    Nothing but certificates is let through: a download with any other PEM block is a
    `BadResponse`.
    """
    response = network.send(url, None, resource=Resource.CERTIFICATE, accept=_PEM_CHAIN)
    return messages.chain(response), messages.alternates(response)


def chains(network: Network, order: Order) -> Iterator[bytes]:
    """Yield the certificate with the CA's own choice of chain, then with each other one, which is
    downloaded when it is wanted. An alternate that cannot be had is left out.
    """
    if order.certificate_url is None:
        raise BadResponse(f"{network.host} has no certificate for the order yet")
    pem, alternates = certificate(network, order.certificate_url)
    yield pem
    for url in alternates:
        try:
            pem, _ = certificate(network, url)
        except AcmeError:
            continue
        yield pem


def revoke(
    network: Network,
    certificate_der: bytes,
    reason: int | None,
    *,
    certificate_key: bytes | None = None,
) -> bool:
    """Revoke a certificate (RFC 8555 §7.6), signed by its own key where that is given as PEM;
    return False where it was revoked already.

    Some CAs insist on a reason: where none is given and they refuse, 0 (unspecified) is.
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
