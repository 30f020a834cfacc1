"""Checks of a CA for `doctor`: reachability, clock skew, the account, terms of service, profiles.

Read-only.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from certctl.ca.client import AcmeClient, Directory
from certctl.ca.directories import as_typed, label
from certctl.ca.problems import shown_terms
from certctl.model.ca import Account
from certctl.model.errors import AccountError, AcmeError
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec

SMALL_SKEW = timedelta(minutes=1)
LARGE_SKEW = timedelta(hours=1)
"""CAs backdate certificates by about an hour. If the local clock is further behind, a new
certificate is not valid yet.
"""


def directory_findings(
    directory: Directory, ca: str, account: Account | None, *, needed: bool = False
) -> Iterator[Finding]:
    """Yield findings from a CA's directory, given the local account there, if any; `needed`: a
    certificate has several CAs, and another one may take its place at any time.
    """
    if account is None:
        yield _without_account(ca, eab=directory.external_account_required, needed=needed)
        return
    agreed, wanted = account.terms_of_service, directory.terms_of_service
    if agreed is not None and wanted is not None and agreed != wanted:
        yield Finding(
            "ca.terms",
            Severity.WARNING,
            label(ca),
            f"the terms of service have changed to {shown_terms(wanted)}; the account agreed to"
            f" {shown_terms(agreed)}",
            f"Read them, then run: certctl account update --ca {as_typed(ca)} --agree-tos",
        )


def clock_findings(ca: str, theirs: datetime | None, ours: datetime) -> Iterator[Finding]:
    """Yield a finding if this machine's clock differs from the CA's by too much. `theirs` and
    `ours` are UTC times of the same instant.
    """
    if theirs is None or abs(skew := ours - theirs) < SMALL_SKEW:
        return
    minutes = abs(skew) // timedelta(minutes=1)
    far = f"{minutes // 60} hours" if minutes >= 120 else f"{minutes} minutes"
    yield Finding(
        "clock.skew",
        Severity.ERROR if abs(skew) >= LARGE_SKEW else Severity.WARNING,
        label(ca),
        f"the clock of this machine is {far} {'ahead of' if skew > timedelta(0) else 'behind'}"
        " the CA's",
        "Set the clock and enable time synchronization: timedatectl set-ntp true",
    )


def account_findings(client: AcmeClient, account: Account) -> Iterator[Finding]:
    """Yield a finding if the CA no longer accepts the account; `client` signs with its key."""
    try:
        status = client.account().status
    except AccountError as error:
        status = error.type or "refused"
    except AcmeError:
        return  # some CAs do not support this query; the next order will show it
    if status != "valid":
        yield Finding(
            "ca.account",
            Severity.ERROR,
            label(account.directory_url),
            f"the CA does not accept the account {account.id} ({account.url}): {status}",
            f"certctl register --ca {as_typed(account.directory_url)}",
        )


def profile_findings(directory: Directory, spec: CertificateSpec) -> Iterator[Finding]:
    """Yield a finding if a CA does not offer the profile that a certificate asks for."""
    offered = directory.profiles
    wanted = spec.required_profile or spec.profile
    if wanted is None or wanted in offered:
        return
    flag = "--required-profile" if spec.required_profile else "--profile"
    yield Finding(
        "ca.profile",
        Severity.ERROR if spec.required_profile else Severity.WARNING,
        spec.name,
        f"{label(spec.ca)} does not offer the profile {wanted!r}; it offers:"
        f" {', '.join(offered) or 'none'}",
        f"Choose one of these: certctl edit {spec.name} {flag} NAME",
    )


def unreachable(ca: str, error: AcmeError) -> Finding:
    """Return the finding for a CA that cannot be reached."""
    return Finding(
        "ca.unreachable",
        Severity.ERROR,
        label(ca),
        error.message,
        error.hint or "Check the network, the proxy (https_proxy), and the CA's status page.",
    )


def _without_account(ca: str, *, eab: bool, needed: bool) -> Finding:
    if eab:
        return Finding(
            "ca.eab",
            Severity.WARNING,
            label(ca),
            "no account is registered yet, and the CA requires an external account binding",
            f"certctl register --ca {as_typed(ca)} --eab-kid KID --eab-hmac-key-file FILE",
        )
    if needed:
        return Finding(
            "ca.no_account",
            Severity.WARNING,
            label(ca),
            "no account is registered yet, so that it cannot take the place of another CA",
            f"certctl register --ca {as_typed(ca)}",
        )
    return Finding(
        "ca.no_account",
        Severity.INFO,
        label(ca),
        "no account is registered yet; the first issuance registers one",
        f"certctl register --ca {as_typed(ca)}",
    )
