"""The settings of the development CA, which can be changed while it runs, and parsing of durations,
challenge types and profiles.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import timedelta
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

from certctl.devca.faults import Faults
from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.reading import read_bounded

HTTP_PORT = 5002
TLS_ALPN_PORT = 5001

CHALLENGE_TYPES = ("http-01", "dns-01", "tls-alpn-01")
"""The challenge types offered by default."""

DRAFT_CHALLENGE_TYPES = ("dns-account-01", "dns-persist-01")
"""Further supported challenge types, from IETF drafts."""

_MAX_BYTES = 100_000
_SECONDS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400})
_DURATION = re.compile(r"(\d{1,9})([smhd])\Z")


@dataclass(frozen=True)
class Profile:
    """A certificate profile that an order can select by name."""

    name: str
    description: str
    lifetime: timedelta
    common_name: bool = False
    max_names: int = 100
    identifier_types: frozenset[str] = frozenset({"dns", "ip"})


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "classic",
                "90 days, with a common name; what an order without a profile gets",
                timedelta(days=90),
                common_name=True,
            ),
            Profile(
                "tlsserver",
                "45 days, no common name, DNS names only",
                timedelta(days=45),
                max_names=25,
                identifier_types=frozenset({"dns"}),
            ),
            Profile("shortlived", "160 hours, no common name", timedelta(hours=160), max_names=25),
        )
    }
)
"""The default profiles, named after those of Let's Encrypt."""


@dataclass(kw_only=True, slots=True)
class DevCaSettings:
    """The settings; each may be changed between two requests.

    `validate_at` is the address where HTTP-01 and TLS-ALPN-01 are validated for all names, None to
    resolve the names. `dns` is the resolver (`ADDRESS:PORT`) for TXT records and addresses, None
    for the built-in zone. `lifetime` overrides that of every profile. `processing` is how many
    seconds an order stays in that status, `math.inf` for permanently. `terms_of_service` is a URL,
    absolute or relative to the CA's own; an account that agreed to a different one must agree
    again. `challenge_types` are offered if they apply to the identifier; `dns_persist_form` is the
    form of dns-persist-01 to use, `01` or `02`.
    """

    http_port: int = HTTP_PORT
    tls_alpn_port: int = TLS_ALPN_PORT
    validate_at: str | None = "127.0.0.1"
    dns: str | None = None
    validation_seconds: float = 0.0
    lifetime: timedelta | None = None
    profiles: dict[str, Profile] = field(default_factory=lambda: dict(PROFILES))
    default_profile: str = "classic"
    eab_keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    reuse_authorizations: bool = False
    authorization_lifetime: timedelta = timedelta(days=30)
    pending_lifetime: timedelta = timedelta(days=7)
    processing: float = 0.0
    challenge_types: frozenset[str] = frozenset(CHALLENGE_TYPES)
    dns_persist_form: str = "02"
    terms_of_service: str | None = "/terms"
    revocation_reasons: frozenset[int] = frozenset({0, 1, 3, 4, 5})
    faults: Faults = field(default_factory=Faults)

    def profile(self, name: str | None) -> Profile | None:
        """Return the profile of that name, or the default profile; None if it does not exist."""
        return self.profiles.get(name or self.default_profile)


def parse_challenge_types(given: Iterable[str]) -> frozenset[str]:
    """Return the challenge types to offer; the defaults if none are given. Raises `UsageError`."""
    known = (*CHALLENGE_TYPES, *DRAFT_CHALLENGE_TYPES)
    wanted = frozenset(given)
    unknown = sorted(wanted.difference(known))
    if unknown:
        raise UsageError(
            f"there is no challenge type {unknown[0]!r}", hint=f"The types are: {', '.join(known)}."
        )
    return wanted or frozenset(CHALLENGE_TYPES)


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `30s`, `15m`, `160h` or `90d`. Raises `UsageError`."""
    found = _DURATION.match(text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(
            f"{text!r} is not a valid duration",
            hint="Give a number and a unit, such as 30s, 15m, 160h or 90d.",
        )
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def parse_processing(text: str) -> float:
    """Return how many seconds an order stays in `processing`; `math.inf` for `never`, an order that
    is never finished. Raises `UsageError`.
    """
    return inf if text == "never" else parse_duration(text).total_seconds()


def load_profiles(path: Path) -> dict[str, Profile]:
    """Return the profiles in a TOML file, one table for each.

    For example:

        [canary]
        description = "for testing"
        lifetime = "10m"
        common_name = false
        max_names = 10
        identifier_types = ["dns"]

    Raises `ConfigurationError` naming the file, the profile and the key.
    """
    try:
        document = tomllib.loads(read_bounded(path, _MAX_BYTES).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    return {name: _profile(name, table, path) for name, table in document.items()}


_KEYS = MappingProxyType(
    {
        "description": str,
        "lifetime": str,
        "common_name": bool,
        "max_names": int,
        "identifier_types": list,
    }
)


def _profile(name: str, table: Any, path: Path) -> Profile:
    if not isinstance(table, dict) or "lifetime" not in table:
        raise ConfigurationError(f"{path}: [{name}] is not a table with a lifetime")
    for key, value in table.items():
        if not isinstance(value, _KEYS.get(key, ())):
            raise ConfigurationError(
                f"{path}: [{name}] {key} = {value!r} is not valid",
                hint=f"The keys of a profile are: {', '.join(_KEYS)}.",
            )
    types = frozenset(table.get("identifier_types", ("dns", "ip")))
    if not types or not types <= {"dns", "ip"}:
        raise ConfigurationError(f"{path}: [{name}] identifier_types must be dns, ip or both")
    try:
        lifetime = parse_duration(table["lifetime"])
    except UsageError as error:
        message = f"{path}: [{name}] lifetime: {error.message}"
        raise ConfigurationError(message, hint=error.hint) from None
    return Profile(
        name,
        table.get("description", name),
        lifetime,
        common_name=table.get("common_name", False),
        max_names=table.get("max_names", 100),
        identifier_types=types,
    )
