"""Adopts accounts of other clients: their keys, and their URLs if those are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.ca.directories import label
from certctl.engine.order.accounts import ensure_account, exclusive_lock, save_changed
from certctl.engine.run import Run
from certctl.importers.accounts import json_object
from certctl.importers.tree import Unreadable
from certctl.model.ca import Account, AccountKeyType
from certctl.model.errors import (
    AccountError,
    ConfigurationError,
)
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundMachine,
)
from certctl.model.values import Value
from certctl.operations.import_spec import ca_of
from certctl.rules.keys import account_key_type, from_jwk, key_sha256, standard_pem
from certctl.store.records import AccountKeys


def account_key(data: bytes) -> bytes:
    """Return an account key as PEM, from PEM or JWK. Raises `ConfigurationError`."""
    if data.lstrip()[:1] != b"{":
        return standard_pem(data)
    try:
        return from_jwk(json_object(data))
    except Unreadable as error:
        raise ConfigurationError(f"the account key is {error}", code="configuration.key") from None


def adopt_account(
    run: Run,
    directory: str,
    ca_bundle: str | None,
    key: bytes,
    url: str | None = None,
    contact: Sequence[str] = (),
) -> Account:
    """Return the account with this key in certctl's home, adopted if it is not there yet. Without
    its URL, the CA is asked for it (RFC 8555 §7.3.1).

    Raises `AccountError` if the CA has no account with this key, `ConfigurationError` for a key
    that certctl cannot use.
    """
    records = run.services.records
    kind, key = account_key_type(key), standard_pem(key)
    digest = key_sha256(key)
    for each in records.accounts():
        theirs = each.directory_url == directory
        same_key = theirs and key_sha256(records.account_keys(each).current) == digest
        if same_key or (url is not None and each.url == url):
            return each
    if url is None:
        client = run.client(directory, ca_bundle).with_key(key)
        state = client.new_account((), terms_agreed=False, only_existing=True)
        if state.status != "valid":
            raise AccountError(
                f"the account of this key at {label(directory)} is {state.status}",
                hint="Register a new account with: certctl register",
                code="acme.account",
            )
        url, contact = state.url, state.contact
    account = Account(
        id="",
        directory_url=directory,
        url=url,
        key_type=AccountKeyType(kind),
        contact=tuple(contact),
        created=run.services.clock.now(),
        ca_bundle=ca_bundle,
    )
    with exclusive_lock(run, directory) as lease:
        return save_changed(run, account, lease, AccountKeys(key))


def account_of(
    found: FoundCertificate,
    machine: FoundMachine,
    given: Mapping[str, Value],
    run: Run,
) -> Account:
    """Return the account for renewals: the other client's, or the one that was chosen."""
    ca = ca_of(found, given)
    bundle = given.get("ca_bundle")
    bundle = str(bundle) if bundle is not None else None
    known = [
        each
        for client in machine.clients
        if client.client == found.client
        for each in client.accounts
        if each.key is not None and each.problem is None
    ]
    wanted = given.get("account.id") or found.account_url
    for each in known:
        is_it = each.url == wanted if wanted else each.key_file == found.account_key_file
        if is_it:
            return _adopted(each, ca, bundle, run)
    chosen = given.get("account.id")
    return ensure_account(run, ca, bundle, str(chosen) if chosen is not None else None)


def _adopted(account: FoundAccount, ca: str, bundle: str | None, run: Run) -> Account:
    if account.key is None:
        raise ConfigurationError(f"{account.key_file} cannot be read", code="configuration.key")
    return adopt_account(run, ca, bundle, account.key, account.url, account.contact)


def account_text(account: Account) -> str:
    """Return an account that was kept, for the steps that are shown."""
    return f"{account.url} at {label(account.directory_url)}, kept"
