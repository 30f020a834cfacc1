"""Whether a CA can be used: reached, its clock and ours, our account there, what it changed.

For `doctor`: it asks, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from certctl.ca.client import AcmeClient, Directory
from certctl.ca.directories import as_typed, label
from certctl.errors import AccountError, AcmeError
from certctl.models import Account, CertificateSpec, Finding, Severity

SMALL_SKEW = timedelta(minutes=1)
LARGE_SKEW = timedelta(hours=1)
"""CAs backdate certificates by an hour or so: with a clock that is further behind, a new one is not
valid yet.
"""


def directory_findings(directory: Directory, ca: str, account: Account | None) -> Iterator[Finding]:
    """Yield what a CA's directory says to who has this account there, or none."""
    if account is None:
        yield _without_account(ca, eab=directory.external_account_required)
        return
    agreed, wanted = account.terms_of_service, directory.terms_of_service
    if agreed is not None and wanted is not None and agreed != wanted:
        yield Finding(
            "ca.terms",
            Severity.WARNING,
            label(ca),
            f"it has new terms of service: {wanted}; {agreed} were agreed to",
            f"Read them, then: certctl account update --ca {as_typed(ca)} --agree-tos",
        )


def clock_findings(ca: str, theirs: datetime | None, ours: datetime) -> Iterator[Finding]:
    """Yield how far this machine's clock is from the CA's, where that matters; both in UTC, of the
    same moment.
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
        "Set it, and keep it right: timedatectl set-ntp true",
    )


def account_findings(client: AcmeClient, account: Account) -> Iterator[Finding]:
    """Yield whether the CA still serves our account; `client` signs with its key."""
    try:
        status = client.account().status
    except AccountError as error:
        status = error.type or "refused"
    except AcmeError:
        return  # some CAs do not answer that question; an order will tell
    if status != "valid":
        yield Finding(
            "ca.account",
            Severity.ERROR,
            label(account.directory_url),
            f"it does not serve our account {account.id} ({account.url}): {status}",
            f"certctl register --ca {as_typed(account.directory_url)}",
        )


def profile_findings(directory: Directory, spec: CertificateSpec) -> Iterator[Finding]:
    """Yield whether a CA offers the profile that a certificate wants."""
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
        f"Choose one that it offers: certctl edit {spec.name} {flag} NAME",
    )


def unreachable(ca: str, error: AcmeError) -> Finding:
    """Return the finding for a CA that cannot be reached."""
    return Finding(
        "ca.unreachable",
        Severity.ERROR,
        label(ca),
        error.message,
        error.hint or "Check the network, a proxy (https_proxy), and the CA's status page.",
    )


def _without_account(ca: str, *, eab: bool) -> Finding:
    if eab:
        return Finding(
            "ca.eab",
            Severity.WARNING,
            label(ca),
            "there is no account here yet, and the CA wants an external account binding for one",
            f"certctl register --ca {as_typed(ca)} --eab-kid KID --eab-hmac-key-file FILE",
        )
    return Finding(
        "ca.no_account",
        Severity.INFO,
        label(ca),
        "there is no account here yet; the first issuance makes one",
        f"certctl register --ca {as_typed(ca)}",
    )
