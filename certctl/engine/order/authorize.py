"""Domain validation (RFC 8555 §7.5): present the challenge responses, have the CA validate them,
and always remove them again.

Responses are recorded in the journal before they are presented, so that the next run can clean up
after a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from certctl.engine.order.steps import OrderContext
from certctl.engine.parallel import in_parallel
from certctl.engine.run import Run
from certctl.model.ca import Authorization, Challenge, ChallengeType, LimitedAction, Order
from certctl.model.errors import (
    AcmeError,
    CertctlError,
    ChallengeError,
    Interrupted,
    PropagationTimeout,
    ValidationFailed,
)
from certctl.model.events import ChallengesPresented, ChallengesSeen, OrderReady
from certctl.model.lazy_dataclass import dataclass
from certctl.model.validation import Leftover, Placement, Task
from certctl.rules.cleanup import GIVEN_UP_AFTER, after_failure, is_due, is_given_up
from certctl.rules.renewal import is_near_expiry
from certctl.rules.response_batches import in_batches, record_of

if TYPE_CHECKING:
    from certctl.model.ports import Solver

_TOKENLESS = frozenset({ChallengeType.DNS_PERSIST_01})

_OPTIONS_OF_TYPE = (
    (ChallengeType.HTTP_01, "--standalone"),
    (ChallengeType.HTTP_01, "--webroot DIR"),
    (ChallengeType.TLS_ALPN_01, "--tls-alpn"),
    (ChallengeType.DNS_01, "--dns PROVIDER"),
    (ChallengeType.DNS_ACCOUNT_01, "--dns PROVIDER"),
)
"""What to type for each type of challenge."""

_PARALLEL_LOOKUPS = 16
_MAX_SHOWN = 8


def authorize(order: Order, context: OrderContext) -> Order:
    """Complete the authorizations of an order; return the order once it is ready.

    On failure, the pending authorizations whose challenge was not submitted to the CA are
    deactivated: they would stay pending for days and count against the CA's limits. The others
    become valid or invalid at the CA, and a valid one is reused by the next order. Raises
    `ValidationFailed` with the CA's reason for each identifier, or `ChallengeError`.
    """
    client, run, name = context.client, context.run, context.spec.name
    pending = _pending(client.authorizations(order), name)
    solver = run.solver(run.challenge(context.spec))
    challenges: list[Challenge] = []
    try:
        challenges += [_challenge(each, solver, name) for each in pending]
        if pending:
            pairs = zip(pending, challenges, strict=True)
            tasks = [_task(each, challenge, context) for each, challenge in pairs]
            ready = _validate(
                order, _responses(pending, challenges, tasks, solver), solver, context
            )
        else:
            ready = client.await_ready(order, deadline=context.deadline)
    except CertctlError as error:
        # The list of challenges is incomplete if the error came while they were selected.
        pairs = zip(pending, challenges, strict=False)
        submitted = {each.url for each, challenge in pairs if client.was_answered(challenge)}
        if isinstance(error, ValidationFailed):
            _record_failures(error, context)
        _deactivate([each for each in pending if each.url not in submitted], context)
        raise
    run.services.emit(OrderReady(name, run.services.clock.now()))
    return ready


def _record_failures(error: ValidationFailed, context: OrderContext) -> None:
    """Record each failed authorization in the ledger: CAs limit them per identifier."""
    failed = {value for value, _ in error.reasons}
    for each in context.identifiers:
        if each.value in failed:
            context.note(LimitedAction.FAILURE, [each])


def remove_leftovers(name: str, run: Run, *, all_now: bool = False) -> None:
    """Remove the challenge responses that earlier runs for this certificate left behind, in
    parallel.

    Those that cannot be removed cause a warning and stay in the journal. They are tried again after
    a pause, which `all_now` ignores, and given up in the end.
    """
    now = run.services.clock.now()
    leftovers = run.services.records.placements(name)
    due = [each for each in leftovers if all_now or is_due(each.state, now)]
    deque(
        in_parallel(lambda each: _remove_leftover(each, name, run), due, threads=_PARALLEL_LOOKUPS),
        maxlen=0,
    )


def _remove_leftover(leftover: Leftover, name: str, run: Run) -> None:
    try:
        solver = run.solver(leftover.challenge)
    except Interrupted:
        raise
    except CertctlError as error:
        _keep(leftover, error, name, run)
        return
    _clean_up(solver, leftover, name, run)


@dataclass(frozen=True)
class _Response:
    """A challenge, and where its response goes."""

    authorization: Authorization
    challenge: Challenge
    task: Task
    placement: Placement


def _responses(
    pending: Sequence[Authorization],
    challenges: Sequence[Challenge],
    tasks: Sequence[Task],
    solver: Solver,
) -> list[_Response]:
    placements = _placements(solver, tasks)
    return [_Response(*each) for each in zip(pending, challenges, tasks, placements, strict=True)]


def _validate(
    order: Order, responses: Sequence[_Response], solver: Solver, context: OrderContext
) -> Order:
    """Present the responses, have the CA validate them, and return the order once it is ready.

    Names whose records are all delegated to one target are validated in batches, since servers and
    resolvers limit how many values one name can have.
    """
    client, deadline = context.client, context.deadline
    *first, last = in_batches(responses, lambda each: record_of(each.placement))
    for batch in first:
        urls = [each.authorization.url for each in batch]
        with _answered(batch, solver, context):
            client.await_validated(order, urls, deadline=deadline)
    with _answered(last, solver, context):
        return client.await_ready(order, deadline=deadline)


@contextmanager
def _answered(
    responses: Sequence[_Response], solver: Solver, context: OrderContext
) -> Iterator[None]:
    """Present responses and tell the CA to validate them; remove them in the end."""
    client, run, name = context.client, context.run, context.spec.name
    clock = run.services.clock
    placements = tuple(each.placement for each in responses)
    challenge = run.challenge(context.spec)
    entry = run.services.records.place(challenge, placements)
    nothing_placed = False
    try:
        try:
            solver.present(placements)
        except CertctlError as error:
            nothing_placed = error.nothing_placed
            raise
        names = tuple(each.task.identifier.value for each in responses)
        types = ", ".join(dict.fromkeys(each.task.type for each in responses))
        run.services.emit(ChallengesPresented(name, clock.now(), types, names))
        started = clock.monotonic()
        with run.idle():
            _wait(solver, placements, context)
        run.services.emit(ChallengesSeen(name, clock.now(), clock.monotonic() - started))
        refused = client.answer_all([each.challenge for each in responses])
        if refused:
            raise _refused(refused, responses, name)
        solver.wait_for_validation(placements)
        yield
    finally:
        leftover = Leftover(entry, challenge, placements)
        _clean_up(solver, leftover, name, run, nothing_placed=nothing_placed)


def _wait(solver: Solver, placements: Sequence[Placement], context: OrderContext) -> None:
    """Return once the CA would see the responses, or could on some servers near the expiry of the
    live certificate: one server that is permanently down must not let it expire.
    """
    run, name = context.run, context.spec.name
    try:
        solver.wait(placements)
    except PropagationTimeout as error:
        if not (error.on_some and is_near_expiry(context.live, run.services.clock.now())):
            raise
        run.warn(
            f"{error.message}; the certificate expires soon, so the CA is asked to validate anyway",
            name,
        )


def _refused(
    refused: Mapping[str, AcmeError], responses: Sequence[_Response], name: str
) -> ValidationFailed:
    reasons = {
        each.task.identifier.value: refused[each.challenge.url].message
        for each in responses
        if each.challenge.url in refused
    }
    details = "; ".join(f"{value}: {reason}" for value, reason in reasons.items())
    return ValidationFailed(
        f"the CA refused the challenge response for {details}",
        reasons=tuple(reasons.items()),
        name=name,
    )


def _placements(solver: Solver, tasks: Sequence[Task]) -> tuple[Placement, ...]:
    """Return where each response goes; the DNS queries that this needs run in parallel."""
    if len(tasks) == 1:
        return (solver.plan(tasks[0]),)
    with ThreadPoolExecutor(min(len(tasks), _PARALLEL_LOOKUPS)) as pool:
        return tuple(pool.map(solver.plan, tasks))


def _pending(authorizations: Sequence[Authorization], name: str) -> list[Authorization]:
    """Return the authorizations that still need a challenge. Raises `ValidationFailed` if any can
    no longer become valid.
    """
    failed = [each for each in authorizations if each.status not in {"pending", "valid"}]
    if failed:
        raise ValidationFailed(
            "the CA does not authorize " + ", ".join(each.identifier.value for each in failed),
            reasons=[(each.identifier.value, _reason(each)) for each in failed],
            name=name,
        )
    return [each for each in authorizations if each.status == "pending"]


def _reason(authorization: Authorization) -> str:
    errors = [each.error for each in authorization.challenges if each.error]
    return errors[0] if errors else f"its authorization is {authorization.status}"


def _challenge(authorization: Authorization, solver: Solver, name: str) -> Challenge:
    wanted = solver.challenge_types
    for each in wanted:
        found = authorization.challenge(each)
        if found is not None and (found.token is not None or each in _TOKENLESS):
            return found
    types = tuple(each.type for each in authorization.challenges)
    offered = ", ".join(types) or "nothing"
    hint = other_challenges_hint(types, wildcard=authorization.identifier.wildcard)
    raise ChallengeError(
        f"the CA does not offer {' or '.join(wanted)} for {authorization.identifier}; it offers"
        f" {offered}",
        hint=hint,
        name=name,
        code="challenge.not_offered",
    )


def other_challenges_hint(offered: Sequence[str], *, wildcard: bool) -> str:
    """Return what to use instead, if the CA does not offer the chosen challenge for a name: only
    what is among the types that it offers.
    """
    found = list(dict.fromkeys(option for type_, option in _OPTIONS_OF_TYPE if type_ in offered))
    if not found and ChallengeType.DNS_PERSIST_01 in offered:
        found = ["--dns-persist"]  # an experimental draft, which needs a record beforehand
    if not found:
        return "certctl supports none of these challenges. Another CA may offer others (--ca)."
    options = f"{', '.join(found[:-1])} or {found[-1]}" if len(found) > 1 else found[0]
    through_dns = "A wildcard can be validated through DNS only: use" if wildcard else None
    return f"{through_dns or 'Choose another challenge:'} {options}."


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
        deadline=context.deadline,
    )


def _clean_up(
    solver: Solver, leftover: Leftover, name: str, run: Run, *, nothing_placed: bool = False
) -> None:
    """Remove the responses. If that fails, warn and keep the journal entry, unless there is nothing
    to remove; raise nothing, so that an earlier error is not masked.
    """
    try:
        solver.cleanup(leftover.placements)
    except CertctlError as error:
        if not nothing_placed:
            _keep(leftover, error, name, run)
            return
    run.services.records.settle(leftover.entry)


def _keep(leftover: Leftover, error: CertctlError, name: str, run: Run) -> None:
    """Keep a journal entry for a later attempt, or give it up, and warn."""
    records, now = run.services.records, run.services.clock.now()
    state = after_failure(leftover.state, error, now)
    problem = f"a challenge response could not be removed: {error.message}"
    if is_given_up(state, now):
        records.settle(leftover.entry)
        where = ", ".join(map(described, leftover.placements[:_MAX_SHOWN]))
        run.warn(
            f"{problem}; it has failed for {GIVEN_UP_AFTER.days} days and is not tried any more."
            f" Remove by hand what is left: {where}",
            name,
        )
        return
    records.postpone(replace(leftover, state=state))
    run.warn(
        f"{problem}; `certctl renew` tries again later, and `certctl dns cleanup` shows what is"
        " left",
        name,
    )


def described(placement: Placement) -> str:
    """Return where a response is, for a message: a record, a file, or the name that it is for."""
    data = placement.data
    if "zone" in data:
        return f'{data["name"]} TXT "{data["value"]}"'
    if "root" in data:
        return f"the file {data['token']} below {data['root']}"
    return f"the response for {placement.identifier} ({placement.solver})"


def _deactivate(authorizations: Sequence[Authorization], context: OrderContext) -> None:
    context.client.deactivate_all([each.url for each in authorizations])
