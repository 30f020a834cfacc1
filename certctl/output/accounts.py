"""Accounts as text and as JSON, without their keys."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.ca.directories import as_typed
from certctl.model.ca import Account
from certctl.output.certificates import pairs
from certctl.output.document import Json
from certctl.output.times import Times, moment
from certctl.rules.rate_limits import Usage

_MOST_LIMITS = 10


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
    """Return an account as labelled lines."""
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


def next_step_lines(account: Account) -> list[str]:
    """Return what to do about an account that its CA does not have any more."""
    if account.status != "unknown":
        return []
    return [
        "  The CA no longer knows this account. Register it again:",
        f"    certctl register --ca {as_typed(account.directory_url)}",
        "  Or delete it from this home directory:",
        f"    certctl account forget --account {account.id}",
    ]


def usage_objects(usages: Sequence[Usage]) -> list[Json]:
    """Return the usage of a CA's rate limits as JSON."""
    return [
        {
            "limit": usage.limit.name,
            "per": usage.limit.per.value,
            "subject": usage.subject or None,
            "used": usage.used,
            "allowed": usage.limit.count,
            "seconds": int(usage.limit.window.total_seconds()),
            "available_at": moment(usage.available_at),
        }
        for usage in usages
    ]


def usage_lines(usages: Sequence[Usage], times: Times) -> list[str]:
    """Return the usage of a CA's rate limits, one line for each of the fullest."""
    lines: list[str] = []
    for usage in usages[:_MOST_LIMITS]:
        free = f"; next free at {times.minute(usage.available_at)}" if usage.available_at else ""
        lines.append(f"  used     {usage}{free}")
    if len(usages) > _MOST_LIMITS:
        lines.append(f"  used     {len(usages) - _MOST_LIMITS} more limits; use --json to see all")
    return lines
