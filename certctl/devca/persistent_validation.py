"""dns-persist-01: checks persistent TXT records (draft-ietf-acme-dns-persist).

Two forms of the draft are supported: up to -01 a record identifies the account by its URL, from -02
on by a hash that binds it to one name. Fetching the records is the caller's job.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from certctl.devca import jws
from certctl.devca.problems import Problem
from certctl.model.lazy_dataclass import dataclass

LABEL = "_validation-persist"
FORMS = ("01", "02")
"""The forms, named after the last draft with the first form and the first draft with the second."""

ISSUER = "dev-ca.certctl.invalid"
ACCOUNT_HASH_PREFIX = f"https://{ISSUER}/account-hash/"

_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")


@dataclass(frozen=True)
class RequiredRecord:
    """What a record must allow: the account, a name or its wildcard, at the time `now` (seconds
    since 1970).
    """

    name: str
    wildcard: bool
    account_uris: frozenset[str]
    now: float


def account_uris(form: str, name: str, thumbprint: str, account_url: str) -> frozenset[str]:
    """Return the URIs that may identify an account in a record. In the second form, the name may be
    `*`, at the cost that records of one account can be linked.
    """
    if form == "01":
        return frozenset({account_url})
    return frozenset(_hashed(each, thumbprint, account_url) for each in (name, "*"))


def check(values: Sequence[str], wanted: RequiredRecord) -> None:
    """Return if one of the records allows what is required; otherwise raise `Problem` with the
    reasons for the records that are for this CA.
    """
    ours = [each for each in values if each.partition(";")[0].strip(" \t") == ISSUER]
    if not ours:
        at = f"{LABEL}.{wanted.name}"
        raise Problem("unauthorized", f"there is no TXT record for {ISSUER} at {at}")
    mismatches = [_mismatch(each, wanted) for each in ours]
    if None not in mismatches:
        malformed = any(each and each.startswith("malformed") for each in mismatches)
        kind = "malformed" if malformed else "unauthorized"
        raise Problem(kind, "; ".join(filter(None, mismatches)))


def _mismatch(value: str, wanted: RequiredRecord) -> str | None:
    parameters: dict[str, str] = {}
    for each in value.split(";")[1:]:
        tag, equals, text = (part.strip(" \t") for part in each.partition("="))
        if not (equals and _TAG.match(tag) and _VALUE.match(text)):
            return f"malformed: {each.strip()!r:.80} is not a parameter (RFC 8659 §4.2)"
        if tag.lower() in parameters:
            return f"malformed: duplicate parameter {tag}"
        parameters[tag.lower()] = text
    if parameters.get("accounturi") not in wanted.account_uris:
        return f"accounturi is {parameters.get('accounturi')!r:.200}, which is not this account"
    if wanted.wildcard and parameters.get("policy", "").lower() != "wildcard":
        return "a wildcard requires policy=wildcard"
    until = parameters.get("persistuntil")
    if until is not None and not (until.isascii() and until.isdigit()):
        return f"malformed: persistUntil={until!r:.40}"
    if until is not None and wanted.now > int(until):
        return f"the record expired: persistUntil={until}"
    return None


def _hashed(name: str, thumbprint: str, account_url: str) -> str:
    octets = bytes([len(name)]) + f"{name}{thumbprint}{account_url}".encode()
    return f"{ACCOUNT_HASH_PREFIX}sha-256/{jws.encode(hashlib.sha256(octets).digest())}"
