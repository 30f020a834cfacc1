"""Accounts at a CA: registration, update, key rollover, deactivation (RFC 8555 §7.3).

One function per request, over a `Network` whose signer is the account's key. Storing keys and
accounts is the caller's job.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from certctl.ca import messages
from certctl.ca.messages import AccountState
from certctl.ca.network import Network
from certctl.ca.problems import Resource
from certctl.ca.signing import ExternalAccount, Signer, external_binding, key_change
from certctl.model.errors import AccountError, AcmeError, CaUnavailable, TermsChanged

_BOTH_KEPT = (
    "The old and the new key are both kept. The next use of the account asks the CA again: certctl"
    " account show --refresh"
)
_KEY_CHANGE_CHECK_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between checks that the new key is in use; some CAs need a moment until all their servers
know it.
"""


def new_account(
    network: Network,
    contact: Sequence[str],
    *,
    terms_agreed: bool,
    external: ExternalAccount | None = None,
    only_existing: bool = False,
) -> AccountState:
    """Register the signer's key, or look up its existing account, and return the account (RFC 8555
    §7.3).

    Raises `EabRequired`, `TermsChanged`, `AccountError`, or another `AcmeError`.
    """
    signer = _without_account(network.signer)
    url = network.url("newAccount", Resource.NEW_ACCOUNT)
    payload: dict[str, object] = {}
    if only_existing:
        payload["onlyReturnExisting"] = True
    if contact:
        payload["contact"] = [_contact_url(each) for each in contact]
    if terms_agreed:
        payload["termsOfServiceAgreed"] = True
    if external is not None:
        payload["externalAccountBinding"] = external_binding(external, signer, new_account_url=url)
    try:
        response = network.signed_by(signer).send(url, payload, resource=Resource.NEW_ACCOUNT)
    except AcmeError as error:
        if external is not None and not isinstance(error, TermsChanged | CaUnavailable):
            error.hint = error.hint or (
                "Check --eab-kid and the HMAC key. Some CAs accept each pair only once."
            )
        raise
    found = messages.location(response, Resource.NEW_ACCOUNT)
    return messages.account(response, found, Resource.NEW_ACCOUNT)


def account(network: Network) -> AccountState:
    """Return the account; if the CA does not serve its URL, look it up through newAccount."""
    url = _account_url(network.signer)
    try:
        response = network.send(url, None, resource=Resource.ACCOUNT)
    except (AccountError, CaUnavailable):
        raise
    except AcmeError:
        return new_account(network, (), terms_agreed=False, only_existing=True)
    return messages.account(response, url, Resource.ACCOUNT)


def update(network: Network, **fields: object) -> AccountState:
    """Change fields of the account, and return it (RFC 8555 §7.3.2)."""
    url = _account_url(network.signer)
    response = network.send(url, fields, resource=Resource.ACCOUNT)
    return messages.account(response, url, Resource.ACCOUNT)


def update_contact(network: Network, contact: Sequence[str]) -> AccountState:
    """Replace the account's contacts; an empty `contact` removes them."""
    return update(network, contact=[_contact_url(each) for each in contact])


def deactivate(network: Network) -> AccountState:
    """Deactivate the account, which cannot be undone (RFC 8555 §7.3.6)."""
    url = _account_url(network.signer)
    payload = {"status": "deactivated"}
    try:
        response = network.send(url, payload, resource=Resource.ACCOUNT, resend=False)
    except CaUnavailable:
        # Either the request was lost and the account is still valid, or the response was lost and
        # the CA rejects the account from now on.
        try:
            response = network.send(url, payload, resource=Resource.ACCOUNT)
        except AccountError:
            return AccountState(url, "deactivated")
    return messages.account(response, url, Resource.ACCOUNT)


def change_key(network: Network, new_key: bytes) -> None:
    """Replace the account's key, and verify that the CA uses the new one (RFC 8555 §7.3.5).

    Raises `AccountError`: code `acme.key_in_use` if another account has the new key,
    `acme.key_change_refused` if the CA does not change keys, or reports success without doing so,
    `acme.account_key_unknown` if the CA does not tell which key it uses.
    """
    new, old = Signer.load(new_key), network.signer
    url = network.url("keyChange", Resource.KEY_CHANGE)
    payload = key_change(new, old, url=url)
    try:
        network.send(url, payload, resource=Resource.KEY_CHANGE, resend=False)
    except AcmeError as error:
        _resolve_failed_change(network, new_key, error)
        return
    in_use = key_in_use(network, new_key)
    if in_use is None:
        raise key_unknown(network.host)
    if in_use is AccountKey.OLD:
        raise _key_change_refused(
            f"{network.host} accepted the new key, but still uses the old one"
        )


class AccountKey(Enum):
    """Which of two keys an account has at the CA."""

    OLD = "old"
    NEW = "new"


def key_in_use(network: Network, new_key: bytes) -> AccountKey | None:
    """Return which key the signer's account has at the CA: `new_key` or the signer's own; None if
    the CA accepts neither.

    Only success decides: a CA may be down, demand an external account binding before it looks at a
    key, or refuse both keys of a deactivated account. If the new key is not accepted, this takes
    some seconds, until all servers of the CA must know it.
    """
    new = Signer.load(new_key, _account_url(network.signer))
    for seconds in (*_KEY_CHANGE_CHECK_DELAYS, None):
        if _accepts(network, new):
            return AccountKey.NEW
        if seconds is not None:
            network.pause(seconds)
    return AccountKey.OLD if _accepts(network, network.signer) else None


def _accepts(network: Network, signer: Signer) -> bool:
    """Return whether the CA shows that the account of `signer` has its key: by serving the account
    (RFC 8555 §7.3.2), or by finding it by the key (§7.3.1), since some CAs do not serve it.
    """
    asked = network.signed_by(signer)
    url = _account_url(signer)
    try:
        asked.send(url, None, resource=Resource.ACCOUNT, resend=False)
    except AcmeError:
        try:
            return new_account(asked, (), terms_agreed=False, only_existing=True).url == url
        except AcmeError:
            return False
    return True


def _resolve_failed_change(network: Network, new_key: bytes, error: AcmeError) -> None:
    """Return if only the response was lost; raise the actual error otherwise."""
    in_use = key_in_use(network, new_key)
    if in_use is AccountKey.NEW:
        return
    if in_use is None:
        if error.type == "accountDoesNotExist":
            raise error
        if isinstance(error, CaUnavailable):
            error.hint = _BOTH_KEPT
            raise error
        raise key_unknown(network.host, error) from error
    if error.status == 409:
        raise _other_account(network, error) from error
    if error.status in {403, 404, 405, 501}:
        raise _key_change_refused(error.message, error) from error
    # Pebble reports a key that is in use as a server error.
    if isinstance(error, CaUnavailable) and _has_account(network, new_key):
        raise _other_account(network, error) from error
    raise error


def _has_account(network: Network, key: bytes) -> bool:
    """Return whether the CA finds an account by this key."""
    try:
        new_account(network.signed_by(Signer.load(key)), (), terms_agreed=False, only_existing=True)
    except AcmeError:
        return False
    return True


def _other_account(network: Network, error: AcmeError) -> AccountError:
    return AccountError(
        f"{network.host} has another account with the new key",
        type=error.type,
        status=error.status,
        hint="Try again: the next attempt generates another key.",
        code="acme.key_in_use",
    )


def key_unknown(host: str, error: AcmeError | None = None) -> AccountError:
    """Return the error for a CA that does not show which of two keys the account has."""
    reason = f": {error.message}" if error else ""
    return AccountError(
        f"it is unknown whether {host} uses the old or the new key of the account{reason}",
        type=error.type if error else None,
        status=error.status if error else None,
        retry_after=error.retry_after if error else None,
        hint=_BOTH_KEPT,
        code="acme.account_key_unknown",
    )


def _key_change_refused(message: str, error: AcmeError | None = None) -> AccountError:
    return AccountError(
        message,
        type=error.type if error else None,
        status=error.status if error else None,
        hint="The account keeps its current key. To stop using that key, register a new account "
        "and deactivate this one.",
        code="acme.key_change_refused",
    )


def _without_account(signer: Signer) -> Signer:
    return Signer(signer.key, signer.algorithm)


def _account_url(signer: Signer) -> str:
    if signer.kid is None:
        raise ValueError("this network has no account URL to sign for")
    return signer.kid


def _contact_url(contact: str) -> str:
    return contact if ":" in contact else f"mailto:{contact}"
