"""A dry run: a complete order at the CA's staging directory, of which nothing is saved. At a CA
that has none, an order of the account that is there, up to and including domain validation.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from certctl.ca.directories import as_typed, label, staging_url
from certctl.engine.order.account_recovery import with_account
from certctl.engine.order.accounts import choose_account, shared_lock
from certctl.engine.order.authorize import authorize, remove_leftovers
from certctl.engine.order.steps import (
    OrderContext,
    collect,
    order_context,
    place,
    profile_to_ask_for,
    signing_request,
)
from certctl.engine.preflight import check_validation
from certctl.engine.run import Run
from certctl.model.ca import Account, Order
from certctl.model.errors import CertctlError, UsageError
from certctl.model.spec import CertificateSpec
from certctl.rules import keys

_CLEANUP_SECONDS = 10.0


def require_dry_run(spec: CertificateSpec, run: Run) -> None:
    """Raise `UsageError` if no dry run is possible: the CA has no staging directory, and this home
    directory has no account at the CA. Asks no server.
    """
    if staging_url(spec.ca) is None:
        _existing_account(spec, run)


def dry_run(spec: CertificateSpec, run: Run, csr: bytes | None = None) -> str | None:
    """Test whether a certificate can be issued; nothing is saved. Return what was not tested, as a
    phrase; None if a certificate was issued by staging, which is discarded with its key.

    Staging has an account of its own. At a CA without staging, no account is registered, and the
    order is abandoned once all names have been validated. `csr` is the certificate signing request
    given with this command, if any. Raises `UsageError` if there is neither.
    """
    remove_leftovers(spec.name, run)
    staging = staging_url(spec.ca)
    if staging is None:
        return _validated(spec, run, csr)
    spec = replace(spec, ca=staging, ca_bundle=spec.ca_bundle if staging == spec.ca else None)

    def issued(account: Account) -> None:
        context = order_context(spec, account, run)
        order = place(context, profile_to_ask_for(context))
        if order.status == "pending":
            run.check()
            order = authorize(order, context)
        collect(context, order, _key(spec), csr)

    check_validation(spec, run)
    with_account(run, spec, None, issued)
    return None


def _validated(spec: CertificateSpec, run: Run, csr: bytes | None) -> str:
    account = _existing_account(spec, run)
    check_validation(spec, run)
    with shared_lock(run, account):
        context = order_context(spec, account, run)
        signing_request(context, _key(spec), csr)
        order = place(context, profile_to_ask_for(context))
        try:
            if order.status == "pending":
                run.check()
                authorize(order, context)
        except CertctlError:
            _abandon(order, context)
            raise
    return (
        f"{label(spec.ca)} has no staging directory: it validated all names with the account"
        f" {account.id}, and the order was abandoned before a certificate was issued"
    )


def _abandon(order: Order, context: OrderContext) -> None:
    """Deactivate the authorizations that are still pending: they count against the CA's limits."""
    run, spec = context.run, context.spec
    deadline = run.services.clock.monotonic() + _CLEANUP_SECONDS
    client = run.client(spec.ca, spec.ca_bundle, context.account).until(deadline)
    with suppress(CertctlError):
        found = client.authorizations(order)
        client.deactivate_all([each.url for each in found if each.status == "pending"])


def _existing_account(spec: CertificateSpec, run: Run) -> Account:
    account = choose_account(run, spec.ca, spec.account)
    if account is None:
        bundle = f" --ca-bundle {spec.ca_bundle}" if spec.ca_bundle else ""
        raise UsageError(
            f"{label(spec.ca)} has no staging directory for a dry run, and there is no account with"
            " which an order could be tried",
            hint=f"Register one: certctl register --ca {as_typed(spec.ca)}{bundle}",
            name=spec.name,
            code="usage.no_staging",
        )
    return account


def _key(spec: CertificateSpec) -> bytes | None:
    return None if spec.csr else keys.generate_key(spec.key_type)
