"""ACME accounts: select, register, update, key rollover, deactivate.

Orders hold an account's lock shared; everything here that changes an account holds it exclusively.
No lock is held while the user is prompted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from certctl.ca.directories import as_typed, directory_url, label
from certctl.ca.documented_limits import documented_limits
from certctl.ca.problems import shown_terms
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.ca import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.model.errors import (
    AccountError,
    AcmeError,
    CertctlError,
    ConfigurationError,
    ConsentRequired,
    EabRequired,
    LockHeld,
    UsageError,
)
from certctl.model.events import AccountRegistered
from certctl.model.names import email_address
from certctl.rules.account_recovery import AccountState, may_be_unknown, state_after
from certctl.rules.rate_limits import Overrun, usages
from certctl.rules.remembered_state import believed_entries
from certctl.rules.settings import Source
from certctl.system.secrets import read_secret

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient, ExternalAccount
    from certctl.model.ports import HeldLock

_GONE = {"unauthorized": "deactivated", "accountDoesNotExist": "unknown"}
"""The account status that each ACME error type implies (RFC 8555 §7.3.6, §6.7)."""

_KEY_NOT_CHANGED = {"acme.key_in_use", "acme.key_change_refused"}
"""The codes of a key rollover after which the CA is known to have the old key."""

UNKNOWN = "unknown"
"""The status of an account that its CA does not have any more."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Registration:
    """The result of `register`; `created` is False if the account already existed."""

    account: Account
    created: bool


def accounts_at(run: Run, directory: str) -> list[Account]:
    """Return the valid accounts at a CA in this home directory, oldest first; if there are none,
    those that the CA has lost, which can be registered again.
    """
    return _usable(
        [each for each in run.services.store.accounts.all() if each.directory_url == directory]
    )


def _usable(accounts: Sequence[Account]) -> list[Account]:
    valid = [each for each in accounts if each.status == "valid"]
    return valid or [each for each in accounts if each.status == UNKNOWN]


def choose_account(run: Run, directory: str, chosen: str | None) -> Account | None:
    """Return the account to use at a CA: the one that `chosen` identifies by ID or URL, by default
    the oldest; None if there is none.

    Raises `UsageError` if `chosen` identifies no account.
    """
    existing = accounts_at(run, directory)
    if chosen is None:
        return existing[0] if existing else None
    found = next((each for each in existing if chosen in {each.id, each.url}), None)
    if found is None:
        known = ", ".join(each.id for each in existing) or "none"
        raise UsageError(
            f"this home directory has no account {chosen!r} at {label(directory)}; known: {known}",
            hint="To list all accounts: certctl account show",
            code="usage.unknown_account",
        )
    return found


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
            _warn_of_unused_options(run, current)
            return Registration(current, created=False)
        lost = current if current.status == UNKNOWN else None
    terms = _consent(run, run.client(directory, ca_bundle), directory)
    kind = AccountKeyType(run.services.settings.required_text("account.key_type"))
    if lost is not None and lost.key_type is kind:
        return Registration(register_again(run, lost), created=True)

    def found() -> Account | None:
        return choose_account(run, directory, None) if lost is None else None

    held = _exclusive_lock_unless(run, directory, found)
    if isinstance(held, Account):
        return Registration(held, created=False)
    with held:
        return _register(run, directory, ca_bundle, terms)


def _exclusive_lock_unless(
    run: Run, directory: str, found: Callable[[], Account | None]
) -> HeldLock | Account:
    """Return the exclusive lock of the accounts at a CA, or the account that `found` returns, which
    another process or thread has registered meanwhile.

    Others that order hold the lock shared, so an account exists long before the lock can be held
    exclusively. Raises `LockHeld`.
    """
    clock, accounts = run.services.clock, run.services.store.accounts
    deadline = clock.monotonic() + run.services.settings.seconds("lock_timeout")
    while True:
        account = found()
        if account is not None:
            return account
        try:
            lock = accounts.lock(directory, exclusive=True, timeout=0)
        except LockHeld:
            if clock.monotonic() >= deadline:
                raise
            clock.wait(run.stop, _POLL_SECONDS)
            run.check()
            continue
        account = found()
        if account is None:
            return lock
        lock.release()
        return account


def register_again(run: Run, account: Account) -> Account:
    """Register an account that the CA does not know any more with the key and the contact that it
    had, and return it with its new URL. Its ID stays.

    Addresses given with `--email` replace the contact. The caller has made sure that the terms are
    agreed to. Raises `EabRequired` if the CA requires a binding and none is configured.
    """
    accounts, settings = run.services.store.accounts, run.services.settings
    held = _exclusive_lock_unless(run, account.directory_url, lambda: changed_since(run, account))
    if isinstance(held, Account):
        return held
    with held:
        client = _client(run, account)
        moved = state_at_the_ca(run, account) is AccountState.MOVED
        eab = None if moved else _binding(run, client, account.directory_url)
        contact = _contact(settings.texts("account.email")) or account.contact
        terms = client.directory.terms_of_service
        state = client.new_account(contact, terms_agreed=terms is not None, eab=eab)
        registered = replace(
            account,
            url=state.url,
            status=state.status,
            contact=state.contact or contact,
            terms_of_service=terms,
            created=run.services.clock.now(),
        )
        accounts.update(registered)
        run.forget_client(account)
    now = run.services.clock.now()
    run.services.emit(AccountRegistered("", now, registered.url, state.created))
    run.warn(
        f"{label(account.directory_url)} did not know the account {account.url} any more; it was"
        f" registered again with the same key as {registered.url}"
    )
    return registered


def state_at_the_ca(run: Run, account: Account) -> AccountState:
    """Return whether the CA has an account with this account's key (RFC 8555 §7.3.1)."""
    try:
        found = _client(run, account).new_account((), terms_agreed=False, only_existing=True)
    except AcmeError as error:
        return state_after(error)
    return AccountState.KNOWN if found.url == account.url else AccountState.MOVED


def forget(run: Run, account: Account) -> None:
    """Delete an account and its key from the home directory; the CA is not asked."""
    with _exclusive_lock(run, account.directory_url):
        run.services.store.accounts.forget(account)
        run.forget_client(account)


def changed_since(run: Run, account: Account) -> Account | None:
    """Return the account if it was registered again since `account` was read; None otherwise."""
    saved = run.services.store.accounts.all()
    current = next((each for each in saved if each.id == account.id), account)
    changed = (current.url, current.created) != (account.url, account.created)
    return current if changed else None


def use_account(run: Run, directory: str, ca_bundle: str | None, chosen: str | None) -> Account:
    """Return the account to order with, as `ensure_account` does, for a command on which a user may
    have given options of a new account: warns of those that an existing one does not use.
    """
    existing = choose_account(run, directory, chosen)
    if existing is None:
        return register(run, directory, ca_bundle).account
    _warn_of_unused_options(run, existing)
    return existing


def _warn_of_unused_options(run: Run, account: Account) -> None:
    """Warn of options on the command line that only a new account would use."""
    settings = run.services.settings
    given = settings.given(Source.FLAG)
    selection = f" --ca {as_typed(account.directory_url)} --account {account.id}"
    emails = settings.texts("account.email")
    if "account.email" in given and set(_contact(emails)) != set(account.contact):
        options = " ".join(f"--email {each}" for each in emails)
        has = ", ".join(each.removeprefix("mailto:") for each in account.contact) or "none"
        run.warn(
            f"there is already an account with {label(account.directory_url)}; its contact was not"
            f" changed ({has}). To change it, run: certctl account update {options}{selection}"
        )
    if "account.key_type" in given and given["account.key_type"] != account.key_type.value:
        run.warn(
            f"there is already an account with {label(account.directory_url)}; its key was not"
            f" changed ({account.key_type.value}). To change it, run: certctl account rollover"
            f" --account-key-type {given['account.key_type']}{selection}"
        )
    if given.keys() & {"account.eab_kid", "account.eab_hmac_key_file"}:
        run.warn(
            f"there is already an account with {label(account.directory_url)}; the external account"
            " binding was not used"
        )


def ensure_account(run: Run, directory: str, ca_bundle: str | None, chosen: str | None) -> Account:
    """Return the account to order with; register one if this home directory has none."""
    return choose_account(run, directory, chosen) or register(run, directory, ca_bundle).account


def update_contact(run: Run, account: Account, emails: Sequence[str]) -> Account:
    """Set the account's contact at the CA and return the account (RFC 8555 §7.3.2)."""
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        state = _client(run, account).update_account(_contact(emails))
        changed = replace(account, contact=state.contact or _contact(emails))
        run.services.store.accounts.update(changed)
        return changed


def agree_to_terms(run: Run, account: Account) -> Account:
    """Agree to new terms of service and return the account (RFC 8555 §7.3.3)."""
    terms = _consent(run, _client(run, account), account.directory_url)
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        _client(run, account).agree_to_terms()
        changed = replace(account, terms_of_service=terms)
        run.services.store.accounts.update(changed)
        return changed


def rollover(run: Run, account: Account, kind: AccountKeyType | None = None) -> Account:
    """Replace the account's key at the CA and return the account (RFC 8555 §7.3.5).

    The new key is written to disk before it is sent to the CA. After a crash at any point, the next
    use of the account finds out which of the two keys the CA knows.
    """
    from certctl.ca.accounts import key_unknown  # noqa: PLC0415 - an idle run needs no network
    from certctl.rules.keys import generate_account_key  # noqa: PLC0415 - cryptography is slow to import

    accounts = run.services.store.accounts
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        if accounts.next_key(account) is not None:
            raise key_unknown(label(account.directory_url))
        key = generate_account_key(kind or account.key_type)
        accounts.save_next_key(account, key)
        try:
            _client(run, account).change_key(key)
        except AccountError as error:
            # Otherwise it is unknown which key the CA has: both are kept, and the next use asks.
            if error.code in _KEY_NOT_CHANGED:
                accounts.drop_next_key(account)
            raise
        accounts.promote_next_key(account)
        now = run.services.clock.now()
        changed = replace(account, key_type=kind or account.key_type, key_changed=now)
        accounts.update(changed)
        run.forget_client(account)
        _warn_about_hashed_records(changed, run)
        return changed


def _warn_about_hashed_records(account: Account, run: Run) -> None:
    """Warn about certificates whose persistent validation record has a hash of the old key."""
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
            "the persistent validation records of these certificates contain a hash of the old"
            f" account key: {', '.join(stale)}. Before the next renewal, create new ones with"
            " `certctl dns persist NAME...`"
        )


def deactivate(run: Run, account: Account) -> Account:
    """Permanently deactivate the account at the CA and return it (RFC 8555 §7.3.6).

    An account that the CA does not know any more gets the status `unknown`.
    """
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        status = "deactivated"
        try:
            _client(run, account).deactivate_account()
        except AcmeError as error:
            status = _status_after(run, account, error)
            if status == AccountState.MOVED:
                raise
        deactivated = replace(account, status=status)
        run.services.store.accounts.update(deactivated)
        run.forget_client(account)
        return deactivated


def refresh(run: Run, account: Account) -> Account:
    """Fetch the account's current state from the CA, save any change and return the account."""
    with _exclusive_lock(run, account.directory_url):
        account = _finish_rollover(run, account)
        current = _at_the_ca(run, account)
        if current != account:
            run.services.store.accounts.update(current)
        return current


def shared_lock(run: Run, account: Account) -> HeldLock:
    """Lock the account for orders: others may order as well, but nobody can change the account."""
    settings = run.services.settings
    store = run.services.store.accounts
    if store.next_key(account) is not None:
        with _exclusive_lock(run, account.directory_url):
            _finish_rollover(run, account)
    return store.lock(
        account.directory_url, exclusive=False, timeout=settings.seconds("lock_timeout")
    )


def account_named(run: Run, ca: str | None, chosen: str | None, *, dead: bool = False) -> Account:
    """Return the account selected on the command line. Raises `UsageError` if there is none.

    `ca` is a CA's name or URL; by default the only account there is, else that of the default CA.
    `dead`: accounts that are not valid any more are meant too, and preferred.
    """
    known = run.services.store.accounts.all()
    usable = list(known) if dead else _usable(known)
    directory = directory_url(ca or run.services.settings.required_text("ca"))
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


def _register(run: Run, directory: str, ca_bundle: str | None, terms: str | None) -> Registration:
    from certctl.rules.keys import generate_account_key  # noqa: PLC0415 - cryptography is slow to import

    settings, clock = run.services.settings, run.services.clock
    _warn_about_account_limits(run, directory)
    kind = AccountKeyType(settings.required_text("account.key_type"))
    key = generate_account_key(kind)
    client = run.client(directory, ca_bundle).with_key(key)
    eab = _binding(run, client, directory)
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
    """Return the registrations at a CA that this home directory knows of."""
    registrations = [
        LedgerEntry(LimitedAction.ACCOUNT, each.created)
        for each in run.services.store.accounts.all()
        if each.directory_url == directory and each.created is not None
    ]
    return believed_entries(registrations, run.services.clock.now())


def _warn_about_account_limits(run: Run, directory: str) -> None:
    """Warn if one more account would exceed the rate limits of a CA."""
    limits = documented_limits(directory).limits
    for usage in usages(limits, registration_times(run, directory), run.services.clock.now(), str):
        if usage.used >= usage.limit.count:
            run.warn(f"{label(directory)} allows {Overrun(usage, 1)}")


def _consent(run: Run, client: AcmeClient, directory: str) -> str | None:
    """Return the URL of the terms that were agreed to; None if the CA has none."""
    terms = client.directory.terms_of_service
    if terms is None or run.services.settings.flag("account.agree_tos"):
        return terms
    shown = shown_terms(terms)
    if run.services.ask(f"Do you agree to the terms of service of {label(directory)}?\n{shown}"):
        return terms
    raise ConsentRequired(
        f"you have not agreed to the terms of service of {label(directory)}: {shown}",
        hint="Read them, then run the same command again with --agree-tos.",
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
        missing = "the HMAC key" if kid else "the key ID"
        raise UsageError(
            f"an external account binding needs a key ID and an HMAC key: {missing} is missing",
            hint="Use --eab-kid KID --eab-hmac-key-file FILE, or set CERTCTL_EAB_KID and "
            "CERTCTL_EAB_HMAC_KEY in the environment.",
            code="usage.eab",
        )
    return ExternalAccount(kid, secret)


def _at_the_ca(run: Run, account: Account) -> Account:
    """Return the account with its current state at the CA; its status tells if the CA no longer
    accepts it.
    """
    try:
        state = _client(run, account).account()
    except AcmeError as error:
        status = _status_after(run, account, error)
        if status != AccountState.MOVED:
            return replace(account, status=status)
        state = _client(run, account).new_account((), terms_agreed=False, only_existing=True)
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


def _binding(run: Run, client: AcmeClient, directory: str) -> ExternalAccount | None:
    """Return the external account binding from the settings. Raises `EabRequired` if the CA needs
    one and there is none.
    """
    eab = _external_account(run)
    if eab is None and client.directory.external_account_required:
        raise EabRequired(
            f"{label(directory)} requires an external account binding (EAB)",
            hint="Get a key ID and an HMAC key from the CA's web site, then run: certctl register "
            f"--ca {as_typed(directory)} --eab-kid KID --eab-hmac-key-file FILE",
        )
    return eab


def _finish_rollover(run: Run, account: Account) -> Account:
    """Complete an interrupted key rollover: keep the key that the CA accepts for the account; both
    if it accepts neither.
    """
    from certctl.ca.accounts import AccountKey  # noqa: PLC0415 - an idle run needs no network
    from certctl.rules.keys import account_key_type  # noqa: PLC0415 - cryptography is slow to import

    accounts = run.services.store.accounts
    candidate = accounts.next_key(account)
    if candidate is None:
        return account
    try:
        kind = account_key_type(candidate)
    except ConfigurationError:
        run.warn(f"{accounts.where(account, next_key=True)} is not a usable key; it is left alone")
        return account
    in_use = _client(run, account).key_in_use(candidate)
    if in_use is AccountKey.NEW:
        accounts.promote_next_key(account)
        run.forget_client(account)
        account = replace(account, key_type=kind, key_changed=run.services.clock.now())
        accounts.update(account)
    elif in_use is AccountKey.OLD:
        accounts.drop_next_key(account)
    else:
        run.warn(
            f"{label(account.directory_url)} does not show whether an interrupted key rollover of"
            f" the account {account.id} succeeded; both keys are kept, and the old one is used"
        )
    return account


def _client(run: Run, account: Account) -> AcmeClient:
    return run.client(account.directory_url, account.ca_bundle, account)


def _exclusive_lock(run: Run, directory: str) -> HeldLock:
    timeout = run.services.settings.seconds("lock_timeout")
    return run.services.store.accounts.lock(directory, exclusive=True, timeout=timeout)


def _contact(emails: Sequence[str]) -> tuple[str, ...]:
    """Return contact URLs (RFC 8555 §7.3); an address that is already a URL stays unchanged."""
    addresses = map(email_address, emails)
    return tuple(each if ":" in each else f"mailto:{each}" for each in addresses)
