"""Which certificates a command means.

A word is a certificate's name, or one of the names that a certificate is for: the certificate's own
name counts first, and a wildcard is a name like any other, never a pattern. Patterns and properties
choose among all certificates, and are given as such. Pure: the caller says which certificates there
are, and reads no more of them than a selection needs.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from certctl.model.errors import InvalidIdentifier, UnknownCertificate, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import (
    certificate_name,
    is_certificate_name,
    parse_identifier,
    stored_name,
    unicode_name,
)

PROPERTIES = (
    "ca",
    "challenge",
    "dns_provider",
    "group",
    "issuer",
    "key_type",
    "managed_by",
    "profile",
    "state",
)
"""What `--where` can ask for."""

_LISTED = 10
_GLOB = re.compile(r"[*?\[]")

Condition = tuple[str, str]
"""A property, and the value or pattern that it must have."""


@dataclass(frozen=True)
class Selection:
    """What a user asked for. Words and patterns add up, and all certificates are meant without any,
    or with `everything`; the other conditions leave out what does not meet them. Values of one
    property are alternatives.
    """

    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    failing: bool = False
    expiring: timedelta | None = None
    everything: bool = False

    @property
    def named_only(self) -> bool:
        """Whether certificates were chosen by words alone, so that no other has to be read."""
        return bool(self.words) and not (self.patterns or self.has_conditions or self.everything)

    @property
    def unlimited(self) -> bool:
        """Whether all certificates are meant, whatever they are."""
        return not (self.words or self.patterns or self.has_conditions)

    @property
    def has_conditions(self) -> bool:
        """Whether certificates have to meet conditions."""
        return bool(self.where or self.failing or self.expiring is not None)

    @property
    def empty(self) -> bool:
        """Whether nothing was asked for."""
        return not (self.words or self.patterns or self.has_conditions or self.everything)


@dataclass(frozen=True)
class Candidate:
    """What a selection looks at in a certificate. `properties` has a value for each of `PROPERTIES`
    that it has.
    """

    name: str
    names: tuple[str, ...] = ()
    properties: Mapping[str, Collection[str]] | None = None
    failing: bool = False
    expires: datetime | None = None


@dataclass(frozen=True)
class Chosen:
    """The certificates that are meant. `exact`: each was given by its own name. `one`: they were
    given as words, each of which means one certificate.
    """

    names: tuple[str, ...]
    exact: bool
    one: bool = False


def looks_like_pattern(word: str) -> bool:
    """Return whether a word can only be a pattern: it is neither a name nor an address."""
    return _GLOB.search(word) is not None and identifier_of(word) is None


def identifier_of(word: str) -> str | None:
    """Return a word as the identifier of a certificate, in its canonical form; None if it is
    none.
    """
    try:
        return parse_identifier(word).value
    except InvalidIdentifier:
        return None


def holders_of(
    word: str, known: Collection[str], find: Callable[[str], Sequence[str]]
) -> tuple[str, ...]:
    """Return the certificates that a word means: the one of this name, else all for this name,
    as `find` returns them for an identifier.
    """
    if stored_name(word) in known:
        return (stored_name(word),)
    value = identifier_of(word)
    return () if value is None else tuple(find(value))


def require_one(word: str, holders: Sequence[str], known: Collection[str]) -> str:
    """Return the one certificate that a word means. Raises `UnknownCertificate`, and `UsageError`
    if there are several.
    """
    if len(holders) == 1:
        return holders[0]
    if holders:
        raise UsageError(
            f"{word} is a name of {len(holders)} certificates: {listed(holders)}",
            hint="Give the name of the certificate that you mean.",
            code="usage.ambiguous",
        )
    if looks_like_pattern(word):
        raise UsageError(
            f"no certificate is named {word}, and arguments are not patterns",
            hint=f"To choose certificates by a pattern, use: --match '{word}'",
            code="usage.pattern",
        )
    if identifier_of(word) is None and not is_certificate_name(word):
        certificate_name(word)
    raise unknown_certificate(word, known)


def unknown_certificate(name: str, known: Collection[str]) -> UnknownCertificate:
    """Return the error for an unknown certificate name, with the closest existing name."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "To list all certificates, run: certctl list"
    if name.startswith("*."):
        hint = f"It is a wildcard here; as a pattern, it is an option: --match '{name}'"
    written = unicode_name(name)
    named = name if written == name else f"{written} ({name})"
    return UnknownCertificate(f"there is no certificate named {named}", hint=hint, name=name)


def condition(text: str) -> Condition:
    """Return the condition `KEY=VALUE`. Raises `UsageError`."""
    key, equals, value = text.partition("=")
    key = key.strip().lower().replace("-", "_")
    if not equals or key not in PROPERTIES or not value.strip():
        raise UsageError(
            f"{text!r} is not a condition KEY=VALUE",
            hint=f"KEY is one of {', '.join(PROPERTIES)}; for example --where ca=letsencrypt.",
            code="usage.condition",
        )
    return key, value.strip()


def matching(
    selection: Selection, named: Collection[str], candidates: Iterable[Candidate], now: datetime
) -> tuple[str, ...]:
    """Return the names of the candidates that a selection means; `named` are those that its words
    mean. Raises `UsageError` if a pattern, or what was asked of a property, matches none.
    """
    found = list(candidates)
    if not selection.everything and (selection.words or selection.patterns):
        chosen = set(named)
        for pattern in selection.patterns:
            matched = {each.name for each in found if _has_name(each, pattern)}
            if not matched:
                raise _no_match(f"the pattern {pattern!r}")
            chosen |= matched
        found = [each for each in found if each.name in chosen]
    for key in dict.fromkeys(key for key, _ in selection.where):
        wanted = [value for each, value in selection.where if each == key]
        found = [each for each in found if _has_value(each, key, wanted)]
        if not found:
            raise _no_match(" or ".join(f"{key}={value}" for value in wanted))
    if selection.failing:
        found = [each for each in found if each.failing]
    if selection.expiring is not None:
        within = selection.expiring
        found = [each for each in found if each.expires and each.expires - now <= within]
    return tuple(each.name for each in found)


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Return names for a message, of many the first."""
    more = len(names) - most
    return f"{', '.join(names[:most])}{f' and {more} more' if more > 0 else ''}"


def _has_name(candidate: Candidate, pattern: str) -> bool:
    """Return whether the certificate's name or one of those that it is for matches a pattern."""
    names = {candidate.name, *candidate.names}
    if not pattern.isascii():
        names |= {unicode_name(each) for each in names}
    wanted = unicodedata.normalize("NFC", pattern).lower()  # decomposed, as macOS has it
    return any(fnmatchcase(each.lower(), wanted) for each in names)


def _has_value(candidate: Candidate, key: str, wanted: Sequence[str]) -> bool:
    values = (candidate.properties or {}).get(key, ())
    return any(fnmatchcase(each.lower(), one.lower()) for each in values for one in wanted)


def _no_match(what: str) -> UnknownCertificate:
    return UnknownCertificate(
        f"no certificate matches {what}",
        hint="To list all certificates, run: certctl list",
        code="usage.no_match",
    )
