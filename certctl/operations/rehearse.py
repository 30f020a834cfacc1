"""A dry run: the whole way through an order at a CA's staging directory, keeping nothing of it."""

from __future__ import annotations

from dataclasses import replace

from certctl import keys
from certctl.models import CertificateFacts, CertificateSpec, PendingOrder
from certctl.operations.accounts import ensure_account, sharing
from certctl.operations.authorize import remove_leftovers
from certctl.operations.obtain import collect, order_deadline, place_order, prove
from certctl.operations.run import Run
from certctl.operations.specs import staging_of
from certctl.renewal import request_of


def rehearse(spec: CertificateSpec, run: Run, csr: bytes | None = None) -> CertificateFacts:
    """Return the facts of the certificate that staging issued; neither it nor its key is kept.

    The account is one of the staging directory, separate from the real one. `csr` is a certificate
    signing request that was just given. Raises `UsageError` where the CA has no staging directory.
    """
    staging = staging_of(spec)
    spec = replace(spec, ca=staging, ca_bundle=spec.ca_bundle if staging == spec.ca else None)
    remove_leftovers(spec.name, run)
    account = ensure_account(run, spec.ca, spec.ca_bundle, None)
    with sharing(run, account):
        client = run.client(spec.ca, spec.ca_bundle, account)
        key = None if spec.csr else keys.generate_key(spec.key_type)
        now = run.services.clock.now()
        pending = PendingOrder(request_of(spec), account.url, now, privkey=key)
        order, deadline = place_order(spec, client), order_deadline(run)
        order = prove(spec, order, client, run, account, deadline)
        _, inspected = collect(spec, order, pending, client, run, deadline, csr)
        return inspected.facts
