"""dns-persist-01: TXT records that stand for good, and what they must say.

Of draft-ietf-acme-dns-persist two forms are known, since it changed on its way: up to -01 a record
names the account by its URL, from -02 on by a hash that binds it to one name. Where the records
come from is not known here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from certctl.devca import jws
from certctl.devca.problems import Problem

LABEL = "_validation-persist"
FORMS = ("01", "02")
"""The drafts, by the last one that has each form, and the first."""

ISSUER = "dev-ca.certctl.invalid"
ACCOUNT_HASH_PREFIX = f"https://{ISSUER}/account-hash/"

_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")


@dataclass(frozen=True)
class RequiredRecord:
    """What a record must allow: an account, for a name or for all directly below it, now (seconds
    since 1970).
    """

    name: str
    wildcard: bool
    account_uris: frozenset[str]
    now: float


def account_uris(form: str, name: str, thumbprint: str, account_url: str) -> frozenset[str]:
    """Return how a record may name an account. `*` for the name is the draft's form for those who
    do not mind that their names can be seen to belong together.
    """
    if form == "01":
        return frozenset({account_url})
    return frozenset(_hashed(each, thumbprint, account_url) for each in (name, "*"))


def check(values: Sequence[str], wanted: RequiredRecord) -> None:
    """Return where one of the records of a name allows what is wanted; raises `Problem` with what
    is wrong with those that are meant for this CA.
    """
    ours = [each for each in values if each.partition(";")[0].strip(" \t") == ISSUER]
    if not ours:
        at = f"{LABEL}.{wanted.name}"
        raise Problem("unauthorized", f"no TXT record at {at} is for {ISSUER}")
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
            return f"malformed: {each.strip()!r:.80} is no parameter (RFC 8659 §4.2)"
        if tag.lower() in parameters:
            return f"malformed: {tag} stands there twice"
        parameters[tag.lower()] = text
    if parameters.get("accounturi") not in wanted.account_uris:
        return f"accounturi is {parameters.get('accounturi')!r:.200}, which is not this account"
    if wanted.wildcard and parameters.get("policy", "").lower() != "wildcard":
        return "a wildcard wants policy=wildcard"
    until = parameters.get("persistuntil")
    if until is not None and not (until.isascii() and until.isdigit()):
        return f"malformed: persistUntil is {until!r:.40}"
    if until is not None and wanted.now > int(until):
        return f"it was good until {until}"
    return None


def _hashed(name: str, thumbprint: str, account_url: str) -> str:
    octets = bytes([len(name)]) + f"{name}{thumbprint}{account_url}".encode()
    return f"{ACCOUNT_HASH_PREFIX}sha-256/{jws.encode(hashlib.sha256(octets).digest())}"
