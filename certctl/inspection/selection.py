"""Finds the certificates that a command means: `certctl.rules.selection` decides, and no more is
read than it needs. A plain name costs the list of names, a pattern the rows of `list`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from certctl.ca.directories import label
from certctl.engine.rows import CertificateView
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.inspection.overview import overview
from certctl.model.errors import CertctlError
from certctl.rules.selection import (
    Candidate,
    Chosen,
    Selection,
    holders_of,
    looks_like_pattern,
    matching,
    require_one,
)


def select(run: Run, selection: Selection, *, remains: bool = False) -> Chosen:
    """Return the certificates that a selection means, without duplicates. With `remains`, a name
    also means what an interrupted deletion left of a certificate.

    Raises `UnknownCertificate` and `UsageError` for a word that means none or several, and for a
    pattern that matches none.
    """
    named = tuple(dict.fromkeys(_named(each, run, remains=remains) for each in selection.words))
    if selection.named_only:
        exact = set(named) <= set(selection.words)
        return Chosen(named, exact=exact, one=True)
    return Chosen(matching(selection, named, *_candidates(overview(run), run)), exact=False)


def listed_views(run: Run, selection: Selection) -> list[CertificateView]:
    """Return the rows of `list` for a selection, in which a word may be a pattern, or a name of
    several certificates. Raises as `select` does.
    """
    patterns = tuple(each for each in selection.words if looks_like_pattern(each))
    words = tuple(each for each in selection.words if each not in patterns)
    selection = replace(selection, words=words, patterns=(*selection.patterns, *patterns))
    known = run.services.records.names() if words else ()
    named: dict[str, None] = {}
    for word in words:
        holders = holders_of(word, known, lambda value: _holders(value, run))
        named |= dict.fromkeys(holders or (require_one(word, holders, known),))
    if selection.named_only:
        return overview(run, tuple(named))
    views = overview(run)
    if selection.unlimited:
        return views
    chosen = set(matching(selection, named, *_candidates(views, run)))
    return [each for each in views if each.name in chosen]


def values_of(run: Run, key: str) -> set[str]:
    """Return the values that a property has in the certificates that can be read."""
    candidates, _ = _candidates(overview(run), run)
    return {value for each in candidates for value in (each.properties or {}).get(key, ())}


def certificate_of(word: str, run: Run) -> str | None:
    """Return the certificate that a word means, None if it means none. Raises `UsageError` if it
    means several.
    """
    known = run.services.records.names()
    holders = holders_of(word, known, lambda value: _holders(value, run))
    return require_one(word, holders, known) if holders else None


def _named(word: str, run: Run, *, remains: bool) -> str:
    known = run.services.records.names()
    holders = holders_of(word, known, lambda value: _holders(value, run))
    if not holders and remains and word in run.services.records.names_without_spec():
        return word
    return require_one(word, holders, known)


def _holders(identifier: str, run: Run) -> Sequence[str]:
    """Return the certificates for an identifier. One that cannot be read is skipped with a
    warning.
    """
    found: list[str] = []
    for name in run.services.records.find(identifier):
        try:
            spec = load(run, name)
        except CertctlError as error:
            run.warn(f"skipped {name} when searching for the certificate: {error.message}")
            continue
        if identifier in (each.value for each in spec.identifiers):
            found.append(name)
    return found


def _candidates(views: Sequence[CertificateView], run: Run) -> tuple[list[Candidate], datetime]:
    return [_candidate(each) for each in views], run.services.clock.now()


def _candidate(view: CertificateView) -> Candidate:
    live = view.live
    properties = {
        "ca": (*map(label, view.cas), *view.cas),
        "challenge": (view.challenge,),
        "dns_provider": (view.dns_provider,),
        "group": view.groups,
        "issuer": (live.issuer if live else None,),
        "key_type": tuple((view.key_type or "").split(",")),
        "managed_by": (view.managed_by,),
        "profile": (view.profile,),
        "state": (view.state,),
    }
    return Candidate(
        view.name,
        view.names,
        {key: [each for each in values if each] for key, values in properties.items()},
        failing=view.failing,
        expires=live.not_after if live else None,
    )
