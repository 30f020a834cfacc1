"""The name of a virtual host that answers for no site."""

from __future__ import annotations

PLACEHOLDER = "certctl.invalid"
"""A name that can never exist (RFC 6761 §6.4)."""
