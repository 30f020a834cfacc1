"""A rehearsal of the proof of control: throwaway answers are put in place as for an order, looked
at from here, and taken away. No CA hears of it.

What is seen from this machine is not what a CA sees: so that an answer which cannot be fetched is a
warning, and one that cannot be put in place an error.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from certctl.challenges.reachability import NotReached, check_http_answer, check_tls_alpn_answer
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
    "See that the port of the address leads here, and that no firewall is in between. This was seen"
    " from this machine only: behind some routers it cannot see its own public address."
)


@dataclass(frozen=True)
class ChallengeSelfTest:
    """A certificate to rehearse for: how control is proved, the addresses of each name where a CA
    comes to these, the port at which it would ask (None: the usual one), whether answers are really
    put in place, and the account that would order, where there is one.
    """

    spec: CertificateSpec
    challenge: ChallengeSpec
    hosts: Mapping[str, Host]
    port: int | None = None
    write: bool = True
    account_url: str = ""


def challenge_type(challenge: ChallengeSpec, run: Run) -> str:
    """Return the type of the challenges that are answered this way, such as `http-01`."""
    try:
        return run.solver(challenge).challenge_types[0]
    except CertctlError:  # what is wrong with it, the self_test tells
        return challenge.dns_challenge if challenge.method == "dns" else ChallengeType.HTTP_01


def self_test_challenges(self_test: ChallengeSelfTest, run: Run) -> Iterator[Finding]:
    """Yield what went wrong; nothing stays behind. Without `write`, only whether each answer would
    have its place. Raises `Interrupted`, and `StoreError` where the journal cannot be written: then
    nothing was tried.
    """
    solver, tasks, placements, found = _places(self_test, run)
    yield from found
    if solver is None or not (placements and self_test.write):
        return
    name = self_test.spec.name
    try:
        run.lock(name, timeout=0)
    except LockHeld as error:
        yield Finding(
            "challenge.busy",
            Severity.INFO,
            name,
            f"the proof of control was not tried: {error.message}",
            f"Once that has ended: certctl doctor {name}",
        )
        return
    try:
        remove_leftovers(name, run)
        yield from _dry_run(self_test, solver, tasks, placements, run)
    finally:
        run.release(name)


def _places(
    self_test: ChallengeSelfTest, run: Run
) -> tuple[Solver | None, list[Task], list[Placement], list[Finding]]:
    """Return the solver, and an answer with its place for each name that can have one; for the
    others, why not.
    """
    spec = self_test.spec
    tasks: list[Task] = []
    placements: list[Placement] = []
    found: list[Finding] = []
    try:
        solver = run.solver(self_test.challenge)
    except CertctlError as error:
        return None, [], [], [_no_place(spec.name, error)]
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="places") as pool:
        wanted = [
            throwaway_task(each, solver, spec.name, self_test.account_url)
            for each in spec.identifiers
        ]
        for task, place in zip(wanted, pool.map(partial(_place, solver), wanted), strict=True):
            if isinstance(place, CertctlError):
                found.append(_no_place(task.identifier.value, place))
            else:
                tasks.append(task)
                placements.append(place)
    return solver, tasks, placements, found


def _place(solver: Solver, task: Task) -> Placement | CertctlError:
    try:
        return solver.plan(task)
    except Interrupted:
        raise
    except CertctlError as error:
        return error


def _dry_run(
    self_test: ChallengeSelfTest,
    solver: Solver,
    tasks: Sequence[Task],
    placements: Sequence[Placement],
    run: Run,
) -> Iterator[Finding]:
    journal = run.services.store.journal
    entry = journal.record_placements(self_test.challenge, placements)
    found: list[Finding] = []
    try:
        found += _present(self_test, solver, tasks, placements, run)
    finally:
        removed = _clean_up(self_test.spec, solver, placements)
        if removed is None:
            journal.remove(entry)
        else:
            found.append(removed)
    yield from found


def _present(
    self_test: ChallengeSelfTest,
    solver: Solver,
    tasks: Sequence[Task],
    placements: Sequence[Placement],
    run: Run,
) -> list[Finding]:
    """Put the answers in place and look at them; return what is wrong."""
    spec = self_test.spec
    try:
        solver.present(placements)
    except Interrupted:
        raise
    except CertctlError as error:
        return [_not_put(spec, solver, error)]
    try:
        solver.wait(placements)
    except Interrupted:
        raise
    except CertctlError as error:
        return [Finding("dns.propagation", Severity.ERROR, spec.name, error.message, error.hint)]
    look = _LOOKS.get(solver.challenge_types[0])
    return [] if look is None else _look_everywhere(self_test, tasks, look, run)


Look = Callable[[str, Task, int | None], None]
"""Looks at the answer of a task at an address; raises `NotReached`. The port is the usual one where
it is None.
"""


def _by_http(address: str, task: Task, port: int | None) -> None:
    host = f"[{task.identifier.value}]" if ":" in task.identifier.value else task.identifier.value
    check_http_answer(address, host, task.token, task.key_authorization, port=port or 80)


def _by_tls(address: str, task: Task, port: int | None) -> None:
    check_tls_alpn_answer(address, task.identifier, task.key_authorization, port=port or 443)


_LOOKS: Mapping[str, Look] = {
    ChallengeType.HTTP_01: _by_http,
    ChallengeType.TLS_ALPN_01: _by_tls,
}


def _look_everywhere(
    self_test: ChallengeSelfTest, tasks: Sequence[Task], look: Look, run: Run
) -> list[Finding]:
    """Look at each answer at each address of its name."""
    questions = [
        (task, address)
        for task in tasks
        if task.identifier.value in self_test.hosts
        for address in self_test.hosts[task.identifier.value].addresses
    ]

    def ask(question: tuple[Task, str]) -> NotReached | None:
        task, address = question
        if run.stop.is_set():
            return None
        try:
            look(address, task, self_test.port)
        except NotReached as error:
            return error
        return None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = dict(zip(questions, pool.map(ask, questions), strict=True))
    run.check()
    good = {task.identifier for (task, _), error in answers.items() if error is None}
    return [
        _not_seen(task.identifier, address, error, elsewhere_good=task.identifier in good)
        for (task, address), error in answers.items()
        if error is not None
    ]


def _not_seen(
    identifier: Identifier, address: str, error: NotReached, *, elsewhere_good: bool
) -> Finding:
    if error.no_route:
        return Finding(
            "answer.not_tried",
            Severity.INFO,
            identifier.value,
            f"whether an answer can be seen at {address} was not tried: {error}",
            "Try it from a machine that has a way there.",
        )
    if ":" in address and elsewhere_good and identifier.type is IdentifierType.DNS:
        return Finding(
            "answer.ipv6",
            Severity.WARNING,
            identifier.value,
            f"an answer can be seen at another address, but not at {address}: {error}",
            f"CAs prefer IPv6: have {address} answer too, or remove the AAAA record.",
        )
    if error.connected:
        return Finding(
            "answer.wrong",
            Severity.WARNING,
            identifier.value,
            f"at {address} an answer that was put in place is not shown: {error}",
            "Is it another server, or another directory (--webroot DIR)? " + _FROM_HERE,
        )
    return Finding(
        "answer.unreachable",
        Severity.WARNING,
        identifier.value,
        f"an answer cannot be seen at {address}: {error}",
        _FROM_HERE,
    )


def throwaway_task(
    identifier: Identifier, solver: Solver, certificate: str, account_url: str = ""
) -> Task:
    """Return a task for a name such as an order would make, of which no CA knows."""
    token = secrets.token_urlsafe(32)
    return Task(
        identifier=identifier,
        type=solver.challenge_types[0],
        token=token,
        key_authorization=f"{token}.{secrets.token_urlsafe(32)}",
        account_url=account_url,
        certificate=certificate,
    )


def _no_place(subject: str, error: CertctlError) -> Finding:
    """The way in which control is to be proved does not fit, before anything is tried."""
    message = error.message.removeprefix(f"{subject}: ")
    return Finding("challenge.setup", Severity.ERROR, subject, message, error.hint)


def _not_put(spec: CertificateSpec, solver: Solver, error: CertctlError) -> Finding:
    if solver.challenge_types[0].startswith("dns"):
        return Finding("dns.write", Severity.ERROR, spec.name, error.message, error.hint)
    return Finding("answer.setup", Severity.ERROR, spec.name, error.message, error.hint)


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
            error.hint or "Each run tries it again: certctl renew",
        )
    return None
