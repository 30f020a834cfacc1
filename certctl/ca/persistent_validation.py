"""The dns-persist-01 record that a CA requires for an account (draft-ietf-acme-dns-persist).

Two forms: up to draft -01 the record contains the account's URL; from -02 on it contains a hash of
the URL, the name and the account's key, after a prefix from the directory.
"""

from __future__ import annotations

from certctl.ca.network import Network
from certctl.model.ca import Challenge, ChallengeType
from certctl.model.errors import BadResponse
from certctl.model.identifiers import Identifier
from certctl.model.validation import PersistentRecord
from certctl.rules import persistent_validation

_MAX_ISSUERS = 10
_MAX_NAME_LENGTH = 253


def offer(network: Network) -> Challenge | None:
    """Return the challenge as far as the directory describes it, without a URL; None if it does
    not, as with draft -01.
    """
    directory = network.directory
    if not (directory.issuers and directory.account_hash_prefix):
        return None
    return Challenge(
        ChallengeType.DNS_PERSIST_01, "", "pending", issuers=directory.issuers, hashed=True
    )


def persistent_record(
    network: Network, identifier: Identifier, challenge: Challenge
) -> PersistentRecord:
    """Return the required record. Raises `BadResponse` if the challenge is incomplete."""
    issuers, domain = challenge.issuers, identifier.base
    if not 1 <= len(issuers) <= _MAX_ISSUERS or not all(map(_is_canonical_name, issuers)):
        raise BadResponse(
            f"{network.host} offers dns-persist-01 without a valid issuer name for the record:"
            f" {', '.join(issuers)[:_MAX_NAME_LENGTH] or 'none'}"
        )
    account_url = network.account_url or ""
    if challenge.hashed:
        uris = _hashed(network, domain, account_url)
    else:
        uris = tuple(dict.fromkeys((challenge.account_uri or account_url, account_url)))
    if not all(map(_is_value, uris)):
        raise BadResponse(
            f"{network.host} requires an account URI that a dns-persist-01 record cannot contain"
        )
    return PersistentRecord(domain, issuers, uris, wildcard=identifier.wildcard)


def _hashed(network: Network, domain: str, account_url: str) -> tuple[str, ...]:
    prefix, thumbprint = network.directory.account_hash_prefix, network.signer.thumbprint
    if prefix is None:
        raise BadResponse(
            f"{network.host} requires a hashed account in the dns-persist-01 record, but its"
            " directory has no accountHashPrefix"
        )
    return tuple(
        persistent_validation.hashed_account(prefix, each, thumbprint, account_url)
        for each in (domain, persistent_validation.ANY_NAME)
    )


def _is_value(text: str) -> bool:
    """Return whether a text is valid as a parameter's value (RFC 8659 §4.2)."""
    return all("!" <= each <= "~" and each != ";" for each in text)


def _is_canonical_name(name: str) -> bool:
    return (
        _is_value(name)
        and name == name.lower()
        and not name.endswith(".")
        and 0 < len(name) <= _MAX_NAME_LENGTH
    )
