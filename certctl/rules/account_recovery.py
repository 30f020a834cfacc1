"""Rules for an account that its CA may have lost: what an error says about it, and whether it may
be registered again without anybody being asked.

Pure. `operations.account_recovery` asks the CA and applies them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from certctl.model.errors import (
    AccountPaused,
    AcmeError,
    CertctlError,
    EabRequired,
    RateLimited,
    TermsChanged,
)
from certctl.model.lazy_dataclass import dataclass

_UNKNOWN = "accountDoesNotExist"
_REFUSED = "unauthorized"


class AccountState(StrEnum):
    """What a CA says when it is asked for the account with a key (RFC 8555 §7.3.1).

    `MOVED`: it has an account with the key, at another URL than the one that is saved.
    """

    KNOWN = "known"
    MOVED = "moved"
    UNKNOWN = "unknown"
    DEACTIVATED = "deactivated"
    UNDECIDED = "undecided"


def may_be_unknown(error: CertctlError) -> bool:
    """Return whether a request may have failed because the CA does not know the account any more.

    RFC 8555 §6.7 has `accountDoesNotExist` for that; some servers say `unauthorized`, `malformed`,
    just 401 or 404, or fail with 500. The CA is asked before anything follows from it.
    """
    if not isinstance(error, AcmeError):
        return False
    if isinstance(error, RateLimited | AccountPaused | TermsChanged | EabRequired):
        return False
    if error.type in {_UNKNOWN, _REFUSED} or error.status in {401, 500}:
        return True
    return error.type in {None, "malformed"} and error.status in {400, 403, 404}


def state_after(error: AcmeError) -> AccountState:
    """Return what a refusal of newAccount with `onlyReturnExisting` says about the account."""
    if error.status is None or error.status >= 500:
        return AccountState.UNDECIDED
    if error.type == _UNKNOWN:
        return AccountState.UNKNOWN
    return AccountState.DEACTIVATED if error.type == _REFUSED else AccountState.UNDECIDED


@dataclass(frozen=True)
class Facts:
    """What decides whether an account is registered again automatically.

    `named_by` says in phrases what names the old account's URL: CAA records, persistent validation
    records, a specification.
    """

    state: AccountState
    terms_agreed: bool
    needs_binding: bool
    named_by: tuple[str, ...] = ()


def obstacle(facts: Facts) -> str | None:
    """Return why the account must not be registered again automatically; None if it may be.

    Only an account that the CA certainly does not have is replaced, and only if nothing has to be
    agreed to, nothing secret is needed, and nothing outside refers to the old account.
    """
    match facts.state:
        case AccountState.KNOWN:
            return "the CA has an account with its key"
        case AccountState.DEACTIVATED:
            return "it was deactivated"
        case AccountState.UNDECIDED:
            return "the CA does not show whether it exists"
        case AccountState.MOVED | AccountState.UNKNOWN:
            pass
    if facts.named_by:
        return f"the old account is named by {', '.join(facts.named_by)}"
    if facts.state is AccountState.MOVED:  # nothing is registered
        return None
    if facts.needs_binding:
        return "the CA requires an external account binding"
    return None if facts.terms_agreed else "the terms of service are not agreed to in the settings"


def some(names: Iterable[str], most: int = 5) -> str:
    """Return a list of names in one phrase."""
    listed = list(names)
    more = [f"and {len(listed) - most} more"] if len(listed) > most else []
    return ", ".join([*listed[:most], *more])
