"""Proof of control: answers are placed, seen, and taken away again, whatever happens in between.

RFC 8555 §7.5. What is placed is journalled first, so that the run after a crash can clean up.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from certctl.errors import CertctlError, ChallengeError, ValidationFailed
from certctl.events import ChallengesPresented, ChallengesSeen, OrderReady
from certctl.models import (
    Authorization,
    Challenge,
    ChallengeType,
    LimitedAction,
    Order,
    Placement,
    Task,
)
from certctl.operations.order_steps import OrderContext
from certctl.operations.run import Run

if TYPE_CHECKING:
    from certctl.ports import Solver

_TOKENLESS = frozenset({ChallengeType.DNS_PERSIST_01})

_PARALLEL_LOOKUPS = 16


def authorize(order: Order, context: OrderContext) -> Order:
    """Return the order once the CA accepted control of every identifier.

    Where that fails, authorizations that the CA was not told to look at are deactivated, which
    would stay open for days and count against its limits. The others settle by themselves, and one
    that becomes valid serves the next order. Raises `ValidationFailed` with the CA's words for each
    identifier, or `ChallengeError`.
    """
    client, run, name = context.client, context.run, context.spec.name
    not_yet_valid = _not_yet_valid(client.authorizations(order.authorization_urls), name)
    solver = run.solver(run.challenge(context.spec))
    challenges: list[Challenge] = []
    try:
        challenges += [_challenge(each, solver, name) for each in not_yet_valid]
        if not_yet_valid:
            pairs = zip(not_yet_valid, challenges, strict=True)
            tasks = [_task(each, challenge, context) for each, challenge in pairs]
            ready = _validate(order, tasks, challenges, solver, context)
        else:
            ready = client.await_ready(order, deadline=context.deadline)
    except CertctlError as error:
        pairs = zip(
            not_yet_valid, challenges, strict=False
        )  # not every challenge was found, perhaps
        told = {each.url for each, challenge in pairs if client.was_answered(challenge)}
        if isinstance(error, ValidationFailed):
            _note_failures(error, context)
        _give_up([each for each in not_yet_valid if each.url not in told], context)
        raise
    run.services.emit(OrderReady(name, run.services.clock.now()))
    return ready


def _note_failures(error: ValidationFailed, context: OrderContext) -> None:
    """Take note of each failed authorization: CAs count them by identifier."""
    refused = {value for value, _ in error.reasons}
    for each in context.identifiers:
        if each.value in refused:
            context.note(LimitedAction.FAILURE, [each])


def remove_leftovers(name: str, run: Run) -> None:
    """Take away what an earlier run of this certificate placed and could not clean up any more.

    What cannot be removed now stays in the journal for the next run, and is said.
    """
    for leftover in run.services.store.journal.leftovers(name):
        solver = run.solver(leftover.challenge)
        _clean_up(solver, leftover.placements, leftover.entry, name, run)


def _validate(
    order: Order,
    tasks: Sequence[Task],
    challenges: Sequence[Challenge],
    solver: Solver,
    context: OrderContext,
) -> Order:
    """Place the answers, have the CA look at them, and return the order once it is ready."""
    client, run, name = context.client, context.run, context.spec.name
    clock = run.services.clock
    placements = _placed(solver, tasks)
    challenge = run.challenge(context.spec)
    entry = run.services.store.journal.record_placements(challenge, placements)
    try:
        solver.present(placements)
        names = tuple(task.identifier.value for task in tasks)
        types = ", ".join(dict.fromkeys(task.type for task in tasks))
        run.services.emit(ChallengesPresented(name, clock.now(), types, names))
        begun = clock.monotonic()
        with run.idle():
            solver.wait(placements)
        run.services.emit(ChallengesSeen(name, clock.now(), clock.monotonic() - begun))
        client.answer_all(challenges)
        solver.wait_for_validation(placements)
        return client.await_ready(order, deadline=context.deadline)
    finally:
        _clean_up(solver, placements, entry, name, run)


def _placed(solver: Solver, tasks: Sequence[Task]) -> tuple[Placement, ...]:
    """Return where the answers will stand; what has to be looked up for that, side by side."""
    if len(tasks) == 1:
        return (solver.plan(tasks[0]),)
    with ThreadPoolExecutor(min(len(tasks), _PARALLEL_LOOKUPS)) as pool:
        return tuple(pool.map(solver.plan, tasks))


def _not_yet_valid(authorizations: Sequence[Authorization], name: str) -> list[Authorization]:
    """Return the authorizations that wait for an answer. Raises where one can never become
    valid.
    """
    dead = [each for each in authorizations if each.status not in {"pending", "valid"}]
    if dead:
        raise ValidationFailed(
            "the CA will not authorize " + ", ".join(each.identifier.value for each in dead),
            reasons=[(each.identifier.value, _verdict(each)) for each in dead],
            name=name,
        )
    return [each for each in authorizations if each.status == "pending"]


def _verdict(authorization: Authorization) -> str:
    said = [each.error for each in authorization.challenges if each.error]
    return said[0] if said else f"its authorization is {authorization.status}"


def _challenge(authorization: Authorization, solver: Solver, name: str) -> Challenge:
    wanted = solver.challenge_types
    for each in wanted:
        found = authorization.challenge(each)
        if found is not None and (found.token is not None or each in _TOKENLESS):
            return found
    offered = ", ".join(each.type for each in authorization.challenges) or "nothing"
    hint = (
        "A wildcard can be proved by DNS only: --dns PROVIDER."
        if authorization.identifier.wildcard
        else "Choose another way to prove control: --standalone, --webroot DIR, --tls-alpn or"
        " --dns PROVIDER."
    )
    raise ChallengeError(
        f"the CA does not offer {' or '.join(wanted)} for {authorization.identifier}; it offers"
        f" {offered}",
        hint=hint,
        name=name,
        code="challenge.not_offered",
    )


def _task(authorization: Authorization, challenge: Challenge, context: OrderContext) -> Task:
    token, client, identifier = challenge.token or "", context.client, authorization.identifier
    tokenless = challenge.type in _TOKENLESS
    return Task(
        identifier=identifier,
        type=challenge.type,
        token=token,
        key_authorization="" if tokenless else client.key_authorization(token),
        account_url=context.account.url,
        certificate=context.spec.name,
        persistent_record=client.persistent_record(identifier, challenge) if tokenless else None,
    )


def _clean_up(
    solver: Solver, placements: Sequence[Placement], entry: str, name: str, run: Run
) -> None:
    """Take the answers away; a failure stays in the journal, and never hides what happened
    before.
    """
    try:
        solver.cleanup(placements)
    except CertctlError as error:
        run.warn(f"what proved control could not be removed: {error.message}", name)
    else:
        run.services.store.journal.remove(entry)


def _give_up(waiting: Sequence[Authorization], context: OrderContext) -> None:
    for each in waiting:
        if not context.client.deactivate(each.url):
            return  # the CA is down, or lets nobody do that: the others need not be tried
