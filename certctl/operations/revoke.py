"""Revocation (RFC 8555 §7.6), by the account or by the certificate's key.

The caller chooses what happens to the certificate afterwards, so that `renew` does not silently
renew what was revoked: replace it first, delete it, or stop renewal. A compromised key is never
used again.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from certctl.ca.directories import directory_url
from certctl.engine.delivery.deliver import deliver
from certctl.engine.delivery.hooks import run_post_hooks, run_pre_hooks
from certctl.engine.memory import update_next_action
from certctl.engine.order.accounts import accounts_at, choose_account, shared_lock
from certctl.engine.order.obtain import obtain
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import load, protect_public, require
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Material, Version
from certctl.model.errors import AccountError, AcmeError, DeployFailed, UsageError
from certctl.model.events import Revoked
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec
from certctl.rules import formats, keys, x509
from certctl.rules.account_recovery import may_be_unknown

if TYPE_CHECKING:
    from certctl.model.ca import Account


class Afterwards(StrEnum):
    """What happens to a certificate's name after the revocation."""

    REPLACE = "replace"
    DELETE = "delete"
    STOP = "stop"


@dataclass(frozen=True)
class Revocation:
    """The result of a revocation; `already`: the CA had revoked the certificate before."""

    name: str | None
    serial: str
    already: bool
    afterwards: Afterwards | None = None


def revoke(
    run: Run, name: str, reason: RevocationReason, afterwards: Afterwards
) -> tuple[Revocation, Report]:
    """Revoke the live version of a certificate, then replace, delete or stop it.

    With `REPLACE`, a new version with a new key is obtained and deployed before the old one is
    revoked; if its deployment fails, nothing is revoked, since the old one is still being served.
    Raises `UsageError` if the compromised key belongs to a signing request, since the replacement
    would have the same key.
    """
    require(run, (name,))
    run.lock(name, timeout=run.services.settings.seconds("lock_timeout"))
    spec, status = load(run, name), run.services.store.status(name)
    if status.live is None:
        raise UsageError(f"{name} has no certificate to revoke", hint=f"See: certctl show {name}")
    revoked, report = status.live, Report(considered=1)
    pem = run.services.store.material(name, revoked.number, with_key=False)
    if afterwards is Afterwards.REPLACE:
        if spec.csr and reason is RevocationReason.KEY_COMPROMISE:
            raise _same_key(spec)
        protect_public(spec, status, force=False)
        report = _replace(revoked, spec, run)
    already = not _revoke(run, revoked, spec, pem, reason)
    run.services.emit(Revoked(name, run.services.clock.now(), revoked.facts.serial, already))
    _record_revocation(run, revoked, compromised=reason is RevocationReason.KEY_COMPROMISE)
    if afterwards is Afterwards.DELETE:
        run.services.store.delete(name)
    elif afterwards is Afterwards.STOP:
        stopped = load(run, name)
        run.services.store.save_spec(
            replace(stopped, chosen={**stopped.chosen, "autorenew": False}, autorenew=False)
        )
        update_next_action(name, run)
    else:
        update_next_action(name, run)
    return Revocation(name, revoked.facts.serial, already, afterwards), report


def revoke_file(
    run: Run, ca: str | None, certificate: bytes, key: bytes | None, reason: RevocationReason
) -> Revocation:
    """Revoke the first certificate in a PEM file, with its own key or with the account at `ca`. Any
    others are its chain.

    If it is a version in the archive, that is recorded as revoked. Without `ca`, it is the CA that
    issued that version, else the CA of the settings.
    """
    settings = run.services.settings
    certificate, *chain = formats.split_certificates(certificate)
    facts = x509.facts(certificate)
    if chain:
        names = ", ".join(each.value for each in facts.identifiers)
        run.warn(
            f"the file contains {1 + len(chain)} certificates; only the first one is revoked"
            f" (serial {facts.serial}, for {names or 'no name'})"
        )
    archived = _archived_version(run, facts.sha256)
    issuing = archived.request.ca if archived is not None else settings.required_text("ca")
    directory = directory_url(ca or issuing)
    if key is not None and keys.key_sha256(key) != facts.key_sha256:
        raise UsageError("the key does not belong to the certificate", code="usage.key_mismatch")
    account = None
    if key is None:
        account = choose_account(run, directory, settings.text("account.id"))
        if account is None:
            raise UsageError(
                "there is no account at this CA, and the certificate's key was not given",
                hint="Pass the certificate's key with --key-path FILE, or the CA with --ca.",
            )
    bundle = settings.text("ca_bundle") or (account.ca_bundle if account else None)
    with shared_lock(run, account) if account else nullcontext():
        client = run.client(directory, bundle, account)
        done = client.revoke(x509.der(certificate), reason.number, certificate_key=key)
    run.services.emit(Revoked("", run.services.clock.now(), facts.serial, not done))
    if archived is not None:
        run.lock(archived.name, timeout=settings.seconds("lock_timeout"))
        _record_revocation(run, archived, compromised=reason is RevocationReason.KEY_COMPROMISE)
    return Revocation(archived.name if archived else None, facts.serial, already=not done)


def _replace(revoked: Version, spec: CertificateSpec, run: Run) -> Report:
    # A pending order may use the key that is to be replaced.
    run.services.store.drop_pending(spec.name)
    strict = replace(spec, reuse_key=False, allow_subset=False)
    outcome = Outcome(spec.name, "issued", tuple(each.value for each in spec.identifiers))
    run_hooks = run_pre_hooks([spec], run)
    try:
        if spec.name in run_hooks.refused:
            raise run_hooks.refused[spec.name]
        outcome = replace(outcome, version=obtain(strict, run))
        outcome = replace(outcome, deploy=deliver([spec.name], run)[0])
    finally:
        errors = run_post_hooks(run_hooks, [outcome], run)
    if outcome.deploy is not None and isinstance(outcome.deploy.error, DeployFailed):
        raise DeployFailed(
            "the old certificate was not revoked, since its replacement could not be deployed: "
            + outcome.deploy.error.message,
            hint=f"Fix the deployment (certctl deploy {spec.name}), then revoke the old version: "
            f"certctl revoke --cert-path {run.services.tree.files(revoked).cert}",
            name=spec.name,
        )
    return Report((outcome,), tuple(errors), considered=1)


def _same_key(spec: CertificateSpec) -> UsageError:
    return UsageError(
        f"{spec.name} uses a signing request, so a replacement would have the same key",
        hint="Create a new key and a new signing request, issue with it (certctl issue --name "
        f"{spec.name} --csr FILE), then revoke the old version by its file (--cert-path).",
        name=spec.name,
        code="usage.csr",
    )


def _revoke(
    run: Run,
    revoked: Version,
    spec: CertificateSpec,
    pem: Material,
    reason: RevocationReason,
) -> bool:
    """Revoke with the account that ordered the version, or with the certificate's own key if that
    account no longer exists here or at the CA.
    """
    der, directory = x509.der(pem.cert), revoked.request.ca
    account = _account(run, revoked)
    bundle = account.ca_bundle if account is not None else None
    if spec.ca == directory:
        bundle = spec.ca_bundle
    if account is not None:
        try:
            with shared_lock(run, account):
                return run.client(directory, bundle, account).revoke(der, reason.number)
        except AcmeError as error:
            refused = isinstance(error, AccountError) or may_be_unknown(error)
            if not refused or pem.privkey is None:
                raise
    if pem.privkey is None:
        raise UsageError(
            f"{spec.name} cannot be revoked: neither its account nor its key is in this home"
            " directory",
            name=spec.name,
        )
    client = run.client(directory, bundle)
    return client.revoke(der, reason.number, certificate_key=pem.privkey)


def _account(run: Run, revoked: Version) -> Account | None:
    """Return the account that ordered a version, else another one at the same CA."""
    here = accounts_at(run, revoked.request.ca)
    ordered = (each for each in here if each.url == revoked.account_url)
    return next(ordered, here[0] if here else None)


def _record_revocation(run: Run, version: Version, *, compromised: bool) -> None:
    store, now = run.services.store, run.services.clock.now()
    renewal_state = store.status(version.name).renewal_state
    keys = renewal_state.compromised_keys
    if compromised:
        keys = tuple(dict.fromkeys((*keys, version.facts.key_sha256)))
    revoked = tuple(dict.fromkeys((*renewal_state.revoked, version.number)))
    renewal_state = replace(renewal_state, revoked=revoked, compromised_keys=keys)
    store.save_renewal_state(version.name, renewal_state, next_action_at=now)


def _archived_version(run: Run, sha256: str) -> Version | None:
    store = run.services.store
    return next(
        (
            version
            for name in store.names()
            for version in store.versions(name)
            if version.facts.sha256 == sha256
        ),
        None,
    )
