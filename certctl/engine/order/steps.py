"""The steps of an order, one function each (RFC 8555 §7.4): place, validate, collect.

These steps write nothing to disk except the solvers' journal entries and a rejected download.
`obtain` decides the sequence and what survives a crash.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from certctl.ca.directories import label
from certctl.engine.held import Held
from certctl.engine.preflight import check_validation
from certctl.engine.run import Run
from certctl.model.ca import Account, LedgerEntry, LimitedAction, Order
from certctl.model.certificate import Version
from certctl.model.errors import AcmeError, BadResponse, CaUnavailable, InspectionFailed, UsageError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import common_name_for
from certctl.model.spec import SHORTEST_CHAIN, CertificateSpec
from certctl.rules import keys, x509
from certctl.system.reading import read_if_exists

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient

_BUNDLE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class OrderContext:
    """What is ordered, and by which account at which CA.

    `identifiers` may be fewer than those of the spec. `deadline` is a time of the clock's
    `monotonic`. `counts_as` is how the order counts towards the CA's rate limits. `live` is the
    version that the new one follows.
    """

    spec: CertificateSpec
    identifiers: tuple[Identifier, ...]
    account: Account
    client: AcmeClient
    run: Run
    deadline: float
    counts_as: LedgerEntry
    live: Version | None = None

    def note(self, action: LimitedAction, identifiers: Sequence[Identifier] | None = None) -> None:
        """Record in the ledger what was requested for these names, by default for all."""
        names = self.identifiers if identifiers is None else identifiers
        asked = replace(
            self.counts_as,
            action=action,
            at=self.run.services.clock.now(),
            identifiers=tuple(each.value for each in names),
        )
        self.run.note(self.account, asked)


def order_context(
    spec: CertificateSpec,
    account: Account,
    run: Run,
    counts_as: LedgerEntry | None = None,
    live: Version | None = None,
) -> OrderContext:
    """Return the context for ordering all names of a spec; the order timeout starts now.

    Raises `ConfigurationError`, `UsageError` or `ChallengeError` if the challenges could not be
    completed with the spec's settings.
    """
    check_validation(spec, run)
    allowed = run.services.settings.seconds("order_timeout")
    deadline = run.services.clock.monotonic() + allowed
    client = run.client(spec.ca, spec.ca_bundle, account).until(deadline)
    counts_as = counts_as or LedgerEntry(LimitedAction.ORDER, run.services.clock.now())
    return OrderContext(spec, spec.identifiers, account, client, run, deadline, counts_as, live)


def profile_to_ask_for(context: OrderContext) -> str | None:
    """Return the profile for the order; a preferred one only if the CA offers it.

    Raises `UsageError` if a required one is not offered.
    """
    spec, offered = context.spec, context.client.directory.profiles
    profile = spec.required_profile or spec.profile
    if profile is None or profile in offered:
        return profile
    if spec.required_profile:
        names = ", ".join(sorted(offered)) or "no profiles at all"
        raise UsageError(
            f"{label(spec.ca)} does not offer the profile {profile!r}; it offers {names}",
            hint="Use --profile instead to request a profile without requiring it.",
            name=spec.name,
            code="usage.profile",
        )
    return None


def place(context: OrderContext, profile: str | None, replaces: str | None = None) -> Order:
    """Place the order, without optional fields that the CA refuses.

    These are a preferred profile, and `replaces` (RFC 9773 §5), the CertID of the certificate that
    this order replaces: a CA that keeps refusing it must not stop renewal permanently.
    """
    try:
        order = context.client.new_order(context.identifiers, profile=profile, replaces=replaces)
        context.note(LimitedAction.ORDER)
        return order
    except AcmeError as error:
        if profile is not None and is_refused_profile(context.spec, error):
            return place(context, None, replaces)
        if replaces is not None and replacement_refused(error):
            counted = replace(context.counts_as, replaces=False)
            return place(replace(context, counts_as=counted), profile)
        offered = context.client.directory.profiles
        error.hint = address_hint(error, context.identifiers, profile, offered) or error.hint
        raise


_FOR_ADDRESSES = "shortlived"
"""The usual name of a profile that allows IP addresses."""


def address_hint(
    error: AcmeError,
    identifiers: Sequence[Identifier],
    profile: str | None,
    offered: Collection[str],
) -> str | None:
    """Return the hint for an order with IP addresses that was refused with this profile, though the
    CA may issue for them with another one that it offers; None for any other error.
    """
    addresses = {each.value for each in identifiers if each.type is IdentifierType.IP}
    named = {name for name, _ in error.reasons}
    about_addresses = addresses & named if named else addresses
    if error.type not in _NAME_REFUSED or not about_addresses:
        return None
    others = sorted(set(offered) - {profile})
    if _FOR_ADDRESSES in others:
        return f"The CA may issue for IP addresses with: --profile {_FOR_ADDRESSES}"
    if others:
        return "The CA may issue for IP addresses with another profile (--profile): " + ", ".join(
            others
        )
    return None


_NAME_REFUSED = frozenset({"malformed", "rejectedIdentifier", "unsupportedIdentifier"})


def is_refused_profile(spec: CertificateSpec, error: AcmeError) -> bool:
    """Return whether the CA refused only a profile that is preferred, not required."""
    return error.type == "invalidProfile" and not spec.required_profile


def collect(
    context: OrderContext,
    held: Held,
    order: Order,
    privkey: bytes | None,
    csr: bytes | None = None,
) -> tuple[Order, x509.Inspected]:
    """Take a ready order to its certificate: finalize, download, inspect.

    `privkey` is PEM; None for a certificate signing request, which is `csr` if it was just given,
    else the saved one.
    """
    context.run.check()
    request, key_sha256 = signing_request(context, held, privkey, csr)
    order = context.client.finalize(order, request, deadline=context.deadline)
    inspected = _download(context, held, order, key_sha256)
    for warning in inspected.warnings:
        context.run.warn(warning, context.spec.name)
    return order, inspected


def replacement_refused(error: AcmeError) -> bool:
    """Return whether the CA may have refused `replaces`, or failed because of it; not if the error
    is about names, the account's terms, rate limits, or a CA that is overloaded or unreachable.
    """
    if error.type in {"alreadyReplaced", "malformed"}:
        return True
    if isinstance(error, CaUnavailable):
        # Some CAs fail on `replaces` with every attempt; without it they place the order.
        return error.status is not None and error.status != HTTPStatus.SERVICE_UNAVAILABLE
    return error.status in {403, 409} and error.type in {None, "unauthorized", "conflict"}


def signing_request(
    context: OrderContext, held: Held, privkey: bytes | None, given: bytes | None
) -> tuple[bytes, str]:
    """Return the request in DER, and the digest of the public key that must be certified. Raises
    `UsageError` if the saved request cannot be used.
    """
    if privkey is not None:
        subject = common_name_for(context.spec.common_name, context.identifiers)
        return x509.build_csr(privkey, context.identifiers, subject), keys.key_sha256(privkey)
    spec = context.spec
    kept = given or held.csr
    request = None if kept is None else x509.read_csr(kept)
    if request is None or request.sha256 != spec.csr:
        raise UsageError(
            "the saved certificate signing request is missing, or does not match the certificate",
            hint=f"Provide it again: certctl issue --name {spec.name} --csr FILE",
            name=spec.name,
        )
    if request.key_sha256 in held.renewal_state.compromised_keys:
        raise UsageError(
            "the key of this certificate signing request was revoked as compromised",
            hint="Create a new key and a new signing request, then run: certctl issue --name "
            f"{spec.name} --csr FILE",
            name=spec.name,
            code="usage.csr",
        )
    return request.der, request.key_sha256


def _download(context: OrderContext, held: Held, order: Order, key_sha256: str) -> x509.Inspected:
    """Return the inspected chain, the preferred one if the CA offers it (RFC 8555 §7.4.2).

    An alternate chain that is not accepted is skipped with a warning. Raises `InspectionFailed` if
    no chain is accepted; the CA's default chain is then kept aside.
    """
    spec, run = context.spec, context.run
    accepted: list[x509.Inspected] = []
    failure: InspectionFailed | None = None
    for number, download in enumerate(context.client.chains(order)):
        try:
            found = _inspect(context, download, key_sha256)
        except InspectionFailed as error:
            if number:
                run.warn(f"an alternate chain of the CA is not used: {error.message}", spec.name)
                continue
            held.save_refused(download)
            error.hint = (
                error.hint
                or f"The download was saved in the home directory: log/{spec.name}.refused"
            )
            failure = error
        else:
            if spec.preferred_chain in {None, x509.topmost_issuer(found.cert + found.chain)}:
                return found
            accepted.append(found)
        if spec.preferred_chain is None:
            break
    if not accepted:
        raise failure or BadResponse("the CA offers no chain for the certificate")
    if spec.preferred_chain == SHORTEST_CHAIN:
        return x509.shortest(accepted)
    run.warn(
        f"the CA offers no chain up to {spec.preferred_chain!r}; using its default chain", spec.name
    )
    return accepted[0]


def _inspect(context: OrderContext, download: bytes, key_sha256: str) -> x509.Inspected:
    return x509.inspect(
        download,
        identifiers=context.identifiers,
        key_sha256=key_sha256,
        now=context.run.services.clock.now(),
        anchors=_anchors(context.spec),
        ca_time=context.client.server_time,
    )


def _anchors(spec: CertificateSpec) -> bytes:
    """Return the root certificates of a private CA, which may issue without an intermediate."""
    if spec.ca_bundle is None:
        return b""
    return read_if_exists(Path(spec.ca_bundle), _BUNDLE_LIMIT) or b""
