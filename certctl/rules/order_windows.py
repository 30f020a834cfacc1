"""When a certificate with windows is ordered. Imported only for these.

Pure functions of the models and a time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from certctl.model.certificate import RenewalDecision, Version
from certctl.model.spec import CertificateSpec
from certctl.rules.windows import order_time, windows


def within_windows(
    decision: RenewalDecision,
    spec: CertificateSpec,
    live: Version,
    floor: datetime,
    now: datetime,
) -> RenewalDecision:
    """Return a decision by the last windows before the time at which a version is due. What is due
    is ordered once its order window opens, and from `floor` on in any case.
    """
    lifetime = min(each.facts.lifetime for each in live.certificates)
    if decision.at is None or now >= floor:
        return decision
    order = windows(spec.order_window) if spec.order_window else None
    at = decision.at
    if decision.reason != "changed":
        at = order_time(
            order,
            windows(spec.deploy_window) if spec.deploy_window else None,
            at,
            earliest=max(each.facts.not_before for each in live.certificates) + lifetime / 4,
            spare=min(timedelta(days=1), lifetime / 20),
        )
    at = min(at, floor)
    why = decision.why
    if at != decision.at:
        which = "last window before" if at < decision.at else "first window after"
        why = f"it is the {which} {why}"
    if at > now:
        return replace(decision, due=False, at=at, why=why)
    opens = now if order is None else min(order.next_opening(now), floor)
    return replace(decision, due=True, at=at, why=why, opens=None if opens <= now else opens)
