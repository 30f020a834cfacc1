"""What `import --check` asks the CAs: whether they know the accounts, when they would renew the
certificates, and whether they have revoked them.
"""

from __future__ import annotations

from collections.abc import Iterator

from certctl.ca.directories import label
from certctl.engine.run import Run
from certctl.model.errors import (
    CertctlError,
    InspectionFailed,
    Interrupted,
)
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundMachine,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import NAME, printable
from certctl.rules.formats import split_certificates
from certctl.rules.revocation import RevocationState, of_answer, of_list, question, sources
from certctl.system.http import RequestFailed, fetch
from certctl.system.proxy import proxy_from
from certctl.version import VERSION

_SECONDS = 20.0


@dataclass(frozen=True)
class Checked:
    """What a CA says of an account or a certificate; `problem` if that is a reason to hesitate, and
    `unknown` if nobody could be asked.
    """

    subject: str
    text: str
    problem: bool = False
    unknown: bool = False


def check(machine: FoundMachine, run: Run, ca_bundle: str | None) -> list[Checked]:
    """Ask the CA of each account whether it knows the account, for the renewal window of each
    certificate, and whether it is revoked. Changes nothing; a CA that cannot be asked is a line,
    not an error.
    """
    found: list[Checked] = []
    lists: dict[str, bytes] = {}
    for client in machine.clients:
        found += [_check_account(each, run, ca_bundle) for each in client.accounts]
        for each in client.certificates:
            if each.facts is None or each.material is None:
                continue
            if each.ca is not None:
                found += _check_window(each, run, ca_bundle)
            found.append(_check_revocation(each, run, ca_bundle, lists))
    return found


def told(error: Exception) -> str:
    """Return what an error says, with what to do about it."""
    hint = getattr(error, "hint", None)
    return f"{error} ({hint})" if hint else str(error)


def _check_account(account: FoundAccount, run: Run, ca_bundle: str | None) -> Checked:
    subject = f"account {account.url or account.key_file}"
    if account.ca is None or account.key is None or account.key_type is None:
        return Checked(subject, account.problem or "its CA is not recorded", problem=True)
    try:
        client = run.client(account.ca, ca_bundle).with_key(account.key)
        state = client.new_account((), terms_agreed=False, only_existing=True)
    except Interrupted:
        raise
    except CertctlError as error:
        return Checked(subject, f"{label(account.ca)}: {told(error)}", problem=True)
    if account.url is not None and state.url != account.url:
        return Checked(subject, f"the CA has it as {state.url}", problem=True)
    return Checked(subject, f"known to {label(account.ca)}", problem=state.status != "valid")


def _check_window(found: FoundCertificate, run: Run, ca_bundle: str | None) -> Iterator[Checked]:
    client = run.client(str(found.ca), ca_bundle)
    cert_id = None if found.facts is None else found.facts.ari_id
    try:
        if cert_id is None or not client.has_renewal_info:
            return
        window = client.renewal_info(cert_id)
    except Interrupted:
        raise
    except CertctlError as error:
        yield Checked(found.name, told(error))
        return
    now = run.services.clock.now()
    if window.end < now:
        text = "its CA withdraws it, or has revoked it: a new one is ordered at once"
        yield Checked(found.name, text, problem=True)
    else:
        yield Checked(found.name, f"its CA suggests to renew it from {window.start:%Y-%m-%d}")


def _check_revocation(
    found: FoundCertificate, run: Run, ca_bundle: str | None, lists: dict[str, bytes]
) -> Checked:
    """Ask where the certificate says: for the list of revoked ones first, since fewer CAs answer
    OCSP. `lists` are those that were fetched already.
    """
    try:
        state = _revocation(found, run, ca_bundle, lists)
    except CertctlError as error:
        return Checked(found.name, f"whether it is revoked: {error.message}", unknown=True)
    if state.revoked_at is None:
        return Checked(found.name, f"not revoked as of {state.as_of:%Y-%m-%d %H:%M} UTC")
    why = f" ({state.reason})" if state.reason else ""
    return Checked(
        found.name,
        f"revoked by its CA on {state.revoked_at:%Y-%m-%d}{why}; once it is imported, get another"
        f" one with: certctl renew {found.name} --force",
        problem=True,
    )


def _revocation(
    found: FoundCertificate, run: Run, ca_bundle: str | None, lists: dict[str, bytes]
) -> RevocationState:
    assert found.material is not None  # noqa: S101 - it is looked at before
    cert, now = found.material.cert, run.services.clock.now()
    chain = found.material.chain
    issuers = split_certificates(chain) if chain else []
    where = sources(cert)
    if not (where.lists or where.responders):
        raise InspectionFailed("it names neither a list of revoked ones nor an OCSP responder")
    if not issuers:
        raise InspectionFailed("its issuer's certificate is not here")
    reasons: list[str] = []
    for url in where.lists:
        try:
            if url not in lists:
                lists[url] = _fetched(url, run, ca_bundle)
            return of_list(lists[url], url, cert, issuers[0], now)
        except (RequestFailed, InspectionFailed) as error:
            reasons.append(f"{printable(url, NAME)}: {error}")
    for url in where.responders:
        try:
            answer = _fetched(url, run, ca_bundle, question(cert, issuers[0]))
            return of_answer(answer, cert, issuers[0], now)
        except (RequestFailed, InspectionFailed) as error:
            reasons.append(f"{printable(url, NAME)}: {error}")
    raise InspectionFailed("; ".join(reasons))


def _fetched(url: str, run: Run, ca_bundle: str | None, asked: bytes | None = None) -> bytes:
    headers = {"User-Agent": f"certctl/{VERSION}"}
    if asked is not None:
        headers["Content-Type"] = "application/ocsp-request"
    return fetch(
        url,
        data=asked,
        headers=headers,
        seconds=_SECONDS,
        roots=ca_bundle,
        proxy=proxy_from(run.services.settings),
    )
