"""Query a CA for its suggested renewal window (ARI, RFC 9773 §4.3).

ARI is optional: a failed query is recorded in the renewal state, and is never an error.
"""

from __future__ import annotations

from certctl.engine.run import Run
from certctl.model.certificate import RenewalState, Version
from certctl.model.errors import AcmeError, RenewalInfoUnavailable
from certctl.model.spec import CertificateSpec
from certctl.rules.ari import after_answer, after_no_answer, after_not_offered, next_request_time


def ask_for_renewal_info(
    spec: CertificateSpec, version: Version, renewal_state: RenewalState, run: Run
) -> RenewalState:
    """Query the CA about each certificate of a version if a query is due; return the updated
    renewal state.

    Raises only `Interrupted`.
    """
    for each in version.parts:
        renewal_state = _ask_about(spec, each, renewal_state, run)
    return renewal_state


def _ask_about(
    spec: CertificateSpec, version: Version, renewal_state: RenewalState, run: Run
) -> RenewalState:
    """Query the CA about one certificate."""
    now = run.services.clock.now()
    at = next_request_time(version, renewal_state, now)
    if at is None or at > now or version.facts.ari_id is None:
        return renewal_state
    try:
        client = run.client(version.request.ca, spec.ca_bundle)
        if not client.has_renewal_info:
            return after_not_offered(renewal_state, version)
        window = client.renewal_info(version.facts.ari_id)
    except RenewalInfoUnavailable as error:
        permanent, retry_after = error.permanent, error.retry_after
    except AcmeError as error:
        permanent, retry_after = False, error.retry_after
    else:
        return after_answer(renewal_state, version, window, now, run.services.random)
    return after_no_answer(
        renewal_state, version, now, permanent=permanent, retry_after=retry_after
    )
