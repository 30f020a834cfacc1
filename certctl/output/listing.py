"""What `list` prints: a table, below it one line for each problem, and how many there are of each
state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from certctl.ca.directories import label_with_kind
from certctl.engine.rows import CertificateView
from certctl.model.run import WindowWait
from certctl.output.console import Paragraph
from certctl.output.tables import Row, Table
from certctl.output.times import Times, left_in_short
from certctl.rules.shown_names import shown_name, shown_names

_STYLES = MappingProxyType(
    {
        "expired": "1;31",
        "revoked": "1;31",
        "damaged": "31",
        "missing": "31",
        "failing": "31",
        "unreadable": "31",
        "undeployed": "35",
        "due": "35",
    }
)
"""Only colours that are legible on a light and on a dark background."""

STATES = MappingProxyType(
    {
        "expired": "expired",
        "revoked": "revoked",
        "damaged": "damaged",
        "unreadable": "unreadable",
        "missing": "not issued yet",
        "failing": "failing",
        "undeployed": "not deployed",
        "due": "due",
        "waiting": "waiting for a window",
        "stopped": "with renewal turned off",
        "valid": "valid",
    }
)
"""What totals call each state, the most serious first."""

_HEADINGS: tuple[str, ...] = (
    "NAME",
    "STATE",
    "LEFT",
    "RENEWS",
    "DEPLOYED",
    "CA",
    "KEY",
    "NAMES",
)
_SHORT_LIVED = timedelta(days=10)
_NEVER = datetime.max.replace(tzinfo=UTC)
_MOST_PROBLEMS = 100
_MOST_WAITING = 20


def readable(view: CertificateView) -> CertificateView:
    """Return a row with its names as people are shown them: in Unicode where that is safe."""
    live = view.live
    names = (view.name, *view.names, *(live.names if live else ()))
    if not any("xn--" in each for each in names):
        return view
    return replace(
        view,
        name=shown_name(view.name),
        names=tuple(shown_names(view.names)),
        live=replace(live, names=tuple(shown_names(live.names))) if live else None,
    )


def sorted_views(views: Sequence[CertificateView], order: str) -> list[CertificateView]:
    """Return rows in the order `name`, `expires`, `renews`, `state` or `ca`; what is equal or
    unknown comes by name, and last.
    """
    order_of_states = list(STATES)

    def key(view: CertificateView) -> tuple[object, str]:
        match order:
            case "expires":
                return view.live.not_after if view.live else _NEVER, view.name
            case "renews":
                return view.renews_at or _NEVER, view.name
            case "state":
                return order_of_states.index(view.state), view.name
            case "ca":
                return view.ca, view.name
        return "", view.name

    return sorted(views, key=key)


def serious(views: Sequence[CertificateView]) -> list[CertificateView]:
    """Return rows with the most serious states first."""
    return sorted_views(views, "state")


def list_table(views: Sequence[CertificateView], times: Times, *, short: bool) -> Table:
    """Return the columns of `list`; `short`: of several names the first, and how many more."""
    rows = [_cells(view, times, short=short) for view in views]
    headings = _HEADINGS
    if short and all(row[-1] == row[0] for row in rows):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    styles = (_STYLES.get(view.state, "") for view in views)
    optional = ("KEY", "NAMES", "CA", "DEPLOYED", "RENEWS", "LEFT")
    return Table(
        headings,
        tuple(Row(cells, style) for cells, style in zip(rows, styles, strict=True)),
        optional=tuple(each for each in optional if each in headings),
        prose=False,
    )


def problem_lines(views: Sequence[CertificateView], times: Times) -> list[object]:
    """Return one line for each certificate with a problem: what is wrong, and when it is tried
    again. Those that cannot be read are errors of the command.
    """
    found = [(view, text) for view in views if (text := problem_of(view, times))]
    lines: list[object] = [
        Paragraph(f"{view.name}: {text}{_next_attempt(view, times)}")
        for view, text in found[:_MOST_PROBLEMS]
    ]
    if len(found) > _MOST_PROBLEMS:
        lines.append(f"and {len(found) - _MOST_PROBLEMS} more with a problem")
    return [*lines, *_waiting_lines(views, times)]


def _waiting_lines(views: Sequence[CertificateView], times: Times) -> list[object]:
    """Return what waits for a window, and until when: a line for each of a few certificates."""
    found = [(view.name, view.waits) for view in views if view.waits and view.state == "waiting"]
    lines: list[object] = [
        Paragraph(f"{name}: {waits_text(waits, times)}") for name, waits in found[:_MOST_WAITING]
    ]
    if len(found) > _MOST_WAITING:
        lines.append(f"and {len(found) - _MOST_WAITING} more that wait for a window")
    return lines


def waits_text(waits: WindowWait, times: Times) -> str:
    """Return what waits for which window until when, as a phrase."""
    what = "its order" if waits.version is None else f"version {waits.version}"
    windows = f" ({', '.join(waits.windows)})" if waits.windows else ""
    return f"{what} waits for its {waits.kind} window until {times.minute(waits.until)}{windows}"


def totals(views: Sequence[CertificateView]) -> str:
    """Return how many certificates there are, and how many of each state: the most first."""
    counts = Counter(view.state for view in views)
    text = ", ".join(f"{count} {STATES[state]}" for state, count in counts.most_common())
    return f"{len(views)}: {text}"


def ca_text(view: CertificateView) -> str:
    """Return the CA in use, and whether it is trusted by browsers, and the first one to ask."""
    text = label_with_kind(view.ca, public=view.public)
    if not view.fallback:
        return text
    return f"{text[:-1]}, fallback)" if text.endswith(")") else f"{text} (fallback)"


def _cells(view: CertificateView, times: Times, *, short: bool) -> tuple[str, ...]:
    deployed = "yes" if view.deployed else "no"
    if view.live is None or (view.deployed and not view.has_target):
        deployed = "-"
    if view.deployed and view.verified_at is not None:
        deployed = "verified"
    return (
        view.name,
        view.state,
        left_in_short(view.seconds_left),
        _renews(view, times),
        deployed,
        ca_text(view),
        view.key_type if view.live and view.key_type else "-",
        _short_names(view) if short else names_text(view),
    )


def _renews(view: CertificateView, times: Times) -> str:
    """Return the day of the next renewal, of a short-lived certificate also the time; for what is
    due, `now` or the time of the next attempt; for what waits for a window, when that opens.
    """
    if not view.autorenew:
        return "off"
    if view.waits is not None:
        return times.day_and_time(view.waits.until)
    if view.due:
        return times.day_and_time(view.retry_at) if view.retry_at else "now"
    live = view.live
    if live is not None and view.renews_at and live.not_after - live.not_before <= _SHORT_LIVED:
        return times.day_and_time(view.renews_at)
    return times.day(view.renews_at)


def names_text(view: CertificateView) -> str:
    """Return the names that were asked for, and those of the live version if they differ: after a
    rollback, a change that is not issued yet, or names that failed validation.
    """
    names = ", ".join(view.names) or "-"
    live = view.live
    if live is None or set(live.names) == set(view.names):
        return names
    return f"{names} (live: {', '.join(live.names)})"


def _short_names(view: CertificateView) -> str:
    first, *others = view.names or ("-",)
    return f"{first} +{len(others)}" if others else first


def problem_of(view: CertificateView, times: Times) -> str | None:
    """Return what is wrong with a certificate, None if nothing is."""
    reason = view.last_error.message.split("\n", 1)[0] if view.last_error else ""
    match view.state:
        case "expired" if view.live is not None:
            what = f"expired on {times.day(view.live.not_after)}"
        case "revoked":
            what = "revoked"
        case "damaged":
            what = f"damaged: {view.damage}"
        case "missing":
            what = "not issued yet"
        case "undeployed":
            what = (
                f"version {view.live.number} is not deployed yet" if view.live else "not deployed"
            )
        case _ if view.failing:
            return reason or None
        case _:
            return None
    return f"{what}: {reason}" if reason else what


def _next_attempt(view: CertificateView, times: Times) -> str:
    if view.retry_at is not None:
        return f"; next attempt {times.minute(view.retry_at)}"
    if not view.autorenew and view.state != "undeployed":
        return "; renewal is turned off"
    return "; next attempt at the next run of renew"
