"""The results of `verify`, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.errors import worst
from certctl.operations.verify import Verification, Verifications
from certctl.output.console import Row, Table
from certctl.output.document import Json, Result
from certctl.output.times import left_in_short, moment
from certctl.ports import Clock
from certctl.service_address import format_service

_DISTRUST = (
    ("unable to get", "no: unknown issuer"),
    ("self-signed", "no: self-signed"),
    ("self signed", "no: self-signed"),
    ("certificate has expired", "no: expired"),
    ("certificate is not yet valid", "no: not valid yet"),
    ("hostname mismatch", "no: wrong name"),
    ("ip address mismatch", "no: wrong name"),
)
"""Short forms of OpenSSL's messages, by how the message starts."""


def verification_result(found: Verifications, clock: Clock, *, terminal: bool) -> Result:
    """Return the result of `verify`, one row per address and name: one table for the certificates
    of this home directory, one for other services.
    """
    own = [each for each in found.seen if each.name is not None]
    others = [each for each in found.seen if each.name is None]
    lines: list[object] = []
    if own:
        lines.append(_own_table(own, clock))
    if others:
        lines += ["", _service_table(others, clock)] if own else [_service_table(others, clock)]
    if terminal and not (found.seen or found.errors):
        lines = ["There are no certificates yet. Obtain one with: certctl issue example.com"]
    return Result(
        {"verified": [_object(each) for each in found.seen]},
        lines,
        found.errors,
        worst([each.exit_status for each in found.errors]),
    )


def _own_table(seen: Sequence[Verification], clock: Clock) -> Table:
    def cells(each: Verification) -> tuple[str, ...]:
        place = format_service(each.service), each.address or "-", each.server_name
        return (each.name or "", *place, _outcome(each), _left(each, clock))

    headings = "CERTIFICATE", "SERVICE", "ADDRESS", "SERVER NAME", "RESULT", "LEFT"
    rows = tuple(_row(each, cells(each)) for each in seen)
    return Table(headings, rows, optional=("SERVER NAME",))


def _service_table(seen: Sequence[Verification], clock: Clock) -> Table:
    def cells(each: Verification) -> tuple[str, ...]:
        issuer = each.facts.issuer if each.facts else "-"
        place = format_service(each.service), each.address or "-"
        return (*place, _outcome(each), _left(each, clock), issuer, _trust(each))

    headings = "SERVICE", "ADDRESS", "RESULT", "LEFT", "ISSUER", "TRUSTED"
    rows = tuple(_row(each, cells(each)) for each in seen)
    return Table(headings, rows, optional=("ISSUER",))


def _row(seen: Verification, cells: tuple[str, ...]) -> Row:
    return Row(cells, "" if seen.problem is None else "red")


def _outcome(seen: Verification) -> str:
    if seen.problem is None:
        return "ok"
    if seen.sha256 is None:
        return "no certificate"
    return "bad" if seen.facts is not None else "other certificate"


def _left(seen: Verification, clock: Clock) -> str:
    end = seen.not_after
    return left_in_short(None if end is None else (end - clock.now()).total_seconds())


def _trust(seen: Verification) -> str:
    if seen.distrusted is None:
        return "-"
    if not seen.distrusted:
        return "yes"
    reason = seen.distrusted.lower()
    return next((words for start, words in _DISTRUST if reason.startswith(start)), "no")


def _object(seen: Verification) -> dict[str, Json]:
    facts = seen.facts
    return {
        "name": seen.name,
        "service": format_service(seen.service),
        "host": seen.service.host,
        "port": seen.service.port,
        "starttls": seen.service.starttls,
        "address": seen.address or None,
        "server_name": seen.server_name,
        "good": seen.problem is None,
        "problem": seen.problem,
        "fix": seen.fix,
        "sha256": seen.sha256,
        "not_after": moment(seen.not_after),
        "serial": facts.serial if facts else None,
        "issuer": facts.issuer if facts else None,
        "names": [each.value for each in facts.identifiers] if facts else [],
        "trusted": None if seen.distrusted is None else not seen.distrusted,
        "distrust": seen.distrusted or None,
    }
