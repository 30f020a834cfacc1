"""How two specifications of a certificate differ, and whether one was edited by hand. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.spec import to_table

NAMES = "names"
_ABOUT = ("applied", "origin", "version")
"""What says nothing about what a certificate should be."""


@dataclass(frozen=True)
class Difference:
    """A setting, or `names`, `managed_by` or `groups`, with its values before and after; None if it
    is not set.
    """

    key: str
    before: Value
    after: Value


def differences_of(before: CertificateSpec, after: CertificateSpec) -> tuple[Difference, ...]:
    """Return what differs between two specs: the names first, the settings by key. Names in another
    order are no difference.
    """
    one, other = _table(before), _table(after)
    if set(before.identifiers) == set(after.identifiers):
        one[NAMES] = other[NAMES]
    keys = sorted(one.keys() | other.keys(), key=lambda key: (key != NAMES, key))
    return tuple(
        Difference(key, one.get(key), other.get(key))
        for key in keys
        if one.get(key) != other.get(key)
    )


def applied(spec: CertificateSpec) -> CertificateSpec:
    """Return the spec with the digest of what it says, so that a later edit is noticed."""
    return replace(spec, applied=_digest(spec))


def edited_since_applied(spec: CertificateSpec) -> bool:
    """Return whether a spec that was applied has been edited since."""
    return spec.applied is not None and spec.applied != _digest(spec)


def _digest(spec: CertificateSpec) -> str:
    text = json.dumps(_table(spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _table(spec: CertificateSpec) -> dict[str, Value]:
    return {key: value for key, value in to_table(spec).items() if key not in _ABOUT}
