"""What the commands do with accounts: register, refresh, update, key rollover, deactivate, forget.

Whatever changes an account holds its lock exclusively. No lock is held while the user is prompted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from certctl.ca.accounts import key_unknown
from certctl.ca.directories import as_typed, directory_url, label
from certctl.engine.order.accounts import (
    UNKNOWN,
    Registration,
    choose_account,
    client_of,
    consent,
    contact_urls,
    exclusive_lock,
    finish_rollover,
    register_new,
    save_changed,
    state_at_the_ca,
    usable_accounts,
    warn_of_unused_options,
)
from certctl.engine.order.stateless import stateless_certificates
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.ca import Account, AccountKeyType
from certctl.model.errors import AccountError, AcmeError, CertctlError, UsageError
from certctl.rules.account_recovery import AccountState, may_be_unknown, some
from certctl.rules.keys import generate_account_key
from certctl.store.records import AccountKeys

__all__ = [
    "UNKNOWN",
    "Registration",
    "account_named",
    "agree_to_terms",
    "deactivate",
    "forget",
    "forgettable",
    "refresh",
    "register",
    "rollover",
    "update_contact",
]

_GONE = {"unauthorized": "deactivated", "accountDoesNotExist": "unknown"}
"""The account status that each ACME error type implies (RFC 8555 §7.3.6, §6.7)."""

_KEY_NOT_CHANGED = {"acme.key_in_use", "acme.key_change_refused"}
"""The codes of a key rollover after which the CA is known to have the old key."""


def register(run: Run, directory: str, ca_bundle: str | None) -> Registration:
    """Return the account at a CA; register one if there is none. Warns of options that an account
    that exists does not use.

    Email addresses, key type, agreement to the terms of service and external account binding come
    from the settings. Raises `ConsentRequired` with the URL of the terms if they have not been
    agreed to, `EabRequired` if the CA requires a binding and none is configured.
    """
    existing = choose_account(run, directory, run.services.settings.text("account.id"))
    lost = None
    if existing is not None:
        ca_bundle = ca_bundle or existing.ca_bundle
        current = refresh(run, replace(existing, ca_bundle=ca_bundle))
        if current.status == "valid":
            warn_of_unused_options(run, current)
            return Registration(current, created=False)
        lost = current if current.status == UNKNOWN else None
    return register_new(run, directory, ca_bundle, lost=lost)


def refresh(run: Run, account: Account) -> Account:
    """Fetch the account's current state from the CA, save any change and return the account."""
    with exclusive_lock(run, account.directory_url) as lease:
        account = finish_rollover(run, account, lease)
        current = _at_the_ca(run, account)
        if current != account:
            save_changed(run, current, lease)
        return current


def _at_the_ca(run: Run, account: Account) -> Account:
    """Return the account with its current state at the CA; its status tells if the CA no longer
    accepts it.
    """
    try:
        state = client_of(run, account).account()
    except AcmeError as error:
        status = _status_after(run, account, error)
        if status != AccountState.MOVED:
            return replace(account, status=status)
        state = client_of(run, account).new_account((), terms_agreed=False, only_existing=True)
        run.forget_client(account)
        account = replace(account, url=state.url)
    return replace(account, status=state.status, contact=state.contact or account.contact)


def _status_after(run: Run, account: Account, error: AcmeError) -> str:
    """Return the account's status if `error` means that the CA has lost, moved or deactivated it;
    raise it otherwise.
    """
    if not may_be_unknown(error):
        raise error
    state = state_at_the_ca(run, account)
    if state in {AccountState.UNKNOWN, AccountState.DEACTIVATED, AccountState.MOVED}:
        return state.value
    status = _GONE.get(error.type or "")
    if status is None or state is AccountState.KNOWN:
        raise error
    return status


def update_contact(run: Run, account: Account, emails: Sequence[str]) -> Account:
    """Set the account's contact at the CA and return the account (RFC 8555 §7.3.2)."""
    with exclusive_lock(run, account.directory_url) as lease:
        account = finish_rollover(run, account, lease)
        state = client_of(run, account).update_account(contact_urls(emails))
        changed = replace(account, contact=state.contact or contact_urls(emails))
        save_changed(run, changed, lease)
        return changed


def agree_to_terms(run: Run, account: Account) -> Account:
    """Agree to new terms of service and return the account (RFC 8555 §7.3.3)."""
    terms = consent(run, client_of(run, account), account.directory_url)
    with exclusive_lock(run, account.directory_url) as lease:
        account = finish_rollover(run, account, lease)
        client_of(run, account).agree_to_terms()
        changed = replace(account, terms_of_service=terms)
        save_changed(run, changed, lease)
        return changed


def rollover(run: Run, account: Account, kind: AccountKeyType | None = None) -> Account:
    """Replace the account's key at the CA and return the account (RFC 8555 §7.3.5).

    The new key is written to disk before it is sent to the CA. After a crash at any point, the next
    use of the account finds out which of the two keys the CA knows.
    """
    with exclusive_lock(run, account.directory_url) as lease:
        account = finish_rollover(run, account, lease)
        stored = run.services.records.account_keys(account)
        if stored.next is not None:
            raise key_unknown(label(account.directory_url))
        key = generate_account_key(kind or account.key_type)
        save_changed(run, account, lease, replace(stored, next=key))
        try:
            client_of(run, account).change_key(key)
        except AccountError as error:
            # Otherwise it is unknown which key the CA has: both are kept, and the next use asks.
            if error.code in _KEY_NOT_CHANGED:
                save_changed(run, account, lease, stored)
            raise
        now = run.services.clock.now()
        changed = replace(account, key_type=kind or account.key_type, key_changed=now)
        save_changed(run, changed, lease, AccountKeys(key))
        run.forget_client(account)
        _warn_about_other_clients(changed, run)
        _warn_about_hashed_records(changed, run)
        _warn_about_stateless_rules(changed, run)
        return changed


def other_clients(account: Account, run: Run) -> list[str]:
    """Return the clients that have the account too: those from which certificates of it came."""
    return sorted(
        {
            f"{each.client} in {each.home}"
            for each in run.services.machine.imports.all()
            if each.choices.get("account.id") == account.id
        }
    )


def _warn_about_other_clients(account: Account, run: Run) -> None:
    for home in other_clients(account, run):
        run.warn(
            f"{home} has the account {account.url} too, as it was: certificates that it still"
            " renews with it cannot be renewed there any more. `certctl import` takes them over"
        )


def _warn_about_stateless_rules(account: Account, run: Run) -> None:
    """Warn about certificates whose server answers with the thumbprint of the old key."""
    stale = stateless_certificates(account, run)
    if stale:
        run.warn(
            "the static rules that answer challenges for these certificates are stale, since they"
            f" have the thumbprint of the old account key: {', '.join(stale)}. Before the next"
            " renewal, replace them with what this prints: certctl snippet SERVER NAME --stateless"
        )


def _warn_about_hashed_records(account: Account, run: Run) -> None:
    """Warn about certificates whose persistent validation record has a hash of the old key."""
    client = run.client(account.directory_url, account.ca_bundle)
    if client.directory.account_hash_prefix is None:
        return
    stale: list[str] = []
    for name in run.services.records.names():
        with suppress(CertctlError):
            spec = load(run, name)
            if account.directory_url in spec.cas and spec.challenge.method == "dns-persist":
                stale.append(name)
    if stale:
        run.warn(
            "the persistent validation records of these certificates contain a hash of the old"
            f" account key: {', '.join(stale)}. Before the next renewal, create new ones with"
            " `certctl dns persist NAME...`"
        )


def deactivate(run: Run, account: Account) -> Account:
    """Permanently deactivate the account at the CA and return it (RFC 8555 §7.3.6).

    An account that the CA does not know any more gets the status `unknown`.
    """
    with exclusive_lock(run, account.directory_url) as lease:
        account = finish_rollover(run, account, lease)
        status = "deactivated"
        try:
            client_of(run, account).deactivate_account()
        except AcmeError as error:
            status = _status_after(run, account, error)
            if status == AccountState.MOVED:
                raise
        deactivated = replace(account, status=status)
        save_changed(run, deactivated, lease)
        run.forget_client(account)
        _warn_about_other_clients(account, run)
        return deactivated


def forget(run: Run, account: Account) -> None:
    """Delete an account and its key from the home directory; the CA is not asked."""
    with exclusive_lock(run, account.directory_url) as lease:
        run.services.records.forget_account(account, token=lease.token)
        run.forget_client(account)


def forgettable(run: Run, account: Account) -> str | None:
    """Return why an account should not be forgotten yet; None if nothing refers to it."""
    using: list[str] = []
    for name in run.services.records.names():
        with suppress(CertctlError):
            if load(run, name).account in {account.id, account.url}:
                using.append(name)
    return f"these certificates are ordered with it: {some(using)}" if using else None


def account_named(run: Run, ca: str | None, chosen: str | None, *, dead: bool = False) -> Account:
    """Return the account selected on the command line. Raises `UsageError` if there is none.

    `ca` is a CA's name or URL; by default the only account there is, else that of the default CA.
    `dead`: accounts that are not valid any more are meant too, and preferred.
    """
    known = run.services.records.accounts()
    usable = list(known) if dead else usable_accounts(known)
    directory = directory_url(ca or run.services.settings.one_word("ca"))
    if chosen is not None:
        matching = [each for each in usable if chosen in {each.id, each.url}]
    else:
        there = [each for each in usable if each.directory_url == directory]
        matching = usable if ca is None and not there else there
        if dead:
            matching = [each for each in matching if each.status != "valid"] or matching
    if len(matching) == 1 or (matching and not dead and matching[0].directory_url == directory):
        return matching[0]
    if usable and (matching or ca is None):
        listed = ", ".join(f"{each.id} ({label(each.directory_url)})" for each in usable)
        reason = "several accounts exist" if chosen is None else f"there is no account {chosen!r}"
        raise UsageError(
            f"{reason}; known: {listed}",
            hint="Choose one with --account ID.",
            code="usage.unknown_account",
        )
    raise UsageError(
        f"no account is registered at {label(directory)}",
        hint=f"Run: certctl register --ca {as_typed(directory)}",
        code="usage.unknown_account",
    )
