"""The steps of an order, one function each (RFC 8555 §7.4): place, prove, collect.

Nothing here is written to disk but what the solvers journal and a download that is refused: in
which order things happen and what a crash leaves is for `obtain` to say, `dry_run` keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from certctl import keys, x509
from certctl.ca.directories import label
from certctl.errors import AcmeError, InspectionFailed, UsageError
from certctl.models import Account, CertificateSpec, Identifier, LedgerEntry, LimitedAction, Order
from certctl.operations.run import Run
from certctl.system.files import read_if_exists

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient

_BUNDLE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class OrderContext:
    """Who orders what, and where: `identifiers` may be fewer than those of the spec. `deadline` is
    by the clock's `monotonic`. `counts_as` is what the order is to the CA's limits.
    """

    spec: CertificateSpec
    identifiers: tuple[Identifier, ...]
    account: Account
    client: AcmeClient
    run: Run
    deadline: float
    counts_as: LedgerEntry

    def note(self, action: LimitedAction, identifiers: Sequence[Identifier] | None = None) -> None:
        """Take note of what was asked of the CA for these names, all of them by default."""
        names = self.identifiers if identifiers is None else identifiers
        asked = replace(
            self.counts_as,
            action=action,
            at=self.run.services.clock.now(),
            identifiers=tuple(each.value for each in names),
        )
        self.run.note(self.account, asked)


def order_context(
    spec: CertificateSpec, account: Account, run: Run, counts_as: LedgerEntry | None = None
) -> OrderContext:
    """Return the context of all names of a spec; its time begins now."""
    client = run.client(spec.ca, spec.ca_bundle, account)
    allowed = run.services.settings.seconds("order_timeout")
    deadline = run.services.clock.monotonic() + allowed
    counts_as = counts_as or LedgerEntry(LimitedAction.ORDER, run.services.clock.now())
    return OrderContext(spec, spec.identifiers, account, client, run, deadline, counts_as)


def profile_to_ask_for(context: OrderContext) -> str | None:
    """Return the profile to name in the order: one that is preferred only where it is offered.

    Raises `UsageError` where a required one is not.
    """
    spec, offered = context.spec, context.client.directory.profiles
    profile = spec.required_profile or spec.profile
    if profile is None or profile in offered:
        return profile
    if spec.required_profile:
        names = ", ".join(sorted(offered)) or "no profiles at all"
        raise UsageError(
            f"{label(spec.ca)} does not offer the profile {profile!r}; it offers {names}",
            hint="Use --profile to prefer one without insisting on it.",
            name=spec.name,
            code="usage.profile",
        )
    return None


def place(context: OrderContext, profile: str | None, replaces: str | None = None) -> Order:
    """Place the order. What the CA will not take is left out of it, where it was only a wish.

    That is a preferred profile, and `replaces` (RFC 9773 §5), the CertID of the certificate that
    this order makes superfluous: where a CA goes on refusing that, renewal would stop for ever.
    """
    try:
        order = context.client.new_order(context.identifiers, profile=profile, replaces=replaces)
        context.note(LimitedAction.ORDER)
        return order
    except AcmeError as error:
        if profile is not None and is_refused_profile(context.spec, error):
            return place(context, None, replaces)
        if replaces is not None and _replacement_refused(error):
            counted = replace(context.counts_as, replaces=False)
            return place(replace(context, counts_as=counted), profile)
        raise


def is_refused_profile(spec: CertificateSpec, error: AcmeError) -> bool:
    """Return whether all that the CA will not have is a profile that was only preferred."""
    return error.type == "invalidProfile" and not spec.required_profile


def collect(
    context: OrderContext, order: Order, privkey: bytes | None, csr: bytes | None = None
) -> tuple[Order, x509.Inspected]:
    """Take an order that is proved to its certificate: finalize, download, inspect.

    `privkey` is PEM, None for a certificate signing request: `csr` where it was just given, else
    the one that is kept.
    """
    context.run.check()
    request, key_sha256 = _request(context, privkey, csr)
    order = context.client.finalize(order, request, deadline=context.deadline)
    inspected = _download(context, order, key_sha256)
    for warning in inspected.warnings:
        context.run.warn(warning, context.spec.name)
    return order, inspected


def _replacement_refused(error: AcmeError) -> bool:
    """Return whether it may be `replaces` that the CA will not have: not where it speaks of names,
    of the account's terms or of limits.
    """
    if error.type in {"alreadyReplaced", "malformed"}:
        return True
    return error.status in {403, 409} and error.type in {None, "unauthorized", "conflict"}


def _request(
    context: OrderContext, privkey: bytes | None, given: bytes | None
) -> tuple[bytes, str]:
    """Return the request in DER, and the digest of the public key that must come back."""
    if privkey is not None:
        return x509.build_csr(privkey, context.identifiers), keys.key_sha256(privkey)
    spec, store = context.spec, context.run.services.store
    kept = given or store.csr(spec.name)
    request = None if kept is None else x509.read_csr(kept)
    if request is None or request.sha256 != spec.csr:
        raise UsageError(
            "the certificate signing request of this certificate is gone, or is another one",
            hint=f"Give it again: certctl issue --name {spec.name} --csr FILE",
            name=spec.name,
        )
    if request.key_sha256 in store.status(spec.name).renewal_state.compromised_keys:
        raise UsageError(
            "the key of this certificate signing request was revoked as compromised",
            hint=f"Make a new key and a new request: certctl issue --name {spec.name} --csr FILE",
            name=spec.name,
            code="usage.csr",
        )
    return request.der, request.key_sha256


def _download(context: OrderContext, order: Order, key_sha256: str) -> x509.Inspected:
    """Return the chain to use, inspected: the preferred one where the CA offers it.

    RFC 8555 §7.4.2.
    """
    spec, run = context.spec, context.run
    chains = context.client.chains(order)
    chosen = first = next(chains)
    if spec.preferred_chain is not None:
        preferred = (each for each in chain([first], chains) if _leads_to(spec, each))
        chosen = next(preferred, first)
        if chosen is first and not _leads_to(spec, first):
            run.warn(f"the CA offers no chain up to {spec.preferred_chain!r}", spec.name)
    try:
        return x509.inspect(
            chosen,
            identifiers=context.identifiers,
            key_sha256=key_sha256,
            now=run.services.clock.now(),
            anchors=_anchors(spec),
        )
    except InspectionFailed as error:
        run.services.store.save_refused(spec.name, chosen)
        error.hint = (
            error.hint or f"What came is kept in the home directory: log/{spec.name}.refused"
        )
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
    return read_if_exists(Path(spec.ca_bundle), _BUNDLE_LIMIT) or b""
