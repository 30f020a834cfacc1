"""Renewal: order what is due, deploy what is pending, and cost next to nothing otherwise.

What a killed run left behind is finished first. The modules that order and deploy are imported only
once something is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import timedelta

from certctl.engine.fulfil import fulfil
from certctl.engine.held import Held
from certctl.engine.planning import Change, Upkeep, saved_spec
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import changed, require
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.operations.run_report import report_run
from certctl.rules.plan import Order, Plan


@dataclass(frozen=True)
class RenewRequest:
    """A request to `renew`; all certificates if `names` is empty.

    `unattended`: the run was started by a timer, not by a person. If something is due, it first
    waits for a random time up to the setting `random_delay`. `given` are options by key, with
    absolute paths, that are used for the certificates that are renewed, and saved with them.
    `ignore_windows`: what waits for a window is done now.
    """

    names: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    unattended: bool = False
    given: Mapping[str, Value] = field(default_factory=dict)
    ignore_windows: bool = False

    @property
    def regular(self) -> bool:
        """Whether this is a scheduled run for all certificates, as a timer starts it."""
        special = self.force or self.dry_run or self.ignore_windows
        return self.unattended and not (self.names or special)


def renew(request: RenewRequest, run: Run) -> Report:
    """Renew those of the requested certificates that are due, and deploy what is pending."""
    if run.services.machine.imports.unfinished():
        _finish_imports(run)
    names = require(run, request.names) or tuple(run.services.records.names())
    everything = bool(request.names or request.force or request.dry_run or request.ignore_windows)
    errors: list[CertctlError] = []
    try:
        errors += _finish_earlier_runs(run)
        candidates = names if everything else _possibly_due(names, run)
        interval = run.services.machine.history().interval if candidates else None
        changes = [_change(name, request, interval, run) for name in candidates]
        report = fulfil(changes, run, considered=len(names), delay=_delay(request, run))
    except Interrupted as stopped:
        report = Report((), (stopped,), len(names), interrupted=True, dry_run=request.dry_run)
    report = replace(report, errors=(*errors, *report.errors), dry_run=request.dry_run)
    if request.regular and names:
        report = report_run(report, run)
    return report


def _possibly_due(names: Sequence[str], run: Run) -> Sequence[str]:
    """Return the names of which the records say that they may be due, or this machine."""
    now = run.services.clock.now()
    due = set(run.services.records.due(now))
    due.update(run.services.machine.due([each for each in names if each not in due], now))
    return [each for each in names if each in due]


def _change(name: str, request: RenewRequest, interval: timedelta | None, run: Run) -> Change:
    def given(held: Held) -> CertificateSpec:
        return changed(run, held.spec, held.spec.identifiers, request.given)

    if request.dry_run:
        return Change(name, lambda held, run: _trial(given(held), run), dry_run=True)
    named = name in request.names
    upkeep = Upkeep(
        saved_spec,
        request.force,
        force_stopped=named,
        interval=interval,
        ignore_windows=request.ignore_windows,
    )
    if not request.given:
        return Change(name, upkeep)

    def planned(held: Held, run: Run) -> Plan:
        found = upkeep(held, run)
        return replace(upkeep, spec=given)(held, run) if found.step(Order) else found

    return Change(name, planned)


def _trial(spec: CertificateSpec, run: Run) -> Plan:
    from certctl.engine.order.trial import trial  # noqa: PLC0415 - an idle run needs no CA

    return trial(spec, run)


def _delay(request: RenewRequest, run: Run) -> float:
    """Return a random time, so that not all cron jobs reach the CA at the full hour."""
    longest = run.services.settings.seconds("random_delay")
    return run.services.random.uniform(0, longest) if request.unattended and longest > 0 else 0


def _finish_imports(run: Run) -> None:
    """Finish what a killed `import` left; imported here, since it needs all importers."""
    from certctl.operations.importing import finish_interrupted  # noqa: PLC0415 - seldom needed

    finish_interrupted(run)


def _finish_earlier_runs(run: Run) -> list[CertctlError]:
    """Finish what killed runs left, even if no certificate is due; return the errors of hooks."""
    records, machine = run.services.records, run.services.machine
    work = (
        machine.outstanding_post_hooks()
        or records.names_with_placements()
        or machine.names_with_interrupted_copies()
        or machine.names_with_leftovers()
    )
    if not work:
        return []
    from certctl.engine.earlier_runs import finish  # noqa: PLC0415 - most runs find nothing

    return finish(run)
