"""What `import --check` asks the CAs: whether they know the accounts, and when they would renew."""

from __future__ import annotations

from collections.abc import Iterator

from certctl.ca.directories import label
from certctl.engine.run import Run
from certctl.model.errors import (
    CertctlError,
    Interrupted,
)
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundMachine,
)
from certctl.model.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Checked:
    """What a CA says of an account or a certificate; `problem` if that is a reason to hesitate."""

    subject: str
    text: str
    problem: bool = False


def check(machine: FoundMachine, run: Run, ca_bundle: str | None) -> list[Checked]:
    """Ask the CA of each account whether it knows the account, and for the renewal window of each
    certificate. Changes nothing; a CA that cannot be asked is a line, not an error.
    """
    found: list[Checked] = []
    for client in machine.clients:
        found += [_check_account(each, run, ca_bundle) for each in client.accounts]
        found += [
            checked
            for each in client.certificates
            if each.facts is not None and each.ca is not None
            for checked in _check_certificate(each, run, ca_bundle)
        ]
    return found


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
        return Checked(subject, f"{label(account.ca)}: {error.message}", problem=True)
    if account.url is not None and state.url != account.url:
        return Checked(subject, f"the CA has it as {state.url}", problem=True)
    return Checked(subject, f"known to {label(account.ca)}", problem=state.status != "valid")


def _check_certificate(
    found: FoundCertificate, run: Run, ca_bundle: str | None
) -> Iterator[Checked]:
    client = run.client(str(found.ca), ca_bundle)
    cert_id = None if found.facts is None else found.facts.ari_id
    try:
        if cert_id is None or not client.has_renewal_info:
            return
        window = client.renewal_info(cert_id)
    except Interrupted:
        raise
    except CertctlError as error:
        yield Checked(found.name, error.message)
        return
    now = run.services.clock.now()
    if window.end < now:
        text = "its CA withdraws it, or has revoked it: a new one is ordered at once"
        yield Checked(found.name, text, problem=True)
    else:
        yield Checked(found.name, f"its CA suggests to renew it from {window.start:%Y-%m-%d}")
