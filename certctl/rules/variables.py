"""Environment variables that look like certctl's: those of settings, and those given to hooks.

Other programs are called certctl too, so that an unknown one is never an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from certctl.model.spec import FAMILIES

PREFIX = "CERTCTL_"
HOME = "CERTCTL_HOME"

_FILES = ("CERT_FILE", "CHAIN_FILE", "FULLCHAIN_FILE", "PRIVKEY_FILE", "COMBINED_FILE")

HOOK_VARIABLES = frozenset(
    PREFIX + each
    for each in (
        *_FILES,
        *("CERT_NAME", "CERT_VERSION", "DOMAINS", "EVENT", "LIVE", "NOT_AFTER"),
        "PREVIOUS_VERSION",
        *("SERIAL", "ERROR_CODES", "EXIT_STATUS", "FAILED_CERTS", "FAILURES", "MESSAGE"),
        *("DNS_ACTION", "DNS_DOMAIN", "DNS_NAME", "DNS_VALUE", "DNS_ZONE"),
        *("HTTP_ACTION", "HTTP_ANSWER", "HTTP_DOMAIN", "HTTP_TOKEN"),
        *(f"{family.upper()}_{file}" for family in FAMILIES for file in _FILES),
    )
)
"""What hooks are given: a hook that calls certctl passes them on."""


def candidates(present: Iterable[str]) -> list[str]:
    """Return the variables that should be those of settings, sorted."""
    others = HOOK_VARIABLES | {HOME}
    return sorted(each for each in present if each.startswith(PREFIX) and each not in others)


def is_of_provider(variable: str, providers: Iterable[str]) -> bool:
    """Return whether a variable begins like the options of one of these DNS providers, which are
    read when the provider is used.
    """
    names = (each.upper().replace("-", "_") for each in providers)
    return any(variable.startswith(f"{PREFIX}{each}_") for each in names)


def has_no_effect(variable: str, settings: Iterable[str]) -> str:
    """Return a warning for a variable that is none of these settings'."""
    words = [each.removeprefix(PREFIX) for each in settings]
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), words, n=1, cutoff=0.75)
    meant = f"; did you mean {PREFIX}{near[0]}?" if near else ""
    return f"the variable {variable} has no effect: certctl does not know it{meant}"
