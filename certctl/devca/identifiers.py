"""Checks the identifiers of an order, and reports all errors together."""

from __future__ import annotations

from typing import Any

from certctl.devca.problems import Problem, compound
from certctl.devca.settings import Profile
from certctl.model.errors import UsageError
from certctl.model.names import parse_identifier

_SHOWN = 253


def parse(given: Any, profile: Profile) -> list[dict[str, str]]:
    """Return the identifiers of a newOrder request, deduplicated, in canonical form. Raises
    `Problem`, with one subproblem for each rejected identifier (RFC 8555 §6.7.1).
    """
    if not isinstance(given, list) or not given:
        raise Problem("malformed", "an order must have identifiers")
    if len(given) > profile.max_names:
        raise Problem(
            "malformed", f"the profile {profile.name} allows {profile.max_names} identifiers"
        )
    found: list[dict[str, str]] = []
    refused: list[tuple[dict[str, str], Problem]] = []
    for each in given:
        if (
            not isinstance(each, dict)
            or not isinstance(each.get("type"), str)
            or not isinstance(each.get("value"), str)
        ):
            raise Problem("malformed", "an identifier must have a type and a value")
        try:
            one = _parse_one(each["type"], each["value"], profile)
        except Problem as problem:
            value = {"type": each["type"][:_SHOWN], "value": each["value"][:_SHOWN]}
            refused.append((value, problem))
            continue
        if one not in found:
            found.append(one)
    if refused:
        raise compound(refused, "some identifiers were rejected")
    return found


def _parse_one(kind: str, value: str, profile: Profile) -> dict[str, str]:
    if kind not in {"dns", "ip"}:
        raise Problem(
            "unsupportedIdentifier", f"identifiers of type {kind!r:.40} are not supported"
        )
    if kind not in profile.identifier_types:
        raise Problem(
            "unsupportedIdentifier", f"the profile {profile.name} does not allow type {kind}"
        )
    try:
        parsed = parse_identifier(value)
    except UsageError as error:
        raise Problem("rejectedIdentifier", error.message) from None
    except (ValueError, RecursionError):
        raise Problem("rejectedIdentifier", "this is not a valid name") from None
    if parsed.type != kind:
        raise Problem("malformed", f"this is not an identifier of type {kind}")
    # names must be A-labels, addresses in their shortest form (RFC 8738 §3)
    if parsed.value != value.lower():
        raise Problem("malformed", f"the canonical form is {parsed.value}")
    if "_" in parsed.value:
        raise Problem("rejectedIdentifier", "a host name cannot contain an underscore")
    return {"type": kind, "value": parsed.value}
