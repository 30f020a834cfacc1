"""The CAA records that pin a certificate's CA, account and validation method (RFC 8659, RFC 8657).

Pure functions: which records are wanted, and which of them are missing beside those that are there.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.model.lazy_dataclass import dataclass

ISSUE, ISSUE_WILD = "issue", "issuewild"


@dataclass(frozen=True)
class CaaRecord:
    """One CAA record."""

    flags: int
    tag: str
    value: str

    def __str__(self) -> str:
        """The record's data in the format of zone files."""
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.flags} {self.tag} "{quoted}"'


@dataclass(frozen=True)
class Pin:
    """Who may issue: the CA by its issuer name, one account there, and one challenge type."""

    issuer: str
    account_url: str
    method: str

    @property
    def value(self) -> str:
        """The value of an `issue` record that permits this only (RFC 8657 §3 and §4)."""
        parameters = f"accounturi={self.account_url}; validationmethods={self.method}"
        return f"{self.issuer}; {parameters}"


def pinning(pins: Sequence[Pin], *, wildcard: bool) -> list[CaaRecord]:
    """Return the records that permit these; `wildcard`: for wildcards, too."""
    tags = (ISSUE, ISSUE_WILD) if wildcard else (ISSUE,)
    values = list(dict.fromkeys(each.value for each in pins))
    return [CaaRecord(0, tag, value) for tag in tags for value in values]


def missing(
    wanted: Sequence[CaaRecord], own: Sequence[CaaRecord], inherited: Sequence[CaaRecord]
) -> list[CaaRecord]:
    """Return the records to add at a name that has the records `own`.

    A name without any is governed by those of a name above it (`inherited`). A set of its own takes
    their place, so that they are repeated in it: nobody loses a permission.
    """
    new = [each for each in wanted if each not in own]
    if own or not new:
        return new
    return [*(each for each in inherited if each not in new), *new]


def is_restricted(records: Sequence[CaaRecord]) -> bool:
    """Return whether a set restricts who may issue at all."""
    return any(each.tag in {ISSUE, ISSUE_WILD} for each in records)


def looser(records: Sequence[CaaRecord], pins: Sequence[Pin]) -> list[CaaRecord]:
    """Return the records of the pinned CAs that permit more than the pins do."""
    issuers, values = {each.issuer for each in pins}, {each.value for each in pins}
    return [
        each
        for each in records
        if each.tag in {ISSUE, ISSUE_WILD}
        and each.value.partition(";")[0].strip().lower() in issuers
        and each.value not in values
        and "accounturi" not in each.value.lower()
    ]


def topmost(names: Sequence[str]) -> list[str]:
    """Return the names that are not below another one of them, in their order."""
    every = set(names)
    return [
        each
        for each in dict.fromkeys(names)
        if not any(each.endswith(f".{other}") for other in every)
    ]
