"""Specs as operations need them: loaded with the CA's directory URL, and found by name or names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from certctl.ca.directories import ca_kind, directory_urls, label
from certctl.engine.held import require_full_names, stored_spec
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.errors import CertctlError, UsageError
from certctl.model.identifiers import Identifier
from certctl.model.names import (
    certificate_name,
    default_certificate_name,
)
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.selection import unknown_certificate
from certctl.rules.settings import Source
from certctl.rules.spec import merge_choices, resolve


def load(run: Run, name: str) -> CertificateSpec:
    """Return the spec of a certificate, its CA as a directory URL. Raises `UnknownCertificate`."""
    return stored_spec(run.services.records, name)


def changed(
    run: Run, spec: CertificateSpec, identifiers: tuple[Identifier, ...], given: Mapping[str, Value]
) -> CertificateSpec:
    """Return the spec with new names, and with the given options in place of the old ones."""
    default_settings = {
        key: value
        for key, value in _default_settings(run).items()
        if not _has_own_choice(key, spec.chosen)
    }
    choices = merge_choices(spec.chosen, {**default_settings, **given})
    after = _with_ca(run, spec.name, identifiers, choices)
    return replace(
        after,
        managed_by=spec.managed_by,
        groups=spec.groups,
        applied=spec.applied,
        origin=spec.origin,
    )


def new(
    run: Run, name: str, identifiers: tuple[Identifier, ...], given: Mapping[str, Value]
) -> CertificateSpec:
    """Return the spec of a new certificate; given options override the environment."""
    return _with_ca(run, name, identifiers, merge_choices(_default_settings(run), given))


def desired(
    run: Run, name: str, identifiers: tuple[Identifier, ...], chosen: Mapping[str, Value]
) -> CertificateSpec:
    """Return the spec of a certificate of a desired state, which does not depend on the environment
    in which it is applied. Raises `UsageError`, `ConfigurationError`.
    """
    return _with_ca(run, name, identifiers, chosen)


def _default_settings(run: Run) -> dict[str, Value]:
    """Return the certificate options set in the environment, except secrets.

    They are saved in the spec, since cron does not have the shell's environment.
    """
    settings = run.services.settings
    return {
        key: value
        for key, value in settings.given(Source.ENVIRONMENT).items()
        if settings.table[key].in_spec and not settings.table[key].secret
    }


def _has_own_choice(key: str, chosen: Mapping[str, Value]) -> bool:
    """Return whether the certificate has its own value, which the environment does not override."""
    way = key.startswith(("challenge.", "dns."))
    return key in chosen or (way and "challenge.method" in chosen)


def _with_ca(
    run: Run, name: str, identifiers: tuple[Identifier, ...], chosen: Mapping[str, Value]
) -> CertificateSpec:
    """Return a spec that stores its CA and root certificates, so that `renew` needs no flags."""
    settings = run.services.settings
    spec = resolve(name, identifiers, chosen, settings)
    urls = directory_urls(spec.cas)
    kept: dict[str, Value] = {**chosen, "ca": urls if len(urls) > 1 else urls[0]}
    if spec.ca_bundle is not None:
        kept["ca_bundle"] = spec.ca_bundle
    spec = resolve(name, identifiers, kept, settings)
    require_full_names(spec)
    return spec


def at_ca(run: Run, spec: CertificateSpec, ca: str) -> CertificateSpec:
    """Return the spec as one of its CAs is asked for it. Of several CAs, the account that it names
    is at one; at the others, the account that is there is used.
    """
    asked = spec.at(ca)
    if asked.account is None or not spec.fallback_cas or _has_account(run, ca, asked.account):
        return asked
    named = any(_has_account(run, each, asked.account) for each in spec.cas)
    return replace(asked, account=None) if named else asked


def _has_account(run: Run, ca: str, account: str) -> bool:
    return any(account in {each.id, each.url} for each in run.services.records.accounts(ca))


def find(run: Run, name: str | None, identifiers: tuple[Identifier, ...]) -> CertificateSpec | None:
    """Find an existing certificate by name, by its exact set of names, or by its first name.

    Returns None if there is none. An unreadable spec is skipped with a warning, unless its name
    matches.
    """
    records = run.services.records
    if name is not None:
        return load(run, name) if certificate_name(name) in records.names() else None
    likely = default_certificate_name(identifiers, ())
    candidates = [likely, f"{likely}-wildcard"]
    names = records.find(identifiers[0].value)
    by_first: CertificateSpec | None = None
    for each in sorted(names, key=lambda name: name not in candidates):
        try:
            spec = load(run, each)
        except CertctlError as error:
            if each in candidates:
                raise
            run.warn(f"skipped {each} when searching for the certificate: {error.message}")
            continue
        if set(spec.identifiers) == set(identifiers):
            return spec
        if by_first is None and spec.identifiers[0] == identifiers[0]:
            by_first = spec
    return by_first


def new_name(run: Run, name: str | None, identifiers: tuple[Identifier, ...]) -> str:
    """Return the name of a new certificate. Raises `UsageError` if it is taken."""
    if name is not None:
        return certificate_name(name)
    taken = run.services.records.names()
    chosen = default_certificate_name(identifiers, taken)
    if chosen in taken:
        raise UsageError(
            f"there is another certificate named {chosen}",
            hint="Choose another name with --name NAME.",
            code="usage.name",
        )
    return chosen


def refusal_of_untrusted(spec: CertificateSpec, live: Version | None) -> UsageError | None:
    """Return the error if an untrusted certificate would replace a publicly trusted one."""
    if live is None or ca_kind(live.request.ca) != "public":
        return None
    if ca_kind(spec.ca) != "public":
        return UsageError(
            f"{spec.name} has a certificate from {label(live.request.ca)}; "
            f"one from {label(spec.ca)} would not be trusted by browsers",
            hint="Issue a separate certificate with --name NAME, or replace it with --force.",
            name=spec.name,
            code="usage.not_public",
        )
    return None


def require(run: Run, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names` without duplicates. Raises `UnknownCertificate` for one without a spec."""
    known = set(run.services.records.names()) if names else set()
    for name in names:
        if certificate_name(name) not in known:
            raise unknown_certificate(name, known)
    return tuple(dict.fromkeys(names))
