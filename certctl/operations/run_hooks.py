"""Pre and post hooks: once a run, around all that it orders, and never one without the other.

What must follow is journalled before the pre hooks begin, so that after a kill the next run does
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from certctl.deploy.hook_environment import run_variables
from certctl.deploy.hooks import Hook, HookSystem, run_hook
from certctl.errors import CertctlError, HookFailed, LockHeld
from certctl.models import CertificateSpec, Outcome, OutstandingPostHooks
from certctl.operations.run import Run
from certctl.ports import HeldLock


@dataclass(frozen=True)
class RunHooks:
    """A run between its pre and its post hooks; `refused` has why a certificate must not be
    ordered.

    `entry` is the journal's word for the post hooks that must follow, None where there are none.
    `unpaid` is what went wrong with those that an earlier run had left behind.
    """

    commands: tuple[str, ...] = ()
    timeout: float = 300
    entry: str | None = None
    lease: HeldLock | None = field(default=None, repr=False)
    refused: Mapping[str, CertctlError] = field(default_factory=dict)
    unpaid: tuple[CertctlError, ...] = ()


def before(specs: Sequence[CertificateSpec], run: Run) -> RunHooks:
    """Run the pre hooks of `specs`, each distinct one once; those of `hooks/pre.d` first.

    Only one run at a time is between its hooks. A certificate whose pre hook failed is refused.
    """
    store, tree = run.services.store, run.services.tree
    pre = (*tree.hooks("pre"), *_distinct(spec.deploy.pre_hook for spec in specs))
    commands = _distinct(spec.deploy.post_hook for spec in specs)
    if not (pre or commands or tree.hooks("post")):
        return RunHooks()
    timeout = max(spec.deploy.hook_timeout for spec in specs)
    lease = store.lock_run(timeout=run.services.settings.seconds("lock_timeout"))
    try:
        unpaid = _pay(run)
        entry = store.journal.record_post_hooks(commands, timeout)
    except BaseException:
        lease.release()
        raise
    run_hooks = RunHooks(commands, timeout, entry, lease, unpaid=tuple(unpaid))
    try:
        return replace(run_hooks, refused=_run_pre(specs, run))
    except BaseException:
        after(run_hooks, (), run)
        raise


def after(run_hooks: RunHooks, outcomes: Sequence[Outcome], run: Run) -> list[CertctlError]:
    """Run the post hooks of what `before` began; return what went wrong.

    Where one fails, all of them stay owed and are run again by the next run.
    """
    if run_hooks.entry is None:
        return []
    try:
        variables = run_variables(
            "post",
            _names(outcomes, failed=False),
            _names(outcomes, failed=True),
        )
        owed = OutstandingPostHooks(run_hooks.entry, run_hooks.commands, run_hooks.timeout)
        return [*run_hooks.unpaid, *_run_post(owed, variables, run)]
    finally:
        if run_hooks.lease is not None:
            run_hooks.lease.release()


def run_outstanding_post_hooks(run: Run) -> list[CertctlError]:
    """Run the post hooks that a run which was cut off did not get to; return what went wrong."""
    if not run.services.store.journal.outstanding_post_hooks():
        return []
    try:
        with run.services.store.lock_run(timeout=0):
            return _pay(run)
    except LockHeld:
        return []  # the run that wrote them down is still at work, and will do them itself


def _pay(run: Run) -> list[CertctlError]:
    variables = run_variables("post", (), ())
    owed = [
        each
        for each in run.services.store.journal.outstanding_post_hooks()
        if run.first_attempt(each.entry)
    ]
    return [error for each in owed for error in _run_post(each, variables, run)]


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
        wanting = [spec for spec in specs if spec.deploy.pre_hook == command]
        try:
            longest = max(spec.deploy.hook_timeout for spec in wanting)
            run_hook(Hook("pre", command), variables, timeout=longest, run=run.hook_system)
        except HookFailed as error:
            refused.update(dict.fromkeys((spec.name for spec in wanting), error))
    return refused


def _run_post(
    owed: OutstandingPostHooks, variables: Mapping[str, str], run: Run
) -> list[CertctlError]:
    """Run post hooks to their end, even where the run was stopped: what `pre` began must end."""
    failures: list[CertctlError] = []
    system = HookSystem(run.services.clock, run.services.emit)
    hooks = [
        *(Hook("post", (executable,)) for executable in run.services.tree.hooks("post")),
        *(Hook("post", command) for command in owed.commands),
    ]
    for hook in hooks:
        try:
            run_hook(hook, variables, timeout=owed.timeout, run=system)
        except HookFailed as error:
            failures.append(error)
    if not failures:
        run.services.store.journal.remove(owed.entry)
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
