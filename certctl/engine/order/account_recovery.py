"""Orders with an account, and registers the account again if its CA has lost it.

A private CA that was set up anew knows no account; its certificates must still renew unattended.
Which accounts may be replaced is decided by `certctl.rules.account_recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from certctl.ca.directories import as_typed, label
from certctl.engine.order.accounts import (
    changed_since,
    ensure_account,
    register_again,
    shared_lock,
    state_at_the_ca,
)
from certctl.engine.order.stateless import share_key
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.ca import Account
from certctl.model.errors import AccountError, AcmeError, CertctlError, ChallengeError
from certctl.model.identifiers import IdentifierType
from certctl.model.spec import CertificateSpec
from certctl.rules.account_recovery import AccountState, Facts, may_be_unknown, obstacle, some

_Result = TypeVar("_Result")


def with_account(
    run: Run, spec: CertificateSpec, chosen: str | None, work: Callable[[Account], _Result]
) -> _Result:
    """Return the result of `work` with the account to order with, which is locked meanwhile.

    If the CA has lost the account, it is registered again with the same key, where that is safe,
    and `work` is called once more. Otherwise the hint of the error says how to get an account.
    """
    share_key(spec, run)
    account = ensure_account(run, spec.ca, spec.ca_bundle, chosen)
    try:
        with shared_lock(run, account):
            return work(account)
    except AcmeError as error:
        if not may_be_unknown(error):
            raise
        again = _registered_again(run, account, spec, error)
    with shared_lock(run, again):
        return work(again)


def _registered_again(
    run: Run, account: Account, spec: CertificateSpec, error: AcmeError
) -> Account:
    """Return the account after registering it again; raise `error` if that is not allowed."""
    run.check()
    current = changed_since(run, account)
    if current is not None:  # another certificate of this run, or another process, did it
        return current
    state = state_at_the_ca(run, account)
    if state is AccountState.KNOWN:
        if error.type == "accountDoesNotExist":  # somebody else has just registered it
            return account
        raise error
    facts = _facts(run, account, spec, state)
    reason = obstacle(facts)
    if reason is None:
        return register_again(run, account)
    if state is not AccountState.UNDECIDED or isinstance(error, AccountError):
        error.hint = _hint(account, facts, reason)
    raise error


def _facts(run: Run, account: Account, spec: CertificateSpec, state: AccountState) -> Facts:
    directory = run.client(account.directory_url, account.ca_bundle).directory
    settings = run.services.settings
    agreed = directory.terms_of_service is None or settings.flag("account.agree_tos")
    binding = directory.external_account_required or settings.text("account.eab_kid") is not None
    named = (
        ()
        if state not in {AccountState.UNKNOWN, AccountState.MOVED}
        else tuple(_named_by(run, account, spec))
    )
    return Facts(state, agreed, binding, named)


def _hint(account: Account, facts: Facts, reason: str) -> str:
    """Return what to type for an account that is not registered again automatically."""
    command = f"certctl register --ca {as_typed(account.directory_url)}"
    if facts.needs_binding:
        command += " --eab-kid KID --eab-hmac-key-file FILE"
    if not facts.terms_agreed:
        command += " --agree-tos"
    gone = f"{label(account.directory_url)} no longer accepts the account {account.id}"
    return f"{gone}, and it was not registered again because {reason}. To register one: {command}"


def _named_by(run: Run, account: Account, spec: CertificateSpec) -> Iterator[str]:
    """Yield what refers to the account by its URL, which a new registration would change."""
    if account.url in {spec.account, run.services.settings.text("account.id")}:
        yield "the setting account.id"
    if persistent := _with_persistent_records(run, account, spec):
        yield f"the persistent validation records of {some(persistent)}"
    if records := list(_caa_records(run, account, spec)):
        yield f"CAA records (accounturi) of {some(records)}"


def _with_persistent_records(run: Run, account: Account, spec: CertificateSpec) -> list[str]:
    found = [spec.name] if spec.challenge.method == "dns-persist" else []
    for name in run.services.records.names():
        with suppress(CertctlError):
            other = load(run, name)
            if account.directory_url in other.cas and other.challenge.method == "dns-persist":
                found.append(name)
    return sorted(set(found))


def _caa_records(run: Run, account: Account, spec: CertificateSpec) -> Iterator[str]:
    """Yield the names whose CAA records name the account. A name server that does not answer is no
    obstacle: the CA refuses to issue then, and later if the records name another account.
    """
    from certctl.dns.caa import names_account, relevant_set  # noqa: PLC0415 - rarely needed
    from certctl.dns.resolver import Resolver  # noqa: PLC0415 - rarely needed

    challenge = run.challenge(spec)
    address = challenge.dns_resolver or run.endpoint(spec.ca, spec.ca_bundle).dns
    with suppress(ChallengeError):
        resolver = Resolver(address, run.stop)
        bases = {each.base for each in spec.identifiers if each.type is IdentifierType.DNS}
        for base in sorted(bases):
            where, records = relevant_set(base, resolver)
            if names_account(records, account.url):
                yield where
