"""Converts a credentials profile to its provider's settings: checks options and reads secrets.

Secrets are read when a provider is created, kept in memory only, and never shown. The format of
profiles is defined in `certctl.rules.credentials`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from certctl.dns.system import ProviderSystem
from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.rules import certbot_credentials
from certctl.rules.credentials import (
    SOURCES,
    DnsCredentials,
    Profile,
    exposed_secret,
    from_environment,
    read_profile,
    unknown_profile,
)
from certctl.rules.options import Kind, Option
from certctl.rules.settings import check, parse
from certctl.system.reading import read_private
from certctl.system.secrets import read_secret, secret_from_command, systemd_credential

_LIMIT = 64 * 1024


def find_profile(name: str, credentials: DnsCredentials) -> Profile:
    """Return the profile `name`: a table of `certctl.toml`, the file that such a table refers to,
    or `credentials/NAME.toml`; a name with a slash is the path of a file.

    Raises `ConfigurationError` if it does not exist, or if other users can read the file.
    """
    if name in credentials.profiles:
        return credentials.profiles[name]
    if name in credentials.files:
        return _read(name, Path(credentials.files[name]))
    if "/" in name:
        return _read(name, Path(name))
    if credentials.directory is not None:
        path = Path(credentials.directory, f"{name}.toml")
        if path.exists():
            return _read(name, path)
    raise unknown_profile(name, credentials)


def settings_of(
    profile: Profile,
    options: Sequence[Option],
    credentials: DnsCredentials,
    system: ProviderSystem,
) -> dict[str, Value]:
    """Return a profile's settings, by the keys of its provider's `options`.

    Raises `ConfigurationError` for an unknown option, and for a secret that cannot be read or is
    written where other users could read it.
    """
    by_name = {option.key.rpartition(".")[2]: option for option in options}
    settings: dict[str, Value] = {}
    for key, value in profile.values.items():
        name, source = _split(key, by_name)
        option = by_name.get(name)
        if option is None:
            raise _unknown(key, profile, by_name.values())
        if source is None and option.secret and not profile.private:
            raise exposed_secret(key, profile.where)
        if source is not None:
            settings[option.key] = parse(
                option, _fetch(source, str(value), profile, credentials, system)
            )
            continue
        try:
            settings[option.key] = _checked(option, value)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{profile.where}: {error.message}", hint=error.hint, code=error.code
            ) from None
    return settings


def settings_of_environment(
    provider: str, options: Sequence[Option], variables: Mapping[str, str]
) -> dict[str, Value]:
    """Return the settings of a Lexicon provider from the environment.

    `CERTCTL_PROVIDER_OPTION` takes precedence over Lexicon's own `LEXICON_PROVIDER_OPTION`.
    """
    found = from_environment(provider, variables)
    settings: dict[str, Value] = {}
    for option in options:
        ours = option.environment
        for variable in (ours, ours.replace("CERTCTL_", "LEXICON_", 1)):
            if variable in found:
                settings[option.key] = parse(option, found[variable])
                break
    return settings


def secret_values(options: Iterable[Option], settings: Mapping[str, Value]) -> Iterator[str]:
    """Yield the secrets among the settings, longest first, for redaction."""
    values = (str(settings.get(each.key) or "") for each in options if each.secret)
    yield from sorted((each for each in values if each), key=len, reverse=True)


def _read(name: str, path: Path) -> Profile:
    data = read_private(path, _LIMIT, commands=True)
    if path.suffix in {".ini", ".json"}:
        return _of_certbot(name, path, data)
    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        # A UnicodeDecodeError contains the file's bytes, and with them a secret.
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{path} is not valid TOML: {reason}",
            hint='It must contain lines such as: provider = "cloudflare"',
            code="configuration.toml",
        ) from None
    return read_profile(name, document, str(path), home=str(path.parent), private=True)


def _of_certbot(name: str, path: Path, data: bytes) -> Profile:
    """Return the profile of a credentials file of certbot. Raises `ConfigurationError`."""
    found = certbot_credentials.of_file(data.decode("utf-8", "replace"))
    if found is None:
        raise ConfigurationError(
            f"{path} has no credentials of a DNS plug-in of certbot that certctl knows",
            hint="It must contain lines such as: dns_cloudflare_api_token = TOKEN",
            code="configuration.certbot_credentials",
        )
    provider, values = found
    return Profile(name, provider, values, str(path), private=True)


def _split(key: str, by_name: Mapping[str, Option]) -> tuple[str, str | None]:
    """Return the option's name in a profile's key, and the source of its secret, if any."""
    if key in by_name:
        return key, None
    for source in SOURCES:
        name = key.removesuffix(f"_{source}")
        if name != key and name in by_name and by_name[name].secret:
            return name, source
    return key, None


def _fetch(
    source: str,
    value: str,
    profile: Profile,
    credentials: DnsCredentials,
    system: ProviderSystem,
) -> str:
    if source == "file":
        return read_secret(Path(value))
    if source == "command":
        return secret_from_command(value, timeout=system.hook_timeout, stop=system.stop)
    if source == "credential":
        return systemd_credential(value, credentials.variables)
    found = credentials.variables.get(value)
    if not found:
        raise ConfigurationError(
            f"{profile.where}: the environment variable {value} is not set",
            hint="cron and systemd do not inherit your shell's environment; a file works for all.",
            code="configuration.secret",
        )
    return found


def _checked(option: Option, value: Value) -> Value:
    """Return a value converted to the option's kind, from that kind in TOML or from a string."""
    if isinstance(value, str) and option.kind is not Kind.PATH:
        return parse(option, value)
    if option.kind is Kind.TEXT and isinstance(value, int | float) and value is not True:
        return str(value)  # an identifier of digits only, written without quotes
    return check(option, value)


def _unknown(key: str, profile: Profile, options: Iterable[Option]) -> ConfigurationError:
    names = [each.key.rpartition(".")[2] for each in options]
    secrets = [
        f"{each.key.rpartition('.')[2]}_{source}"
        for each in options
        if each.secret
        for source in SOURCES
    ]
    close_matches = difflib.get_close_matches(key, [*names, *secrets], n=1)
    return ConfigurationError(
        f"{profile.where}: the DNS provider {profile.provider} has no option {key!r}",
        hint=f"Did you mean {close_matches[0]}?"
        if close_matches
        else f"List its options: certctl dns show {profile.provider}",
        code="configuration.unknown_key",
    )
