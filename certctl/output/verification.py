"""The results of `verify`, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.model.errors import worst
from certctl.model.ports import Clock
from certctl.operations.verify import Verification, Verifications
from certctl.output.console import Message
from certctl.output.document import Json, Result
from certctl.output.tables import Row, Table
from certctl.output.times import left_in_short, moment
from certctl.rules.service_address import format_service

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
        lines = [
            Message("There are no certificates yet. Obtain one with: certctl issue example.com")
        ]
    return Result(
        {"verified": [_object(each) for each in found.seen]},
        lines,
        found.errors,
        worst([each.exit_status for each in found.errors]),
    )


def _own_table(results: Sequence[Verification], clock: Clock) -> Table:
    def cells(each: Verification) -> tuple[str, ...]:
        place = format_service(each.service), each.address or "-", each.server_name
        return (each.name or "", *place, _outcome(each), _left(each, clock))

    headings = "CERTIFICATE", "SERVICE", "ADDRESS", "SERVER NAME", "RESULT", "LEFT"
    rows = tuple(_row(each, cells(each)) for each in results)
    return Table(headings, rows, optional=("SERVER NAME",))


def _service_table(results: Sequence[Verification], clock: Clock) -> Table:
    def cells(each: Verification) -> tuple[str, ...]:
        issuer = each.facts.issuer if each.facts else "-"
        place = format_service(each.service), each.address or "-"
        return (*place, _outcome(each), _left(each, clock), issuer, _trust(each))

    headings = "SERVICE", "ADDRESS", "RESULT", "LEFT", "ISSUER", "TRUSTED"
    rows = tuple(_row(each, cells(each)) for each in results)
    return Table(headings, rows, optional=("ISSUER",))


def _row(result: Verification, cells: tuple[str, ...]) -> Row:
    return Row(cells, "" if result.problem is None else "31")


def _outcome(result: Verification) -> str:
    only = f", {result.key.upper()}" if result.key else ""
    if result.problem is None:
        return f"ok{only}"
    if result.sha256 is None:
        return f"no certificate{only}"
    return f"{'bad' if result.facts is not None else 'other certificate'}{only}"


def _left(result: Verification, clock: Clock) -> str:
    end = result.not_after
    return left_in_short(None if end is None else (end - clock.now()).total_seconds())


def _trust(result: Verification) -> str:
    if result.distrusted is None:
        return "-"
    if not result.distrusted:
        return "yes"
    reason = result.distrusted.lower()
    return next((text for start, text in _DISTRUST if reason.startswith(start)), "no")


def _object(result: Verification) -> dict[str, Json]:
    facts = result.facts
    return {
        "name": result.name,
        "service": format_service(result.service),
        "host": result.service.host,
        "port": result.service.port,
        "starttls": result.service.starttls,
        "address": result.address or None,
        "server_name": result.server_name,
        "key": result.key,
        "good": result.problem is None,
        "problem": result.problem,
        "fix": result.fix,
        "sha256": result.sha256,
        "not_after": moment(result.not_after),
        "serial": facts.serial if facts else None,
        "issuer": facts.issuer if facts else None,
        "names": [each.value for each in facts.identifiers] if facts else [],
        "trusted": None if result.distrusted is None else not result.distrusted,
        "distrust": result.distrusted or None,
    }
