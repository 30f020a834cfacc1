"""Revocation of archived versions (RFC 8555 §7.6), by the account or by the certificate's key.

What is to be revoked is recorded before anything is done, and kept until the CA has done it.
"""

from __future__ import annotations

from dataclasses import replace

from certctl.engine.held import Held
from certctl.engine.order.accounts import accounts_at, shared_lock
from certctl.engine.run import Run
from certctl.model.ca import Account, RevocationReason
from certctl.model.certificate import Afterwards, Material, RevocationIntent, Version
from certctl.model.errors import AccountError, AcmeError, UsageError
from certctl.model.events import Revoked
from certctl.model.run import RevokedVersion
from certctl.rules import x509
from certctl.rules.account_recovery import may_be_unknown
from certctl.rules.renewal import after_revocation


def intend(held: Held, reason: RevocationReason, afterwards: Afterwards, run: Run) -> None:
    """Record that the live version is to be revoked; with a compromised key, every version that is
    still valid and has this key. It takes the place of what was intended before.
    """
    now, live = run.services.clock.now(), held.live
    if live is None:
        return
    numbers = {live.number}
    if reason is RevocationReason.KEY_COMPROMISE:
        numbers |= {
            each.number
            for each in held.versions
            if each.keys_sha256 & live.keys_sha256 and each.not_after > now
        }
    intents = tuple(
        RevocationIntent(each.number, each.facts.serial, reason, afterwards, now)
        for each in held.versions
        if each.number in numbers - set(held.renewal_state.revoked) or each.number == live.number
    )
    state = replace(held.renewal_state, revocations=intents)
    held.save_renewal_state(state, next_action_at=now)


def revoke_version(held: Held, intent: RevocationIntent, run: Run) -> tuple[RevokedVersion, ...]:
    """Revoke all certificates of a version at its CA, and record it. If that is interrupted, the
    version is to be revoked still, and the CA says of which certificate it is done.

    A version that has expired, or is no longer in the archive, needs no revocation.
    """
    now = run.services.clock.now()
    version = next((each for each in held.versions if each.number == intent.version), None)
    revoked: list[RevokedVersion] = []
    if version is None:
        run.warn(f"version {intent.version} is not there any more to be revoked", held.name)
    elif all(each.facts.not_after <= now for each in version.certificates):
        run.warn(f"version {intent.version} has expired and needs no revocation", held.name)
    else:
        material = held.material(version.number, with_key=False)
        for each, own in zip(version.parts, material.parts, strict=True):
            already = not _revoke(each, own, intent.reason, held, run)
            run.services.emit(Revoked(held.name, now, each.facts.serial, already))
            revoked.append(RevokedVersion(each.number, each.facts.serial, already))
    state = after_revocation(held.renewal_state, version, intent)
    held.save_renewal_state(state, next_action_at=now)
    return tuple(revoked)


def _revoke(
    version: Version, material: Material, reason: RevocationReason, held: Held, run: Run
) -> bool:
    """Revoke with the account that ordered the version, or with the certificate's own key if that
    account no longer exists here or at the CA. Return False if it was revoked before.
    """
    der, directory = x509.der(material.cert), version.request.ca
    account = _account(run, version)
    bundle = account.ca_bundle if account is not None else None
    if held.saved is not None and directory in held.saved.cas:
        bundle = held.saved.ca_bundle
    if account is not None:
        try:
            with shared_lock(run, account):
                return run.client(directory, bundle, account).revoke(der, reason.number)
        except AcmeError as error:
            refused = isinstance(error, AccountError) or may_be_unknown(error)
            if not refused or material.privkey is None:
                raise
    if material.privkey is None:
        raise UsageError(
            f"{held.name} cannot be revoked: neither its account nor its key is in this home"
            " directory",
            name=held.name,
        )
    client = run.client(directory, bundle)
    return client.revoke(der, reason.number, certificate_key=material.privkey)


def _account(run: Run, version: Version) -> Account | None:
    """Return the account that ordered a version, else another one at the same CA."""
    here = accounts_at(run, version.request.ca)
    ordered = (each for each in here if each.url == version.account_url)
    return next(ordered, here[0] if here else None)
