"""Revocation (RFC 8555 §7.6), by the account or by the certificate's key.

The caller chooses what happens to the certificate afterwards, so that `renew` does not silently
renew what was revoked: replace it first, delete it, or stop renewal. A compromised key is never
used again.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from certctl.ca.directories import directory_url
from certctl.engine.current import summary_of
from certctl.engine.fulfil import fulfil
from certctl.engine.held import Held
from certctl.engine.order.accounts import choose_account, shared_lock
from certctl.engine.planning import Change, with_attempts
from certctl.engine.report import Report
from certctl.engine.revocation import intend
from certctl.engine.run import Run
from certctl.engine.specs import refusal_of_untrusted, require
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards, Version
from certctl.model.errors import CertctlError, DeployFailed, UsageError
from certctl.model.events import Revoked
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec
from certctl.operations.in_use import require_unused
from certctl.rules import formats, keys, x509
from certctl.rules.plan import Plan, Wanted, plan
from certctl.rules.renewal import with_revoked


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
    """Revoke the live version of a certificate, and replace, delete or stop it.

    What is wanted is recorded first: if this is interrupted or fails, `renew` does the rest. With
    `REPLACE`, a new version with a new key is obtained and deployed before the old one is revoked.
    With a compromised key, all versions with that key are revoked.

    Raises `UsageError` if the compromised key belongs to a signing request, since the replacement
    would have the same key, or if a web server uses the files that `DELETE` would delete; and the
    error of the first step that failed.
    """
    require(run, (name,))
    revoked: list[Version] = []

    def planned(held: Held, run: Run) -> Plan:
        if held.live is None:
            raise UsageError(
                f"{name} has no certificate to revoke", hint=f"See: certctl show {name}"
            )
        spec, now = held.spec, run.services.clock.now()
        refusal = refusal_of_untrusted(spec, held.live)
        if afterwards is Afterwards.REPLACE:
            if spec.csr and reason is RevocationReason.KEY_COMPROMISE:
                raise _same_key(spec)
            if refusal is not None:
                raise refusal
        if afterwards is Afterwards.DELETE:
            require_unused(name, run, ", or revoke it with --replace or --stop")
        revoked.append(held.live)
        intend(held, reason, afterwards, run)
        wanted = with_attempts(Wanted(spec, spec, by_hand=True), held, run)
        return plan(wanted, held.status, now)

    report = fulfil([Change(name, planned, by_hand=True)], run, considered=1)
    for outcome in report.outcomes:
        _raise_failure(outcome, afterwards)
    done = [
        each
        for outcome in report.outcomes
        for each in outcome.revoked
        if each.version == revoked[0].number
    ]
    already = bool(done) and all(each.already for each in done)
    replacements = tuple(each for each in report.outcomes if each.action == "issued")
    revocation = Revocation(name, revoked[0].facts.serial, already, afterwards)
    return revocation, replace(report, outcomes=replacements)


def _raise_failure(outcome: Outcome, afterwards: Afterwards) -> None:
    """Raise the error of the first step that failed, with what happens next."""
    error = outcome.error
    if isinstance(error, CertctlError):
        again = f"`certctl renew` tries again, and then revokes {outcome.name}."
        error.hint = f"{error.hint} {again}" if error.hint else again
        raise error
    deploy = outcome.deploy.error if outcome.deploy is not None else None
    if afterwards is Afterwards.REPLACE and isinstance(deploy, CertctlError):
        raise DeployFailed(
            "the old certificate is not revoked yet, since its replacement could not be deployed: "
            + deploy.message,
            hint="Fix the deployment. Then `certctl renew` deploys the replacement and revokes the"
            f" old certificate; to do it at once, run: certctl deploy {outcome.name}",
            name=outcome.name,
        )


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
    issuing = archived.request.ca if archived is not None else settings.one_word("ca")
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
        held = run.hold(archived.name, timeout=settings.seconds("lock_timeout"))
        compromised = reason is RevocationReason.KEY_COMPROMISE
        state = with_revoked(held.renewal_state, archived, compromised=compromised)
        held.save_renewal_state(state, next_action_at=run.services.clock.now())
    return Revocation(archived.name if archived else None, facts.serial, already=not done)


def _same_key(spec: CertificateSpec) -> UsageError:
    return UsageError(
        f"{spec.name} uses a signing request, so a replacement would have the same key",
        hint="Create a new key and a new signing request, issue with it (certctl issue --name "
        f"{spec.name} --csr FILE), then revoke the old version by its file (--cert-path).",
        name=spec.name,
        code="usage.csr",
    )


def _archived_version(run: Run, sha256: str) -> Version | None:
    """Return the archived version of a certificate, of two certificates only the part that is
    this one.
    """
    records = run.services.records
    return next(
        (
            version
            for name in records.names()
            for stored in summary_of(name, run.services).versions.values()
            for version in stored.parts
            if version.facts.sha256 == sha256
        ),
        None,
    )
