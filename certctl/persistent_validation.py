"""What a TXT record says that proves control for good: dns-persist-01, a draft of the IETF.

draft-ietf-acme-dns-persist, in both its forms: up to -01 a record names the account by its URL,
from -02 on by a hash that binds it to one name. Who writes and reads records is not known here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime

from certctl.models import PersistentRecord

LABEL = "_validation-persist"
ANY_NAME = "*"
"""Stands for the name in the hash of an account that may be seen to have many names."""


def record_name(domain: str) -> str:
    """Return where the record of a name stands."""
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

    `until` is when it ends by itself. The issuer is written as the CA writes it, and nothing stands
    after the last parameter: either makes a CA refuse the record.
    """
    parts = [record.issuers[0], f"accounturi={record.account_uris[0]}"]
    if record.wildcard:
        parts.append("policy=wildcard")
    if until is not None:
        parts.append(f"persistUntil={int(until.timestamp())}")
    return "; ".join(parts)


def mismatch(text: str, record: PersistentRecord, now: datetime) -> str | None:
    """Return why a TXT value does not allow what `record` does: None where it does."""
    issuer, *parameters = (part.strip(" \t") for part in text.split(";"))
    if issuer not in record.issuers:
        return f"it is for {issuer or 'nobody'}"
    said: dict[str, str] = {}
    for each in parameters:
        tag, equals, value = (part.strip(" \t") for part in each.partition("="))
        if not equals or tag.lower() in said:
            return f"{each!r} is no parameter, or one that stands there twice"
        said[tag.lower()] = value
    if said.get("accounturi") not in record.account_uris:
        return "it names another account"
    if record.wildcard and said.get("policy", "").lower() != "wildcard":
        return "it lacks policy=wildcard"
    until = said.get("persistuntil")
    if until is not None and not (until.isascii() and until.isdigit()):
        return f"its persistUntil is {until!r}"
    if until is not None and int(until) < now.timestamp():
        return "its persistUntil is over"
    return None


def satisfied(texts: Sequence[str], record: PersistentRecord, now: datetime) -> bool:
    """Return whether one of the TXT values of a name allows what `record` does."""
    return any(mismatch(each, record, now) is None for each in texts)
