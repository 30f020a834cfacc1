"""Accounts in words and in JSON; their keys are part of neither."""

from __future__ import annotations

from certctl.models import Account
from certctl.output.certificates import pairs
from certctl.output.document import Json
from certctl.output.times import moment


def account_object(account: Account) -> dict[str, Json]:
    """Return an account as JSON."""
    return {
        "id": account.id,
        "ca": account.directory_url,
        "url": account.url,
        "status": account.status,
        "key_type": account.key_type.value,
        "contact": list(account.contact),
        "terms_of_service": account.terms_of_service,
        "created": moment(account.created),
    }


def account_lines(account: Account) -> list[str]:
    """Return an account as a paragraph."""
    return pairs(
        [
            ("account", account.id),
            ("CA", account.directory_url),
            ("URL", account.url),
            ("status", account.status),
            ("key", account.key_type.value),
            ("contact", ", ".join(account.contact) or "none"),
        ]
    )
