"""Obtain a certificate: the only code that takes an order to a version that is archived and live.

The plan of a held certificate says that an order is needed. At every step, the
disk holds what a later run needs to resume: the key and the request before newOrder, the order's
URL once it is known, and placements before they are created (RFC 8555 §7.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

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
from certctl.engine.specs import at_ca
from certctl.model.ca import Account, LimitedAction
from certctl.model.ca import Order as AcmeOrder
from certctl.model.certificate import IssuedCertificate, Material, PendingOrder, Version
from certctl.model.errors import (
    AcmeError,
    CertctlError,
    CertificateNotFound,
    FilesDamaged,
    NamesMissing,
    OrderFailed,
    OrderTimeout,
    RateLimited,
    ValidationFailed,
)
from certctl.model.events import OrderPlaced
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.rules import keys, x509
from certctl.rules.ari import renewal_info_for
from certctl.rules.fallback_ca import passed_over
from certctl.rules.plan import Order, is_resumable
from certctl.rules.rate_limits import order_for
from certctl.rules.renewal import after_failure, after_success, decide, latest_renewal, request_of


@dataclass(frozen=True)
class Obtained:
    """The new version; `missing` is the error for names of the spec that it lacks."""

    version: Version
    missing: NamesMissing | None = None


@dataclass(frozen=True)
class _Issued:
    """The result of an order; `missing` is the error for names that it lacks."""

    order: AcmeOrder
    pending: PendingOrder
    inspected: x509.Inspected
    missing: NamesMissing | None = None


@dataclass(frozen=True)
class _Wanted:
    """What `obtain` was asked for: the step of the plan, with `csr`, the signing request that was
    given on the command line.
    """

    order: Order
    held: Held
    csr: bytes | None


def obtain(order: Order, held: Held, run: Run, csr: bytes | None = None) -> Obtained:
    """Return a new version of the certificate, archived and live, with its deployment pending.

    `csr` is a certificate signing request given on the command line. It and the spec are saved
    once the certificate has been issued, so that a first issue that fails leaves neither. The
    version lacks names only if the spec allows that; this counts as a failure in the renewal
    state. Raises an error of `certctl.model.errors`, and leaves the old version live.
    """
    spec = at_ca(run, order.spec, order.asked.ca)
    if order.strict:
        spec = replace(spec, allow_subset=False)
    wanted = _Wanted(order, held, csr)
    now = run.services.clock.now()
    held.check_access(spec)
    remove_leftovers(spec.name, run)

    def ordered(account: Account) -> tuple[Account, _Issued]:
        # Create the solver first, so that wrong settings are reported before an order is placed.
        run.solver(run.challenge(spec))
        counts_as = order_for(spec, held.status, now)
        context = order_context(spec, account, run, counts_as, held.live)
        return account, _ordered_with_fallbacks(context, wanted)

    account, issued = with_account(run, spec, spec.account, ordered)
    if csr is not None:
        held.save_csr(x509.read_csr(csr).pem)
    held.save_spec(order.spec)
    certificate = IssuedCertificate(
        facts=issued.inspected.facts,
        request=issued.pending.request,
        order_url=issued.order.url,
        account_url=account.url,
        has_key=issued.pending.privkey is not None,
    )
    version = Version(spec.name, 0, (certificate,), run.services.clock.now())
    material = Material(
        issued.inspected.cert, issued.inspected.chain, privkey=issued.pending.privkey
    )
    saved = held.add_version(version, material)
    _record_success(saved, wanted, issued.missing, run)
    return Obtained(saved, issued.missing)


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
    without = replace(wanted.order.spec, identifiers=kept)
    if not (wanted.order.forced or decide(without, status, now).due):
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
        pending = wanted.held.pending(request_of(context.spec))
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
        order, pending = _place_or_resume(context, held, pending, profile)
    if order.status == "pending":
        try:
            context.run.check()
            order = authorize(order, context)
        except CertctlError:
            # Its challenge answers have been removed, so it cannot become ready any more.
            held.drop_pending(pending.request)
            raise
    with _drop_unless_resumable(held, pending):
        order, inspected = collect(context, held, order, pending.privkey, wanted.csr)
    context.note(LimitedAction.CERTIFICATE)
    return _Issued(order, pending, inspected)


@contextmanager
def _drop_unless_resumable(held: Held, pending: PendingOrder) -> Iterator[None]:
    """Drop the pending order if an error says that it cannot be resumed."""
    try:
        yield
    except CertctlError as error:
        if not error.resumable:
            held.drop_pending(pending.request)
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
    before = passed_over(wanted.order.spec, ca)
    renewal_state = after_success(held.renewal_state, ca, now, by_ari=by_ari, passed_over=before)
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
    pending = held.pending(request)
    if (
        pending is not None
        and pending.request == request
        and pending.account_url == context.account.url
        and not _is_used_up(pending.privkey, wanted)
    ):
        return pending
    now = context.run.services.clock.now()
    key = _key(context.spec, wanted, context.run)
    fresh = PendingOrder(request, context.account.url, now, privkey=key)
    for each in held.orders:
        if each.request.ca == request.ca:  # also one with another key type
            held.drop_pending(each.request)
    held.save_pending(fresh)
    return fresh


def _key(spec: CertificateSpec, wanted: _Wanted, run: Run) -> bytes | None:
    """Return the private key for the certificate; None for a signing request.

    The old key is reused only if the spec says so and the key is neither revoked nor compromised.
    """
    if spec.csr:
        return None
    live, renewal_state = wanted.held.live, wanted.held.renewal_state
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
        return wanted.held.material(live.number).privkey
    except FilesDamaged as error:
        run.warn(f"{error.message}. A new key is used.", spec.name)
        return keys.generate_key(spec.key_type)


def _is_used_up(privkey: bytes | None, wanted: _Wanted) -> bool:
    """Return whether a key must not be used: it is compromised, or a new one is needed."""
    held = wanted.held
    barred = set(held.renewal_state.compromised_keys)
    if wanted.order.new_key and held.live is not None:
        barred.add(held.live.facts.key_sha256)
    return bool(barred) and privkey is not None and keys.key_sha256(privkey) in barred


def _place_or_resume(
    context: OrderContext, held: Held, pending: PendingOrder, profile: str | None
) -> tuple[AcmeOrder, PendingOrder]:
    """Return the order at the CA: an earlier run's if it can still be finished, else a new one."""
    clock, emit = context.run.services.clock, context.run.services.emit
    if pending.url is not None:
        order = _resumable(pending, context)
        if order is not None:
            emit(OrderPlaced(held.name, clock.now(), order.url, resumed=True))
            return order, pending
        pending = replace(pending, url=None, created=clock.now())
    order = place(context, profile, _replaced_cert_id(context))
    pending = replace(pending, url=order.url)
    held.save_pending(pending)
    emit(OrderPlaced(held.name, clock.now(), order.url, resumed=False))
    return order, pending


def _replaced_cert_id(context: OrderContext) -> str | None:
    """Return the CertID of the version that the order replaces (RFC 9773 §5).

    None if no valid version was issued by the same CA and account for at least one of the names.
    """
    live = context.live
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
