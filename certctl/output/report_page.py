"""The page of `certctl report`: one file of HTML that needs nothing else, from disk or a server.

Its own policy (CSP) allows its style and its script by their digests, and nothing besides. Without
the script everything is there, in the order of what expires first; with it, the table can be
filtered and sorted. All text is escaped here, in `_e`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape

from certctl.engine.rows import CertificateView
from certctl.inspection.report import PlannedDay, ReportData
from certctl.model.text import printable
from certctl.output.listing import STATES, ca_text, problem_of, readable, serious
from certctl.output.report_assets import SCRIPT, STYLE
from certctl.output.times import Times, left
from certctl.rules.shown_names import shown_names
from certctl.version import VERSION

_UTC = Times()
_MOST_PLACES = 500
_MOST_PROBLEMS = 1000
_MOST_DAYS = 400
_NAMES = 5
_LONG_NAME = 32
_LEAST_BAR = 2.0
"""How much of the longest bar is seen at least."""
_BUCKETS = ((0, "expired"), (7, "up to 7 days"), (14, "8 to 14 days"), (30, "15 to 30 days"))
_LATER = ((60, "31 to 60 days"), (90, "61 to 90 days"), (None, "more"))


def report_page(data: ReportData) -> str:
    """Return the page as HTML."""
    data = _readable(data)
    parts = [
        _head(data),
        _summary(data),
        _problems(data),
        _remaining(data),
        _calendar(data),
        _places(data),
        _certificates(data),
        f"<footer>Made by certctl {VERSION} from {_e(data.home)}.</footer>",
        "</main>",
        f"<script>{SCRIPT}</script>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _readable(data: ReportData) -> ReportData:
    """Return what the page shows, with names in Unicode where that is safe."""
    places = (replace(each, names=tuple(shown_names(each.names))) for each in data.places)
    return replace(data, views=tuple(map(readable, data.views)), places=tuple(places))


def _head(data: ReportData) -> str:
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none';"
        f" style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'"
    )
    title = f"Certificates of {_e(data.host)}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _summary(data: ReportData) -> str:
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    for each in data.views:
        counts[each.state] += 1
    cards = [("", "all", len(data.views))]
    cards += [(state, STATES[state], count) for state, count in counts.items() if count]
    items = "".join(
        f'<li class="{_tone(state)}"><strong>{count}</strong> {_e(text)}</li>'
        for state, text, count in cards
    )
    made = _e(_UTC.minute(data.made_at))
    return f'<p>As of <time>{made}</time>.</p><ul class="cards">{items}</ul>'


def _problems(data: ReportData) -> str:
    found = [
        (each, text) for each in serious(data.views) if (text := problem_of(each, _UTC)) is not None
    ]
    rows = (
        _row(
            each.name,
            [
                f'<span class="state {_tone(each.state)}">{_e(each.state)}</span>',
                _e(printable(text)),
                _time(_since(each)),
                _time(_next(each)),
            ],
            ("State", "What is wrong", "Last failure", "Next attempt"),
        )
        for each, text in found[:_MOST_PROBLEMS]
    )
    if not found:
        return _section("problems", "What fails", "<p>Nothing fails.</p>")
    headings = ("Certificate", "State", "What is wrong", "Last failure", "Next attempt")
    body = _table(f"{len(found)} with a problem, the most serious first", headings, rows)
    return _section("problems", "What fails", body + _more(len(found), _MOST_PROBLEMS))


def _since(view: CertificateView) -> str:
    return _UTC.minute(view.last_error.at) if view.last_error else "-"


def _next(view: CertificateView) -> str:
    if view.retry_at is not None:
        return _UTC.minute(view.retry_at)
    return "next run of renew" if view.autorenew or view.state == "undeployed" else "none"


def _remaining(data: ReportData) -> str:
    """Return how many certificates have how many days left, as bars."""
    days = [each.seconds_left / 86400 for each in data.views if each.seconds_left is not None]
    rows, below = [], float("-inf")
    for limit, text in (*_BUCKETS, *_LATER):
        top = float("inf") if limit is None else float(limit)
        rows.append((text, sum(below < each <= top for each in days)))
        below = top
    body = _bars("Days left", "Certificates", rows)
    return _section("left", "Days left", body)


def _calendar(data: ReportData) -> str:
    if not data.days:
        return _section("calendar", "Renewals by day", "<p>No renewal is planned.</p>")
    most = max(each.count for each in data.days)
    rows = (
        _row(
            each.day.isoformat(),
            [_e(each.ca), _bar(each.count, most) + str(each.count), _e(_allowed(each))],
            ("CA", "Renewals", "Limit of the CA"),
        )
        for each in data.days[:_MOST_DAYS]
    )
    body = _table(
        "Planned renewals (UTC); a CA may suggest another day",
        ("Day", "CA", "Renewals", "Limit of the CA"),
        rows,
    )
    body += _more(len(data.days), _MOST_DAYS)
    if data.limits:
        body += "<h3>Used of the limits now</h3>" + "".join(
            f"<p>{_e(each.ca)}:</p><ul>{''.join(f'<li>{_e(text)}</li>' for text in each.used)}</ul>"
            for each in data.limits
        )
    return _section("calendar", "Renewals by day", body)


def _allowed(day: PlannedDay) -> str:
    if day.allowed is None:
        return "none documented"
    word = "within" if day.count <= day.allowed else "MORE THAN"
    return f"{word} {day.allowed} orders a day"


def _places(data: ReportData) -> str:
    if not data.places:
        text = "<p>No certificate has a deploy target, a copy, a hook or a service to check.</p>"
        return _section("places", "Served where", text)
    rows = (
        _row(
            each.place,
            [
                str(len(each.names)),
                _e(", ".join(each.names[:_NAMES]) + _and_more(len(each.names) - _NAMES)),
                str(each.pending) if each.pending else "0",
                _time(_UTC.minute(each.verified_at)) if each.verified_at else "-",
            ],
            ("Certificates", "Names", "Not deployed yet", "Last live check passed"),
        )
        for each in data.places[:_MOST_PLACES]
    )
    headings = ("Where", "Certificates", "Names", "Not deployed yet", "Last live check passed")
    body = _table("Deploy targets, copies, hooks and services", headings, rows)
    return _section("places", "Served where", body + _more(len(data.places), _MOST_PLACES))


def _certificates(data: ReportData) -> str:
    views = sorted(
        data.views,
        key=lambda each: (each.seconds_left or 0.0, each.name),
    )
    states = [state for state in STATES if any(each.state == state for each in views)]
    options = "".join(f'<option value="{state}">{_e(STATES[state])}</option>' for state in states)
    controls = (
        '<form id="filter" hidden role="search"><label>Filter <input id="text" type="search"'
        ' autocomplete="off" spellcheck="false"></label> <label>State <select id="state">'
        f'<option value="">all</option>{options}</select></label>'
        ' <output id="count" aria-live="polite"></output></form>'
    )
    headings = (
        "Certificate",
        "State",
        "Left",
        "Expires",
        "Renews",
        "Deployed",
        "CA",
        "Key",
        "Issuer",
    )
    body = _table(
        "All certificates, what expires first at the top (times are UTC)",
        headings,
        (_certificate_row(each) for each in views),
        identifier="certificates",
    )
    return _section("all", "Certificates", controls + body)


def _certificate_row(view: CertificateView) -> str:
    live = view.live
    others = [each for each in view.names if each != view.name]
    more = (
        f" <small>{_name(', '.join(others[:2]) + _and_more(len(others) - 2))}</small>"
        if others
        else ""
    )
    expires = _UTC.day_and_time(live.not_after) if live else "-"
    seconds = "" if view.seconds_left is None else f' data-v="{int(view.seconds_left)}"'
    renews = "off" if not view.autorenew else _UTC.day(view.renews_at)
    deployed = ("verified" if view.verified_at else "yes") if view.deployed else "no"
    if live is None or (view.deployed and not view.has_target):
        deployed = "-"
    cells = (
        ("State", "", f'<span class="state {_tone(view.state)}">{_e(view.state)}</span>'),
        ("Left", seconds, _e(left(view.seconds_left))),
        ("Expires", "", _e(expires)),
        ("Renews", "", _e(renews)),
        ("Deployed", "", deployed),
        ("CA", "", _e(ca_text(view))),
        ("Key", "", _e(view.key_type or "-")),
        ("Issuer", "", _e(live.issuer if live else "-")),
    )
    rest = "".join(f'<td data-l="{name}"{extra}>{text}</td>' for name, extra, text in cells)
    return f'<tr data-s="{_e(view.state)}"><th scope="row">{_name(view.name)}{more}</th>{rest}</tr>'


# Pieces of HTML


def _section(identifier: str, title: str, body: str) -> str:
    return (
        f'<section aria-labelledby="h-{identifier}"><h2 id="h-{identifier}">{title}</h2>'
        f"{body}</section>"
    )


def _table(
    caption: str, headings: Sequence[str], rows: Iterable[str], *, identifier: str = ""
) -> str:
    attribute = f' id="{identifier}"' if identifier else ""
    columns = "".join(f'<th scope="col">{each}</th>' for each in headings)
    return (
        f'<div class="scroll"><table{attribute}><caption>{caption}</caption><thead><tr>{columns}'
        f"</tr></thead><tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _row(first: str, cells: Sequence[str], labels: Sequence[str]) -> str:
    rest = "".join(
        f'<td data-l="{name}"{_class(name)}>{text}</td>'
        for name, text in zip(labels, cells, strict=True)
    )
    return f'<tr><th scope="row">{_name(first)}</th>{rest}</tr>'


def _class(label: str) -> str:
    return ' class="text"' if label in {"What is wrong", "Names"} else ""


def _bars(heading: str, unit: str, rows: Sequence[tuple[str, int]]) -> str:
    most = max((count for _, count in rows), default=0)
    lines = (_row(text, [_bar(count, most) + str(count)], (unit,)) for text, count in rows)
    return f'<div class="narrow">{_table(f"{unit} by days left", (heading, unit), lines)}</div>'


def _bar(count: int, most: int) -> str:
    """Return a bar as a picture; the number beside it says the same."""
    width = max(round(100 * count / most, 1), _LEAST_BAR) if count else 0
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width}" height="10"/></svg>'
    )


def _more(count: int, most: int) -> str:
    return f"<p>and {count - most} more</p>" if count > most else ""


def _and_more(count: int) -> str:
    return f" +{count}" if count > 0 else ""


def _tone(state: str) -> str:
    if state in {"expired", "revoked", "damaged", "missing", "failing", "unreadable"}:
        return "bad"
    return {"undeployed": "warn", "due": "warn", "valid": "good", "waiting": "good"}.get(state, "")


def _name(text: str) -> str:
    """Return names as HTML, in which long ones may be wrapped after dots."""
    if len(text) <= _LONG_NAME:
        return _e(text)
    return _e(text).replace(".", ".<wbr>").replace("*.<wbr>", "*.")


def _time(text: str) -> str:
    return f"<time>{_e(text)}</time>"


def _e(text: str) -> str:
    """Return text as HTML, without characters that cannot be shown or that change what is seen."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return escape(text)
