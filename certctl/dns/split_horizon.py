"""Hints for a zone that this machine may see differently from the CA (split horizon).

The resolver of an internal network often knows another zone, with other name servers.
"""

from __future__ import annotations


def other_view(zone: str) -> str:
    """Return what to do if the zone that was found may not be the one that the CA sees."""
    return (
        f"This machine's resolver found the zone {zone}. If others see another zone there (split"
        " horizon), use a resolver that sees what the CA sees: --dns-resolver ADDRESS[:PORT]."
    )
