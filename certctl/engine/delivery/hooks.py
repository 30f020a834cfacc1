"""Pre and post hooks: run once per run, before and after all of its orders.

The post hooks are journalled before the pre hooks start, so that after a kill the next run runs
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from certctl.deploy.hook_environment import run_variables
from certctl.deploy.hooks import Hook, HookSystem, run_hook
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, HookFailed, LockHeld
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import HeldLock
from certctl.model.run import Outcome, OutstandingPostHooks
from certctl.model.spec import CertificateSpec


@dataclass(frozen=True)
class RunHooks:
    """A run between its pre and its post hooks; `refused` has the error for each certificate whose
    pre hook failed, which must not be ordered.

    `entry` is the journal entry of the outstanding post hooks, None if there are none.
    `earlier_errors` are those of post hooks that an earlier run had left outstanding.
    """

    commands: tuple[str, ...] = ()
    timeout: float = 300
    entry: str | None = None
    lock: HeldLock | None = field(default=None, repr=False)
    refused: Mapping[str, CertctlError] = field(default_factory=dict)
    earlier_errors: tuple[CertctlError, ...] = ()


def run_pre_hooks(specs: Sequence[CertificateSpec], run: Run) -> RunHooks:
    """Run the distinct pre hooks of `specs` once each, after those of `hooks/pre.d`.

    Only one run at a time can be between its hooks. A certificate whose pre hook fails is refused.
    """
    machine, tree = run.services.machine, run.services.tree
    pre = (*tree.hooks("pre"), *_distinct(spec.deploy.pre_hook for spec in specs))
    commands = _distinct(spec.deploy.post_hook for spec in specs)
    if not (pre or commands or tree.hooks("post")):
        return RunHooks()
    timeout = max(spec.deploy.hook_timeout for spec in specs)
    lock = machine.lock_run(timeout=run.services.settings.seconds("lock_timeout"))
    try:
        errors = _run_outstanding(run)
        entry = machine.record_post_hooks(commands, timeout)
    except BaseException:
        lock.release()
        raise
    run_hooks = RunHooks(commands, timeout, entry, lock, earlier_errors=tuple(errors))
    try:
        return replace(run_hooks, refused=_run_pre(specs, run))
    except BaseException:
        run_post_hooks(run_hooks, (), run)
        raise


def run_post_hooks(
    run_hooks: RunHooks, outcomes: Sequence[Outcome], run: Run
) -> list[CertctlError]:
    """Run the post hooks that belong to `run_pre_hooks`; return their errors.

    If one fails, all of them stay outstanding and are run again by the next run.
    """
    if run_hooks.entry is None:
        return []
    try:
        variables = run_variables(
            "post",
            _names(outcomes, failed=False),
            _names(outcomes, failed=True),
        )
        outstanding = OutstandingPostHooks(run_hooks.entry, run_hooks.commands, run_hooks.timeout)
        return [*run_hooks.earlier_errors, *_run_post(outstanding, variables, run)]
    finally:
        if run_hooks.lock is not None:
            run_hooks.lock.release()


def run_outstanding_post_hooks(run: Run) -> list[CertctlError]:
    """Run the post hooks left outstanding by an interrupted run; return their errors."""
    if not run.services.machine.outstanding_post_hooks():
        return []
    try:
        with run.services.machine.lock_run(timeout=0):
            return _run_outstanding(run)
    except LockHeld:
        return []  # the run that recorded them is still working and will run them itself


def _run_outstanding(run: Run) -> list[CertctlError]:
    """Run what earlier runs left, each command once; return the errors.

    A command that fails is run again by the next run, for as long as a certificate has it.
    """
    machine = run.services.machine
    left = [each for each in machine.outstanding_post_hooks() if run.first_attempt(each.entry)]
    if not left:
        return []
    commands = _distinct(command for each in left for command in each.commands)
    timeout = max(each.timeout for each in left)
    failures = _failures(commands, timeout, run_variables("post", (), ()), run)
    failed = {command for command, _ in failures}
    if failed:
        kept = [each for each in commands if each in _still_wanted(commands, run)]
        for gone in (each for each in commands if each in failed and each not in kept):
            run.warn(f"no certificate has this post hook any more, so it is given up: {gone}")
        if None in failed or not failed.isdisjoint(kept):
            run.first_attempt(machine.record_post_hooks(kept, timeout))
    for each in left:
        machine.settle(each.entry)
    return [error for _, error in failures]


def _still_wanted(commands: Sequence[str], run: Run) -> set[str]:
    """Return those of the post hooks that certificates have; all if one cannot be read."""
    records = run.services.records
    try:
        found = {records.spec(name).deploy.post_hook for name in records.names()}
    except CertctlError:
        return set(commands)
    return {each for each in commands if each in found}


def _run_pre(specs: Sequence[CertificateSpec], run: Run) -> dict[str, CertctlError]:
    variables = run_variables("pre", (), ())
    timeout = max(spec.deploy.hook_timeout for spec in specs)
    try:
        for executable in run.services.tree.hooks("pre"):
            run_hook(Hook("pre", (executable,)), variables, timeout=timeout, run=run.hook_system)
    except HookFailed as error:
        return dict.fromkeys((spec.name for spec in specs), error)
    refused: dict[str, CertctlError] = {}
    for command in _distinct(spec.deploy.pre_hook for spec in specs):
        affected = [spec for spec in specs if spec.deploy.pre_hook == command]
        try:
            longest = max(spec.deploy.hook_timeout for spec in affected)
            run_hook(Hook("pre", command), variables, timeout=longest, run=run.hook_system)
        except HookFailed as error:
            refused.update(dict.fromkeys((spec.name for spec in affected), error))
    return refused


def _run_post(
    outstanding: OutstandingPostHooks, variables: Mapping[str, str], run: Run
) -> list[CertctlError]:
    """Run post hooks, which stay outstanding if one of them fails; return the errors."""
    failures = _failures(outstanding.commands, outstanding.timeout, variables, run)
    if not failures:
        run.services.machine.settle(outstanding.entry)
    return [error for _, error in failures]


def _failures(
    commands: Sequence[str], timeout: float, variables: Mapping[str, str], run: Run
) -> list[tuple[str | None, CertctlError]]:
    """Run post hooks to completion, even if the run was stopped: they undo what `pre` did. Return
    each that failed with its error; one of `post.d` as None.
    """
    failures: list[tuple[str | None, CertctlError]] = []
    system = HookSystem(run.services.clock, run.services.emit)
    hooks: list[tuple[str | None, Hook]] = [
        *((None, Hook("post", (executable,))) for executable in run.services.tree.hooks("post")),
        *((command, Hook("post", command)) for command in commands),
    ]
    for command, hook in hooks:
        try:
            run_hook(hook, variables, timeout=timeout, run=system)
        except HookFailed as error:
            failures.append((command, error))
    return failures


def _distinct(commands: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(command for command in commands if command))


def _names(outcomes: Sequence[Outcome], *, failed: bool) -> tuple[str, ...]:
    """Return the domains of the certificates that were renewed, or of those that failed."""
    return tuple(
        identifier
        for outcome in outcomes
        if (outcome.error is not None) == failed
        for identifier in outcome.names
    )
