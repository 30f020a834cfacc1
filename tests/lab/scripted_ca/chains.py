"""What a certificate URL answers with: the full chain, or one of the chains that must be refused.

A chain is a function from what was issued to the bytes of the download; a test may bring its own.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.lab.scripted_ca.issuer import Issued, pem

Chain = Callable[[Issued], bytes]


def full(issued: Issued) -> bytes:
    return pem(issued.certificate, issued.issuer.intermediate)


def leaf_only(issued: Issued) -> bytes:
    return pem(issued.certificate)


def with_root(issued: Issued) -> bytes:
    return full(issued) + pem(issued.issuer.roots[0])


def backwards(issued: Issued) -> bytes:
    return pem(issued.issuer.intermediate, issued.certificate)


def wrong_key(issued: Issued) -> bytes:
    """The right names, certified for a key that the client has not."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    return full(issued.reissued(public_key=stranger.public_key()))


def wrong_names(issued: Issued) -> bytes:
    return full(issued.reissued(names=("dns:wrong.example",)))


def wrong_intermediate(issued: Issued) -> bytes:
    """The right leaf under a certificate that did not sign it."""
    return pem(issued.certificate, issued.issuer.roots[0])


def with_private_key(issued: Issued) -> bytes:
    """A private key among the certificates: whoever stores it unread serves the CA's key."""
    key = ec.generate_private_key(ec.SECP256R1())
    block = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return full(issued) + block
