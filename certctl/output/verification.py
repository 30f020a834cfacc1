"""What services were seen to show, in words and in JSON."""

from __future__ import annotations

from certctl.errors import worst
from certctl.operations.verify import Verification, Verifications
from certctl.output.console import Row, Table
from certctl.output.document import Json, Result
from certctl.output.times import left_in_short, moment
from certctl.ports import Clock
from certctl.service_address import written


def verification_result(found: Verifications, clock: Clock, *, terminal: bool) -> Result:
    """Return the result of `verify`: a row for each address and name."""
    lines: list[object] = [_table(found, clock)] if found.seen else []
    if not found.seen and terminal:
        lines = ["There are no certificates yet. Get one with: certctl issue example.com"]
    return Result(
        {"verified": [_object(each) for each in found.seen]},
        lines,
        found.errors,
        worst([each.exit_status for each in found.errors]),
    )


def _table(found: Verifications, clock: Clock) -> Table:
    return Table(
        ("CERTIFICATE", "SERVICE", "ADDRESS", "ASKED FOR", "SEEN", "LEFT", "ISSUER", "TRUST"),
        tuple(_row(each, clock) for each in found.seen),
    )


def _row(seen: Verification, clock: Clock) -> Row:
    end = seen.not_after
    left = None if end is None else (end - clock.now()).total_seconds()
    cells = (
        seen.name or "-",
        written(seen.service),
        seen.address or "-",
        seen.server_name,
        _seen(seen),
        left_in_short(left),
        seen.facts.issuer if seen.facts else "-",
        _trust(seen),
    )
    return Row(cells, "" if seen.problem is None else "red")


def _seen(seen: Verification) -> str:
    if seen.problem is None:
        return "good" if seen.name is None else "ours"
    if seen.sha256 is None:
        return "nothing"
    return "bad" if seen.facts is not None else "another"


def _trust(seen: Verification) -> str:
    if seen.distrusted is None:
        return "-"
    return seen.distrusted or "yes"


def _object(seen: Verification) -> dict[str, Json]:
    facts = seen.facts
    return {
        "name": seen.name,
        "service": written(seen.service),
        "host": seen.service.host,
        "port": seen.service.port,
        "starttls": seen.service.starttls,
        "address": seen.address or None,
        "server_name": seen.server_name,
        "good": seen.problem is None,
        "problem": seen.problem,
        "sha256": seen.sha256,
        "not_after": moment(seen.not_after),
        "serial": facts.serial if facts else None,
        "issuer": facts.issuer if facts else None,
        "names": [each.value for each in facts.identifiers] if facts else [],
        "trusted": None if seen.distrusted is None else not seen.distrusted,
        "distrust": seen.distrusted or None,
    }
