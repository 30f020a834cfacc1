"""The CAs of one examination by `doctor`: each is asked once, by whichever check comes first, and
one that cannot be reached is not tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from certctl.ca import health
from certctl.ca.client import AcmeClient, Directory
from certctl.ca.directories import label
from certctl.dns.caa import IssuanceRequest
from certctl.errors import AcmeError, CertctlError
from certctl.models import Account, CertificateSpec, Finding
from certctl.operations.accounts import choose_account
from certctl.operations.run import Run

CaAccount = tuple[str, str | None, str | None]
"""A CA's directory URL, its roots, and the account there that is wanted."""


@dataclass
class _Reached:
    """What came of asking one CA for its directory; `lock` is held meanwhile."""

    lock: Lock = field(default_factory=Lock)
    directory: Directory | None = None
    clock: tuple[Finding, ...] = ()
    error: AcmeError | None = None


class CaChecks:
    """Its methods may be called from several threads."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._guard = Lock()
        self._reached: dict[tuple[str, str | None], _Reached] = {}

    def findings(self, ca_account: CaAccount) -> Iterator[Finding]:
        """Yield what is wrong with a CA, with the clock, and with our account there."""
        ca, bundle, wanted = ca_account
        account = choose_account(self._run, ca, wanted)
        reached = self._ask(ca, bundle)
        if reached.error is not None or reached.directory is None:
            if reached.error is not None:
                yield health.unreachable(ca, reached.error)
            return
        yield from reached.clock
        yield from health.directory_findings(reached.directory, ca, account)
        if account is not None:
            client = self._run.client(ca, bundle, account)
            yield from health.account_findings(client, account)

    def issuance_request(self, spec: CertificateSpec, method: str) -> IssuanceRequest | None:
        """Return who would order a certificate; None where the CA cannot be reached, which is told
        of by itself.
        """
        directory = self._ask(spec.ca, spec.ca_bundle).directory
        if directory is None:
            return None
        account = self._account(spec)
        identities = directory.caa_identities
        return IssuanceRequest(label(spec.ca), identities, account.url if account else None, method)

    def profile(self, spec: CertificateSpec) -> Iterator[Finding]:
        """Yield whether the CA offers the profile that a certificate wants."""
        directory = self._ask(spec.ca, spec.ca_bundle).directory
        if directory is not None:
            yield from health.profile_findings(directory, spec)

    def _ask(self, ca: str, bundle: str | None) -> _Reached:
        with self._guard:
            reached = self._reached.setdefault((ca, bundle), _Reached())
        with reached.lock:
            if reached.directory is None and reached.error is None:
                self._fetch(reached, self._run.client(ca, bundle), ca)
        return reached

    def _fetch(self, reached: _Reached, client: AcmeClient, ca: str) -> None:
        try:
            reached.directory = client.directory
        except AcmeError as error:
            reached.error = error
            return
        now = self._run.services.clock.now()
        reached.clock = tuple(health.clock_findings(ca, client.server_time, now))

    def _account(self, spec: CertificateSpec) -> Account | None:
        with suppress(CertctlError):
            return choose_account(self._run, spec.ca, spec.account)
        return None
