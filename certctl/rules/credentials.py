"""Named credentials for DNS providers, and the zones that use them.

Parses the tables `[dns.credentials.NAME]` and `[dns.zones]` of `certctl.toml` and the KEY=VALUE
pairs of `--dns-option`, and rejects secrets where other users could read them.
`certctl.dns.profiles` interprets the options of a provider and reads its secrets.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from types import MappingProxyType

from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value
from certctl.rules.paths import absolute_path

AUTO = "auto"
"""As a provider: use the credentials that `[dns.zones]` configures for each zone."""

SOURCES = ("file", "command", "credential", "variable")
"""Sources of a secret: KEY_file, KEY_command and so on."""

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
    """A DNS provider with its options by name, such as `zone_id` or `auth_token_file`.

    `where` is its location, for errors. `private`: other users cannot read it, so it may contain
    secrets.
    """

    name: str
    provider: str
    values: Mapping[str, Value] = field(default_factory=dict, repr=False)
    where: str = ""
    private: bool = False


@dataclass(frozen=True)
class DnsCredentials:
    """Profiles by name, the profile name for each zone, and further sources of credentials.

    `files` has the paths of profiles that `certctl.toml` keeps in separate files, `directory` is
    searched for other profiles, and `variables` is the environment of the process.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def of_zone(self, name: str) -> str | None:
        """Return the profile name that `[dns.zones]` configures for a record: that of the longest
        zone that contains the name, or None.
        """
        found = [zone for zone in self.zones if zone == "" or f".{name}".endswith(f".{zone}")]
        return self.zones[max(found, key=len)] if found else None


EMPTY = DnsCredentials()


def is_secret(option: str) -> bool:
    """Return whether an option is a secret, judging by its name."""
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
    """Return the credentials and zones of `certctl.toml`; paths are relative to `home`.

    Raises `ConfigurationError`, also for a secret in the file itself.
    """
    dns = document.get("dns")
    tables = dns if isinstance(dns, Mapping) else {}
    credentials = _table(tables.get("credentials"), TABLE, where)
    profiles: dict[str, Profile] = {}
    files: dict[str, str] = {}
    for name, given in credentials.items():
        heading = f"{where}: [{TABLE}.{name}]"
        if not _NAME.match(name):
            raise ConfigurationError(
                f"{heading}: the name may contain only letters, digits, - and _"
            )
        values = _table(given, f"{TABLE}.{name}", where)
        if "file" in values:
            files[name] = _file(values, heading, home)
        else:
            profiles[name] = read_profile(name, values, heading, home=home)
    found = DnsCredentials(profiles, files, directory=os.path.join(home, "credentials"))  # noqa: PTH118 - pure string operation
    return replace(found, zones=_zones(tables.get("zones"), where))


def read_profile(
    name: str,
    values: Mapping[str, object],
    where: str,
    *,
    home: str,
    private: bool = False,
) -> Profile:
    """Return the profile for a table. Raises `ConfigurationError` for a missing provider, an
    invalid value, or a secret in a file that other users could read.
    """
    provider = values.get("provider")
    if not isinstance(provider, str) or not provider:
        raise ConfigurationError(
            f"{where}: the provider is missing",
            hint='Add, for example: provider = "cloudflare". List all providers with:'
            " certctl dns list",
        )
    checked: dict[str, Value] = {}
    for key, value in values.items():
        if key == "provider":
            continue
        if not isinstance(value, str | int | float | bool):
            raise ConfigurationError(f"{where}: {key} must be a string, a number, true or false")
        if not private and is_secret(key):
            raise exposed_secret(key, where)
        path = key.endswith("_file") and isinstance(value, str)
        checked[key] = _absolute(str(value), home) if path else value
    return Profile(name, provider, MappingProxyType(checked), where, private)


def read_options(pairs: Iterable[str], provider: str) -> Profile:
    """Return a provider's profile from the KEY=VALUE pairs of `--dns-option`.

    Raises `UsageError`, and `ConfigurationError` for a secret, because other users can see the
    arguments of a process.
    """
    values: dict[str, Value] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            given = key if not equals else pair
            raise UsageError(
                f"--dns-option {given!r} is not of the form KEY=VALUE",
                hint=f"List the options with: certctl dns show {provider}",
            )
        if is_secret(key):
            raise exposed_secret(key, "--dns-option")
        values[key] = value
    return Profile("", provider, MappingProxyType(values), "--dns-option")


def absolute_option(pair: str, directory: str) -> str:
    """Return a KEY=VALUE pair of `--dns-option`; the path of a KEY_file is made absolute."""
    key, equals, value = pair.partition("=")
    return f"{key}={_absolute(value, directory)}" if equals and key.endswith("_file") else pair


def exposed_secret(key: str, where: str) -> ConfigurationError:
    """Return the error for a secret where other users can read it, without its value."""
    return ConfigurationError(
        f"{where}: {key} is a secret, which other users could read here",
        hint=f"Put it into a file that only its owner can read, and set {key}_file to its path; or"
        f" set {key}_command to a command that prints it.",
        code="configuration.secret",
    )


def unknown_profile(name: str, credentials: DnsCredentials) -> ConfigurationError:
    """Return the error for unknown credentials, with the closest match as a hint."""
    known = sorted({*credentials.profiles, *credentials.files})
    near = difflib.get_close_matches(name, known, n=1)
    file = f", or create {credentials.directory}/{name}.toml" if credentials.directory else ""
    return ConfigurationError(
        f"there are no DNS credentials named {name!r}",
        hint=f"Did you mean {near[0]}?"
        if near
        else f"Add the table [{TABLE}.{name}] to certctl.toml{file}.",
        code="configuration.dns_credentials",
    )


def from_environment(provider: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that could set options of a provider: those of certctl and
    those of Lexicon.
    """
    prefix = provider.replace("-", "_").upper()
    prefixes = (f"CERTCTL_{prefix}_", f"LEXICON_{prefix}_")
    return {key: value for key, value in variables.items() if value and key.startswith(prefixes)}


def _zones(given: object, where: str) -> Mapping[str, str]:
    zones: dict[str, str] = {}
    for zone, profile in _table(given, ZONES, where).items():
        if not isinstance(profile, str):
            raise ConfigurationError(
                f"{where}: the value of {zone!r} in [{ZONES}] must be the name of credentials",
                hint=f'Quote a zone with dots: "example.com" = "NAME" for [{TABLE}.NAME].',
            )
        zones[zone.lower().strip(".")] = profile
    return MappingProxyType(zones)


def _file(values: Mapping[str, object], heading: str, home: str) -> str:
    path = values["file"]
    if not isinstance(path, str) or len(values) > 1:
        raise ConfigurationError(
            f"{heading}: `file` must be a path and cannot be combined with other keys",
            hint="Move the other keys into that file.",
        )
    return _absolute(path, home)


def _table(given: object, name: str, where: str) -> Mapping[str, object]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: {name} must be a table")
    return given


def _absolute(path: str, directory: str) -> str:
    return os.path.normpath(absolute_path(path, directory))
