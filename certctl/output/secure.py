"""The results of `certctl secure`, as text and as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from certctl.model.delivery import ProbeResult
from certctl.model.errors import CertctlError, ExitStatus
from certctl.operations.schedule import Schedule
from certctl.operations.secure import SecureResult, UndoResult
from certctl.operations.secure_look import SecurePlan
from certctl.output.certificates import outcome_object
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result

_COLOURS = {"+": "32", "-": "31", "@": "35"}


def coloured(diff: str) -> str:
    """Return a unified diff with the colours of a terminal."""
    return "\n".join(
        f"\x1b[{_COLOURS[line[0]]}m{line}\x1b[0m"
        if line[:1] in _COLOURS and not re.match(r"(\+\+\+|---) ", line)
        else line
        for line in diff.split("\n")
    )


def head_lines(plan: SecurePlan) -> list[str]:
    """Return the lines that say which server and which blocks are concerned."""
    kinds = {"proxy": "passes requests on", "redirect": "redirects", "files": "serves files"}
    return [
        f"Found {plan.server.description}.",
        *(
            f"  {each.where} answers for {', '.join(each.names)}, and {kinds[each.kind]}."
            for each in plan.changes.sites
        ),
        *([] if plan.changes.files else ["Its configuration has all lines already."]),
    ]


def planned_result(plan: SecurePlan) -> Result:
    """Return the result of `secure --dry-run`."""
    lines: list[object] = list(head_lines(plan))
    for diff in plan.diffs.values():
        lines += ["", *diff.splitlines()]
    if plan.notes:
        lines += ["", *(Paragraph(f"Note: {each}.") for each in plan.notes)]
    lines += ["", "This was a dry run: nothing was changed."]
    return Result({**_plan_object(plan), "dry_run": True}, lines)


def secured_result(
    plan: SecurePlan,
    done: SecureResult,
    lines: Sequence[object],
    schedule: Schedule | None,
    problem: CertctlError | None,
) -> Result:
    """Return the result of `secure`."""
    shown: list[object] = list(lines)
    if done.report is None:
        shown = [
            Paragraph(
                f"{', '.join(plan.request.names)}: challenges are answered from"
                f" {plan.files.challenges}."
                if plan.changes.files
                else f"{plan.name}: nothing to change."
            ),
            f"Next: certctl issue {' '.join(plan.request.names)} --webroot {plan.files.challenges}",
        ]
    elif not done.report.all_errors:
        shown += [
            f"https://{each} is served, and checked on this machine." for each in _names(done)
        ]
        shown += [Paragraph(_public(each)) for each in done.public]
        shown += _schedule_lines(schedule)
        if plan.changes.files:
            shown.append(f"To take it back: certctl secure --undo {plan.name}")
    errors = (*(done.report.all_errors if done.report else ()), *((problem,) if problem else ()))
    status = done.report.exit_status if done.report else ExitStatus.DONE
    if problem is not None and status is ExitStatus.DONE:
        status = problem.exit_status
    data: dict[str, Json] = {
        **_plan_object(plan),
        "dry_run": False,
        "certificates": [
            outcome_object(each) for each in (done.report.outcomes if done.report else ())
        ],
        "checked": [
            {"address": each.address, "port": each.port, "name": each.name} for each in done.checked
        ],
        "public": [
            {"name": each.server_name, "address": each.address, "error": each.error}
            for each in done.public
        ],
        "scheduled": schedule is not None and schedule.installed is not None,
    }
    return Result(data, shown, errors, status)


def undone_result(found: UndoResult, *, dry_run: bool) -> Result:
    """Return the result of `secure --undo`."""
    lines: list[object] = []
    if dry_run:
        for diff in found.diffs.values():
            lines += [*diff.splitlines(), ""]
        lines.append("This was a dry run: nothing was changed.")
    else:
        names = ", ".join(found.names)
        loaded = "and the server has loaded it"
        if not found.reloaded:
            loaded = f"but no {found.server} that reads it is running"
        lines += [
            Paragraph(f"{names}: the configuration is as it was before, {loaded}."),
            *(
                Paragraph(f"{each} had been changed since, so only certctl's lines were removed.")
                for each in found.changed_since
            ),
            *(
                Paragraph(f"A file of certctl had been changed since; a copy is kept: {each}")
                for each in found.kept
            ),
            *_kept_certificate(found),
        ]
    data: dict[str, Json] = {
        "name": found.name,
        "names": list(found.names),
        "changes": _changes(found.diffs),
        "reloaded": found.reloaded,
        "dry_run": dry_run,
    }
    return Result(data, lines)


def _kept_certificate(found: UndoResult) -> list[Paragraph]:
    """Return what becomes of the certificate, if there is one."""
    if found.renewed is None:
        return []
    return [
        Paragraph(
            f"The certificate {found.name} is kept, and is renewed as before. To delete it:"
            f" certctl delete {found.name}"
            if found.renewed
            else f"The certificate {found.name} is kept, and will not be renewed this way. Choose"
            f" another way, or delete it: certctl delete {found.name}"
        )
    ]


def _plan_object(plan: SecurePlan) -> dict[str, Json]:
    return {
        "name": plan.name,
        "names": list(plan.request.names),
        "server": plan.server.kind,
        "sites": [
            {"where": each.where, "names": list(each.names), "kind": each.kind}
            for each in plan.changes.sites
        ],
        "changes": _changes(plan.diffs),
        "notes": list(plan.notes),
    }


def _changes(diffs: Mapping[str, str]) -> list[Json]:
    return [{"path": path, "diff": diff} for path, diff in diffs.items()]


def _names(done: SecureResult) -> list[str]:
    return list(dict.fromkeys(each.name for each in done.checked))


def _public(found: ProbeResult) -> str:
    """Return what an address in DNS presented. Routers and CDNs may be in between."""
    where = f"{found.server_name} at {found.address}" if found.address else found.server_name
    if found.error is None:
        return f"{where}, its address in DNS: the new certificate is served."
    return f"{where}, its address in DNS: not checked from here ({found.error})."


def _schedule_lines(schedule: Schedule | None) -> list[object]:
    if schedule is None:
        return []
    if schedule.installed is not None:
        return [Paragraph(f"Renewals are automatic: {schedule.when}, by {schedule.scheduler}.")]
    if schedule.external:
        return ["Something else runs certctl renew, as noted with certctl schedule external."]
    if schedule.others:
        return [Paragraph(f"Renewals are automatic: {schedule.others[0]} runs certctl renew.")]
    return ["Nothing renews it yet. To install a schedule: certctl schedule install"]
