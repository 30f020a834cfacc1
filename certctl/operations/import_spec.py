"""What certctl keeps of a certificate that it takes over: name, settings and versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from certctl.ca.directories import directory_url
from certctl.engine.run import Run
from certctl.importers.system import group_name
from certctl.importers.tree import Tree
from certctl.model.ca import Account
from certctl.model.certificate import IssuedCertificate, Material, Version
from certctl.model.errors import UsageError
from certctl.model.identifiers import Identifier
from certctl.model.importing import FoundCertificate, FoundMachine, ImportRecord
from certctl.model.names import certificate_name, default_certificate_name
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules import x509
from certctl.rules.renewal import request_of
from certctl.rules.spec import merge_choices, resolve


def free_name(found: FoundCertificate, run: Run) -> str:
    """Return the name for certctl: the one that was given, the client's, or one made from its first
    name. Raises `UsageError` for one that cannot be a name.
    """
    if found.new_name is not None:
        return certificate_name(found.new_name)
    try:
        return certificate_name(found.name)
    except UsageError:
        identifiers = found.facts.identifiers if found.facts is not None else ()
        return default_certificate_name(identifiers, run.services.records.names())


def ca_of(found: FoundCertificate, given: Mapping[str, Value]) -> str:
    """Return the directory URL of the CA that renews an imported certificate: one, which may be
    given; others are added afterwards. Raises `UsageError`.
    """
    ca = given.get("ca", found.ca)
    if isinstance(ca, tuple):
        raise UsageError(
            "a certificate is imported with one CA",
            hint="Add others afterwards: certctl edit NAME"
            + "".join(f" --ca {each}" for each in ca),
            code="usage.several",
        )
    return directory_url(str(ca))


def choices_of(
    found: FoundCertificate,
    ca: str,
    account: Account | None,
    given: Mapping[str, Value],
    credentials: str | None,
) -> dict[str, Value]:
    """Return the certificate's choices: what the client did, and what the user gave. `credentials`
    is the name of its DNS credentials, if it has some.
    """
    own: dict[str, Value] = {
        **found.options,
        "ca": ca,
        "account.id": None if account is None else account.id,
        "ca_bundle": None if account is None else account.ca_bundle,
        "deploy.lineage": lineage_of(found),
        "challenge.dns_credentials": credentials,
    }
    group = None if found.key_group is None else group_name(found.key_group)
    if group is not None:
        own["key_group"] = group
    if found.csr is not None:
        own["csr"] = x509.read_csr(found.csr).sha256
        own.pop("key_type", None)
    chosen = {key: value for key, value in own.items() if value is not None}
    return merge_choices(chosen, {key: value for key, value in given.items() if key != "ca"})


def lineage_of(found: FoundCertificate) -> str | None:
    """Return the directory that the client's hooks know."""
    return str(Path(found.files.fullchain).parent) if found.files.fullchain else None


def credentials_name(found: FoundCertificate) -> str | None:
    """Return the name for the client's DNS credentials: letters, digits and hyphens; None if it has
    none.
    """
    if found.credentials is None:
        return None
    name = "".join(each if each.isalnum() and each.isascii() else "-" for each in found.name)
    return f"{found.client.replace('.', '')}-{name[:60]}"


def save_credentials(found: FoundCertificate, run: Run) -> str | None:
    """Write the client's DNS credentials to a file of certctl, and return their name; None if there
    are none. Raises `StoreError`.
    """
    name = credentials_name(found)
    if name is not None and found.credentials is not None:
        run.services.machine.imports.save_credentials(name, *found.credentials)
    return name


def spec_of(
    name: str, identifiers: Sequence[Identifier], choices: Mapping[str, Value], run: Run
) -> CertificateSpec:
    """Return the specification with these choices. Raises `ConfigurationError`."""
    return resolve(name, identifiers, choices, run.services.settings)


def version_of(
    spec: CertificateSpec, material: Material, account_url: str | None, origin: str
) -> Version:
    """Return a version for a certificate that the client `origin` ordered."""
    facts = x509.facts(material.cert)
    certificate = IssuedCertificate(
        facts=facts,
        request=replace(request_of(spec), identifiers=facts.identifiers),
        account_url=account_url,
        has_key=material.privkey is not None,
        origin=origin,
    )
    return Version(spec.name, 0, (certificate,), facts.not_before)


def history_of(found: FoundCertificate, machine: FoundMachine) -> Sequence[Material]:
    """Return the older versions of a certificate, the oldest first, where the client keeps them."""
    from certctl.importers.clients import certbot  # noqa: PLC0415 - only certbot keeps versions
    from certctl.importers.system import ImportSystem  # noqa: PLC0415 - as above

    if found.client != certbot.NAME:
        return ()
    return certbot.history(ImportSystem(Tree(Path("/")), machine.schedules), found)


def account_url_of(record: ImportRecord, run: Run) -> str | None:
    """Return the URL of the account that renews the certificate."""
    chosen = record.choices.get("account.id")
    return next((each.url for each in run.services.records.accounts() if each.id == chosen), None)
