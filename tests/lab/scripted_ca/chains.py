"""Chains that a certificate URL can return: the full chain, or ones that a client must refuse.

A chain is a function from the issued certificate to the bytes of the download. Tests may define
their own.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.lab.scripted_ca.issuer import Issued, pem

Chain = Callable[[Issued], bytes]


def full(issued: Issued) -> bytes:
    return pem(issued.certificate, issued.issuer.intermediate)


def cross_signed(issued: Issued) -> bytes:
    """The full chain, and its root signed by an older one."""
    return full(issued) + pem(issued.issuer.cross_signed_root())


def leaf_only(issued: Issued) -> bytes:
    return pem(issued.certificate)


def with_root(issued: Issued) -> bytes:
    return full(issued) + pem(issued.issuer.roots[0])


def backwards(issued: Issued) -> bytes:
    return pem(issued.issuer.intermediate, issued.certificate)


def wrong_key(issued: Issued) -> bytes:
    """The right names, but a key that the client does not have."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    return full(issued.reissued(public_key=stranger.public_key()))


def wrong_names(issued: Issued) -> bytes:
    return full(issued.reissued(names=("dns:wrong.example",)))


def wrong_intermediate(issued: Issued) -> bytes:
    """The right leaf, followed by a certificate that did not sign it."""
    return pem(issued.certificate, issued.issuer.roots[0])


def with_private_key(issued: Issued) -> bytes:
    """A private key among the certificates, which a client must not store and serve."""
    key = ec.generate_private_key(ec.SECP256R1())
    block = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return full(issued) + block
