"""Turns off what runs a client all of whose certificates were taken over, and on again."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.engine.run import Run
from certctl.importers import handover
from certctl.importers import turned_off as schedules
from certctl.model.errors import (
    UsageError,
)
from certctl.model.importing import (
    FoundMachine,
)
from certctl.model.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Finished:
    """What `--finish` did with the schedules of a client: those it turned off, those that were off
    `already`, and those that have to be turned off by hand. `left` are the certificates that stay
    with the client.
    """

    client: str
    already: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def finish(machine: FoundMachine, left: Sequence[str], run: Run) -> list[Finished]:
    """Turn off what runs the clients whose certificates were all taken over.

    `left` names certificates that stay with their client, whose schedule then stays on. Raises
    `UsageError` if a client still renews other ones, or if nobody has one that is to be left.
    """
    imports = run.services.machine.imports
    known = {
        one
        for client in machine.clients
        for each in client.certificates
        for one in (each.name, each.id)
    }
    if unknown := [each for each in left if each not in known]:
        raise UsageError(
            f"no other client has a certificate named {', '.join(unknown)}",
            hint="See all of them with: certctl import",
            code="usage.unknown_certificate",
        )
    clients = sorted({each.client for each in imports.all()})
    remaining = {each: _still_renewed(machine, each) for each in clients}
    undecided = [
        name
        for client, names in remaining.items()
        for name in names
        if not {name, f"{client}:{name}"} & set(left)
    ]
    if undecided:
        raise UsageError(
            f"{', '.join(undecided)} would not be renewed by anybody; nothing was turned off",
            hint=f"Import each, or leave it with its client: --leave {undecided[0]}",
            code="import.unfinished",
        )
    return [
        Finished(each, left=tuple(remaining[each]))
        if remaining[each]
        else _turn_off(each, machine, run)
        for each in clients
    ]


def _still_renewed(machine: FoundMachine, client: str) -> list[str]:
    return [
        each.name
        for found in machine.clients
        if found.client == client
        for each in found.certificates
        if each.stop is not None and not handover.is_stopped(each.stop) and each.autorenew
    ]


def _turn_off(client: str, machine: FoundMachine, run: Run) -> Finished:
    """Turn off the schedules of a client, each recorded before it is changed."""
    imports = run.services.machine.imports
    already = tuple(each.where for each in imports.schedules() if each.client == client)
    done: list[str] = []
    by_hand: list[str] = []
    for each in machine.schedules:
        if each.client != client or not each.enabled or each.where in done:
            continue
        taken = schedules.planned(each, machine.schedules)
        if taken is None:
            by_hand.append(f"{each.where}: {each.command}")
            continue
        others = [one for one in imports.schedules() if one.where != taken.where]
        imports.save_schedules([*others, taken])
        schedules.turn_off(taken)
        done.append(each.where)
    off = tuple(each for each in already if each not in done)
    return Finished(client, off, tuple(done), tuple(dict.fromkeys(by_hand)))


def turn_on_again(client: str, run: Run) -> list[str]:
    """Turn on the schedules of a client to which a certificate goes back."""
    imports = run.services.machine.imports
    taken = [each for each in imports.schedules() if each.client == client]
    for each in taken:
        schedules.turn_on(each)
    if taken:
        imports.save_schedules([each for each in imports.schedules() if each.client != client])
    return [each.where for each in taken]
