"""Plans as text and as JSON: what would be done to each certificate, and why.

Only formats what `certctl.operations.plan` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from types import MappingProxyType

from certctl.ca.directories import label
from certctl.engine.plugins import option_table
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.operations.calendar import Event
from certctl.operations.forecast import Action, CaUse, Forecast, LimitUse, Planned
from certctl.output.console import Labelled, Message, Paragraph
from certctl.output.document import Json, error_object
from certctl.output.times import Times, moment
from certctl.rules.selection import listed
from certctl.rules.service_address import format_service
from certctl.rules.spec_differences import NAMES, Difference

_DETAILED = 25
"""Certificates of one kind that a terminal shows one by one; of more, how many there are."""

_MOST_NAMES = 8
_ARROW = "→"

_WORDS = MappingProxyType(
    {
        Action.FAILED: ("!", "31", "cannot be done", "cannot be done"),
        Action.CREATE: ("+", "1", "create", "to create"),
        Action.CHANGE: ("~", "35", "change", "to change"),
        Action.RENEW: ("*", "35", "renew", "to renew"),
        Action.DEPLOY: ("*", "35", "deploy", "to deploy"),
        Action.REVOKE: ("-", "31", "revoke", "to revoke"),
        Action.DELETE: ("-", "31", "delete", "to delete"),
        Action.KEEP: ("=", "", "not deleted", "not deleted"),
        Action.LATER: ("=", "", "ordered later", "ordered later"),
        Action.WAIT: ("!", "31", "to be retried", "to be retried"),
        Action.UNCHANGED: ("=", "", "unchanged", "unchanged"),
    }
)
"""Sign and style of an action, its word, and what totals call it; in the order of the text."""


def forecast_lines(forecast: Forecast, times: Times, *, everything: bool) -> list[object]:
    """Return the text of a plan. Unless `everything` is shown, of many certificates of one kind
    only the first are.
    """
    shown = [each for each in forecast.items if each.action is not Action.UNCHANGED]
    lines: list[object] = []
    for action in _WORDS:
        items = [each for each in shown if each.action is action]
        few = items if everything or len(items) <= _DETAILED else items[:_DETAILED]
        for each in few:
            lines += item_lines(each, times)
        if len(items) > len(few):
            more = len(items) - len(few)
            lines.append(f"{_WORDS[action][0]} and {more} more {_WORDS[action][3]}")
    if lines:
        lines.append("")
    for use in forecast.cas:
        lines += _ca_lines(use, times)
    if forecast.left_over:
        lines.append(
            Paragraph(
                f"Not there any more, but kept without --prune: {listed(forecast.left_over)}."
            )
        )
    lines.append(Message(totals(forecast)))
    return lines


def totals(forecast: Forecast) -> str:
    """Return how many certificates there are of each kind."""
    counts = forecast.counts()
    found = [f"{counts[action]} {word[3]}" for action, word in _WORDS.items() if counts[action]]
    return f"Plan: {', '.join(found) or 'there are no certificates'}."


def forecast_object(forecast: Forecast) -> dict[str, Json]:
    """Return a plan as JSON."""
    return {
        "owner": forecast.owner,
        "at": moment(forecast.made),
        "to_do": len(forecast.to_do),
        "counts": {action.value: count for action, count in forecast.counts().items()},
        "certificates": [_item_object(each) for each in forecast.items],
        "cas": [
            {
                "ca": each.ca,
                "now": each.now,
                "later": each.later,
                "last": moment(each.last),
                "limits": [_limit_object(limit) for limit in each.limits],
            }
            for each in forecast.cas
        ],
        "left_over": list(forecast.left_over),
    }


def calendar_lines(events: Sequence[Event], times: Times) -> list[object]:
    """Return the text of a calendar: a line for each day, with what is done then."""
    lines: list[object] = []
    for day, of_day in groupby(events, key=lambda each: times.day(each.at)):
        on_it = list(of_day)
        by_action: dict[str, list[str]] = {}
        for each in on_it:
            by_action.setdefault(_WORDS[each.action][2], []).append(each.name)
        for word, names in by_action.items():
            lines.append(Paragraph(f"{day}  {len(names):>5}  {word}: {listed(names, _MOST_NAMES)}"))
            day = " " * len(day)  # noqa: PLW2901 - once for each day
    expected = sum(each.expected for each in events)
    if expected:
        lines += [
            "",
            Paragraph(f"{expected} of {len(events)} are of certificates yet to be issued."),
        ]
    return lines or ["Nothing is to be done in this time."]


def calendar_object(events: Sequence[Event], until: float) -> dict[str, Json]:
    """Return a calendar as JSON; `until` in seconds."""
    return {
        "seconds": int(until),
        "events": [
            {
                "at": moment(each.at),
                "name": each.name,
                "action": each.action.value,
                "why": each.why,
                "ca": each.ca,
                "expected": each.expected,
            }
            for each in events
        ],
    }


def item_lines(item: Planned, times: Times) -> list[object]:
    """Return the text of what is planned for one certificate."""
    sign, style, word, _ = _WORDS[item.action]
    lines: list[object] = [Labelled(f"{sign} {item.name}", style, f"{word}: {item.why}")]
    rows: list[tuple[str, str]] = []
    if item.action is Action.CREATE and item.spec is not None:
        rows += _new_rows(item.spec)
    rows += [(each.key, _change_text(each)) for each in item.differences]
    if item.edited:
        rows.append(("drift", "it was edited by hand since it was applied; that is undone"))
    if item.at is not None:
        ca = label(item.asked.ca) if item.asked is not None else "its CA"
        rows.append(("when", f"{times.minute(item.at)}: the limits of {ca} leave no room before"))
    if item.orders:
        rows.append(("served", _served_text(item, times)))
    width = max((len(key) for key, _ in rows), default=0)
    return [*lines, *(Paragraph(f"    {key.ljust(width)}  {text}") for key, text in rows)]


def _new_rows(spec: CertificateSpec) -> list[tuple[str, str]]:
    deploy = spec.deploy
    places = (
        *deploy.targets,
        *(format_service(each) for each in deploy.verify),
        *(f"copy {each.to}" for each in deploy.copies),
        *(each for each in (deploy.reload, deploy.deploy_hook) if each),
    )
    types = " and ".join(each.value for each in spec.key_types)
    key = "its signing request" if spec.csr else types
    rows = [
        (NAMES, listed([each.value for each in spec.identifiers], _MOST_NAMES)),
        ("CA", f"{label(spec.ca)}, {key}, validated by {spec.challenge.method}"),
    ]
    return [*rows, ("deploy", ", ".join(places))] if places else rows


def _change_text(difference: Difference) -> str:
    before, after = difference.before, difference.after
    if isinstance(before, tuple) and isinstance(after, tuple):
        added = [f"+ {each}" for each in after if each not in before]
        removed = [f"- {each}" for each in before if each not in after]
        if added or removed:
            return ", ".join([*added, *removed])
    key = difference.key
    return f"{_value_text(key, before)} {_ARROW} {_value_text(key, after)}"


def _value_text(key: str, value: Value) -> str:
    """Return a setting's value for people; no secret."""
    option = option_table().get(key)
    if value is None:
        default = option.default if option is not None else None
        return "not set" if default in (None, ()) else f"not set ({_plain(key, default)})"
    return "(secret)" if option is not None and option.secret else _plain(key, value)


def _plain(key: str, value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ", ".join(map(label, value) if key == "ca" else value)
        case float():
            return f"{value:g}"
    return label(str(value)) if key == "ca" else str(value)


def _served_text(item: Planned, times: Times) -> str:
    if item.served_until is None or item.live is None:
        return "not until then" if item.live is None else "the live version has expired"
    text = f"version {item.live.number} meanwhile, valid until {times.day(item.served_until)}"
    if item.not_served:
        return f"{text}; {listed(item.not_served, _MOST_NAMES)} not until then"
    return text


def _ca_lines(use: CaUse, times: Times) -> list[object]:
    orders = "1 order" if use.now + use.later == 1 else f"{use.now + use.later} orders"
    text = f"{use.ca}: {orders}"
    if use.later and use.last is not None:
        text += (
            f": {use.now} now, {use.later} by later runs of renew until {times.minute(use.last)}"
        )
    return [Paragraph(text), *(Paragraph(f"    {_limit_text(each)}") for each in use.limits)]


def _limit_text(use: LimitUse) -> str:
    subject = f" for {use.subject}" if use.subject else ""
    return f"{use.used + use.now} of {use.limit}{subject}" + (
        f", {use.used} of them used before" if use.used else ""
    )


def _limit_object(use: LimitUse) -> dict[str, Json]:
    return {
        "limit": use.limit,
        "subject": use.subject,
        "count": use.count,
        "used": use.used,
        "now": use.now,
        "later": use.later,
    }


def _item_object(item: Planned) -> dict[str, Json]:
    spec = item.spec
    return {
        "name": item.name,
        "action": item.action.value,
        "why": item.why,
        "names": [each.value for each in spec.identifiers] if spec else [],
        "ca": label(spec.ca) if spec else None,
        "groups": list(spec.groups) if spec else [],
        "steps": [_step_word(type(each).__name__) for each in item.steps],
        "differences": [_difference_object(each) for each in item.differences],
        "edited": item.edited,
        "at": moment(item.at or item.opens),
        "renews_at": moment(item.decision.at if item.decision else None),
        "version": item.live.number if item.live else None,
        "served_until": moment(item.served_until),
        "not_served": list(item.not_served),
        "error": error_object(item.error) if item.error else None,
    }


def _step_word(name: str) -> str:
    """Return the name of a step for JSON, such as `save_spec`."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def _difference_object(difference: Difference) -> dict[str, Json]:
    option = option_table().get(difference.key)
    hidden = option is not None and option.secret
    before, after = (
        "(secret)"
        if hidden and each is not None
        else list(each)
        if isinstance(each, tuple)
        else each
        for each in (difference.before, difference.after)
    )
    return {"setting": difference.key, "before": before, "after": after}
