"""The TXT records of persistent domain validation: dns-persist-01, a draft of the IETF.

draft-ietf-acme-dns-persist, in both its forms: up to -01 a record names the account by its URL,
from -02 on by a hash that binds it to one name. Other modules write and read the records.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime

from certctl.model.text import whole_number
from certctl.model.validation import PersistentRecord

LABEL = "_validation-persist"
ANY_NAME = "*"
"""Replaces the domain in the account hash if one hash may be used for many domains."""


def record_name(domain: str) -> str:
    """Return the owner name of the record for a domain."""
    return f"{LABEL}.{domain}"


def hashed_account(prefix: str, domain: str, thumbprint: str, account_url: str) -> str:
    """Return the URI of an account for one name (draft -02, §4.1); `prefix` is the CA's, and
    `thumbprint` that of the account's key (RFC 7638) in base64url.
    """
    name = domain.encode("ascii")
    octets = bytes([len(name)]) + name + thumbprint.encode("ascii") + account_url.encode("ascii")
    digest = base64.urlsafe_b64encode(hashlib.sha256(octets).digest())
    return f"{prefix}sha-256/{digest.rstrip(b'=').decode('ascii')}"


def text_of(record: PersistentRecord, until: datetime | None = None) -> str:
    """Return the record's text, with the first of the issuers and of the account's URIs.

    `until` is its expiry. The issuer is written exactly as the CA does, and nothing follows the
    last parameter, since a CA would refuse the record otherwise.
    """
    parts = [record.issuers[0], f"accounturi={record.account_uris[0]}"]
    if record.wildcard:
        parts.append("policy=wildcard")
    if until is not None:
        parts.append(f"persistUntil={int(until.timestamp())}")
    return "; ".join(parts)


def mismatch(text: str, record: PersistentRecord, now: datetime) -> str | None:
    """Return why a TXT value does not satisfy `record`; None if it does."""
    issuer, *parameters = (part.strip(" \t") for part in text.split(";"))
    if issuer not in record.issuers:
        return f"it is for the issuer {issuer!r}"
    tags: dict[str, str] = {}
    for each in parameters:
        tag, equals, value = (part.strip(" \t") for part in each.partition("="))
        if not equals or tag.lower() in tags:
            return f"{each!r} is not a valid parameter, or appears twice"
        tags[tag.lower()] = value
    if tags.get("accounturi") not in record.account_uris:
        return "it names another account"
    if record.wildcard and tags.get("policy", "").lower() != "wildcard":
        return "it lacks policy=wildcard"
    until = tags.get("persistuntil")
    if until is not None and not (until.isascii() and until.isdigit()):
        return f"its persistUntil is not a timestamp: {until!r}"
    expires = None if until is None else whole_number(until, 18)  # a longer one is never over
    if expires is not None and expires < now.timestamp():
        return "its persistUntil has passed"
    return None


def satisfied(texts: Sequence[str], record: PersistentRecord, now: datetime) -> bool:
    """Return whether one of a name's TXT values satisfies `record`."""
    return any(mismatch(each, record, now) is None for each in texts)
