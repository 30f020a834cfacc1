"""What `certctl import` does."""
# ruff: noqa: N999 - the command is called like a keyword

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from certctl.cli.invocation import Invocation
from certctl.cli.reports import require_confirmation
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.engine.run import Run
from certctl.inspection.import_findings import broken_paths
from certctl.inspection.scheduled import INSTALL, MachineContext, is_renewed
from certctl.model.errors import CertctlError, UsageError, worst
from certctl.model.importing import FoundCertificate, FoundMachine, ImportRecord
from certctl.model.text import escaped
from certctl.operations import import_check, import_finish
from certctl.operations.import_choice import (
    Consent,
    choose,
    commands_as_root,
    find_machine,
    named_certificate,
)
from certctl.operations.import_trial import try_ways
from certctl.operations.import_undo import Taken, give_back
from certctl.operations.importing import finish_interrupted, repair, take_over
from certctl.output.console import Message
from certctl.output.document import Result
from certctl.output.importing import (
    finished_result,
    machine_result,
    rest_lines,
    status_result,
    taken_lines,
    taken_object,
)
from certctl.output.times import Times
from certctl.system.trust import user_name

_Chosen = TypeVar("_Chosen", str, FoundCertificate)


def run(
    invocation: Invocation,
    names: Sequence[str],
    place: str | None,
    root: str | None,
    leave: Sequence[str],
    new_name: str | None = None,
    **flags: bool,
) -> Result:
    """Show what other clients have, take certificates over, or give them back."""
    modes = {f"--{each}": flags[each] for each in ("undo", "status", "check", "finish")}
    everything = flags["everything"]
    _refuse_combinations(names, modes, everything=everything, root=root, leave=leave)
    if new_name is not None and (len(names) != 1 or any(modes.values())):
        raise UsageError("--name requires exactly one certificate to import")
    if flags["status"]:
        return _status(invocation)
    if flags["undo"]:
        return _undo(invocation, names, everything=everything)
    directory = invocation.environment.directory
    where = None if place is None else os.path.normpath(directory / place)
    machine_root = Path("/") if root is None else directory / root
    if flags["finish"]:
        return _finish(invocation, where, leave)
    if names or everything:
        history, as_root = flags["history"], flags["as_root"]
        return _take(invocation, names, where, new_name, history=history, as_root=as_root)
    return _look(invocation, machine_root, where, ask=flags["check"], as_root=flags["as_root"])


def _refuse_combinations(
    names: Sequence[str],
    modes: Mapping[str, bool],
    *,
    everything: bool,
    root: str | None,
    leave: Sequence[str],
) -> None:
    given = [flag for flag, is_given in modes.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} cannot be combined")
    if names and everything:
        raise UsageError("--all and names cannot be combined")
    if given and given != ["--undo"] and (names or everything):
        raise UsageError(f"{given[0]} cannot be combined with names or --all")
    if leave and given != ["--finish"]:
        raise UsageError("--leave requires --finish")
    if root is not None and (names or everything or given):
        raise UsageError(
            "--root only shows what is there: certificates of another machine cannot be taken over",
            hint="Run certctl import on that machine.",
        )
    if given == ["--undo"] and not names and not everything:
        raise UsageError("--undo requires names, or --all", hint="certctl import --undo NAME")


def _look(
    invocation: Invocation, root: Path, place: str | None, *, ask: bool, as_root: bool
) -> Result:
    with open_run(invocation, untrusted="warn") as run:
        machine = find_machine(root, place, run.services.settings.table)
        imported = run.services.machine.imports.all()
        bundle = run.services.settings.text("ca_bundle")
        checked = import_check.check(machine, run, bundle) if ask else None
        if checked is not None:
            consent = _consent(invocation, as_root=as_root)
            checked += try_ways(machine, given_options(invocation), consent, run)
    return machine_result(machine, imported, Times(local=invocation.output.terminal), checked)


def _finish(invocation: Invocation, place: str | None, leave: Sequence[str]) -> Result:
    with open_run(invocation) as run:
        _require_schedule(invocation, run)
        machine = find_machine(Path("/"), place, run.services.settings.table)
        clients = sorted({each.client for each in run.services.machine.imports.all()})
        if clients:
            question = f"Turn off what runs {' and '.join(clients)}?"
            require_confirmation(invocation, question, None)
        done = import_finish.finish(machine, leave, run)
    return finished_result(done, machine)


def _status(invocation: Invocation) -> Result:
    with open_run(invocation, untrusted="warn") as run:
        records = run.services.machine.imports.all()
        broken = broken_paths(run)
    return status_result(records, Times(local=invocation.output.terminal), broken)


def _undo(invocation: Invocation, names: Sequence[str], *, everything: bool) -> Result:
    with open_run(invocation) as run:
        finish_interrupted(run)
        records = run.services.machine.imports.all()
        imported = [each.certificate for each in records]
        chosen = imported if everything else _certificates(names, records)
        question = (
            f"{', '.join(chosen)}: the newest version goes back to the other client, which renews"
            " it from then on; certctl forgets the certificate. Go on?"
        )
        if chosen:
            require_confirmation(invocation, question, None)
        return _carry_out(chosen, lambda name: give_back(name, run), "undone")


def _certificates(names: Sequence[str], records: Sequence[ImportRecord]) -> list[str]:
    """Return certctl's names of imported certificates that may be named as their clients do."""
    found: dict[str, None] = {}
    for name in names:
        own = [each.certificate for each in records if each.certificate == name]
        same = own or [
            each.certificate
            for each in records
            if name in (each.name, f"{each.client}:{each.name}")
        ]
        if len(same) > 1:
            raise UsageError(
                f"several certificates were imported as {name}",
                hint=f"Name one of them: {', '.join(same)}",
                code="usage.name",
            )
        found |= dict.fromkeys(same or [name])
    return list(found)


def _take(
    invocation: Invocation,
    names: Sequence[str],
    place: str | None,
    new_name: str | None,
    *,
    history: bool,
    as_root: bool,
) -> Result:
    with open_run(invocation) as run:
        finish_interrupted(run)
        imports = run.services.machine.imports
        machine = find_machine(Path("/"), place, run.services.settings.table)
        given = given_options(invocation)
        known = {(each.client, each.name, each.home) for each in imports.all()}
        again = _imported(names, imports.all(), machine)
        new = [each for each in names if each not in again]
        agreed = as_root or _agree_to_commands(invocation, machine, new)
        consent = _consent(invocation, as_root=agreed)
        chosen = choose(machine, new, given, consent) if new or not names else []
        chosen = [
            replace(each, new_name=new_name)
            for each in chosen
            if (each.client, each.name, each.home) not in known
        ]
        if chosen:
            _require_schedule(invocation, run)
            require_confirmation(invocation, _question(chosen, machine), None)
        for name in again.values():
            repair(name, run)
        result = _carry_out(
            chosen,
            lambda found: take_over(found, machine, given, run, history=history),
            "imported",
        )
        rest = [] if names else rest_lines(machine, imports.all())
        return _with_rest(result, chosen, again, rest)


def _imported(
    names: Sequence[str], records: Sequence[ImportRecord], machine: FoundMachine
) -> dict[str, str]:
    """Return which of the names were imported already, with certctl's names. One that another
    client has too, which was not imported, is not among them.
    """
    known = {(each.client, each.name, each.home) for each in records}
    others = {
        each.name
        for client in machine.clients
        for each in client.certificates
        if (each.client, each.name, each.home) not in known
    }
    found: dict[str, str] = {}
    for record in records:
        own = {record.name, record.certificate} - others
        for name in {*own, f"{record.client}:{record.name}"} & set(names):
            found[name] = record.certificate
    return found


def _consent(invocation: Invocation, *, as_root: bool) -> Consent:
    return Consent(bool(invocation.flags.get("account.agree_tos")), as_root)


def _agree_to_commands(invocation: Invocation, machine: FoundMachine, names: Sequence[str]) -> bool:
    """Show what other users have configured that certctl would do as root, one by one, and return
    whether a person agrees to all of it. `--yes` does not.
    """
    found = [named_certificate(machine, name) for name in names]
    asked = [
        f"{each.name}: the user {user_name(each.owner)} chose that certctl does as root: {what}."
        " Agree?"
        for each in found
        if each.owner is not None
        for what in commands_as_root(each)
    ]
    return all(invocation.ask(question) for question in asked)


def _require_schedule(invocation: Invocation, run: Run) -> None:
    """Raise `UsageError` if nothing would renew what is taken over."""
    if is_renewed(MachineContext(invocation.environment.variables), run):
        return
    raise UsageError(
        "nothing runs certctl renew yet, so nobody would renew what is taken over; nothing was"
        " changed",
        hint=f"First run: {INSTALL}; or if something else will run it: certctl schedule external",
        code="import.no_schedule",
    )


def _question(chosen: Sequence[FoundCertificate], machine: FoundMachine) -> str:
    lines = []
    for each in chosen:
        lines.append(f"{each.name} from {each.client} in {each.home}:")
        if each.stop is not None:
            where = each.stop.aside or f"a comment in {each.stop.path}"
            lines.append(f"  {each.stop.path} becomes {where}")
        lines += [f"  {path} becomes a link to certctl's file" for path in each.files.paths]
        lines += [
            f"  certctl will run: {each.options[key]}"
            for key in sorted(each.options)
            if key.endswith(("hook", "reload"))
        ]
        lines += [f"  {note}" for note in each.notes]
    for client in machine.clients:
        if any(each.home == client.home for each in chosen):
            lines += [f"  certctl will run: {each.path}" for each in client.hooks if each.runs]
    return escaped("\n".join([*lines, "Take over?"]), None, lines=True)


def _carry_out(chosen: Sequence[_Chosen], step: Callable[[_Chosen], Taken], action: str) -> Result:
    """Take each over, or give it back; one that fails does not stop the others."""
    done: list[Taken] = []
    errors: list[CertctlError] = []
    for each in chosen:
        try:
            done.append(step(each))
        except CertctlError as error:
            error.name = error.name or str(getattr(each, "name", each))
            errors.append(error)
    lines = [line for each in done for line in taken_lines(each)]
    return Result(
        {action: [taken_object(each) for each in done]},
        lines,
        errors,
        worst([each.exit_status for each in errors]),
    )


def _with_rest(
    result: Result,
    chosen: Sequence[FoundCertificate],
    again: Mapping[str, str],
    rest: Sequence[str],
) -> Result:
    lines = list(result.lines)
    lines += [
        f"{name} was imported already; its paths lead to certctl's files."
        for name in again.values()
    ]
    lines += rest
    if chosen and not result.errors:
        lines.append(Message("To undo: certctl import --undo NAME"))
    if not chosen and not again:
        lines.append(Message("Nothing is ready to be imported. See: certctl import"))
    return Result(result.data, lines, result.errors, result.exit_status)
