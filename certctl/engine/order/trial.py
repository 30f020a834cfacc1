"""Dry runs: at the CA's staging directory a certificate is issued and discarded; at a CA without
one, an order of the account that is there is taken up to domain validation.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from certctl.ca.directories import as_typed, label, staging_url
from certctl.engine.held import Held
from certctl.engine.order.accounts import choose_account, shared_lock
from certctl.engine.order.authorize import authorize, remove_leftovers
from certctl.engine.order.steps import (
    OrderContext,
    order_context,
    place,
    profile_to_ask_for,
    signing_request,
)
from certctl.engine.preflight import check_validation
from certctl.engine.run import Run
from certctl.engine.specs import at_ca
from certctl.model.ca import Account
from certctl.model.ca import Order as AcmeOrder
from certctl.model.errors import CertctlError, UsageError
from certctl.model.spec import CertificateSpec
from certctl.rules import keys
from certctl.rules.plan import Order, Plan, Validate

_CLEANUP_SECONDS = 10.0


def trial(spec: CertificateSpec, run: Run) -> Plan:
    """Return the plan of a dry run, with a step for each CA. Asks no server.

    Staging has an account of its own. At a CA without staging, no account is registered. Raises
    `UsageError` if the CA has no staging directory, and this home directory no account at the CA;
    and the errors of `check_validation`.
    """
    return Plan(spec, tuple(_step(at_ca(run, spec, ca), run) for ca in spec.cas))


def _step(spec: CertificateSpec, run: Run) -> Order | Validate:
    staging = staging_url(spec.ca)
    if staging is None:
        _existing_account(spec, run)
        check_validation(spec, run)
        return Validate("dry run", spec)
    bundle = spec.ca_bundle if staging == spec.ca else None
    tried = replace(spec, ca=staging, ca_bundle=bundle, account=None)
    check_validation(tried, run)
    return Order("dry run", tried, forced=True, new_key=True)


def validate(spec: CertificateSpec, held: Held, run: Run, csr: bytes | None) -> str:
    """Validate all names, and abandon the order; return what was not tested, as a phrase.

    `csr` is the certificate signing request given with this command, if any.
    """
    remove_leftovers(spec.name, run)
    account = _existing_account(spec, run)
    with shared_lock(run, account):
        context = order_context(spec, account, run)
        key = None if spec.csr else keys.generate_key(spec.key_type)
        signing_request(context, held, key, csr)
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


def _abandon(order: AcmeOrder, context: OrderContext) -> None:
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
