"""The account that orders use: select it, or register it if this home directory has none.

Orders hold an account's lock shared; whatever changes an account holds it exclusively, as the
operations on accounts do. No lock is held while the user is prompted.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from certctl.ca.directories import as_typed, label, staging_url
from certctl.ca.documented_limits import documented_limits
from certctl.ca.problems import shown_terms
from certctl.engine.run import Run
from certctl.model.ca import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.model.errors import (
    AcmeError,
    ConfigurationError,
    ConsentRequired,
    Declined,
    EabRequired,
    LockHeld,
    UsageError,
)
from certctl.model.events import AccountRegistered
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import email_address
from certctl.rules.account_recovery import AccountState, state_after
from certctl.rules.rate_limits import Overrun, usages
from certctl.rules.remembered_state import believed_entries
from certctl.rules.settings import Source
from certctl.store.records import AccountKeys, Lease, Subject
from certctl.system.secrets import read_secret

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient, ExternalAccount

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
    return usable_accounts(run.services.records.accounts(directory))


def usable_accounts(accounts: Sequence[Account]) -> list[Account]:
    """Return those that are valid; if none is, those that can be registered again."""
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


def use_account(run: Run, directory: str, ca_bundle: str | None, chosen: str | None) -> Account:
    """Return the account to order with, as `ensure_account` does, for a command on which a user may
    have given options of a new account: warns of those that an existing one does not use.
    """
    existing = choose_account(run, directory, chosen)
    if existing is None:
        return _first_account(run, directory, ca_bundle)
    warn_of_unused_options(run, existing)
    return existing


def ensure_account(run: Run, directory: str, ca_bundle: str | None, chosen: str | None) -> Account:
    """Return the account to order with; register one if this home directory has none."""
    return choose_account(run, directory, chosen) or _first_account(run, directory, ca_bundle)


def _first_account(run: Run, directory: str, ca_bundle: str | None) -> Account:
    """Register an account where there is none; the setting `account.id` must not name another."""
    existing = choose_account(run, directory, run.services.settings.text("account.id"))
    return existing or register_new(run, directory, ca_bundle).account


def register_new(
    run: Run,
    directory: str,
    ca_bundle: str | None,
    *,
    lost: Account | None = None,
    key: bytes | None = None,
) -> Registration:
    """Register an account at a CA, unless another process or thread does so at the same time; one
    that the CA has `lost` is registered again with its key if that has the type of the settings.
    `key`: the private key of the account, by default a new one.

    Email addresses, key type, agreement to the terms of service and external account binding come
    from the settings. Raises `ConsentRequired` with the URL of the terms if they have not been
    agreed to, `EabRequired` if the CA requires a binding and none is configured.
    """
    terms = consent(run, run.client(directory, ca_bundle), directory)
    kind = AccountKeyType(run.services.settings.required_text("account.key_type"))
    if lost is not None and lost.key_type is kind:
        return Registration(register_again(run, lost), created=True)

    def found() -> Account | None:
        return choose_account(run, directory, None) if lost is None else None

    held = _exclusive_lock_unless(run, directory, found)
    if isinstance(held, Account):
        return Registration(held, created=False)
    with held:
        return _register(run, directory, ca_bundle, terms, key, held)


def _register(
    run: Run,
    directory: str,
    ca_bundle: str | None,
    terms: str | None,
    key: bytes | None,
    lease: Lease,
) -> Registration:
    from certctl.rules.keys import account_key_type, generate_account_key  # noqa: PLC0415 - cryptography is slow to import

    settings, clock = run.services.settings, run.services.clock
    _warn_about_account_limits(run, directory)
    kind = AccountKeyType(settings.required_text("account.key_type"))
    if key is None:
        key = generate_account_key(kind)
    else:
        kind = account_key_type(key)
    client = run.client(directory, ca_bundle).with_key(key)
    eab = _binding(run, client, directory)
    contact = contact_urls(settings.texts("account.email"))
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
    saved = save_changed(run, account, lease, AccountKeys(key))
    run.services.emit(AccountRegistered("", clock.now(), saved.url, state.created))
    return Registration(saved, created=state.created)


def register_again(run: Run, account: Account) -> Account:
    """Register an account that the CA does not know any more with the key and the contact that it
    had, and return it with its new URL. Its ID stays.

    Addresses given with `--email` replace the contact. The caller has made sure that the terms are
    agreed to. Raises `EabRequired` if the CA requires a binding and none is configured.
    """
    settings = run.services.settings
    held = _exclusive_lock_unless(run, account.directory_url, lambda: changed_since(run, account))
    if isinstance(held, Account):
        return held
    with held:
        client = client_of(run, account)
        moved = state_at_the_ca(run, account) is AccountState.MOVED
        eab = None if moved else _binding(run, client, account.directory_url)
        contact = contact_urls(settings.texts("account.email")) or account.contact
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
        save_changed(run, registered, held)
        run.forget_client(account)
    now = run.services.clock.now()
    run.services.emit(AccountRegistered("", now, registered.url, state.created))
    run.warn(
        f"{label(account.directory_url)} did not know the account {account.url} any more; it was"
        f" registered again with the same key as {registered.url}"
    )
    return registered


def _exclusive_lock_unless(
    run: Run, directory: str, found: Callable[[], Account | None]
) -> Lease | Account:
    """Return the exclusive lock of the accounts at a CA, or the account that `found` returns, which
    another process or thread has registered meanwhile.

    Others that order hold the lock shared, so an account exists long before the lock can be held
    exclusively. Raises `LockHeld`.
    """
    clock, records = run.services.clock, run.services.records
    deadline = clock.monotonic() + run.services.settings.seconds("lock_timeout")
    while True:
        account = found()
        if account is not None:
            return account
        try:
            lock = records.lease(Subject(directory_url=directory), wait=0)
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


def changed_since(run: Run, account: Account) -> Account | None:
    """Return the account if it was registered again since `account` was read; None otherwise."""
    saved = run.services.records.accounts(account.directory_url)
    current = next((each for each in saved if each.id == account.id), account)
    changed = (current.url, current.created) != (account.url, account.created)
    return current if changed else None


def state_at_the_ca(run: Run, account: Account) -> AccountState:
    """Return whether the CA has an account with this account's key (RFC 8555 §7.3.1)."""
    try:
        found = client_of(run, account).new_account((), terms_agreed=False, only_existing=True)
    except AcmeError as error:
        return state_after(error)
    return AccountState.KNOWN if found.url == account.url else AccountState.MOVED


def warn_of_unused_options(run: Run, account: Account) -> None:
    """Warn of options on the command line that only a new account would use."""
    settings = run.services.settings
    given = settings.given(Source.FLAG)
    selection = f" --ca {as_typed(account.directory_url)} --account {account.id}"
    emails = settings.texts("account.email")
    if "account.email" in given and set(contact_urls(emails)) != set(account.contact):
        options = " ".join(f"--email {shlex.quote(each)}" for each in emails)
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


def registration_times(run: Run, directory: str) -> list[LedgerEntry]:
    """Return the registrations at a CA that this home directory knows of."""
    registrations = [
        LedgerEntry(LimitedAction.ACCOUNT, each.created)
        for each in run.services.records.accounts()
        if each.directory_url == directory and each.created is not None
    ]
    return believed_entries(registrations, run.services.clock.now())


def _warn_about_account_limits(run: Run, directory: str) -> None:
    """Warn if one more account would exceed the rate limits of a CA."""
    limits = documented_limits(directory).limits
    for usage in usages(limits, registration_times(run, directory), run.services.clock.now(), str):
        if usage.used >= usage.limit.count:
            run.warn(f"{label(directory)} allows {Overrun(usage, 1)}")


def consent(run: Run, client: AcmeClient, directory: str) -> str | None:
    """Return the URL of the terms that were agreed to; None if the CA has none."""
    terms = client.directory.terms_of_service
    if terms is None or run.services.settings.flag("account.agree_tos"):
        return terms
    if _agreed_at_its_public_ca(run, terms, directory):
        return terms
    shown = shown_terms(terms)
    answer = run.services.ask(
        f"Do you agree to the terms of service of {label(directory)}?\n{shown}"
    )
    if answer:
        return terms
    raise (ConsentRequired if answer is None else Declined)(
        f"you have not agreed to the terms of service of {label(directory)}: {shown}",
        hint="Read them, then run the same command again with --agree-tos.",
        code="usage.terms",
    )


def _binding(run: Run, client: AcmeClient, directory: str) -> ExternalAccount | None:
    """Return the external account binding from the settings. Raises `EabRequired` if the CA needs
    one and there is none.
    """
    eab = _external_account(run)
    if eab is not None and len(run.services.settings.words("ca")) > 1:
        # It was issued by one of these CAs: those that need none get none.
        eab = eab if client.directory.external_account_required else None
    if eab is None and client.directory.external_account_required:
        raise EabRequired(
            f"{label(directory)} requires an external account binding (EAB)",
            hint="Get a key ID and an HMAC key from the CA's web site, then run: certctl register "
            f"--ca {as_typed(directory)} --eab-kid KID --eab-hmac-key-file FILE",
        )
    return eab


def _agreed_at_its_public_ca(run: Run, terms: str, directory: str) -> bool:
    """Return whether an account at the CA whose staging directory this is has agreed to the same
    terms, so that a dry run need not ask again.
    """
    return any(
        each.terms_of_service == terms and staging_url(each.directory_url) == directory
        for each in run.services.records.accounts()
        if each.status == "valid" and each.directory_url != directory
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


def shared_lock(run: Run, account: Account) -> Lease:
    """Lock the account for orders: others may order as well, but nobody can change the account."""
    timeout = run.services.settings.seconds("lock_timeout")
    records = run.services.records
    if records.account_keys(account).next is not None:
        with exclusive_lock(run, account.directory_url) as lease:
            finish_rollover(run, account, lease)
    subject = Subject(directory_url=account.directory_url)
    return records.lease(subject, shared=True, wait=timeout)


def exclusive_lock(run: Run, directory: str) -> Lease:
    """Lock the accounts at a CA, to change one. Raises `LockHeld`."""
    timeout = run.services.settings.seconds("lock_timeout")
    return run.services.records.lease(Subject(directory_url=directory), wait=timeout)


def save_changed(
    run: Run, account: Account, lease: Lease, keys: AccountKeys | None = None
) -> Account:
    """Save a new or changed account, with `keys` in place of its own if they are given. The lease
    is the exclusive one. Return the account with its `id` set.
    """
    records = run.services.records
    here = records.accounts(account.directory_url)
    known = (
        each for each in here if (each.id == account.id if account.id else each.url == account.url)
    )
    stored = next(known, None)
    if stored is not None:
        account = replace(account, id=stored.id)
    return records.save_account(account, keys, expect=stored, token=lease.token)


def finish_rollover(run: Run, account: Account, lease: Lease) -> Account:
    """Complete an interrupted key rollover: keep the key that the CA accepts for the account; both
    if it accepts neither.
    """
    from certctl.ca.accounts import AccountKey  # noqa: PLC0415 - an idle run needs no network
    from certctl.rules.keys import account_key_type  # noqa: PLC0415 - cryptography is slow to import

    stored = run.services.records.account_keys(account)
    candidate = stored.next
    if candidate is None:
        return account
    try:
        kind = account_key_type(candidate)
    except ConfigurationError:
        machine, directory = run.services.machine, account.directory_url
        where = machine.account_file(directory, account.id, next_key=True)
        run.warn(f"{where} is not a usable key; it is left alone")
        return account
    in_use = client_of(run, account).key_in_use(candidate)
    if in_use is AccountKey.NEW:
        run.forget_client(account)
        account = replace(account, key_type=kind, key_changed=run.services.clock.now())
        save_changed(run, account, lease, AccountKeys(candidate))
    elif in_use is AccountKey.OLD:
        save_changed(run, account, lease, AccountKeys(stored.current))
    else:
        run.warn(
            f"{label(account.directory_url)} does not show whether an interrupted key rollover of"
            f" the account {account.id} succeeded; both keys are kept, and the old one is used"
        )
    return account


def client_of(run: Run, account: Account) -> AcmeClient:
    """Return the connection to the CA that signs with the account's key."""
    return run.client(account.directory_url, account.ca_bundle, account)


def contact_urls(emails: Sequence[str]) -> tuple[str, ...]:
    """Return contact URLs (RFC 8555 §7.3); an address that is already a URL stays unchanged."""
    addresses = map(email_address, emails)
    return tuple(each if ":" in each else f"mailto:{each}" for each in addresses)
