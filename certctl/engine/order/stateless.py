"""The account keys of stateless answers (`--stateless`): a server has one rule with the thumbprint
of one key, so that the accounts at all CAs, and at staging directories, must have the same key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from certctl.ca.directories import KNOWN_CAS, as_typed, label, staging_url
from certctl.engine.order.accounts import choose_account, register_new
from certctl.engine.run import Run
from certctl.engine.specs import at_ca, load
from certctl.model.ca import Account
from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.spec import CertificateSpec

METHOD = "stateless"


def thumbprint_of(account: Account, run: Run) -> str:
    """Return the thumbprint of an account's key (RFC 7638)."""
    from certctl.ca.signing import Signer  # noqa: PLC0415 - josepy is slow to import

    return Signer.load(run.services.records.account_keys(account).current).thumbprint


def share_key(spec: CertificateSpec, run: Run, others: Sequence[str] = ()) -> None:
    """Make sure that the account which is about to order for a stateless certificate has the key of
    the others: register one with that key if there is none. `others` are the other CAs of the same
    certificate. Does nothing for other certificates.

    Raises `ConfigurationError` if there is an account with another key.
    """
    if spec.challenge.method != METHOD:
        return
    own = [each for ca in others for each in _chosen(run, ca, None)]
    shared = [*own, *_sharing(spec, run)]
    account = choose_account(run, spec.ca, spec.account)
    if account is None:
        source = next(iter([*shared, *_staging(spec, run)]), None)
        if source is not None:
            key = run.services.records.account_keys(source).current
            register_new(run, spec.ca, spec.ca_bundle, key=key)
        return
    mine = thumbprint_of(account, run)
    for other in shared:
        if thumbprint_of(other, run) != mine:
            raise _different(account, other)


def stateless_certificates(account: Account, run: Run) -> list[str]:
    """Return the stateless certificates whose rule has the key of this account."""
    found: list[str] = []
    for name in run.services.records.names():
        with suppress(CertctlError):
            spec = load(run, name)
            if spec.challenge.method == METHOD and account.directory_url in spec.cas:
                found.append(name)
    return found


def _sharing(spec: CertificateSpec, run: Run) -> Iterator[Account]:
    """Yield the accounts whose key the account of a spec must have: at a staging directory that of
    the CA itself, and those of the other stateless certificates.
    """
    for each in KNOWN_CAS:
        if each.url != spec.ca and each.staging_url == spec.ca:
            yield from _chosen(run, each.url, None)
    for name in run.services.records.find(METHOD):
        with suppress(CertctlError):
            other = load(run, name)
            if other.challenge.method == METHOD:
                cas = [each for each in other.cas if name != spec.name or each != spec.ca]
                for ca in cas:
                    yield from _chosen(run, ca, at_ca(run, other, ca).account)


def _staging(spec: CertificateSpec, run: Run) -> Iterator[Account]:
    staging = staging_url(spec.ca)
    if staging is not None and staging != spec.ca:
        yield from _chosen(run, staging, None)


def _chosen(run: Run, directory: str, account: str | None) -> Iterator[Account]:
    with suppress(CertctlError):
        found = choose_account(run, directory, account)
        if found is not None and found.status == "valid":
            yield found


def _different(account: Account, other: Account) -> ConfigurationError:
    return ConfigurationError(
        "a stateless answer has the thumbprint of one key, but the accounts at"
        f" {label(account.directory_url)} ({account.id}) and {label(other.directory_url)}"
        f" ({other.id}) have different keys",
        hint="If nothing else uses the first one, forget it; it is then registered again with the"
        f" other key: certctl account forget --ca {as_typed(account.directory_url)} --account"
        f" {account.id}",
        code="challenge.http.stateless.keys",
    )
