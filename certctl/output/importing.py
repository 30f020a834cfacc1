"""The results of `certctl import`, as text and as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence

from certctl.ca.directories import label
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundClient,
    FoundMachine,
    FoundSchedule,
    ImportRecord,
    Readiness,
)
from certctl.operations.import_check import Checked
from certctl.operations.import_finish import Finished
from certctl.operations.import_undo import Taken
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result
from certctl.output.times import Times, moment

_SHOWN = 40


def finished_result(done: Sequence[Finished], machine: FoundMachine) -> Result:
    """Return which schedules of other clients were turned off, and what to keep."""
    lines: list[object] = []
    for each in done:
        if each.left:
            text = f"stays on, since it renews {', '.join(each.left)}"
            lines.append(Paragraph(f"{each.client}  {text}"))
            continue
        lines += [Paragraph(f"{each.client}  turned off: {where}") for where in each.done]
        lines += [
            Paragraph(f"{each.client}  turn this off yourself: {where}") for where in each.by_hand
        ]
        lines += [Paragraph(f"{each.client}  turned off before: {where}") for where in each.already]
        if not (each.done or each.by_hand or each.already):
            lines.append(f"{each.client}  nothing was found that runs it")
        homes = [one for one in machine.clients if one.client == each.client]
        lines += [
            Paragraph(
                f"Keep {' and '.join(_directories(one))}: servers read through its links. The"
                " package can be removed, but do not purge it."
            )
            for one in homes
        ]
    data: dict[str, Json] = {
        "finished": [
            {
                "client": each.client,
                "turned_off": list(each.done),
                "already": list(each.already),
                "by_hand": list(each.by_hand),
                "left": list(each.left),
            }
            for each in done
        ]
    }
    return Result(data, lines or ["Nothing was imported, so nothing was turned off."])


def _directories(client: FoundClient) -> list[str]:
    """Return the client's home, and the directory of the files that it keeps elsewhere."""
    parents = {os.path.dirname(path) for each in client.certificates for path in each.files.paths}  # noqa: PTH120 - of another machine
    outside = [each for each in parents if not f"{each}/".startswith(f"{client.home}/")]
    return [client.home, *([os.path.commonpath(outside)] if outside else [])]


def machine_result(
    machine: FoundMachine,
    imported: Sequence[ImportRecord],
    times: Times,
    checked: Sequence[Checked] | None = None,
) -> Result:
    """Return what `certctl import` finds; nothing was changed."""
    taken = {(each.client, each.name, each.home) for each in imported}
    lines: list[object] = []
    for client in machine.clients:
        lines += _client_lines(client, machine, times, taken)
    lines += _reader_lines(machine)
    lines += [
        Paragraph(f"{_label(each):<7}  {each.subject}: {each.text}") for each in checked or ()
    ]
    if not machine.clients:
        lines.append("No other ACME client was found.")
    elif any(not each.report_only for each in machine.clients):
        lines.append("Nothing was changed. Next: certctl import NAME, or certctl import --all")
    data = machine_object(machine, taken)
    if checked is not None:
        data["checked"] = [
            {
                "subject": each.subject,
                "text": each.text,
                "problem": each.problem,
                "unknown": each.unknown,
            }
            for each in checked
        ]
    return Result(data, lines)


def _label(checked: Checked) -> str:
    if checked.unknown:
        return "unknown"
    return "problem" if checked.problem else "ok"


def _client_lines(
    client: FoundClient, machine: FoundMachine, times: Times, taken: set[tuple[str, str, str]]
) -> list[object]:
    runs = [each for each in machine.schedules if each.client == client.client]
    version = f" {client.version}" if client.version else ""
    counts = (
        f"{_counted(len(client.certificates), 'certificate')},"
        f" {_counted(len(client.accounts), 'account')}"
    )
    lines: list[object] = [
        Paragraph(
            f"{client.client}{version} in {client.home}: {counts};"
            f" {_schedules_text(runs) or 'nothing was found that runs it'}."
        )
    ]
    imported = [each for each in client.certificates if _place(each) in taken]
    for state in Readiness:
        some = [each for each in client.certificates if each.readiness is state]
        some = [each for each in some if each not in imported]
        if some:
            lines += _state_lines(state, some, times)
    if imported:
        lines.append(f"  {'imported':<11}{len(imported):>3}")
        names = ", ".join(each.name for each in imported[:_SHOWN])
        more = f" and {len(imported) - _SHOWN} more" if len(imported) > _SHOWN else ""
        lines.append(Paragraph(f"    {names}{more}: renewed by certctl (certctl import --status)"))
    running = [each for each in client.hooks if each.runs]
    if client.hooks:
        skipped = len(client.hooks) - len(running)
        more = f" ({skipped} more are not executable or are backups)" if skipped else ""
        lines.append(
            Paragraph(f"  hooks        {len(running)} in {client.home}/renewal-hooks{more}")
        )
    lines += [Paragraph(f"  note         {each}") for each in client.notes]
    lines += [Paragraph(f"  damaged      {each}") for each in client.problems]
    if client.keep:
        lines.append(
            Paragraph(f"  keep         {', '.join(client.keep)}: web servers include them")
        )
    return [*lines, ""]


def _place(found: FoundCertificate) -> tuple[str, str, str]:
    return found.client, found.name, found.home


def _state_lines(state: Readiness, some: Sequence[FoundCertificate], times: Times) -> list[object]:
    lines: list[object] = [f"  {state.value:<11}{len(some):>3}"]
    width = min(max(len(each.name) for each in some), 36)
    for each in some[:_SHOWN]:
        name = f"    {each.name:<{width}}  "
        if state is Readiness.READY:
            lines.append(Paragraph(name + _ready_text(each, times)))
        elif state is Readiness.NOT_MOVED:
            lines.append(Paragraph(name + (each.why or "")))
        for question in each.questions if state is Readiness.TO_SETTLE else ():
            lines.append(Paragraph(f"{name}{question.message} → {question.option}"))
            name = " " * len(name)
        if state is not Readiness.NOT_MOVED:
            lines += [Paragraph(f"{' ' * (width + 6)}{note}") for note in each.notes]
    if len(some) > _SHOWN:
        lines.append(f"    and {len(some) - _SHOWN} more (certctl import --json)")
    return lines


def _ready_text(found: FoundCertificate, times: Times) -> str:
    parts = [label(found.ca) if found.ca else "", found.method or ""]
    if found.facts is not None:
        parts.append(f"until {times.day(found.facts.not_after)}")
    if not found.autorenew:
        parts.append("renewal is turned off")
    return ", ".join(each for each in parts if each)


def _schedules_text(schedules: Sequence[FoundSchedule]) -> str:
    places = list(dict.fromkeys(each.where for each in schedules if each.enabled))
    return f"run by {' and '.join(places)}" if places else ""


def _reader_lines(machine: FoundMachine) -> list[object]:
    programs: dict[str, set[str]] = {}
    for each in machine.readers:
        programs.setdefault(each.program, set()).add(each.file)
    lines: list[object] = []
    if programs:
        text = ", ".join(
            f"{program} ({', '.join(sorted(files)[:3])}{' …' if len(files) > 3 else ''})"
            for program, files in programs.items()
        )
        lines.append(Paragraph(f"Read by: {text}. These paths stay as they are."))
    lines += [Paragraph(f"Container: {each}") for each in machine.mounts]
    return lines


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def machine_object(
    machine: FoundMachine, taken: set[tuple[str, str, str]] | None = None
) -> dict[str, Json]:
    """Return everything that was found, as JSON; keys and credentials are left out."""
    return {
        "clients": [_client_object(each) for each in machine.clients],
        "certificates": [
            {
                **certificate_object(each, machine),
                "imported": _place(each) in (taken or set()),
            }
            for client in machine.clients
            for each in client.certificates
        ],
        "accounts": [
            _account_object(each) for client in machine.clients for each in client.accounts
        ],
        "hooks": [
            {"client": client.client, "kind": each.event, "path": each.path, "runs": each.runs}
            for client in machine.clients
            for each in client.hooks
        ],
        "schedules": [
            {
                "client": each.client,
                "file": each.where,
                "kind": each.kind,
                "command": each.command,
                "enabled": each.enabled,
                "environment": sorted(each.environment),
            }
            for each in machine.schedules
        ],
        "readers": [
            {"program": each.program, "file": each.file, "line": each.line, "path": each.path}
            for each in machine.readers
        ],
        "mounts": list(machine.mounts),
    }


def _client_object(client: FoundClient) -> dict[str, Json]:
    return {
        "client": client.client,
        "home": client.home,
        "version": client.version,
        "problems": list(client.problems),
        "notes": list(client.notes),
        "keep": list(client.keep),
        "untrusted": client.untrusted,
        "report_only": client.report_only,
    }


def _account_object(account: FoundAccount) -> dict[str, Json]:
    return {
        "client": account.client,
        "id": account.id,
        "ca": account.ca,
        "url": account.url,
        "key_file": account.key_file,
        "key_kind": account.key_kind,
        "certctl_key_type": account.key_type,
        "contact": list(account.contact),
        "problem": account.problem,
    }


def certificate_object(found: FoundCertificate, machine: FoundMachine) -> dict[str, Json]:
    """Return one certificate as JSON."""
    paths = set(found.files.paths)
    return {
        "client": found.client,
        "name": found.name,
        "home": found.home,
        "state": found.readiness.value,
        "files": {
            "fullchain": found.files.fullchain,
            "privkey": found.files.privkey,
            "cert": found.files.cert,
            "chain": found.files.chain,
        },
        "conf": found.conf,
        "archive": found.archive,
        "ca": found.ca,
        "account_url": found.account_url,
        "account_candidates": list(found.account_candidates),
        "names_wanted": list(found.names_wanted),
        "challenge": {"method": found.method},
        "deploy": _deploy_object(found),
        "options": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in found.options.items()
        },
        "credentials": None
        if found.credentials is None
        else {"provider": found.credentials[0], "options": sorted(found.credentials[1])},
        "reuse_key": bool(found.options.get("reuse_key", False)),
        "autorenew": found.autorenew,
        "key_mode": None if found.key_mode is None else f"{found.key_mode:o}",
        "certificate": _facts_object(found),
        "questions": [{"message": each.message, "option": each.option} for each in found.questions],
        "say": list(found.notes),
        "why": found.why,
        "by_name": found.by_name,
        "readers": sorted(
            {f"{each.file}:{each.line}" for each in machine.readers if each.path in paths}
        ),
    }


def _deploy_object(found: FoundCertificate) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for key, name in (
        ("deploy.pre_hook", "pre"),
        ("deploy.deploy_hook", "deploy"),
        ("deploy.post_hook", "post"),
        ("deploy.reload", "reload"),
    ):
        if key in found.options:
            result[name] = str(found.options[key])
    targets = found.options.get("deploy.targets")
    if isinstance(targets, tuple) and targets:
        result["target"] = targets[0]
    return result


def _facts_object(found: FoundCertificate) -> dict[str, Json] | None:
    facts = found.facts
    if facts is None:
        return None
    return {
        "identifiers": [each.value for each in facts.identifiers],
        "key_type": facts.key_type,
        "sha256": facts.sha256,
        "serial": facts.serial,
        "not_before": moment(facts.not_before),
        "not_after": moment(facts.not_after),
        "ari_id": facts.ari_id,
    }


def taken_object(taken: Taken) -> dict[str, Json]:
    """Return one certificate that was taken over or given back, as JSON."""
    steps = [{"step": name, "text": text} for name, text in taken.steps]
    return {"name": taken.certificate, "steps": steps}


def rest_lines(machine: FoundMachine, imported: Sequence[ImportRecord]) -> list[str]:
    """Return how many certificates `--all` leaves with their clients."""
    taken = {(each.client, each.name, each.home) for each in imported}
    left = [
        each.readiness
        for client in machine.clients
        if not client.report_only
        for each in client.certificates
        if each.readiness is not Readiness.READY and _place(each) not in taken
    ]
    counts = [(state, left.count(state)) for state in (Readiness.TO_SETTLE, Readiness.NOT_MOVED)]
    text = ", ".join(f"{number} {state.value}" for state, number in counts if number)
    return [f"Left with their clients: {text}. Why: certctl import"] if text else []


def taken_lines(taken: Taken) -> list[object]:
    """Return the steps that were done for one certificate."""
    width = max((len(name) for name, _ in taken.steps), default=0)
    return [
        f"{taken.certificate}:",
        *(Paragraph(f"  {name:<{width}}  {text}") for name, text in taken.steps),
    ]


def _renamed(record: ImportRecord) -> str:
    return "" if record.name == record.certificate else f" ({record.name})"


def status_result(
    records: Sequence[ImportRecord], times: Times, broken: dict[str, list[str]]
) -> Result:
    """Return what was imported, and whether that is finished."""
    lines: list[object] = [
        Paragraph(
            f"{each.certificate}  from {each.client}{_renamed(each)} in {each.home},"
            f" {each.state.value}, {times.minute(each.taken_at)}"
        )
        for each in records
    ]
    for name, paths in broken.items():
        lines.append(
            Paragraph(
                f"{name}: {', '.join(paths)} does not lead to certctl's file any more; make it a"
                f" link again with: certctl import {name}"
            )
        )
    data: dict[str, Json] = {
        "imported": [
            {
                "name": each.certificate,
                "client": each.client,
                "client_name": each.name,
                "home": each.home,
                "state": each.state.value,
                "taken_at": moment(each.taken_at),
                "sha256": each.taken_sha256,
                "paths": [one.path for one in each.paths],
                "broken": broken.get(each.certificate, []),
            }
            for each in records
        ]
    }
    return Result(data, lines or ["Nothing was imported."])
