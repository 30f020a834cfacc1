"""A dry run: a complete order at the CA's staging directory, of which nothing is saved."""

from __future__ import annotations

from dataclasses import replace

from certctl import keys
from certctl.models import Account, CertificateFacts, CertificateSpec
from certctl.operations.account_recovery import with_account
from certctl.operations.authorize import authorize, remove_leftovers
from certctl.operations.order_steps import collect, order_context, place, profile_to_ask_for
from certctl.operations.run import Run
from certctl.operations.specs import staging_of


def dry_run(spec: CertificateSpec, run: Run, csr: bytes | None = None) -> CertificateFacts:
    """Return the facts of the certificate issued by staging; it and its key are discarded.

    Staging has an account of its own. `csr` is the certificate signing request given with this
    command, if any. Raises `UsageError` if the CA has no staging directory.
    """
    staging = staging_of(spec)
    spec = replace(spec, ca=staging, ca_bundle=spec.ca_bundle if staging == spec.ca else None)
    remove_leftovers(spec.name, run)

    def ordered(account: Account) -> CertificateFacts:
        context = order_context(spec, account, run)
        order = place(context, profile_to_ask_for(context))
        if order.status == "pending":
            run.check()
            order = authorize(order, context)
        key = None if spec.csr else keys.generate_key(spec.key_type)
        _, inspected = collect(context, order, key, csr)
        return inspected.facts

    return with_account(run, spec, None, ordered)
