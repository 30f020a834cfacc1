"""Converts spec files to `CertificateSpec` and back.

A spec file contains only what the user chose. Everything else comes from the settings at the time
the file is loaded, so a default changed in `certctl.toml` applies to every certificate that does
not override it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_type_hints

from certctl.model.errors import ConfigurationError, InvalidIdentifier, UsageError
from certctl.model.identifiers import Identifier
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec, ChallengeSpec, DeploySpec, KeyType
from certctl.model.values import Value
from certctl.rules.copies import parse_copy, with_paths
from certctl.rules.credentials import absolute_option, read_options
from certctl.rules.options import METHODS, OPTIONS, Kind, Option
from certctl.rules.paths import absolute_path
from certctl.rules.service_address import parse_service
from certctl.rules.settings import Settings, Source, check, flatten, unknown

_Part = TypeVar("_Part")
_Reader = Callable[[Settings, str], object]

FORMAT = 2
"""The format of spec files that this certctl reads. It writes format 1 for what earlier releases
understand: all certificates with one key type.
"""

_OLDEST = 1

RENAMED: Mapping[str, str] = {}
"""Settings that had another name in an earlier release: the old dotted key, and the current one.
Files may have either. The current one is written.
"""

_KEY_TYPE = "key_type"
_METHOD = "challenge.method"
_DNS = "dns"
_ONLY_FOR_METHOD = {each.key: each.only_for for each in OPTIONS if each.only_for}
_IMPLIES_METHOD = {each.key: each.implies for each in OPTIONS if each.implies}

_PLACES = (
    ("challenge.webroots", "challenge.directory"),
    ("challenge.directory", "challenge.webroots"),
)
_ABOUT = ("managed_by", "applied", "origin")
_GROUPS = "groups"
"""What a spec file says about itself; these are no settings."""

_DNS_WRITERS = {"challenge.dns_provider", "challenge.dns_credentials"}


def from_table(
    name: str,
    document: Mapping[str, object],
    settings: Settings,
    where: str,
    *,
    renamed: Mapping[str, str] = RENAMED,
    like: CertificateSpec | None = None,
) -> CertificateSpec:
    """Return the spec for a file's TOML document; `where` is the file's name in errors. `like` is
    another spec that was made with these settings, if any: if the choices are the same, all that
    follows from them is, too, which saves half of the work for each of thousands of certificates.

    Raises `ConfigurationError` for an unknown key, a key given by its old and its current name, an
    invalid value, or a missing list of names.
    """
    rest = dict(document)
    found = rest.pop("version", FORMAT)
    if type(found) is not int or not _OLDEST <= found <= FORMAT:
        raise ConfigurationError(
            f"{where} has format version {found}, but this certctl reads up to version {FORMAT}",
            hint="Update certctl, or correct the version. Nothing was changed.",
            name=name,
            code="configuration.format",
        )
    names = rest.pop("names", None)
    if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
        raise ConfigurationError(
            f"{where}: names must be a list of at least one name",
            hint='Write, for example: names = ["example.com"]',
        )
    try:
        identifiers = parse_identifiers(names)
    except InvalidIdentifier as error:
        message = f"{where}: {error.message}"
        raise ConfigurationError(message, hint=error.hint, name=name, code=error.code) from None
    try:
        about = {key: _text(rest.pop(key, None), key, where) for key in _ABOUT}
        groups = _groups(rest.pop(_GROUPS, []), where)
        chosen = read_choices(rest, settings.table, where, renamed=renamed)
    except ConfigurationError as error:
        error.name = name
        raise
    if like is None or like.chosen != chosen:
        like = resolve(name, identifiers, chosen, settings)
    return replace(
        like,
        name=name,
        identifiers=identifiers,
        common_name=_common_name(name, like.common_name, identifiers),
        managed_by=about["managed_by"],
        groups=groups,
        applied=about["applied"],
        origin=about["origin"],
    )


def to_table(spec: CertificateSpec) -> dict[str, Value]:
    """Return the contents of the spec file by dotted key: `version`, `names`, where the spec comes
    from if that is known, and the choices.
    """
    about: dict[str, Value] = {key: getattr(spec, key) for key in _ABOUT}
    about[_GROUPS] = spec.groups or None
    two = isinstance(spec.chosen.get(_KEY_TYPE), tuple)
    return {
        "version": FORMAT if two else _OLDEST,
        "names": tuple(each.value for each in spec.identifiers),
        **{key: value for key, value in about.items() if value is not None},
        **{key: spec.chosen[key] for key in sorted(spec.chosen)},
    }


def _text(value: object, key: str, where: str) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise ConfigurationError(f"{where}: {key} must be a text", hint="Correct it, or remove it.")
    return value


def _groups(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ConfigurationError(
            f"{where}: groups must be a list of texts", hint="Correct it, or remove it."
        )
    return tuple(value)


def with_current_keys(
    values: Mapping[str, object], where: str, renamed: Mapping[str, str] = RENAMED
) -> dict[str, object]:
    """Return the values by the current key of each setting.

    Raises `ConfigurationError` if one is given by its old key too.
    """
    found = dict(values)
    for old, current in renamed.items():
        if old not in found:
            continue
        if current in found:
            raise ConfigurationError(
                f"{where}: {old} is the old name of {current}, and both are given",
                hint=f"Remove {old}.",
                code="configuration.renamed_key",
            )
        found[current] = found.pop(old)
    return found


def read_choices(
    document: Mapping[str, object],
    table: Mapping[str, Option],
    where: str,
    *,
    renamed: Mapping[str, str] = RENAMED,
) -> dict[str, Value]:
    """Return the choices in a document by dotted key, checked against the table of options, with
    the challenge method that they imply.
    """
    chosen: dict[str, Value] = {}
    for key, value in with_current_keys(flatten(document), where, renamed).items():
        option = table.get(key)
        if option is None or not option.in_spec:
            raise unknown(key, (each.key for each in table.values() if each.in_spec), where)
        try:
            chosen[key] = check(option, value)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{where}: {error.message}", hint=error.hint, code=error.code
            ) from None
    return with_method(chosen)


def with_method(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return `values` with the challenge method that a DNS provider implies, or else a webroot or a
    hook.
    """
    implied = [method for key, method in _IMPLIES_METHOD.items() if values.get(key)]
    method = _DNS if _DNS in implied else next(iter(implied), None)
    if method is None or _METHOD in values:
        return dict(values)
    return {**values, _METHOD: method}


def merge_choices(current: Mapping[str, Value], given: Mapping[str, Value]) -> dict[str, Value]:
    """Return `current` updated with `given`; choices that conflict with a new one are dropped."""
    chosen = {**current, **with_method(given)}
    method = chosen.get(_METHOD)
    if _METHOD in with_method(given):
        dropped = {
            key for key, only in _ONLY_FOR_METHOD.items() if only != method and key not in given
        }
        dropped |= {
            key for key in chosen if method_of(key) not in {None, method} and key not in given
        }
        if method == "dns-persist":
            # No records are written, but the DNS is queried.
            dropped |= {key for key in chosen if _for_writing(key) and key not in given}
        elif method != "dns":
            dropped |= {key for key in chosen if _for_dns(key) and key not in given}
        # One of the two ways to name the place of the files replaces the other.
        for one, other in _PLACES:
            if one in given and other not in given:
                dropped.add(other)
        # A new provider or new credentials replace the old ones and their options.
        if _DNS_WRITERS & given.keys():
            dropped |= (_DNS_WRITERS | {"challenge.dns_options"}) - given.keys()
        chosen = {key: value for key, value in chosen.items() if key not in dropped}
    if "profile" in given and "required_profile" not in given:
        chosen.pop("required_profile", None)
    if "required_profile" in given and "profile" not in given:
        chosen.pop("profile", None)
    if "deploy.verify" in given and "deploy.probe" not in given:
        chosen.pop("deploy.probe", None)
    if "deploy.targets" in given:
        named = chosen["deploy.targets"]
        others = {
            key
            for key in chosen
            if (target := target_of(key)) is not None
            and target not in (named if isinstance(named, tuple) else ())
        }
        chosen = {key: value for key, value in chosen.items() if key not in others - given.keys()}
    return chosen


def with_persistent_validation(given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the choices for a certificate that uses persistent validation (dns-persist-01),
    without those for writing records.
    """
    kept = {key: value for key, value in given.items() if not _for_writing(key)}
    return {**kept, _METHOD: "dns-persist"}


def with_absolute_paths(
    chosen: Mapping[str, Value], table: Mapping[str, Option], directory: str
) -> dict[str, Value]:
    """Return the choices with all paths made absolute, relative to `directory`.

    Raises `ConfigurationError` for a path that cannot be made absolute, or is not UTF-8.
    """

    def one(path: str) -> str:
        return os.path.normpath(absolute_path(path, directory))

    def webroot(text: str) -> str:
        name, path = split_webroot(text)
        return one(path) if name is None else f"{name}={one(path)}"

    def copy(text: str) -> str:
        parsed = parse_copy(text)
        paths = [each for each in (parsed.to, parsed.password_file) if each]
        return with_paths(text, {each: one(each) for each in paths})

    result: dict[str, Value] = {}
    for key, value in chosen.items():
        if key == "challenge.webroots" and isinstance(value, tuple):
            result[key] = tuple(webroot(each) for each in value)
        elif key == "deploy.copy" and isinstance(value, tuple):
            result[key] = tuple(copy(each) for each in value)
        elif key == "challenge.dns_options" and isinstance(value, tuple):
            result[key] = tuple(absolute_option(each, directory) for each in value)
        elif key == "challenge.dns_credentials" and "/" in str(value):
            result[key] = one(str(value))
        elif key == "log_file" and value == "-":
            result[key] = value  # standard error
        elif table[key].kind is Kind.PATH and isinstance(value, str):
            result[key] = one(value)
        else:
            result[key] = value
    return result


def target_of(key: str) -> str | None:
    """Return the deploy target of a key `deploy.TARGET.OPTION`; None for other keys."""
    parts = key.split(".")
    return parts[1] if len(parts) == 3 and parts[0] == "deploy" else None


def method_of(key: str) -> str | None:
    """Return the challenge method, a plug-in's, of a key `challenge.METHOD.OPTION`; None for other
    keys.
    """
    parts = key.split(".")
    return parts[1] if len(parts) == 3 and parts[0] == "challenge" else None


def split_webroot(text: str) -> tuple[str | None, str]:
    """Return the name and the directory of `NAME=DIR`, or None and the directory of `DIR`.

    An equals sign after a slash belongs to the directory.
    """
    name, equals, path = text.partition("=")
    return (None, text) if not equals or "/" in name else (name, path)


def resolve(
    name: str, identifiers: Sequence[Identifier], chosen: Mapping[str, Value], settings: Settings
) -> CertificateSpec:
    """Return the spec: the user's choices override `certctl.toml`, which overrides the defaults.

    Only secrets are taken from the environment, because they are not stored in spec files. `issue`
    stores all other settings from the environment, so that a run from cron behaves the same.
    """
    options = settings.table
    _require_one_kind_of_request(name, chosen)
    inherited = {
        **{
            key: value for key, value in settings.given(Source.FILE).items() if options[key].in_spec
        },
        **{
            key: value
            for key, value in settings.given(Source.ENVIRONMENT).items()
            if options[key].in_spec and options[key].secret
        },
    }
    effective = Settings(merge_choices(inherited, chosen), table=settings.table)
    key_types = _key_types(effective)
    return _from_settings(
        CertificateSpec,
        "",
        effective,
        name=name,
        identifiers=tuple(identifiers),
        ca=effective.words("ca")[0],
        fallback_cas=effective.words("ca")[1:],
        account=effective.text("account.id"),
        key_type=key_types[0],
        second_key_type=key_types[1] if key_types[1:] and not effective.text("csr") else None,
        key_mode=_mode(effective.text("key_mode")),
        challenge=_challenge(effective),
        deploy=_deploy(effective),
        chosen=dict(chosen),
        common_name=_common_name(name, effective.text("common_name"), identifiers),
        managed_by=None,
        groups=(),
        applied=None,
        origin=None,
    )


def _from_settings(kind: type[_Part], prefix: str, settings: Settings, **given: object) -> _Part:
    """Return a part of a spec: each field that is not given has the value of the setting with its
    name, by its type.
    """
    hashable: Any = kind
    values = {
        name: read(settings, key)
        for name, key, read in _readers(hashable, prefix)
        if name not in given
    }
    return kind(**values, **given)


@cache
def _readers(kind: Any, prefix: str) -> tuple[tuple[str, str, _Reader], ...]:
    """Return the fields of a dataclass: name, key of the setting, and how that is read."""
    hints = get_type_hints(kind)
    return tuple(
        (each.name, f"{prefix}{each.name}", _reader(hints[each.name])) for each in fields(kind)
    )


def _reader(hint: Any) -> _Reader:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return lambda settings, key: hint(settings.required_text(key))
    return _READERS.get(hint, _unreadable)


def _unreadable(_settings: Settings, key: str) -> object:
    raise TypeError(f"{key} must be given: there is no setting of its type")


_READERS: Mapping[object, _Reader] = {
    str: Settings.required_text,
    str | None: Settings.text,
    bool: Settings.flag,
    int: Settings.integer,
    float: Settings.seconds,
    tuple[str, ...]: Settings.texts,
}


def _common_name(name: str, chosen: str | None, identifiers: Sequence[Identifier]) -> str | None:
    """Return the common name, None for none. Raises `UsageError` if it is not one of the names."""
    names = [each.value for each in identifiers]
    if chosen and chosen not in names:
        raise UsageError(
            f"the common name {chosen} is not one of the names of the certificate",
            hint=f"Choose one of {', '.join(names[:5])}, or none: --common-name ''",
            name=name,
            code="usage.common_name",
        )
    return chosen or None


def _challenge(settings: Settings) -> ChallengeSpec:
    provider = settings.text("challenge.dns_provider")
    read_options(settings.texts("challenge.dns_options"), provider or "PROVIDER")
    method = settings.required_text(_METHOD)
    return _from_settings(
        ChallengeSpec,
        "challenge.",
        settings,
        hook_timeout=settings.seconds("deploy.hook_timeout"),
        plugin=_plugin(settings, method, provider),
    )


def _plugin(settings: Settings, method: str, provider: str | None) -> dict[str, Value]:
    """Return the options of the DNS provider, or of a challenge method that is a plug-in."""
    prefixes = plugin_prefixes(method, provider)
    if not prefixes:
        return {}  # loading the options of plug-ins takes time
    return {key: settings.value(key) for key in settings.table if key.startswith(prefixes)}


def plugin_prefixes(method: str, provider: str | None) -> tuple[str, ...]:
    """Return how the keys of the plug-ins begin that a certificate's validation uses."""
    own = () if method in METHODS else (f"challenge.{method}.",)
    return own if provider is None else (*own, f"dns.{provider}.")


def _key_types(settings: Settings) -> tuple[KeyType, ...]:
    return tuple(map(KeyType, settings.words(_KEY_TYPE)))


def _require_one_kind_of_request(name: str, chosen: Mapping[str, Value]) -> None:
    """Raise `UsageError` for two key types and a signing request, which has one key already."""
    if chosen.get("csr") and isinstance(chosen.get(_KEY_TYPE), tuple):
        raise UsageError(
            "--csr and two key types cannot be combined: a signing request has one key",
            hint="Leave out --csr, or give one key type: --key-type ecdsa-p256",
            name=name,
            code="usage.csr",
        )


def _mode(text: str | None) -> int | None:
    return None if text is None else int(text, 8)


def _deploy(settings: Settings) -> DeploySpec:
    targets = settings.texts("deploy.targets")
    return _from_settings(
        DeploySpec,
        "deploy.",
        settings,
        verify=tuple(parse_service(each) for each in settings.texts("deploy.verify")),
        copies=tuple(parse_copy(each) for each in settings.texts("deploy.copy")),
        plugin=_target_options(settings, targets),
    )


def _target_options(settings: Settings, targets: Sequence[str]) -> dict[str, Value]:
    if not targets:
        return {}  # loading the options of deploy targets takes time
    return {key: settings.value(key) for key in settings.table if target_of(key) in targets}


def _for_writing(key: str) -> bool:
    return key.startswith("dns.") or key in {
        *_DNS_WRITERS,
        "challenge.dns_options",
        "challenge.dns_challenge",
    }


def _for_dns(key: str) -> bool:
    return key.startswith(("challenge.dns_", "dns."))
