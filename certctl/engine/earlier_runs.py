"""Finishes what killed runs left: post hooks, challenge responses, half-written copies and
temporary files, also of certificates that are not due and may never be locked again.

What another process works on is left to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from certctl.engine.delivery.hooks import run_outstanding_post_hooks
from certctl.engine.delivery.steps import restore_copies
from certctl.engine.order.authorize import remove_leftovers
from certctl.engine.parallel import in_parallel
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, Interrupted, LockHeld


def finish(run: Run) -> list[CertctlError]:
    """Finish everything that earlier runs left; return the errors of post hooks.

    What cannot be finished is a warning, and is tried again by the next run.
    """
    records, machine = run.services.records, run.services.machine
    errors = run_outstanding_post_hooks(run)
    # In parallel, so that records of one zone are removed together.
    jobs = run.services.settings.integer("jobs")
    cleaning = in_parallel(
        lambda name: _locked(name, remove_leftovers, "the challenge answers", "removed", run),
        list(records.names_with_placements()),
        threads=jobs,
    )
    deque(cleaning, maxlen=0)
    for name in machine.names_with_interrupted_copies():
        _locked(name, restore_copies, "its copies", "restored", run)
    for name in machine.names_with_leftovers():
        run.check()
        _locked(name, _nothing, "its temporary files", "removed", run)
    return errors


def _nothing(_name: str, _run: Run) -> None:
    """Do nothing: taking the lock removes temporary files."""


def _locked(name: str, work: Callable[[str, Run], None], what: str, done: str, run: Run) -> None:
    """Do the work with the certificate's lock, unless another process holds it."""
    try:
        run.hold(name, timeout=0)
        work(name, run)
    except LockHeld:
        return
    except Interrupted:
        raise
    except CertctlError as error:
        run.warn(f"{what} could not be {done}: {error.message}", name)
    finally:
        run.release(name)
