"""A rehearsal of the proof of control: throwaway answers are put in place as for an order, looked
at from here, and taken away. No CA hears of it.

What is seen from this machine is not what a CA sees: so that an answer which cannot be fetched is a
warning, and one that cannot be put in place an error.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from certctl.challenges.reach import NotReached, fetch_answer
from certctl.dns.hosts import Host
from certctl.errors import CertctlError, Interrupted, LockHeld
from certctl.models import (
    CertificateSpec,
    ChallengeSpec,
    ChallengeType,
    Finding,
    Identifier,
    IdentifierType,
    Placement,
    Severity,
    Task,
)
from certctl.operations.authorize import remove_leftovers
from certctl.operations.run import Run
from certctl.ports import Solver

_PARALLEL = 8
_FROM_HERE = (
    "This was seen from this machine only, and a router may not let it see its own public address;"
    " else see that port 80 of the address leads here, and that no firewall is in between."
)


@dataclass(frozen=True)
class Rehearsal:
    """A certificate to rehearse for: how control is proved, the addresses of each name (HTTP only),
    the port at which a CA would ask, and the account that would order, where there is one.
    """

    spec: CertificateSpec
    challenge: ChallengeSpec
    hosts: Mapping[str, Host]
    port: int = 80
    account_url: str = ""


def rehearse_control(rehearsal: Rehearsal, run: Run) -> Iterator[Finding]:
    """Yield what went wrong; nothing stays behind. Raises `Interrupted`, and `StoreError` where
    the journal cannot be written: then nothing was tried.
    """
    name = rehearsal.spec.name
    try:
        run.lease(name, timeout=0)
    except LockHeld as error:
        yield Finding(
            "challenge.busy",
            Severity.INFO,
            name,
            f"the proof of control was not tried: {error.message}",
            f"certctl doctor {name}, once that has ended",
        )
        return
    try:
        remove_leftovers(name, run)
        yield from _rehearse(rehearsal, run)
    finally:
        run.release(name)


def _rehearse(rehearsal: Rehearsal, run: Run) -> Iterator[Finding]:
    spec, journal = rehearsal.spec, run.services.store.journal
    try:
        solver = run.solver(rehearsal.challenge)
        tasks = [_task(each, solver, rehearsal) for each in spec.identifiers]
        placements = [solver.place(each) for each in tasks]
    except Interrupted:
        raise
    except CertctlError as error:
        yield _not_placed(spec, rehearsal.challenge, error)
        return
    entry = journal.record_placements(rehearsal.challenge, placements)
    found: list[Finding] = []
    try:
        found += _present(rehearsal, solver, tasks, placements, run)
    finally:
        removed = _clean_up(spec, solver, placements)
        if removed is None:
            journal.settle(entry)
        else:
            found.append(removed)
    yield from found


def _present(
    rehearsal: Rehearsal,
    solver: Solver,
    tasks: Sequence[Task],
    placements: Sequence[Placement],
    run: Run,
) -> list[Finding]:
    """Put the answers in place and look at them; return what is wrong."""
    spec = rehearsal.spec
    try:
        solver.present(placements)
    except Interrupted:
        raise
    except CertctlError as error:
        return [_not_placed(spec, rehearsal.challenge, error)]
    if ChallengeType.HTTP_01 in solver.challenge_types:
        return _fetch_all(rehearsal, tasks, run)
    try:
        solver.wait(placements)
    except Interrupted:
        raise
    except CertctlError as error:
        return [Finding("dns.propagation", Severity.ERROR, spec.name, error.message, error.hint)]
    return []


def _fetch_all(rehearsal: Rehearsal, tasks: Sequence[Task], run: Run) -> list[Finding]:
    """Fetch each answer at each address of its name."""
    questions = [
        (task, address)
        for task in tasks
        if task.identifier.value in rehearsal.hosts
        for address in rehearsal.hosts[task.identifier.value].addresses
    ]

    def fetch(question: tuple[Task, str]) -> NotReached | None:
        task, address = question
        if run.stop.is_set():
            return None
        try:
            fetch_answer(
                address,
                _host(task.identifier),
                task.token,
                task.key_authorization,
                port=rehearsal.port,
            )
        except NotReached as error:
            return error
        return None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = dict(zip(questions, pool.map(fetch, questions), strict=True))
    run.check()
    good = {task.identifier for (task, _), error in answers.items() if error is None}
    return [
        _not_fetched(task.identifier, address, error, elsewhere_good=task.identifier in good)
        for (task, address), error in answers.items()
        if error is not None
    ]


def _not_fetched(
    identifier: Identifier, address: str, error: NotReached, *, elsewhere_good: bool
) -> Finding:
    if ":" in address and elsewhere_good and identifier.type is IdentifierType.DNS:
        return Finding(
            "http.ipv6",
            Severity.WARNING,
            identifier.value,
            f"an answer can be fetched by IPv4, but not at {address}: {error}",
            f"CAs prefer IPv6: have {address} answer too, or remove the AAAA record.",
        )
    if error.connected:
        return Finding(
            "http.wrong_answer",
            Severity.WARNING,
            identifier.value,
            f"at {address} an answer that was put in place is not shown: {error}",
            "Is it another server, or another folder (--webroot DIR)? " + _FROM_HERE,
        )
    return Finding(
        "http.unreachable",
        Severity.WARNING,
        identifier.value,
        f"an answer cannot be fetched at {address}, {error}",
        _FROM_HERE,
    )


def _host(identifier: Identifier) -> str:
    return f"[{identifier.value}]" if ":" in identifier.value else identifier.value


def _task(identifier: Identifier, solver: Solver, rehearsal: Rehearsal) -> Task:
    token = secrets.token_urlsafe(32)
    return Task(
        identifier=identifier,
        type=solver.challenge_types[0],
        token=token,
        key_authorization=f"{token}.{secrets.token_urlsafe(32)}",
        account_url=rehearsal.account_url,
        certificate=rehearsal.spec.name,
    )


def _not_placed(spec: CertificateSpec, challenge: ChallengeSpec, error: CertctlError) -> Finding:
    if challenge.method == "dns":
        return Finding("dns.write", Severity.ERROR, spec.name, error.message, error.hint)
    if challenge.method == "tls-alpn":
        return Finding("tls.setup", Severity.ERROR, spec.name, error.message, error.hint)
    return Finding("http.setup", Severity.ERROR, spec.name, error.message, error.hint)


def _clean_up(
    spec: CertificateSpec, solver: Solver, placements: Sequence[Placement]
) -> Finding | None:
    try:
        solver.cleanup(placements)
    except CertctlError as error:
        return Finding(
            "challenge.cleanup",
            Severity.WARNING,
            spec.name,
            f"what was put in place could not be removed: {error.message}",
            error.hint or f"It is tried again by: certctl renew {spec.name}",
        )
    return None
