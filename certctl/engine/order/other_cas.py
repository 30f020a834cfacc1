"""The several CAs of a certificate: their accounts, which are registered before one is needed, and
what is said when one is out of service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime

from certctl.ca.directories import as_typed, label
from certctl.engine.order.accounts import choose_account, register_new, use_account
from certctl.engine.order.stateless import share_key
from certctl.engine.run import Run
from certctl.engine.specs import at_ca
from certctl.model.errors import AcmeError, CertctlError, EabRequired, UsageError
from certctl.model.spec import CertificateSpec
from certctl.model.text import MESSAGE, escaped


def prepare_accounts(specs: Sequence[CertificateSpec], run: Run) -> None:
    """Get an account at each CA of these certificates, and check that each CA offers the profile
    that a certificate requires. The user may have to agree to the terms of each CA.

    Raises what a registration raises: a CA that could not be asked later is of no use.
    """
    done: set[tuple[str, str | None, str | None]] = set()
    for spec in specs:
        for ca in spec.cas:
            asked = at_ca(run, spec, ca)
            share_key(asked, run, [each for each in spec.cas if each != ca])
            key = asked.ca, asked.ca_bundle, asked.account
            if key not in done:
                done.add(key)
                _prepare_account(asked, run, several=len(spec.cas) > 1)
        if len(spec.cas) > 1 and spec.required_profile is not None:
            _require_profile(spec, spec.required_profile, run)


def with_other_failures(
    error: CertctlError,
    spec: CertificateSpec,
    ca: str,
    failed: Mapping[str, CertctlError],
    next_at: datetime | None,
) -> CertctlError:
    """Return the error of a certificate whose CA `ca` failed last: with what the CAs before it said
    in this run, and when the next one is asked (`next_at`), if that is what is waited for.
    """
    if not spec.fallback_cas:
        return error
    told = copy(error)
    others = [
        f"{label(each)} was out of service: {other.message}"
        for each, other in failed.items()
        if each != ca
    ]
    if others:
        told.message = escaped(f"{error.message}. Before that, {'; '.join(others)}", MESSAGE)
    if next_at is not None:
        following = label(spec.cas[spec.cas.index(ca) + 1])
        later = f"If that lasts, {following} is asked from {next_at:%Y-%m-%d %H:%M} UTC."
        told.hint = f"{error.hint} {later}" if error.hint else later
    return told


def _prepare_account(spec: CertificateSpec, run: Run, *, several: bool) -> None:
    if not several:
        use_account(run, spec.ca, spec.ca_bundle, spec.account)
        return
    if choose_account(run, spec.ca, spec.account) is not None:
        return
    try:
        register_new(run, spec.ca, spec.ca_bundle)
    except AcmeError as error:
        command = f"certctl register --ca {as_typed(spec.ca)}"
        if spec.ca_bundle:
            command += f" --ca-bundle {spec.ca_bundle}"
        if isinstance(error, EabRequired):
            command += " --eab-kid KID --eab-hmac-key-file FILE"
        needed = f"Each CA of a certificate needs an account beforehand: {command}"
        keep = error.hint and not isinstance(error, EabRequired)
        error.hint = f"{error.hint} {needed}" if keep else needed
        raise


def _require_profile(spec: CertificateSpec, profile: str, run: Run) -> None:
    """Raise `UsageError` if a CA does not offer the profile. One that is out of service is not
    asked again for that.
    """
    for ca in spec.cas:
        try:
            offered = run.client(ca, spec.ca_bundle).directory.profiles
        except AcmeError:
            continue
        if profile not in offered:
            raise UsageError(
                f"{label(ca)} does not offer the profile {profile!r}, so that it could never take"
                f" the place of another CA; it offers {', '.join(sorted(offered)) or 'none'}",
                hint="Use --profile instead to request a profile without requiring it.",
                name=spec.name,
                code="usage.profile",
            )
