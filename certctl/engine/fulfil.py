"""The one pipeline: hold, plan, pre hooks, orders side by side, deliver, post hooks, remember.

Issue, edit, renew, revoke, rollback, deploy and dry runs all call `fulfil`; nothing else orders or
deploys. A failure of one certificate never stops the others. The stages are imported only once
something has to be done: this is what keeps an idle run light.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.engine.look import look
from certctl.engine.planning import Change
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.run import Outcome


def fulfil(changes: Sequence[Change], run: Run, *, considered: int, delay: float = 0) -> Report:
    """Carry out what is wanted of each certificate, and report on all of them in their order.

    `considered` is the number of certificates that were looked at, of which some may need nothing.
    `delay` is the seconds to wait before the CA is asked for anything. Raises the errors of a
    single certificate that a person waits for, if they come before anything was done.
    """
    outcomes: list[Outcome] = []
    errors: list[CertctlError] = []
    interrupted = False
    try:
        found = look(changes, run, keep_lock=len(changes) == 1 and not delay)
        outcomes += found.outcomes
        if found.items:
            from certctl.engine import stages  # noqa: PLC0415 - an idle run needs none of them

            errors += stages.begin(found.items, considered, run)
            run.pause(delay)
            for batch in stages.batches(found.without_order):
                stages.complete(stages.held_again(batch, run), run, outcomes)
            if found.orders:
                with stages.between_hooks(found.orders, run, outcomes, errors) as hooks:
                    for batch in hooks.batches:
                        ordered = stages.order_side_by_side(batch, hooks, run)
                        stages.complete(ordered, run, hooks.done)
        if any(each.deploy is not None and each.deploy.deployed for each in outcomes):
            from certctl.engine.order.answer_path import try_answer_paths  # noqa: PLC0415 - an idle run deploys nothing

            try_answer_paths(outcomes, run)
    except Interrupted as stopped:
        errors.append(stopped)
        interrupted = True
    place = {change.name: index for index, change in enumerate(changes)}
    outcomes.sort(key=lambda outcome: place[outcome.name])
    dry_run = any(change.dry_run for change in changes)
    return Report(tuple(outcomes), tuple(errors), considered, interrupted, dry_run)
