"""The challenge self-test: present throwaway challenge responses as for an order, check
them from this machine and remove them. No CA is involved.

This machine may not see what a CA sees. A response that cannot be fetched is therefore a warning,
unless an address of this machine answers with something else; a response that cannot be presented
is an error.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from certctl.challenges.reachability import NotReached, check_http_answer, check_tls_alpn_answer
from certctl.dns.hosts import Host, is_of_this_machine
from certctl.engine.order.authorize import remove_leftovers
from certctl.engine.order.stateless import METHOD
from certctl.engine.run import Run
from certctl.model.ca import ChallengeType
from certctl.model.errors import CertctlError, Interrupted, LockHeld
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Solver
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec, ChallengeSpec
from certctl.model.validation import Placement, Task

_PARALLEL = 8
_REACHABILITY_HINT = (
    "Check that the port is forwarded to this machine and that no firewall blocks it. This test ran"
    " from this machine: behind some routers, a machine cannot connect to its own public address."
)


@dataclass(frozen=True)
class ChallengeSelfTest:
    """A certificate whose challenges are tested. `hosts` holds the addresses of each name, if the
    CA connects to them; `port` is the CA's port (None: the default); `write` is whether responses
    are presented; `account_url` is the account that would order, "" if there is none, and
    `thumbprint` that of its key, for answers that certctl does not place.
    """

    spec: CertificateSpec
    challenge: ChallengeSpec
    hosts: Mapping[str, Host]
    port: int | None = None
    write: bool = True
    account_url: str = ""
    thumbprint: str | None = None


def challenge_type(challenge: ChallengeSpec, run: Run) -> str:
    """Return the ACME challenge type that is used, such as `http-01`."""
    try:
        return run.solver(challenge).challenge_types[0]
    except CertctlError:  # reported by the self-test
        return challenge.dns_challenge if challenge.method == "dns" else ChallengeType.HTTP_01


def self_test_challenges(self_test: ChallengeSelfTest, run: Run) -> Iterator[Finding]:
    """Present, check and remove a response for each name; yield the problems. Without `write`, only
    check whether each response could be presented.

    Raises `Interrupted`, and `StoreError` if the journal cannot be written; nothing was presented
    then.
    """
    solver, tasks, placements, findings = _plan_all(self_test, run)
    yield from findings
    writes = self_test.challenge.method != METHOD
    if solver is None or not placements or (writes and not self_test.write):
        return
    name = self_test.spec.name
    try:
        run.hold(name, timeout=0)
    except LockHeld as error:
        yield Finding(
            "challenge.busy",
            Severity.INFO,
            name,
            f"its challenges were not tested: {error.message}",
            f"Try again later: certctl doctor {name}",
        )
        return
    try:
        remove_leftovers(name, run)
        yield from _run_test(self_test, solver, tasks, placements, run)
    finally:
        run.release(name)


def _plan_all(
    self_test: ChallengeSelfTest, run: Run
) -> tuple[Solver | None, list[Task], list[Placement], list[Finding]]:
    """Return the solver, a task and a placement for each name whose response could be presented,
    and a finding for each of the others.
    """
    spec = self_test.spec
    tasks: list[Task] = []
    placements: list[Placement] = []
    findings: list[Finding] = []
    try:
        solver = run.solver(self_test.challenge)
    except CertctlError as error:
        return None, [], [], [_not_configured(spec.name, error)]
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="plan") as pool:
        every = [
            throwaway_task(each, solver, spec.name, self_test.account_url, self_test.thumbprint)
            for each in spec.identifiers
        ]
        for task, planned in zip(every, pool.map(partial(_plan, solver), every), strict=True):
            if isinstance(planned, CertctlError):
                findings.append(_not_configured(task.identifier.value, planned))
            else:
                tasks.append(task)
                placements.append(planned)
    return solver, tasks, placements, findings


def _plan(solver: Solver, task: Task) -> Placement | CertctlError:
    try:
        return solver.plan(task)
    except Interrupted:
        raise
    except CertctlError as error:
        return error


def _run_test(
    self_test: ChallengeSelfTest,
    solver: Solver,
    tasks: Sequence[Task],
    placements: Sequence[Placement],
    run: Run,
) -> Iterator[Finding]:
    records = run.services.records
    entry = records.place(self_test.challenge, placements)
    findings: list[Finding] = []
    try:
        findings += _present_and_check(self_test, solver, tasks, placements, run)
    finally:
        not_removed = _clean_up(self_test.spec, solver, placements)
        if not_removed is None:
            records.settle(entry)
        else:
            findings.append(not_removed)
    yield from findings


def _present_and_check(
    self_test: ChallengeSelfTest,
    solver: Solver,
    tasks: Sequence[Task],
    placements: Sequence[Placement],
    run: Run,
) -> list[Finding]:
    """Present the responses and check them; return the problems."""
    spec = self_test.spec
    try:
        solver.present(placements)
    except Interrupted:
        raise
    except CertctlError as error:
        return [_not_presented(spec, solver, error)]
    try:
        solver.wait(placements)
    except Interrupted:
        raise
    except CertctlError as error:
        if self_test.challenge.method == METHOD:
            return [
                Finding("answer.stateless", Severity.ERROR, spec.name, error.message, error.hint)
            ]
        return [Finding("dns.propagation", Severity.ERROR, spec.name, error.message, error.hint)]
    check = _CHECKS.get(solver.challenge_types[0])
    return [] if check is None else _check_addresses(self_test, tasks, check, run)


AddressCheck = Callable[[str, Task, int | None], None]
"""Checks the response to a task at an address and a port (None: the default); raises `NotReached`.
"""


def _by_http(address: str, task: Task, port: int | None) -> None:
    host = f"[{task.identifier.value}]" if ":" in task.identifier.value else task.identifier.value
    check_http_answer(address, host, task.token, task.key_authorization, port=port or 80)


def _by_tls(address: str, task: Task, port: int | None) -> None:
    check_tls_alpn_answer(address, task.identifier, task.key_authorization, port=port or 443)


_CHECKS: Mapping[str, AddressCheck] = {
    ChallengeType.HTTP_01: _by_http,
    ChallengeType.TLS_ALPN_01: _by_tls,
}


def _check_addresses(
    self_test: ChallengeSelfTest, tasks: Sequence[Task], check: AddressCheck, run: Run
) -> list[Finding]:
    """Check each response at every address of its name."""
    pairs = [
        (task, address)
        for task in tasks
        if task.identifier.value in self_test.hosts
        for address in self_test.hosts[task.identifier.value].addresses
    ]

    def checked(pair: tuple[Task, str]) -> NotReached | None:
        task, address = pair
        if run.stop.is_set():
            return None
        try:
            check(address, task, self_test.port)
        except NotReached as error:
            return error
        return None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        errors = dict(zip(pairs, pool.map(checked, pairs), strict=True))
    run.check()
    reached = {task.identifier for (task, _), error in errors.items() if error is None}
    return [
        *(
            _seen(task.identifier, address, self_test.port)
            for (task, address), error in errors.items()
            if error is None
        ),
        *_problems(errors, reached),
    ]


def _seen(identifier: Identifier, address: str, port: int | None) -> Finding:
    at = f"{address}, port {port}" if port is not None else address
    return Finding(
        "answer.seen",
        Severity.INFO,
        identifier.value,
        f"the challenge response was seen at {at}",
    )


def _problems(
    errors: Mapping[tuple[Task, str], NotReached | None], reached: Collection[Identifier]
) -> list[Finding]:
    return [
        _not_reached(task.identifier, address, error, elsewhere=task.identifier in reached)
        for (task, address), error in errors.items()
        if error is not None
    ]


def _not_reached(
    identifier: Identifier, address: str, error: NotReached, *, elsewhere: bool
) -> Finding:
    """Return the finding for an address; `elsewhere`: the response was found at another one."""
    if error.no_route:
        return Finding(
            "answer.not_tried",
            Severity.INFO,
            identifier.value,
            f"{address} was not tested: {error}",
            "Test it from a machine that has a route to this address.",
        )
    if ":" in address and elsewhere and identifier.type is IdentifierType.DNS:
        return Finding(
            "answer.ipv6",
            Severity.WARNING,
            identifier.value,
            f"the challenge response can be reached at another address, but not at {address}:"
            f" {error}",
            f"CAs prefer IPv6: make {address} respond too, or remove the AAAA record.",
        )
    if error.connected:
        return Finding(
            "answer.wrong",
            # What this machine answers here, it answers to a CA; of a router nobody can say.
            Severity.ERROR if is_of_this_machine(address) else Severity.WARNING,
            identifier.value,
            f"{address} does not serve the challenge response: {error}",
            error.fix
            or "Is it another server, or another directory (--webroot DIR)? " + _REACHABILITY_HINT,
        )
    return Finding(
        "answer.unreachable",
        Severity.WARNING,
        identifier.value,
        f"the challenge response cannot be reached at {address}: {error}",
        _REACHABILITY_HINT,
    )


def throwaway_task(
    identifier: Identifier,
    solver: Solver,
    certificate: str,
    account_url: str = "",
    thumbprint: str | None = None,
) -> Task:
    """Return a task for a name like that of an order, but with a random token of our own, and a
    random thumbprint unless one is given.
    """
    token = secrets.token_urlsafe(32)
    return Task(
        identifier=identifier,
        type=solver.challenge_types[0],
        token=token,
        key_authorization=f"{token}.{thumbprint or secrets.token_urlsafe(32)}",
        account_url=account_url,
        certificate=certificate,
    )


def _not_configured(subject: str, error: CertctlError) -> Finding:
    """Return the finding for a challenge that is not suitable or not configured."""
    message = error.message.removeprefix(f"{subject}: ")
    return Finding("challenge.setup", Severity.ERROR, subject, message, error.hint)


def _not_presented(spec: CertificateSpec, solver: Solver, error: CertctlError) -> Finding:
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
            f"a challenge response could not be removed: {error.message}",
            error.hint or "The next run of renew tries again; to do it now: certctl renew",
        )
    return None
