"""Obtain a certificate: the only code that takes an order to a version that is archived and live.

The caller holds the certificate's lock and has decided that an order is needed. At every step, the
disk holds what a later run needs to resume: the key and the request before newOrder, the order's
URL once it is known, and placements before they are created (RFC 8555 §7.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from certctl.engine.order.account_recovery import with_account
from certctl.engine.order.ari import ask_for_renewal_info
from certctl.engine.order.authorize import authorize, remove_leftovers
from certctl.engine.order.rate_limits import order_for
from certctl.engine.order.steps import (
    OrderContext,
    collect,
    is_refused_profile,
    order_context,
    place,
    profile_to_ask_for,
)
from certctl.engine.run import Run
from certctl.model.ca import Account, LimitedAction, Order
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
from certctl.model.events import CertificateSaved, Failed, OrderPlaced
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.rules import keys, x509
from certctl.rules.ari import renewal_info_for
from certctl.rules.remembered_times import believed
from certctl.rules.renewal import after_failure, after_success, decide, latest_renewal, request_of

_RESUMED_FOR = timedelta(days=1)


@dataclass(frozen=True)
class _Issued:
    """The result of an order; `missing` is the error for names that it lacks."""

    order: Order
    pending: PendingOrder
    inspected: x509.Inspected
    missing: NamesMissing | None = None


def obtain(
    spec: CertificateSpec, run: Run, csr: bytes | None = None, *, forced: bool = False
) -> Version:
    """Return a new version of the certificate, archived and live, with its deployment pending.

    `csr` is a certificate signing request given on the command line. It and the spec are saved
    once the certificate has been issued, so that a first issue that fails leaves neither. `forced`:
    a new version is wanted even if the names that can be validated are not due. The version lacks
    names only if the spec allows that; this counts as a failure in the renewal
    state. Raises an error of `certctl.model.errors`, and leaves the old version live.
    """
    store, now = run.services.store, run.services.clock.now()
    store.check_access(spec)
    remove_leftovers(spec.name, run)
    status = store.status(spec.name)
    by_ari = status.live is not None and decide(spec, status, now).reason == "ari"

    def ordered(account: Account) -> tuple[Account, _Issued]:
        # Create the solver first, so that wrong settings are reported before an order is placed.
        run.solver(run.challenge(spec))
        context = order_context(spec, account, run, order_for(spec, status, now))
        return account, _ordered_with_fallbacks(context, csr, forced=forced)

    account, issued = with_account(run, spec, spec.account, ordered)
    if csr is not None:
        store.save_csr(spec.name, x509.read_csr(csr).pem)
    store.save_spec(spec)
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
    saved = store.save_version(spec, version, material)
    _record_success(saved, spec, issued.missing, run, by_ari=by_ari)
    return saved


def names_missing(spec: CertificateSpec, version: Version, run: Run) -> NamesMissing | None:
    """Return an error if a new version lacks names of the spec."""
    lacking = [each.value for each in spec.identifiers if each not in version.request.identifiers]
    if not lacking:
        return None
    last = run.services.store.status(spec.name).renewal_state.last_error
    return NamesMissing(
        last.message if last else f"{', '.join(lacking)} could not be included", name=spec.name
    )


def _ordered_with_fallbacks(context: OrderContext, csr: bytes | None, *, forced: bool) -> _Issued:
    """Order, and if that fails order less where the spec allows it.

    That is without a profile that was only preferred, or without names that were not validated.
    """
    profile = profile_to_ask_for(context)
    reasons: dict[str, str] = {}
    again = False
    while True:
        try:
            issued = _issue_once(context, profile, csr)
        except (ValidationFailed, AcmeError) as error:
            refused = {} if isinstance(error, RateLimited) else dict(error.reasons)
            if refused and (fewer := _remaining_names(context, refused, csr, forced=forced)):
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
    context: OrderContext, refused: dict[str, str], csr: bytes | None, *, forced: bool
) -> tuple[Identifier, ...] | None:
    """Return the names to order without the refused ones; None if that is not allowed or useless.

    Names in the live certificate are not dropped before its latest renewal time, since that
    certificate is still valid for them.
    """
    spec, run = context.spec, context.run
    kept = tuple(each for each in context.identifiers if each.value not in refused)
    if not spec.allow_subset or spec.csr or csr or not kept or kept == context.identifiers:
        return None
    now, status = run.services.clock.now(), run.services.store.status(spec.name)
    if status.live is None or status.live.facts.not_after <= now:
        return kept
    if not (forced or decide(replace(spec, identifiers=kept), status, now).due):
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


def _issue_once(context: OrderContext, profile: str | None, csr: bytes | None) -> _Issued:
    """Take one order to its certificate; the disk always holds what a later run needs to resume."""
    try:
        return _issued_by_one_order(context, profile, csr)
    except (OrderTimeout, CertificateNotFound) as error:
        pending = context.run.services.store.pending(context.spec.name)
        error.hint = next_run_hint(error.hint, kept=pending is not None and pending.url is not None)
        raise


def next_run_hint(hint: str | None, *, kept: bool) -> str:
    """Return the hint of an error that interrupted an order: what the next run does, then `hint`.

    `kept`: the order can still be finished, so that it was not dropped.
    """
    first = "The next run resumes this order." if kept else "The next run places a new order."
    return f"{first} {hint}" if hint else first


def _issued_by_one_order(context: OrderContext, profile: str | None, csr: bytes | None) -> _Issued:
    store, spec = context.run.services.store, context.spec
    pending = _pending(context)
    with _drop_unless_resumable(context):
        order, pending = _place_or_resume(context, pending, profile)
    if order.status == "pending":
        try:
            context.run.check()
            order = authorize(order, context)
        except CertctlError:
            # Its challenge answers have been removed, so it cannot become ready any more.
            store.drop_pending(spec.name)
            raise
    with _drop_unless_resumable(context):
        order, inspected = collect(context, order, pending.privkey, csr)
    context.note(LimitedAction.CERTIFICATE)
    return _Issued(order, pending, inspected)


@contextmanager
def _drop_unless_resumable(context: OrderContext) -> Iterator[None]:
    """Drop the pending order if an error says that it cannot be resumed."""
    try:
        yield
    except CertctlError as error:
        if not error.resumable:
            context.run.services.store.drop_pending(context.spec.name)
        raise


def _record_success(
    version: Version,
    spec: CertificateSpec,
    missing: NamesMissing | None,
    run: Run,
    *,
    by_ari: bool,
) -> None:
    """Record the new version in the renewal state, and report it."""
    store, now = run.services.store, run.services.clock.now()
    store.drop_pending(version.name)
    ca, renewal_state = version.request.ca, store.status(version.name).renewal_state
    renewal_state = after_success(renewal_state, ca, now, by_ari=by_ari)
    if missing is not None:
        # The error itself is reported with the outcome.
        run.services.emit(Failed(spec.name, now, missing.code, missing.message))
        renewal_state = after_failure(renewal_state, ca, missing, now, version.facts)
    # Saved before and after the request to the CA: a kill in between must not lose the success.
    store.save_renewal_state(version.name, renewal_state, next_action_at=now)
    renewal_state = ask_for_renewal_info(spec, version, renewal_state, run)
    store.save_renewal_state(version.name, renewal_state, next_action_at=now)
    store.prune(version.name, run.services.settings.integer("keep_versions"))
    run.services.emit(CertificateSaved(version.name, now, version.number, version.facts.not_after))


def _pending(context: OrderContext) -> PendingOrder:
    """Return an earlier run's pending order if it still matches the spec, else a new one, saved."""
    run, spec = context.run, context.spec
    pending = run.services.store.pending(spec.name)
    request = request_of(replace(spec, identifiers=context.identifiers))
    if (
        pending is not None
        and pending.request == request
        and pending.account_url == context.account.url
        and not _compromised(pending.privkey, spec, run)
    ):
        return pending
    now = run.services.clock.now()
    run.services.store.drop_pending(spec.name)
    fresh = PendingOrder(request, context.account.url, now, privkey=_key(spec, run))
    run.services.store.save_pending(spec.name, fresh)
    return fresh


def _key(spec: CertificateSpec, run: Run) -> bytes | None:
    """Return the private key for the certificate; None for a signing request.

    The old key is reused only if the spec says so and the key is neither revoked nor compromised.
    """
    if spec.csr:
        return None
    status = run.services.store.status(spec.name)
    live, renewal_state = status.live, status.renewal_state
    if live is None or not (spec.reuse_key and live.has_key):
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
        return run.services.store.material(spec.name, live.number).privkey
    except FilesDamaged as error:
        run.warn(f"{error.message}. A new key is used.", spec.name)
        return keys.generate_key(spec.key_type)


def _compromised(privkey: bytes | None, spec: CertificateSpec, run: Run) -> bool:
    known = run.services.store.status(spec.name).renewal_state.compromised_keys
    return bool(known) and privkey is not None and keys.key_sha256(privkey) in known


def _place_or_resume(
    context: OrderContext, pending: PendingOrder, profile: str | None
) -> tuple[Order, PendingOrder]:
    """Return the order at the CA: an earlier run's if it can still be finished, else a new one."""
    run, name = context.run, context.spec.name
    store, clock = run.services.store, run.services.clock
    if pending.url is not None:
        order = _resumable(pending, context)
        if order is not None:
            run.services.emit(OrderPlaced(name, clock.now(), order.url, resumed=True))
            return order, pending
        pending = replace(pending, url=None, created=clock.now())
    order = place(context, profile, _replaced_cert_id(context))
    pending = replace(pending, url=order.url)
    store.save_pending(name, pending)
    run.services.emit(OrderPlaced(name, clock.now(), order.url, resumed=False))
    return order, pending


def _replaced_cert_id(context: OrderContext) -> str | None:
    """Return the CertID of the version that the order replaces (RFC 9773 §5).

    None if no valid version was issued by the same CA and account for at least one of the names.
    """
    spec = context.spec
    live = context.run.services.store.status(spec.name).live
    if (
        live is None
        or live.request.ca != spec.ca
        or live.account_url != context.account.url
        or live.facts.not_after <= context.run.services.clock.now()
        or not set(live.request.identifiers) & set(context.identifiers)
    ):
        return None
    return live.facts.ari_id


def _resumable(pending: PendingOrder, context: OrderContext) -> Order | None:
    """Return the order of an earlier run if it may still be finished.

    An order older than a day is abandoned: something is permanently wrong with it. So is one whose
    age is unknown, since it is dated in the future.
    """
    now = context.run.services.clock.now()
    created = believed(pending.created, now)
    if pending.url is None or created is None or now - created > _RESUMED_FOR:
        return None
    try:
        order = context.client.order(pending.url)
    except AcmeError as error:
        if error.resumable:
            raise
        return None
    return None if order.status == "invalid" else order
