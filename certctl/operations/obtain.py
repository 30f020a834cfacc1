"""The one way through an order: from what is wanted to a version that is archived and live.

The caller holds the certificate's lock and has decided that there is something to do. What is on
disk at every step is what a later run needs to go on: the key and the request before newOrder, the
order's URL once it is known, placements before they are made (RFC 8555 §7.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from certctl import keys, x509
from certctl.ca.directories import label
from certctl.errors import (
    AcmeError,
    CertctlError,
    InspectionFailed,
    UsageError,
)
from certctl.events import CertificateSaved, OrderPlaced
from certctl.models import (
    CertificateSpec,
    Material,
    Order,
    PendingOrder,
    Version,
)
from certctl.operations.accounts import ensure_account, sharing
from certctl.operations.authorize import authorize, remove_leftovers
from certctl.operations.run import Run
from certctl.renewal import after_success, request_of
from certctl.system.files import read_if_there

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient
    from certctl.models import Account

_RESUMED_FOR = timedelta(days=1)
_BUNDLE_LIMIT = 4 * 1024 * 1024


def obtain(spec: CertificateSpec, run: Run, csr: bytes | None = None) -> Version:
    """Return a new version of the certificate, archived and live; its deploy is then owed.

    `csr` is a certificate signing request that was just given. It and the spec are written once the
    certificate is in hand, so that a first issue that fails leaves neither. Raises an error of
    `certctl.errors`, and leaves the old version live.
    """
    store = run.services.store
    remove_leftovers(spec.name, run)
    account = ensure_account(run, spec.ca, spec.ca_bundle, spec.account)
    with sharing(run, account):
        client = run.client(spec.ca, spec.ca_bundle, account)
        run.solver(
            run.challenge(spec)
        )  # settings that cannot work are found before an order is placed
        pending = _pending(spec, account, run)
        with _dropped_unless_resumable(spec, run):
            order, pending = _placed(spec, pending, client, run)
        deadline = order_deadline(run)
        try:
            order = prove(spec, order, client, run, account, deadline)
        except CertctlError:
            # Its answers are gone: whatever becomes of it now, it will not become ready.
            store.drop_pending(spec.name)
            raise
        with _dropped_unless_resumable(spec, run):
            order, inspected = collect(spec, order, pending, client, run, deadline, csr)
    version = Version(
        name=spec.name,
        number=0,
        facts=inspected.facts,
        request=pending.request,
        issued=run.services.clock.now(),
        order_url=order.url,
        account_url=account.url,
        has_key=pending.privkey is not None,
    )
    if csr is not None:
        store.save_csr(spec.name, x509.read_csr(csr).pem)
    store.save_spec(spec)
    saved = store.save_version(spec, version, _material(inspected, pending.privkey))
    return _saved(saved, run)


@contextmanager
def _dropped_unless_resumable(spec: CertificateSpec, run: Run) -> Iterator[None]:
    """Forget the order under way where an error says that nobody can go on with it."""
    try:
        yield
    except CertctlError as error:
        if not error.resumable:
            run.services.store.drop_pending(spec.name)
        raise


def _saved(version: Version, run: Run) -> Version:
    store, now = run.services.store, run.services.clock.now()
    store.drop_pending(version.name)
    status = store.status(version.name)
    store.save_memory(version.name, after_success(status.memory, now), next_action_at=now)
    store.prune(version.name, run.services.settings.integer("keep_versions"))
    run.services.emit(CertificateSaved(version.name, now, version.number, version.facts.not_after))
    return version


def _pending(spec: CertificateSpec, account: Account, run: Run) -> PendingOrder:
    """Return the order of an earlier run where it is still what is wanted, else a new one on
    disk.
    """
    store = run.services.store
    pending = store.pending(spec.name)
    if (
        pending is not None
        and pending.request == request_of(spec)
        and pending.account_url == account.url
        and not _compromised(pending.privkey, spec, run)
    ):
        return pending
    fresh = PendingOrder(
        request_of(spec), account.url, run.services.clock.now(), privkey=_key(spec, run)
    )
    store.save_pending(spec.name, fresh)
    return fresh


def _key(spec: CertificateSpec, run: Run) -> bytes | None:
    """Return the private key to certify: none of ours for a CSR, the old one only where asked
    for.
    """
    if spec.csr:
        return None
    status = run.services.store.status(spec.name)
    live = status.live
    if (
        spec.reuse_key
        and live is not None
        and live.has_key
        and live.number not in status.memory.revoked
        and live.facts.key_sha256 not in status.memory.compromised_keys
        and live.facts.key_type == spec.key_type
    ):
        return run.services.store.material(spec.name, live.number).privkey
    return keys.generate_key(spec.key_type)


def _compromised(privkey: bytes | None, spec: CertificateSpec, run: Run) -> bool:
    known = run.services.store.status(spec.name).memory.compromised_keys
    return bool(known) and privkey is not None and keys.key_sha256(privkey) in known


def _placed(
    spec: CertificateSpec, pending: PendingOrder, client: AcmeClient, run: Run
) -> tuple[Order, PendingOrder]:
    """Return the order at the CA: the one of an earlier run where it can still be finished."""
    store, clock = run.services.store, run.services.clock
    if pending.url is not None:
        order = _still_good(pending, client, run)
        if order is not None:
            run.services.emit(OrderPlaced(spec.name, clock.now(), order.url, resumed=True))
            return order, pending
        pending = replace(pending, url=None, created=clock.now())
    order = place_order(spec, client)
    pending = replace(pending, url=order.url)
    store.save_pending(spec.name, pending)
    run.services.emit(OrderPlaced(spec.name, clock.now(), order.url, resumed=False))
    return order, pending


def _still_good(pending: PendingOrder, client: AcmeClient, run: Run) -> Order | None:
    """Return the order of an earlier run where it may still be finished.

    One that could not be finished for a day is given up: whatever is wrong with it would stay.
    """
    if pending.url is None or run.services.clock.now() - pending.created > _RESUMED_FOR:
        return None
    try:
        order = client.order(pending.url)
    except AcmeError as error:
        if error.resumable:
            raise
        return None
    return None if order.status == "invalid" else order


def place_order(spec: CertificateSpec, client: AcmeClient) -> Order:
    """Place an order under the profile that was asked for; a preferred one may fall back."""
    offered = client.directory.profiles
    profile = spec.required_profile or spec.profile
    if profile is not None and profile not in offered:
        if spec.required_profile:
            raise _no_such_profile(spec.required_profile, spec, sorted(offered))
        profile = None
    try:
        return client.new_order(spec.identifiers, profile=profile)
    except AcmeError as error:
        if error.type != "invalidProfile" or spec.required_profile or profile is None:
            raise
        return client.new_order(spec.identifiers)


def _no_such_profile(profile: str, spec: CertificateSpec, offered: Sequence[str]) -> UsageError:
    names = ", ".join(offered) or "no profiles at all"
    return UsageError(
        f"{label(spec.ca)} does not offer the profile {profile!r}; it offers {names}",
        hint="Use --profile to prefer one without insisting on it.",
        name=spec.name,
        code="usage.profile",
    )


def order_deadline(run: Run) -> float:
    """Return until when an order that begins now may take, by the clock's `monotonic`."""
    return run.services.clock.monotonic() + run.services.settings.seconds("order_timeout")


def prove(
    spec: CertificateSpec,
    order: Order,
    client: AcmeClient,
    run: Run,
    account: Account,
    deadline: float,
) -> Order:
    """Return the order once there is nothing left to prove."""
    if order.status != "pending":
        return order
    run.check()
    return authorize(order, spec, client, run, account_url=account.url, deadline=deadline)


def collect(
    spec: CertificateSpec,
    order: Order,
    pending: PendingOrder,
    client: AcmeClient,
    run: Run,
    deadline: float,
    csr: bytes | None = None,
) -> tuple[Order, x509.Inspected]:
    """Take an order that is proved to its certificate: finalize, download, inspect."""
    run.check()
    request, key_sha256 = _csr(spec, pending.privkey, run, csr)
    order = client.finalize(order, request, deadline=deadline)
    inspected = _download(spec, order, key_sha256, client, run)
    for warning in inspected.warnings:
        run.warn(warning, spec.name)
    return order, inspected


def _csr(
    spec: CertificateSpec, privkey: bytes | None, run: Run, given: bytes | None
) -> tuple[bytes, str]:
    """Return the request in DER, and the digest of the public key that must come back."""
    if privkey is not None:
        return x509.build_csr(privkey, spec.identifiers), keys.key_sha256(privkey)
    kept = given or run.services.store.csr(spec.name)
    request = None if kept is None else x509.read_csr(kept)
    if request is None or request.sha256 != spec.csr:
        raise UsageError(
            "the certificate signing request of this certificate is gone, or is another one",
            hint=f"Give it again: certctl issue --name {spec.name} --csr FILE",
            name=spec.name,
        )
    if request.key_sha256 in run.services.store.status(spec.name).memory.compromised_keys:
        raise UsageError(
            "the key of this certificate signing request was revoked as compromised",
            hint=f"Make a new key and a new request: certctl issue --name {spec.name} --csr FILE",
            name=spec.name,
            code="usage.csr",
        )
    return request.der, request.key_sha256


def _download(
    spec: CertificateSpec, order: Order, key_sha256: str, client: AcmeClient, run: Run
) -> x509.Inspected:
    """Return the chain to use, inspected: the preferred one where the CA offers it.

    RFC 8555 §7.4.2.
    """
    chains = client.chains(order)
    chosen = first = next(chains)
    if spec.preferred_chain is not None:
        preferred = (each for each in chain([first], chains) if _leads_to(spec, each))
        chosen = next(preferred, first)
        if chosen is first and not _leads_to(spec, first):
            run.warn(f"the CA offers no chain up to {spec.preferred_chain!r}", spec.name)
    try:
        return x509.inspect(
            chosen,
            identifiers=spec.identifiers,
            key_sha256=key_sha256,
            now=run.services.clock.now(),
            anchors=_anchors(spec),
        )
    except InspectionFailed as error:
        run.services.store.save_refused(spec.name, chosen)
        error.hint = error.hint or f"What came is kept in the home folder: log/{spec.name}.refused"
        raise


def _leads_to(spec: CertificateSpec, pem_chain: bytes) -> bool:
    """Return whether a chain is the preferred one; one that makes no sense is not."""
    try:
        return x509.topmost_issuer(pem_chain) == spec.preferred_chain
    except InspectionFailed:
        return False


def _anchors(spec: CertificateSpec) -> bytes:
    """Return the roots of a private CA, which may have issued without an intermediate."""
    if spec.ca_bundle is None:
        return b""
    return read_if_there(Path(spec.ca_bundle), _BUNDLE_LIMIT) or b""


def _material(inspected: x509.Inspected, privkey: bytes | None) -> Material:
    return Material(cert=inspected.cert, chain=inspected.chain, privkey=privkey)
