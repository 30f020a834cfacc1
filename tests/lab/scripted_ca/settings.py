"""The knobs of the scripted CA: what a CA is free to do, and a client must take.

Knobs may be turned at any time between two requests. What no CA should do is in `faults`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tests.lab.scripted_ca.chains import Chain, full

ALWAYS = sys.maxsize  # as a number of times or of polls

Failing = Literal[
    "invalid",  # authorization and challenge invalid, the error on the challenge
    "invalid without error",  # the same, no error anywhere
    "refused",  # "invalid", and the answer to the challenge is that problem as well
    "stays pending",  # the authorization stays pending, the error stands on its challenge
    "deactivated",
    "expired",
    "revoked",
    "unknown",  # a status that no RFC knows
]


@dataclass(kw_only=True, slots=True)
class Settings:
    # on every answer that shows something unfinished; whatever the test likes, garbage too
    retry_after: int | str | None = None

    # accounts; a change of the terms' URL makes every account agree anew (RFC 8555 §7.3.3)
    terms_of_service: str | None = "https://ca.example/terms/1"
    signature_algorithms: tuple[str, ...] = ("ES256", "ES384", "ES512", "RS256")
    eab_required: bool = False
    eab_keys: dict[str, bytes] = field(default_factory=dict)
    key_change_has_effect: bool = True

    # orders
    authorizations_start: Literal["pending", "valid"] = "pending"
    already_valid: set[str] = field(default_factory=set)  # identifiers; "*.example.com" too
    reuse_pending_orders: bool = False  # the same names again: the same order again
    shuffled: bool = False  # identifiers, authorizations and challenges each in another order
    order_errors: bool = True  # an invalid order says why
    profiles: dict[str, str] = field(default_factory=dict)  # name → what it is for

    # validation
    token_bytes: int = 32
    failing: dict[str, tuple[Failing, dict[str, Any]]] = field(default_factory=dict)  # see `fail`
    extra_challenges: list[dict[str, Any]] = field(default_factory=list)  # e.g. of unknown types
    validated_after: int = 0  # polls of authorization, challenge or order, before the outcome shows
    validate_http01: tuple[str, int] | None = None  # really fetch tokens, from this host and port

    # finalization
    finalize_polls: int = 0  # polls that see `processing`; with 0, finalize itself says `valid`
    finalize_succeeds: bool = True

    # certificates
    lifetime: timedelta = timedelta(days=90)
    backdated: timedelta = timedelta(hours=1)  # negative: not valid yet
    chain: Chain = full
    alternates: int = 0  # how many alternate chains, each to a root of its own
    revocation_reasons: tuple[int, ...] = (0, 1, 4, 5)

    # renewal information (RFC 9773)
    renewal_info: bool = True  # whether the directory has it and orders may say `replaces`
    renewal_window: tuple[datetime, datetime] | None = None  # None: when two thirds have gone
    renewal_explanation: str | None = None
    renewal_retry_after: int | str | None = 21600
