"""Which of its CAs a certificate is ordered from: the first, or while that is out of service the
next one.

Pure functions of the models and a time. A failure is the CA's if it says nothing about the names,
the account or this machine: only then can another CA do better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from certctl.model.certificate import LastError, PendingOrder, Version
from certctl.model.errors import (
    BadResponse,
    CaUnavailable,
    CertctlError,
    CertificateNotFound,
    OrderFailed,
    OrderTimeout,
    RateLimited,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.ari import renewal_info_for
from certctl.rules.renewal import attempts, in_backoff, is_ahead, latest_renewal, renewal_time

UNREACHABLE = "acme.unreachable"
"""The code of `CaUnavailable` if no connection was made."""

_CODES = frozenset(
    {
        CaUnavailable.code,
        UNREACHABLE,
        RateLimited.code,
        OrderTimeout.code,
        BadResponse.code,
        CertificateNotFound.code,
    }
)


@dataclass(frozen=True)
class Choice:
    """The CA to order from now; None if none may be asked before `again`.

    `next_at` is when the CA after one that is out of service may be asked, None if that is not what
    is waited for.
    """

    ca: str | None
    again: datetime | None = None
    next_at: datetime | None = None


@dataclass(frozen=True)
class Tried:
    """What is known about attempts apart from the renewal state: the CAs that `failed` in this run,
    each with its error; the `orders` in progress, and the time that each is given. `patient`:
    backoffs count.
    """

    failed: Mapping[str, CertctlError]
    orders: Sequence[PendingOrder] = ()
    order_timeout: timedelta = timedelta(0)
    patient: bool = True


def is_out_of_service(error: CertctlError | LastError | None) -> bool:
    """Return whether an error is the CA's own: an outage, an overload, a rate limit, an order that
    it does not finish; not a validation that failed, a refusal, or a mistake on this machine.
    """
    if error is None:
        return False
    if isinstance(error, OrderFailed) and error.type == "serverInternal":
        return True
    return error.code in _CODES


def choose(spec: CertificateSpec, status: CertificateStatus, tried: Tried, now: datetime) -> Choice:
    """Return the CA to order from: the first one that has not just failed, provided that the ones
    before it are out of service, have no order that they may still finish in time, and the next one
    may be asked already.
    """
    moments: list[datetime] = []
    for ca in spec.cas:
        before = attempts(status.renewal_state, ca)
        waiting = tried.patient and in_backoff(before, now)
        if ca not in tried.failed and not waiting:
            return Choice(ca)
        if before.retry_at is not None and in_backoff(before, now):
            moments.append(before.retry_at)
        error = tried.failed.get(ca) or before.last_error
        if ca == spec.cas[-1] or not is_out_of_service(error):
            break
        next_at = max(asked_from(spec, status, now), _order_until(ca, error, tried, now))
        if next_at > now:
            return Choice(None, min([*moments, next_at]), next_at)
    return Choice(None, min(moments, default=None))


def asked_from(spec: CertificateSpec, status: CertificateStatus, now: datetime) -> datetime:
    """Return from when the next CA may be asked if one is out of service: from half-way between the
    time of renewal and expiry; at once if no valid certificate can be served for all the names, or
    if the CA of the live one is about to revoke it.
    """
    live = status.wanted_not_live or status.live
    if live is None or not _serves(live, spec, status, now):
        return now
    times: list[datetime] = []
    for part in live.parts:
        info = renewal_info_for(part, status.renewal_state)
        if info is not None and info.withdrawn:
            return now
        times.append(renewal_time(part) if info is None else min(info.chosen, latest_renewal(part)))
    due = min(times)
    return due + (live.not_after - due) / 2


def cas_before(spec: CertificateSpec, ca: str) -> tuple[str, ...]:
    """Return the CAs that come before one of a certificate's CAs."""
    cas = spec.cas
    return cas[: cas.index(ca)] if ca in cas else ()


def _serves(live: Version, spec: CertificateSpec, status: CertificateStatus, now: datetime) -> bool:
    """Return whether a version is valid, and has all the names."""
    state = status.renewal_state
    return not (
        live.not_after <= now
        or live.number in state.revoked
        or live.number in {each.version for each in state.revocations}
        or bool(live.keys_sha256 & set(state.compromised_keys))
        or status.damage is not None
        or is_ahead(live, now)
        or any(set(spec.identifiers) - set(each.facts.identifiers) for each in live.certificates)
    )


def _order_until(
    ca: str, error: CertctlError | LastError | None, tried: Tried, now: datetime
) -> datetime:
    """Return until when an order at a CA may still be finished in time; `now` if there is none."""
    if error is not None and error.code == OrderTimeout.code:
        return now
    ends = [
        each.created + tried.order_timeout
        for each in tried.orders
        if each.request.ca == ca
        and each.url is not None
        and each.finished is None
        and each.created <= now
    ]
    return max([*ends, now])
