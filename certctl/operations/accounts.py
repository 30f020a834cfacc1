"""Accounts: found or registered, shown, updated, given a new key, deactivated.

An account's lock is held shared by orders and exclusively by everything here that changes an
account, never across a question to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from certctl.ca.directories import directory_url, label
from certctl.ca.documented_limits import documented_limits
from certctl.errors import (
    AccountError,
    CertctlError,
    ConsentRequired,
    EabRequired,
    LockHeld,
    UsageError,
)
from certctl.events import AccountRegistered
from certctl.models import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.operations.run import Run
from certctl.operations.specs import load
from certctl.rate_limits import Overrun, usages
from certctl.system.secrets import read_secret

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient, ExternalAccount
    from certctl.ports import HeldLock

_GONE = {"unauthorized": "deactivated", "accountDoesNotExist": "unknown"}
"""What has become of an account whose requests the CA refuses so (RFC 8555 §7.3.6, §6.7)."""

_LOOK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True)
class Registration:
    """What became of `register`; `created` is False where the account was there already."""

    account: Account
    created: bool


def accounts_at(run: Run, directory: str) -> list[Account]:
    """Return the usable accounts that this home directory holds at a CA, the oldest first."""
    return [
        account
        for account in run.services.store.accounts.all()
        if account.directory_url == directory and account.status == "valid"
    ]


def choose_account(run: Run, directory: str, wanted: str | None) -> Account | None:
    """Return the account to use at a CA: the one asked for, else the oldest; None where none is.

    Raises `UsageError` where `wanted` names an account that is not there.
    """
    here = accounts_at(run, directory)
    if wanted is None:
        return here[0] if here else None
    found = next((each for each in here if wanted in {each.id, each.url}), None)
    if found is None:
        known = ", ".join(each.id for each in here) or "none"
        raise UsageError(
            f"there is no account {wanted!r} at {label(directory)} here; there are: {known}",
            hint="certctl account show",
            code="usage.unknown_account",
        )
    return found


def register(run: Run, directory: str, ca_bundle: str | None) -> Registration:
    """Return the account at a CA, registering one where there is none.

    E-mail addresses, key type, agreement and external account binding come from the settings.
    Raises `ConsentRequired` naming the terms' URL where nobody agreed, `EabRequired` where the CA
    wants a binding and none was given.
    """
    existing = choose_account(run, directory, run.services.settings.text("account.id"))
    if existing is not None:
        current = refresh(run, replace(existing, ca_bundle=ca_bundle or existing.ca_bundle))
        if current.status == "valid":
            return Registration(current, created=False)
    terms = _consent(run, run.client(directory, ca_bundle), directory)
    clock, accounts = run.services.clock, run.services.store.accounts
    deadline = clock.monotonic() + run.services.settings.seconds("lock_timeout")
    while True:
        # Who was quicker registers, then shares the lock with others that order: it may be a long
        # time until nobody holds it, but the account is there long before.
        existing = choose_account(run, directory, None)
        if existing is not None:
            return Registration(existing, created=False)
        try:
            lease = accounts.lock(directory, exclusive=True, timeout=0)
        except LockHeld:
            if clock.monotonic() >= deadline:
                raise
            clock.wait(run.stop, _LOOK_AGAIN_SECONDS)
            run.check()
            continue
        with lease:
            existing = choose_account(run, directory, None)
            if existing is not None:
                return Registration(existing, created=False)
            return _register(run, directory, ca_bundle, terms)


def ensure_account(run: Run, directory: str, ca_bundle: str | None, wanted: str | None) -> Account:
    """Return the account to order with, registering one where this home directory holds none."""
    return choose_account(run, directory, wanted) or register(run, directory, ca_bundle).account


def update_contact(run: Run, account: Account, emails: Sequence[str]) -> Account:
    """Return the account after the CA took `emails` as its contact (RFC 8555 §7.3.2)."""
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        state = _client(run, account).update_account(_contact(emails))
        changed = replace(account, contact=state.contact or _contact(emails))
        run.services.store.accounts.update(changed)
        return changed


def agree_to_terms(run: Run, account: Account) -> Account:
    """Return the account after new terms of service were agreed to (RFC 8555 §7.3.3)."""
    terms = _consent(run, _client(run, account), account.directory_url)
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        _client(run, account).agree_to_terms()
        changed = replace(account, terms_of_service=terms)
        run.services.store.accounts.update(changed)
        return changed


def rollover(run: Run, account: Account, kind: AccountKeyType | None = None) -> Account:
    """Return the account after its key was changed at the CA (RFC 8555 §7.3.5).

    The new key is on disk before the CA hears of it, so that a crash at any point is mended by
    the next use: whichever of the two keys the CA knows is the account's key.
    """
    from certctl.keys import generate_account_key  # noqa: PLC0415 - cryptography is slow to import

    accounts = run.services.store.accounts
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        key = generate_account_key(kind or account.key_type)
        accounts.save_next_key(account, key)
        try:
            _client(run, account).change_key(key)
        except AccountError as error:
            # Where the CA took it and shows no effect yet, the next use asks again.
            if error.status is not None:
                accounts.drop_next_key(account)
            raise
        accounts.promote_next_key(account)
        changed = replace(account, key_type=kind or account.key_type)
        accounts.update(changed)
        run.forget_client(account)
        _warn_of_hashed_records(changed, run)
        return changed


def _warn_of_hashed_records(account: Account, run: Run) -> None:
    """Say which certificates prove control by a record with a hash of the account's old key."""
    client = run.client(account.directory_url, account.ca_bundle)
    if client.directory.account_hash_prefix is None:
        return
    stale: list[str] = []
    for name in run.services.store.names():
        with suppress(CertctlError):
            spec = load(run, name)
            if spec.ca == account.directory_url and spec.challenge.method == "dns-persist":
                stale.append(name)
    if stale:
        run.warn(
            f"a hash of the old key is in the records that prove control of {', '.join(stale)}:"
            " before the next renewal, make new ones with `certctl dns persist NAME...`"
        )


def deactivate(run: Run, account: Account) -> Account:
    """Return the account after it was deactivated at the CA, for ever (RFC 8555 §7.3.6)."""
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        _client(run, account).deactivate_account()
        gone = replace(account, status="deactivated")
        run.services.store.accounts.update(gone)
        run.forget_client(account)
        return gone


def refresh(run: Run, account: Account) -> Account:
    """Return the account as the CA knows it now; what changed is kept."""
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        current = _at_the_ca(run, account)
        if current != account:
            run.services.store.accounts.update(current)
        return current


def shared_lock(run: Run, account: Account) -> HeldLock:
    """Return a context in which the account can be ordered with, and nobody changes it."""
    settings = run.services.settings
    store = run.services.store.accounts
    if store.next_key(account) is not None:
        with _exclusive_lock(run, account.directory_url):
            _finish_rollover(run, account)
    return store.lock(
        account.directory_url, exclusive=False, timeout=settings.seconds("lock_timeout")
    )


def account_named(run: Run, ca: str | None, wanted: str | None) -> Account:
    """Return the one account that the command line means. Raises `UsageError` where that is none.

    `ca` is a CA's name or URL; without it the only account there is, or the default CA's.
    """
    held = [each for each in run.services.store.accounts.all() if each.status == "valid"]
    directory = directory_url(ca or run.services.settings.required_text("ca"))
    if wanted is not None:
        matching = [each for each in held if wanted in {each.id, each.url}]
    elif ca is None and len(held) == 1:
        matching = held
    else:
        matching = [each for each in held if each.directory_url == directory]
    if matching:
        return matching[0]
    if held and ca is None:
        known = ", ".join(f"{each.id} ({label(each.directory_url)})" for each in held)
        raise UsageError(
            f"which account is meant? There are: {known}",
            hint="Choose one with --account ID.",
            code="usage.unknown_account",
        )
    raise UsageError(
        f"there is no account at {label(directory)} here",
        hint=f"certctl register --ca {label(directory)}",
        code="usage.unknown_account",
    )


def _register(run: Run, directory: str, ca_bundle: str | None, terms: str | None) -> Registration:
    from certctl.keys import generate_account_key  # noqa: PLC0415 - cryptography is slow to import

    settings, clock = run.services.settings, run.services.clock
    _warn_of_accounts(run, directory)
    kind = AccountKeyType(settings.required_text("account.key_type"))
    key = generate_account_key(kind)
    client = run.client(directory, ca_bundle).with_key(key)
    eab = _external_account(run)
    if eab is None and client.directory.external_account_required:
        raise EabRequired(
            f"{label(directory)} wants an external account binding",
            hint="Get a key id and an HMAC key from the CA's site, then: certctl register "
            f"--ca {label(directory)} --eab-kid KID --eab-hmac-key-file FILE",
        )
    contact = _contact(settings.texts("account.email"))
    state = client.new_account(contact, terms_agreed=terms is not None, eab=eab)
    account = Account(
        id="",
        directory_url=directory,
        url=state.url,
        key_type=kind,
        contact=state.contact or contact,
        status=state.status,
        terms_of_service=terms,
        created=clock.now(),
        ca_bundle=ca_bundle,
    )
    saved = run.services.store.accounts.save(account, key)
    run.services.emit(AccountRegistered("", clock.now(), saved.url, state.created))
    return Registration(saved, created=state.created)


def registration_times(run: Run, directory: str) -> list[LedgerEntry]:
    """Return when accounts were made at a CA, as far as this home directory knows."""
    return [
        LedgerEntry(LimitedAction.ACCOUNT, each.created)
        for each in run.services.store.accounts.all()
        if each.directory_url == directory and each.created is not None
    ]


def _warn_of_accounts(run: Run, directory: str) -> None:
    """Say where one more account would be beyond the limits of a CA."""
    limits = documented_limits(directory).limits
    for usage in usages(limits, registration_times(run, directory), run.services.clock.now(), str):
        if usage.used >= usage.limit.count:
            run.warn(f"{label(directory)} allows {Overrun(usage, 1)}")


def _consent(run: Run, client: AcmeClient, directory: str) -> str | None:
    """Return the URL of the terms that were agreed to; None where the CA has none."""
    terms = client.directory.terms_of_service
    if terms is None or run.services.settings.flag("account.agree_tos"):
        return terms
    if run.services.ask(f"Do you agree to the terms of service of {label(directory)}?\n{terms}"):
        return terms
    raise ConsentRequired(
        f"the terms of service of {label(directory)} must be agreed to: {terms}",
        hint="Read them, then run the same command with --agree-tos.",
        code="usage.terms",
    )


def _external_account(run: Run) -> ExternalAccount | None:
    from certctl.ca.client import ExternalAccount  # noqa: PLC0415 - an idle run needs no network

    settings = run.services.settings
    kid = settings.text("account.eab_kid")
    path = settings.text("account.eab_hmac_key_file")
    secret = settings.text("account.eab_hmac_key") or (read_secret(Path(path)) if path else None)
    if kid is None and secret is None:
        return None
    if kid is None or secret is None:
        missing = "the HMAC key" if kid else "the key id"
        raise UsageError(
            f"an external account binding needs a key id and an HMAC key: {missing} is missing",
            hint="--eab-kid KID --eab-hmac-key-file FILE, or CERTCTL_EAB_KID and "
            "CERTCTL_EAB_HMAC_KEY in the environment",
            code="usage.eab",
        )
    return ExternalAccount(kid, secret)


def _at_the_ca(run: Run, account: Account) -> Account:
    """Return the account as the CA knows it; one that it refuses for good is valid no more."""
    try:
        state = _client(run, account).account()
    except AccountError as error:
        status = _GONE.get(error.type or "")
        if status is None:
            raise
        return replace(account, status=status)
    return replace(account, status=state.status, contact=state.contact or account.contact)


def _finish_rollover(run: Run, account: Account) -> Account:
    """Settle a key change that was cut off: keep the key that the CA knows the account by."""
    from certctl.keys import account_key_type  # noqa: PLC0415 - cryptography is slow to import

    accounts = run.services.store.accounts
    candidate = accounts.next_key(account)
    if candidate is None:
        return account
    if _client(run, account).uses_key(candidate):
        accounts.promote_next_key(account)
        run.forget_client(account)
        account = replace(account, key_type=account_key_type(candidate))
        accounts.update(account)
    else:
        accounts.drop_next_key(account)
    return account


def _client(run: Run, account: Account) -> AcmeClient:
    return run.client(account.directory_url, account.ca_bundle, account)


def _exclusive_lock(run: Run, directory: str) -> HeldLock:
    timeout = run.services.settings.seconds("lock_timeout")
    return run.services.store.accounts.lock(directory, exclusive=True, timeout=timeout)


def _contact(emails: Sequence[str]) -> tuple[str, ...]:
    """Return contact URLs (RFC 8555 §7.3); an address that is a URL already stays as it is."""
    return tuple(each if ":" in each else f"mailto:{each}" for each in emails)
