"""Accounts in words and in JSON; their keys are part of neither."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.models import Account
from certctl.output.certificates import pairs
from certctl.output.document import Json
from certctl.output.times import Times, moment
from certctl.rate_limits import Usage

_SHOWN = 10


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


def usage_objects(usages: Sequence[Usage]) -> list[Json]:
    """Return what is used of a CA's limits as JSON."""
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
    """Return what is used of a CA's limits, the fullest of them in a line each."""
    lines: list[str] = []
    for usage in usages[:_SHOWN]:
        room = f"; room again at {times.minute(usage.available_at)}" if usage.available_at else ""
        lines.append(f"  used     {usage}{room}")
    if len(usages) > _SHOWN:
        lines.append(f"  used     of {len(usages) - _SHOWN} more limits: see --json")
    return lines
