"""The one way through an order: from what is wanted to a version that is archived and live.

The caller holds the certificate's lock and has decided that there is something to do. What is on
disk at every step is what a later run needs to go on: the key and the request before newOrder, the
order's URL once it is known, placements before they are made (RFC 8555 §7.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from certctl import keys, x509
from certctl.ari import renewal_info_for
from certctl.errors import AcmeError, CertctlError, NamesMissing, RateLimited, ValidationFailed
from certctl.events import CertificateSaved, OrderPlaced
from certctl.models import (
    CertificateSpec,
    Identifier,
    LimitedAction,
    Material,
    Order,
    PendingOrder,
    Version,
)
from certctl.operations.accounts import ensure_account, shared_lock
from certctl.operations.ari import ask_for_renewal_info
from certctl.operations.authorize import authorize, remove_leftovers
from certctl.operations.order_steps import (
    OrderContext,
    collect,
    is_refused_profile,
    order_context,
    place,
    profile_to_ask_for,
)
from certctl.operations.rate_limit_forecast import order_for
from certctl.operations.run import Run
from certctl.renewal import after_failure, after_success, decide, latest_renewal, request_of

_RESUMED_FOR = timedelta(days=1)


@dataclass(frozen=True)
class _Issued:
    """What came of an order; `missing` tells of the names that are not in it."""

    order: Order
    pending: PendingOrder
    inspected: x509.Inspected
    missing: NamesMissing | None = None


def obtain(spec: CertificateSpec, run: Run, csr: bytes | None = None) -> Version:
    """Return a new version of the certificate, archived and live; its deploy is then owed.

    `csr` is a certificate signing request that was just given. It and the spec are written once the
    certificate is in hand, so that a first issue that fails leaves neither. Names are missing from
    the version only where the spec allows it; that counts as a failure in the renewal memory.
    Raises an error of `certctl.errors`, and leaves the old version live.
    """
    store, now = run.services.store, run.services.clock.now()
    remove_leftovers(spec.name, run)
    account = ensure_account(run, spec.ca, spec.ca_bundle, spec.account)
    with shared_lock(run, account):
        # Settings that cannot work are found before an order is placed.
        run.solver(run.challenge(spec))
        status = store.status(spec.name)
        by_ari = status.live is not None and decide(spec, status, now).reason == "ari"
        context = order_context(spec, account, run, order_for(spec, status, now))
        issued = _carried_through(context, csr)
    if csr is not None:
        store.save_csr(spec.name, x509.read_csr(csr).pem)
    store.save_spec(spec)
    version = Version(
        name=spec.name,
        number=0,
        facts=issued.inspected.facts,
        request=issued.pending.request,
        issued=run.services.clock.now(),
        order_url=issued.order.url,
        account_url=account.url,
        has_key=issued.pending.privkey is not None,
    )
    material = Material(
        issued.inspected.cert, issued.inspected.chain, privkey=issued.pending.privkey
    )
    saved = store.save_version(spec, version, material)
    _remember(saved, spec, issued.missing, run, by_ari=by_ari)
    return saved


def names_missing(spec: CertificateSpec, version: Version, run: Run) -> NamesMissing | None:
    """Return the error that stands for names of the spec that a new version lacks, if any."""
    lacking = [each.value for each in spec.identifiers if each not in version.request.identifiers]
    if not lacking:
        return None
    last = run.services.store.status(spec.name).renewal_state.last_error
    return NamesMissing(
        last.message if last else f"{', '.join(lacking)} could not be included", name=spec.name
    )


def _carried_through(context: OrderContext, csr: bytes | None) -> _Issued:
    """Return the certificate of an order, or of one that asks for less where that is allowed:
    without a profile that was only preferred, or without names that could not be proved.
    """
    profile = profile_to_ask_for(context)
    reasons: dict[str, str] = {}
    while True:
        try:
            issued = _attempted(context, profile, csr)
        except (ValidationFailed, AcmeError) as error:
            refused = {} if isinstance(error, RateLimited) else dict(error.reasons)
            if refused and (fewer := _fewer(context, refused, csr)):
                reasons |= refused
                context = replace(context, identifiers=fewer)
            elif (
                isinstance(error, AcmeError)
                and profile is not None
                and is_refused_profile(context.spec, error)
            ):
                profile = None
            else:
                raise
        else:
            return replace(issued, missing=_missing(context.spec, reasons))


def _fewer(
    context: OrderContext, refused: dict[str, str], csr: bytes | None
) -> tuple[Identifier, ...] | None:
    """Return the names to order without those that were refused; None where that must not be.

    It must be allowed, and gain something. Names that are served now are not given up before the
    last moment, since the certificate that has them is still good.
    """
    spec, run = context.spec, context.run
    kept = tuple(each for each in context.identifiers if each.value not in refused)
    if not spec.allow_subset or spec.csr or csr or not kept or kept == context.identifiers:
        return None
    now, status = run.services.clock.now(), run.services.store.status(spec.name)
    if status.live is None or status.live.facts.not_after <= now:
        return kept
    if not decide(replace(spec, identifiers=kept), status, now).due:
        return None
    given_up = set(status.live.request.identifiers) & set(spec.identifiers) - set(kept)
    return None if given_up and now < latest_renewal(status.live) else kept


def _missing(spec: CertificateSpec, reasons: dict[str, str]) -> NamesMissing | None:
    if not reasons:
        return None
    told = "; ".join(f"{value}: {reason}" for value, reason in reasons.items())
    return NamesMissing(
        f"issued without {len(reasons)} of {len(spec.identifiers)} names: {told}",
        hint="`renew` tries them again by itself.",
        name=spec.name,
    )


def _attempted(context: OrderContext, profile: str | None, csr: bytes | None) -> _Issued:
    """Take one order to its certificate; what a later run needs to go on is on disk all the
    time.
    """
    store, spec = context.run.services.store, context.spec
    pending = _pending(context)
    with _dropped_unless_resumable(context):
        order, pending = _placed(context, pending, profile)
    if order.status == "pending":
        try:
            context.run.check()
            order = authorize(order, context)
        except CertctlError:
            # Its answers are gone: whatever becomes of it now, it will not become ready.
            store.drop_pending(spec.name)
            raise
    with _dropped_unless_resumable(context):
        order, inspected = collect(context, order, pending.privkey, csr)
    context.note(LimitedAction.CERTIFICATE)
    return _Issued(order, pending, inspected)


@contextmanager
def _dropped_unless_resumable(context: OrderContext) -> Iterator[None]:
    """Forget the order under way where an error says that nobody can go on with it."""
    try:
        yield
    except CertctlError as error:
        if not error.resumable:
            context.run.services.store.drop_pending(context.spec.name)
        raise


def _remember(
    version: Version,
    spec: CertificateSpec,
    missing: NamesMissing | None,
    run: Run,
    *,
    by_ari: bool,
) -> None:
    """Write down what a new version means for the next run, and say that it is there."""
    store, now = run.services.store, run.services.clock.now()
    store.drop_pending(version.name)
    renewal_state = after_success(store.status(version.name).renewal_state, now, by_ari=by_ari)
    if missing is not None:
        run.warn(missing.message, spec.name)
        renewal_state = after_failure(renewal_state, missing, now, version.facts)
    # Once before the CA is asked and once after: a kill in between must find a success.
    store.save_renewal_state(version.name, renewal_state, next_action_at=now)
    renewal_state = ask_for_renewal_info(spec, version, renewal_state, run)
    store.save_renewal_state(version.name, renewal_state, next_action_at=now)
    store.prune(version.name, run.services.settings.integer("keep_versions"))
    run.services.emit(CertificateSaved(version.name, now, version.number, version.facts.not_after))


def _pending(context: OrderContext) -> PendingOrder:
    """Return the order of an earlier run where it is still what is wanted, else a new one on
    disk.
    """
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
    fresh = PendingOrder(request, context.account.url, now, privkey=_key(spec, run))
    run.services.store.save_pending(spec.name, fresh)
    return fresh


def _key(spec: CertificateSpec, run: Run) -> bytes | None:
    """Return the private key to certify: none of ours for a CSR, the old one only where that is
    asked for and nothing speaks against it.
    """
    if spec.csr:
        return None
    status = run.services.store.status(spec.name)
    live, renewal_state = status.live, status.renewal_state
    if live is None or not (spec.reuse_key and live.has_key):
        return keys.generate_key(spec.key_type)
    said = renewal_info_for(live, renewal_state)
    if (
        live.number in renewal_state.revoked
        or live.facts.key_sha256 in renewal_state.compromised_keys
        or (said is not None and said.withdrawn)
        or live.facts.key_type != spec.key_type
    ):
        return keys.generate_key(spec.key_type)
    return run.services.store.material(spec.name, live.number).privkey


def _compromised(privkey: bytes | None, spec: CertificateSpec, run: Run) -> bool:
    known = run.services.store.status(spec.name).renewal_state.compromised_keys
    return bool(known) and privkey is not None and keys.key_sha256(privkey) in known


def _placed(
    context: OrderContext, pending: PendingOrder, profile: str | None
) -> tuple[Order, PendingOrder]:
    """Return the order at the CA: the one of an earlier run where it can still be finished."""
    run, name = context.run, context.spec.name
    store, clock = run.services.store, run.services.clock
    if pending.url is not None:
        order = _still_good(pending, context)
        if order is not None:
            run.services.emit(OrderPlaced(name, clock.now(), order.url, resumed=True))
            return order, pending
        pending = replace(pending, url=None, created=clock.now())
    order = place(context, profile, _replaced(context))
    pending = replace(pending, url=order.url)
    store.save_pending(name, pending)
    run.services.emit(OrderPlaced(name, clock.now(), order.url, resumed=False))
    return order, pending


def _replaced(context: OrderContext) -> str | None:
    """Return the CertID of the version that the order replaces (RFC 9773 §5), None where there is
    none that the CA could know as such.
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


def _still_good(pending: PendingOrder, context: OrderContext) -> Order | None:
    """Return the order of an earlier run where it may still be finished.

    One that could not be finished for a day is given up: whatever is wrong with it would stay.
    """
    now = context.run.services.clock.now()
    if pending.url is None or now - pending.created > _RESUMED_FOR:
        return None
    try:
        order = context.client.order(pending.url)
    except AcmeError as error:
        if error.resumable:
            raise
        return None
    return None if order.status == "invalid" else order
