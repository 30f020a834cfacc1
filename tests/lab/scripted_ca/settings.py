"""The settings of the scripted CA: behavior that is allowed, and that a client must handle.

Settings may be changed between two requests. Behavior that is not allowed is in `faults`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tests.lab.scripted_ca.chains import Chain, full

ALWAYS = sys.maxsize  # for `times`, or a number of polls

Failing = Literal[
    "invalid",  # authorization and challenge invalid, the error on the challenge
    "invalid without error",  # the same, no error anywhere
    "refused",  # "invalid", and the challenge response is answered with that problem
    "stays pending",  # the authorization stays pending, with the error on its challenge
    "deactivated",
    "expired",
    "revoked",
    "unknown",  # a status that no RFC defines
]


@dataclass(kw_only=True, slots=True)
class Settings:
    # resource → requests per second and burst; "*": all others together. Above it, 503 with the
    # type of a rate limit, as by Let's Encrypt
    request_limits: dict[str, tuple[float, int]] = field(default_factory=dict)

    # on every reply about an unfinished resource; any text, even if invalid
    retry_after: int | str | None = None

    # accounts; a new terms URL requires every account to agree again (RFC 8555 §7.3.3)
    terms_of_service: str | None = "https://ca.example/terms/1"
    signature_algorithms: tuple[str, ...] = ("ES256", "ES384", "ES512", "RS256")
    eab_required: bool = False
    eab_first: bool = False  # newAccount demands the binding before it looks at the key
    unknown_account: tuple[str, int] = ("accountDoesNotExist", 400)  # what a kid without one gets
    eab_keys: dict[str, bytes] = field(default_factory=dict)
    key_change_has_effect: bool = True

    # orders
    authorizations_start: Literal["pending", "valid"] = "pending"
    already_valid: set[str] = field(default_factory=set)  # identifiers; "*.example.com" too
    reuse_pending_orders: bool = False  # the same names return the same order
    shuffled: bool = False  # identifiers, authorizations and challenges each in a different order
    order_errors: bool = True  # an invalid order has an error
    profiles: dict[str, str] = field(default_factory=dict)  # name → description

    # validation
    token_bytes: int = 32
    failing: dict[str, tuple[Failing, dict[str, Any]]] = field(default_factory=dict)  # see `fail`
    extra_challenges: list[dict[str, Any]] = field(default_factory=list)  # e.g. of unknown types
    validated_after: int = 0  # polls of authorization, challenge or order before the result
    validate_http01: tuple[str, int] | None = None  # really fetch tokens, from this host and port
    caa_server: str | None = None  # look for CAA records there (`host:port`), as real CAs do

    # finalization
    finalize_polls: int = 0  # polls that return `processing`; with 0, finalize returns `valid`
    finalize_succeeds: bool = True

    # certificates
    lifetime: timedelta = timedelta(days=90)
    backdated: timedelta = timedelta(hours=1)  # negative: not valid yet
    chain: Chain = full
    alternates: int = 0  # number of alternate chains, each to its own root
    revocation_reasons: tuple[int, ...] = (0, 1, 4, 5)

    # renewal information (RFC 9773)
    renewal_info: bool = True  # offered by the directory; orders may use `replaces`
    renewal_window: tuple[datetime, datetime] | None = None  # None: after two thirds
    renewal_explanation: str | None = None
    renewal_retry_after: int | str | None = 21600
