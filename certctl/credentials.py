"""Named credentials of DNS providers, and which zone is written with which of them.

The two tables of `certctl.toml` (`[dns.credentials.NAME]`, `[dns.zones]`) and the KEY=VALUE pairs
of `--dns-option`: their shape, and that no secret stands where others could read it. What a
provider's options mean, and where a secret is found, is `certctl.dns.profiles`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from certctl.errors import ConfigurationError, UsageError
from certctl.models import Value

AUTO = "auto"
"""The provider that `[dns.zones]` names, for each zone its own."""

SOURCES = ("file", "command", "credential", "variable")
"""Where the secret KEY may come from, as KEY_file and so on."""

TABLE = "dns.credentials"
ZONES = "dns.zones"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
_SECRET_WORDS = frozenset(
    {"key", "token", "secret", "password", "passwd", "pass", "psw", "phrase", "passphrase"}
    | {"totp", "2fa", "content", "info"}
)
_PUBLIC_ENDS = ("_id", "_name", "_algorithm", "_type", "_global", *(f"_{each}" for each in SOURCES))


@dataclass(frozen=True)
class Profile:
    """A provider with its options by their names, such as `zone_id` or `auth_token_file`.

    `where` says in errors where it stands. `private`: nobody else can read it, so that secrets may
    stand in it themselves.
    """

    name: str
    provider: str
    values: Mapping[str, Value] = field(default_factory=dict, repr=False)
    where: str = ""
    private: bool = False


@dataclass(frozen=True)
class DnsCredentials:
    """Profiles by name, the profile of each zone, and where else secrets are looked for.

    `files` has the profiles of `certctl.toml` that are files of their own, `directory` those that
    it need not name; `variables` is the environment of the process.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def of_zone(self, name: str) -> str | None:
        """Return the profile that `[dns.zones]` has for a record's name: that of the longest zone
        which the name lies in; None where there is none.
        """
        found = [zone for zone in self.zones if zone == "" or f".{name}".endswith(f".{zone}")]
        return self.zones[max(found, key=len)] if found else None


EMPTY = DnsCredentials()


def is_secret(option: str) -> bool:
    """Whether an option of that name holds a secret, as far as its name tells."""
    name = option.lower()
    return not name.endswith(_PUBLIC_ENDS) and not _SECRET_WORDS.isdisjoint(name.split("_"))


def without_tables(document: Mapping[str, object]) -> dict[str, object]:
    """Return a document without the tables that `read_tables` reads."""
    dns = document.get("dns")
    if not isinstance(dns, Mapping):
        return dict(document)
    rest = {key: value for key, value in dns.items() if key not in ("credentials", "zones")}
    others = {key: value for key, value in document.items() if key != "dns"}
    return {**others, "dns": rest} if rest else others


def read_tables(document: Mapping[str, object], where: str, home: str) -> DnsCredentials:
    """Return what the two tables of `certctl.toml` say; relative paths start from `home`.

    Raises `ConfigurationError`, for a secret that stands in the file itself too.
    """
    dns = document.get("dns")
    tables = dns if isinstance(dns, Mapping) else {}
    credentials = _table(tables.get("credentials"), TABLE, where)
    profiles: dict[str, Profile] = {}
    files: dict[str, str] = {}
    for name, given in credentials.items():
        heading = f"{where}: [{TABLE}.{name}]"
        if not _NAME.match(name):
            raise ConfigurationError(f"{heading}: a name has letters, digits, - and _ only")
        values = _table(given, f"{TABLE}.{name}", where)
        if "file" in values:
            files[name] = _file(values, heading, home)
        else:
            profiles[name] = read_profile(name, values, heading, home=home)
    found = DnsCredentials(profiles, files, directory=os.path.join(home, "credentials"))  # noqa: PTH118 - no file is touched
    return replace(found, zones=_zones(tables.get("zones"), where))


def read_profile(
    name: str,
    values: Mapping[str, object],
    where: str,
    *,
    home: str,
    private: bool = False,
) -> Profile:
    """Return the profile that a table means. Raises `ConfigurationError` for one without a
    provider, a value that is none, and a secret where others could read it.
    """
    provider = values.get("provider")
    if not isinstance(provider, str) or not provider:
        raise ConfigurationError(
            f"{where} names no provider",
            hint='provider = "cloudflare"; certctl dns list has them all.',
        )
    checked: dict[str, Value] = {}
    for key, value in values.items():
        if key == "provider":
            continue
        if not isinstance(value, str | int | float | bool):
            raise ConfigurationError(f"{where}: {key} is neither a text, a number, true nor false")
        if not private and is_secret(key):
            raise exposed_secret(key, where)
        path = key.endswith("_file") and isinstance(value, str)
        checked[key] = _absolute(str(value), home) if path else value
    return Profile(name, provider, MappingProxyType(checked), where, private)


def read_options(pairs: Iterable[str], provider: str) -> Profile:
    """Return the profile that KEY=VALUE pairs of `--dns-option` make for a provider.

    Raises `UsageError`; secrets are refused, since everybody sees the arguments of a process.
    """
    values: dict[str, Value] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            shown = key if not equals else pair
            raise UsageError(
                f"--dns-option {shown!r} is no KEY=VALUE", hint=f"certctl dns show {provider}"
            )
        if is_secret(key):
            raise exposed_secret(key, "--dns-option")
        values[key] = value
    return Profile("", provider, MappingProxyType(values), "--dns-option")


def absolute_option(pair: str, directory: str) -> str:
    """Return a pair of `--dns-option` with the path of a KEY_file made absolute."""
    key, equals, value = pair.partition("=")
    return f"{key}={_absolute(value, directory)}" if equals and key.endswith("_file") else pair


def exposed_secret(key: str, where: str) -> ConfigurationError:
    """Return the error for a secret that stands where others can read it; it is not shown."""
    return ConfigurationError(
        f"{where}: {key} is a secret, and others could read it there",
        hint=f"Keep it in a file that only its owner can read, and give {key}_file; or have a"
        f" command print it ({key}_command).",
        code="configuration.secret",
    )


def unknown_profile(name: str, credentials: DnsCredentials) -> ConfigurationError:
    """Return the error for credentials that are nowhere, with the nearest that are."""
    known = sorted({*credentials.profiles, *credentials.files})
    near = difflib.get_close_matches(name, known, n=1)
    file = f" or the file {credentials.directory}/{name}.toml" if credentials.directory else ""
    return ConfigurationError(
        f"there are no DNS credentials {name!r}",
        hint=f"Did you mean {near[0]}?"
        if near
        else f"Write the table [{TABLE}.{name}] into certctl.toml{file}.",
        code="configuration.dns_credentials",
    )


def from_environment(provider: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that could set options of a provider from outside certctl: ours, and
    those of Lexicon.
    """
    word = provider.replace("-", "_").upper()
    prefixes = (f"CERTCTL_{word}_", f"LEXICON_{word}_")
    return {key: value for key, value in variables.items() if value and key.startswith(prefixes)}


def _zones(given: object, where: str) -> Mapping[str, str]:
    zones: dict[str, str] = {}
    for zone, profile in _table(given, ZONES, where).items():
        if not isinstance(profile, str):
            raise ConfigurationError(
                f"{where}: [{ZONES}] {zone!r} must name credentials",
                hint=f'Quote a zone with dots: "example.com" = "NAME" for [{TABLE}.NAME].',
            )
        zones[zone.lower().strip(".")] = profile
    return MappingProxyType(zones)


def _file(values: Mapping[str, object], heading: str, home: str) -> str:
    path = values["file"]
    if not isinstance(path, str) or len(values) > 1:
        raise ConfigurationError(f"{heading}: with `file`, everything else stands in that file")
    return _absolute(path, home)


def _table(given: object, name: str, where: str) -> Mapping[str, object]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: {name} must be a table")
    return given


def _absolute(path: str, directory: str) -> str:
    # `normpath` and `expanduser` on strings: no file is touched here
    return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))  # noqa: PTH111, PTH118
