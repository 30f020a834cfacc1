"""Which names a TXT record may have. Independent of dnspython."""

from __future__ import annotations

import re

from certctl.model.errors import ChallengeError

NAME_CODE = "challenge.dns.name"

_MAX_CHARACTERS = 253
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")


def check_name(name: str) -> None:
    """Raise `ChallengeError` if a TXT record cannot have this name.

    The name comes from a CA, or from a CNAME; it is passed to hooks and to the APIs of providers.
    """
    if len(name) <= _MAX_CHARACTERS and all(map(_LABEL.match, name.split("."))):
        return
    raise ChallengeError(
        f"a TXT record cannot be written at {name!r}: it is not a domain name",
        hint="Each label between two dots must have 1 to 63 letters, digits, hyphens and"
        " underscores; the name must have at most 253 characters.",
        code=NAME_CODE,
    )
