"""Warn before a run would exceed a CA's known rate limits, and show how much of them is used.

Nothing is refused here: only the CA's answer counts, since other clients may use the same limits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from certctl.ca.directories import label
from certctl.ca.documented_limits import documented_limits, registered_domains
from certctl.engine.order.accounts import choose_account, registration_times
from certctl.engine.run import Run
from certctl.model.ca import Account, LedgerEntry
from certctl.model.errors import CertctlError, StoreError
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.rate_limits import Usage, order_for, overruns, usages, usages_for
from certctl.rules.spread import spread

_MAX_WARNINGS = 5
"""Warnings for each CA; a run with thousands of names could exceed as many limits."""


def warn_of_limits(wanted: Sequence[tuple[CertificateSpec, LedgerEntry]], run: Run) -> None:
    """Warn of the limits that these orders would exceed."""
    by_account: defaultdict[tuple[str, str | None], list[LedgerEntry]] = defaultdict(list)
    for spec, asked in wanted:
        if documented_limits(spec.ca).limits:
            by_account[spec.ca, spec.account].append(asked)
    for (ca, account), orders in by_account.items():
        _warn(ca, account, orders, run)


def usage_of(account: Account, run: Run) -> list[Usage]:
    """Return how much of its CA's limits an account uses, highest usage first."""
    limits = documented_limits(account.directory_url).limits
    if not limits:
        return []
    past = [*_ledger(account, run), *registration_times(run, account.directory_url)]
    return usages(limits, past, run.services.clock.now(), registered_domains())


def usage_for(spec: CertificateSpec, status: CertificateStatus, run: Run) -> list[Usage]:
    """Return the usage of the limits that an order for a certificate counts towards."""
    limits = documented_limits(spec.ca).limits
    try:
        account = choose_account(run, spec.ca, spec.account) if limits else None
    except CertctlError:
        account = None
    if account is None:
        return []
    now = run.services.clock.now()
    order = order_for(spec, status, now)
    return usages_for(limits, _ledger(account, run), order, now, registered_domains())


def times_for_orders(
    wanted: Sequence[tuple[CertificateSpec, tuple[LedgerEntry, ...]]], run: Run
) -> list[datetime]:
    """Return when the orders of each certificate can be placed without exceeding a known limit of
    its CA. The first is the most urgent.
    """
    now = run.services.clock.now()
    times = [max([now, *(each.at for each in asked)]) for _, asked in wanted]
    by_account: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
    for number, (spec, _) in enumerate(wanted):
        if documented_limits(spec.ca).limits:
            by_account[spec.ca, spec.account].append(number)
    for (ca, account), numbers in by_account.items():
        limits, past = documented_limits(ca).limits, ledger_of(ca, account, run)
        orders = [wanted[each][1] for each in numbers]
        found = spread(limits, past, orders, now, registered_domains())
        for number, time in zip(numbers, found, strict=True):
            times[number] = time
    return times


def ledger_of(ca: str, chosen: str | None, run: Run) -> Sequence[LedgerEntry]:
    """Return what was asked of a CA for the account that would be used; empty if there is none."""
    try:
        account = choose_account(run, ca, chosen)
    except CertctlError:
        return ()  # each order will report the error
    return () if account is None else _ledger(account, run)


def _warn(ca: str, wanted_account: str | None, orders: Sequence[LedgerEntry], run: Run) -> None:
    try:
        account = choose_account(run, ca, wanted_account)
    except CertctlError:
        return  # each order will report the error
    past = _ledger(account, run) if account else []
    now = run.services.clock.now()
    found = overruns(documented_limits(ca).limits, past, orders, now, registered_domains())
    for overrun in found[:_MAX_WARNINGS]:
        run.warn(f"{label(ca)} allows {overrun}")
    if len(found) > _MAX_WARNINGS:
        run.warn(f"{len(found) - _MAX_WARNINGS} more limits of {label(ca)} would be exceeded")


def _ledger(account: Account, run: Run) -> Sequence[LedgerEntry]:
    try:
        return run.services.records.asked(account)
    except StoreError:
        return ()
