"""Obtain a certificate: the only code that takes an order to a version that is archived and live.

The plan of a held certificate says that an order is needed. At every step, the
disk holds what a later run needs to resume: the key and the request before newOrder, the order's
URL once it is known, and placements before they are created (RFC 8555 §7.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime

from certctl.engine.held import Held
from certctl.engine.named_files import named_versions
from certctl.engine.order.account_recovery import with_account
from certctl.engine.order.authorize import authorize, remove_leftovers
from certctl.engine.order.steps import (
    OrderContext,
    collect,
    is_refused_profile,
    order_context,
    place,
    profile_to_ask_for,
)
from certctl.engine.run import Run
from certctl.engine.second_files import require_unused_second
from certctl.engine.specs import at_ca
from certctl.engine.windows import warn_of_closed_window
from certctl.model.ca import Account, LimitedAction
from certctl.model.ca import Order as AcmeOrder
from certctl.model.certificate import (
    FinishedOrder,
    IssuedCertificate,
    Material,
    PendingOrder,
    Version,
)
from certctl.model.errors import (
    AcmeError,
    CertctlError,
    CertificateNotFound,
    FilesDamaged,
    InspectionFailed,
    NamesMissing,
    OrderFailed,
    OrderTimeout,
    RateLimited,
    ValidationFailed,
)
from certctl.model.events import OrderPlaced
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import WindowKind
from certctl.model.spec import CertificateSpec
from certctl.rules import keys, x509
from certctl.rules.ari import renewal_info_for
from certctl.rules.fallback_ca import cas_before
from certctl.rules.plan import RESUMED_FOR, Order, is_resumable
from certctl.rules.rate_limits import orders_for
from certctl.rules.renewal import (
    after_failure,
    after_success,
    attempts,
    decide,
    latest_renewal,
    parts_of,
    predecessor,
    request_of,
)
from certctl.rules.renewal_windows import deployment_opens, too_rare_text, window_too_rare


@dataclass(frozen=True)
class Obtained:
    """The new version; `missing` is the error for names of the spec that it lacks. It becomes live
    at `opens`, None if it is live.
    """

    version: Version
    missing: NamesMissing | None = None
    opens: datetime | None = None


@dataclass(frozen=True)
class _Issued:
    """The result of an order; `missing` is the error for names that it lacks."""

    pending: PendingOrder
    inspected: x509.Inspected
    missing: NamesMissing | None = None


@dataclass(frozen=True)
class _Wanted:
    """What `obtain` was asked for: the step of the plan, with `csr`, the signing request that was
    given on the command line. `alone`: it takes a single order.
    """

    order: Order
    held: Held
    csr: bytes | None
    alone: bool = True


def obtain(order: Order, held: Held, run: Run, csr: bytes | None = None) -> Obtained:
    """Return a new version of the certificate, archived and live, with its deployment pending; or
    archived only, while its deploy window is closed.

    `csr` is a certificate signing request given on the command line. It and the spec are saved
    once the certificate has been issued, so that a first issue that fails leaves neither. The
    version lacks names only if the spec allows that; this counts as a failure in the renewal
    state. Raises an error of `certctl.model.errors`, and leaves the old version live.
    """
    spec = at_ca(run, order.spec, order.asked.ca)
    if order.strict:
        spec = replace(spec, allow_subset=False)
    wanted = _Wanted(order, held, csr, alone=spec.second_key_type is None)
    held.check_access(spec)
    require_unused_second(held, spec.second_key_type and spec.second_key_type.family, run)
    remove_leftovers(spec.name, run)
    held.keep_pending(
        [request_of(part) for ca in order.spec.cas for part in parts_of(order.spec.at(ca))]
    )

    def ordered(account: Account) -> list[_Issued]:
        # Create the solver first, so that wrong settings are reported before an order is placed.
        run.solver(run.challenge(spec))
        return _ordered_one_by_one(spec, account, wanted, run)

    issued = with_account(run, spec, spec.account, ordered)
    if csr is not None:
        held.save_csr(x509.read_csr(csr).pem)
    held.save_spec(order.spec)
    certificates = tuple(_certificate(each) for each in issued)
    version = Version(spec.name, 0, certificates, run.services.clock.now())
    first, *others = (_material(each) for each in issued)
    opens = deployment_opens(order.spec, held.status, run.services.clock.now())
    if opens is not None and order.at_once:
        warn_of_closed_window(WindowKind.DEPLOY, order.spec, order.why, run)
        opens = None
    material = replace(first, second=next(iter(others), None))
    saved = held.add_version(version, material, waits=opens is not None)
    missing = next((each.missing for each in issued if each.missing is not None), None)
    _record_success(saved, wanted, missing, run)
    _warn_if_too_rare(order.spec, saved, run)
    return Obtained(saved, missing, opens)


def _ordered_one_by_one(
    spec: CertificateSpec, account: Account, wanted: _Wanted, run: Run
) -> list[_Issued]:
    """Order a certificate for each key type. The second order is for the names that the first one
    got, and finds them validated, unless the CA validates them again.

    What was issued for the first is kept with its order until the second is there, too: if this
    process ends or the second order fails, the next run does not order the first one again.
    """
    held, now = wanted.held, run.services.clock.now()
    parts, counts_as = parts_of(spec), orders_for(spec, held.status, now)
    issued: list[_Issued] = []
    for part, counted in zip(parts, counts_as, strict=True):
        names = issued[0].pending.request.identifiers if issued else spec.identifiers
        finished = _finished(replace(part, identifiers=names), wanted, run)
        if finished is None:
            context = order_context(part, account, run, counted, held.live)
            context = replace(context, identifiers=names)
            finished = _ordered_with_fallbacks(context, wanted)
            if part is not parts[-1]:
                _keep_finished(finished, held)
        issued.append(finished)
    return issued


def _keep_finished(issued: _Issued, held: Held) -> None:
    """Save what was issued for one key type; it waits for the other."""
    found = issued.inspected
    finished = FinishedOrder(found.facts, found.cert.decode(), found.chain.decode())
    held.save_pending(replace(issued.pending, finished=finished))


def _finished(part: CertificateSpec, wanted: _Wanted, run: Run) -> _Issued | None:
    """Return what an earlier run was issued for one key type, if it can be used."""
    held, now = wanted.held, run.services.clock.now()
    pending = held.pending_like(request_of(part))
    if (
        pending is None
        or pending.finished is None
        or pending.request != request_of(part)
        or not is_resumable(pending, now)
        or (wanted.alone and now - pending.created > RESUMED_FOR)
        or _is_used_up(pending.privkey, wanted)
    ):
        return None
    found = pending.finished
    if pending.privkey is None or not keys.fits(pending.privkey, found.facts.key_sha256):
        return None
    with suppress(InspectionFailed):
        if x509.facts(found.cert.encode()) == found.facts:
            inspected = x509.Inspected(found.cert.encode(), found.chain.encode(), found.facts)
            run.services.emit(OrderPlaced(held.name, now, pending.url or "", resumed=True))
            return _Issued(pending, inspected)
    return None


def _certificate(issued: _Issued) -> IssuedCertificate:
    return IssuedCertificate(
        facts=issued.inspected.facts,
        request=issued.pending.request,
        order_url=issued.pending.url,
        account_url=issued.pending.account_url,
        has_key=issued.pending.privkey is not None,
    )


def _warn_if_too_rare(spec: CertificateSpec, version: Version, run: Run) -> None:
    """Warn of a window that opens too rarely for the lifetime of a new version, which was not known
    when the window was set.
    """
    if not spec.has_windows:
        return
    found = window_too_rare(spec, version, run.services.clock.now())
    if found is not None:
        text = f"{too_rare_text(found)}; it is renewed outside it if need be"
        run.warn(text, spec.name)


def _material(issued: _Issued) -> Material:
    found = issued.inspected
    return Material(found.cert, found.chain, privkey=issued.pending.privkey)


def _ordered_with_fallbacks(context: OrderContext, wanted: _Wanted) -> _Issued:
    """Order, and if that fails order less where the spec allows it.

    That is without a profile that was only preferred, or without names that were not validated.
    """
    profile = profile_to_ask_for(context)
    reasons: dict[str, str] = {}
    again = False
    while True:
        try:
            issued = _issue_once(context, profile, wanted)
        except (ValidationFailed, AcmeError) as error:
            refused = {} if isinstance(error, RateLimited) else dict(error.reasons)
            if refused and (fewer := _remaining_names(context, refused, wanted)):
                reasons |= refused
                context = replace(context, identifiers=fewer)
            elif (
                isinstance(error, AcmeError)
                and profile is not None
                and is_refused_profile(context.spec, error)
            ):
                profile = None
            elif isinstance(error, OrderFailed) and error.type == "serverInternal" and not again:
                # The CA failed, not the names: a new order may succeed (RFC 8555 §7.1.6).
                again = True
                context.run.warn(f"placing a new order: {error.message}", context.spec.name)
            else:
                raise
        else:
            return replace(issued, missing=_missing(context.spec, reasons))


def _remaining_names(
    context: OrderContext, refused: dict[str, str], wanted: _Wanted
) -> tuple[Identifier, ...] | None:
    """Return the names to order without the refused ones; None if that is not allowed or useless.

    Names in the live certificate are not dropped before its latest renewal time, since that
    certificate is still valid for them.
    """
    spec, status = context.spec, wanted.held.status
    kept = tuple(each for each in context.identifiers if each.value not in refused)
    if not spec.allow_subset or spec.csr or wanted.csr or not kept or kept == context.identifiers:
        return None
    now = context.run.services.clock.now()
    if status.live is None or status.live.facts.not_after <= now:
        return kept
    fewer = replace(wanted.order.spec, identifiers=kept)
    if not (wanted.order.forced or decide(fewer, status, now).due):
        return None
    given_up = set(status.live.request.identifiers) & set(spec.identifiers) - set(kept)
    return None if given_up and now < latest_renewal(status.live) else kept


def _missing(spec: CertificateSpec, reasons: dict[str, str]) -> NamesMissing | None:
    if not reasons:
        return None
    details = "; ".join(f"{value}: {reason}" for value, reason in reasons.items())
    return NamesMissing(
        f"issued without {len(reasons)} of {len(spec.identifiers)} names: {details}",
        hint="`certctl renew` retries the missing names automatically.",
        name=spec.name,
    )


def _issue_once(context: OrderContext, profile: str | None, wanted: _Wanted) -> _Issued:
    """Take one order to its certificate; the disk always holds what a later run needs to resume."""
    try:
        return _issued_by_one_order(context, profile, wanted)
    except (OrderTimeout, CertificateNotFound) as error:
        pending = wanted.held.pending_like(request_of(context.spec))
        error.hint = next_run_hint(error.hint, kept=pending is not None and pending.url is not None)
        raise


def next_run_hint(hint: str | None, *, kept: bool) -> str:
    """Return the hint of an error that interrupted an order: what the next run does, then `hint`.

    `kept`: the order can still be finished, so that it was not dropped.
    """
    first = "The next run resumes this order." if kept else "The next run places a new order."
    return f"{first} {hint}" if hint else first


def _issued_by_one_order(context: OrderContext, profile: str | None, wanted: _Wanted) -> _Issued:
    held = wanted.held
    pending = _pending(context, wanted)
    with _drop_unless_resumable(held, pending):
        order, pending = _place_or_resume(context, held, pending, profile, alone=wanted.alone)
    if order.status == "pending":
        try:
            context.run.check()
            order = authorize(order, context)
        except CertctlError:
            # Its challenge answers have been removed, so it cannot become ready any more.
            held.drop_pending(pending)
            raise
    with _drop_unless_resumable(held, pending):
        order, inspected = collect(context, held, order, pending.privkey, wanted.csr)
    context.note(LimitedAction.CERTIFICATE)
    return _Issued(pending, inspected)


@contextmanager
def _drop_unless_resumable(held: Held, pending: PendingOrder) -> Iterator[None]:
    """Drop a pending order if an error says that it cannot be resumed."""
    try:
        yield
    except CertctlError as error:
        if not error.resumable:
            held.drop_pending(pending)
        raise


def _record_success(
    version: Version, wanted: _Wanted, missing: NamesMissing | None, run: Run
) -> None:
    """Carry the new version in the renewal state, which is saved once the version is deployed and
    the CA has been asked for its renewal window. If this process ends before that, the order in
    progress tells the next run that it succeeded.
    """
    held, now = wanted.held, run.services.clock.now()
    ca, by_ari = version.request.ca, wanted.order.by_ari
    skipped, renewal_state = cas_before(wanted.order.spec, ca), held.renewal_state
    for each in skipped:
        error = held.failed.get(each)
        if error is not None and not attempts(renewal_state, each).failures:
            renewal_state = after_failure(renewal_state, each, error, now, version.facts)
    renewal_state = after_success(renewal_state, ca, now, by_ari=by_ari, skipped=skipped)
    if missing is not None:
        renewal_state = after_failure(renewal_state, ca, missing, now, version.facts)
    held.carry(renewal_state)
    if not renewal_state.revocations:  # what is to be revoked is still needed
        keep = run.services.settings.integer("keep_versions")
        held.prune(keep, lambda numbers: named_versions(held.name, numbers, run))


def _pending(context: OrderContext, wanted: _Wanted) -> PendingOrder:
    """Return an earlier run's pending order if it still matches the spec, else a new one, saved."""
    held = wanted.held
    request = request_of(replace(context.spec, identifiers=context.identifiers))
    pending = held.pending_like(request)
    if (
        pending is not None
        and pending.finished is None
        and pending.request == request
        and pending.account_url == context.account.url
        and not _is_used_up(pending.privkey, wanted)
    ):
        return pending
    now = context.run.services.clock.now()
    key = _key(context.spec, wanted, context.run)
    fresh = PendingOrder(request, context.account.url, now, privkey=key)
    if pending is not None:
        held.drop_pending(pending)
    held.save_pending(fresh)
    return fresh


def _key(spec: CertificateSpec, wanted: _Wanted, run: Run) -> bytes | None:
    """Return the private key for the certificate; None for a signing request.

    The old key is reused only if the spec says so and the key is neither revoked nor compromised.
    """
    if spec.csr:
        return None
    renewal_state = wanted.held.renewal_state
    live = predecessor(wanted.held.live, spec, alone=wanted.alone)
    if wanted.order.new_key or live is None or not (spec.reuse_key and live.has_key):
        return keys.generate_key(spec.key_type)
    info = renewal_info_for(live, renewal_state)
    if (
        live.number in renewal_state.revoked
        or live.facts.key_sha256 in renewal_state.compromised_keys
        or (info is not None and info.withdrawn)
        or live.facts.key_type != spec.key_type
    ):
        return keys.generate_key(spec.key_type)
    try:
        return next(
            own.privkey
            for own in wanted.held.material(live.number).parts
            if own.privkey is not None and keys.fits(own.privkey, live.facts.key_sha256)
        )
    except FilesDamaged as error:
        run.warn(f"{error.message}. A new key is used.", spec.name)
        return keys.generate_key(spec.key_type)


def _is_used_up(privkey: bytes | None, wanted: _Wanted) -> bool:
    """Return whether a key must not be used: it is compromised, or a new one is needed."""
    held = wanted.held
    barred = set(held.renewal_state.compromised_keys)
    if wanted.order.new_key and held.live is not None:
        barred |= held.live.keys_sha256
    return bool(barred) and privkey is not None and keys.key_sha256(privkey) in barred


def _place_or_resume(
    context: OrderContext, held: Held, pending: PendingOrder, profile: str | None, *, alone: bool
) -> tuple[AcmeOrder, PendingOrder]:
    """Return the order at the CA: an earlier run's if it can still be finished, else a new one."""
    clock, emit = context.run.services.clock, context.run.services.emit
    if pending.url is not None:
        order = _resumable(pending, context)
        if order is not None:
            emit(OrderPlaced(held.name, clock.now(), order.url, resumed=True))
            return order, pending
        pending = replace(pending, url=None, created=clock.now())
    order = place(context, profile, _replaced_cert_id(context, held, alone=alone))
    pending = replace(pending, url=order.url)
    held.save_pending(pending)
    emit(OrderPlaced(held.name, clock.now(), order.url, resumed=False))
    return order, pending


def _replaced_cert_id(context: OrderContext, held: Held, *, alone: bool) -> str | None:
    """Return the CertID of the certificate that the order replaces (RFC 9773 §5): of two, the one
    with the same kind of key. A version that waits for its window has replaced the live one.

    None if no valid one was issued by the same CA and account for at least one of the names.
    """
    live = predecessor(held.status.current, context.spec, alone=alone)
    if (
        live is None
        or live.request.ca != context.spec.ca
        or live.account_url != context.account.url
        or live.facts.not_after <= context.run.services.clock.now()
        or not set(live.request.identifiers) & set(context.identifiers)
    ):
        return None
    return live.facts.ari_id


def _resumable(pending: PendingOrder, context: OrderContext) -> AcmeOrder | None:
    """Return the order of an earlier run if it may still be finished."""
    if pending.url is None or not is_resumable(pending, context.run.services.clock.now()):
        return None
    try:
        order = context.client.order(pending.url)
    except AcmeError as error:
        if error.resumable:
            raise
        return None
    return None if order.status == "invalid" else order
