"""Checks of the CAs, for one run of `doctor`. The directory of each CA is fetched once, by the
first check that needs it; a CA that cannot be reached is not tried again.
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
from certctl.engine.order.accounts import choose_account
from certctl.engine.order.stateless import METHOD, thumbprint_of
from certctl.engine.run import Run
from certctl.model.ca import Account
from certctl.model.errors import AcmeError, CertctlError
from certctl.model.run import Finding
from certctl.model.spec import CertificateSpec

CaAccount = tuple[str, str | None, str | None]
"""A CA's directory URL, the file with its roots, and the ID of the account to use."""


@dataclass
class _CaState:
    """The directory of a CA, or the error of fetching it; `lock` is held while it is fetched."""

    lock: Lock = field(default_factory=Lock)
    directory: Directory | None = None
    clock: tuple[Finding, ...] = ()
    error: AcmeError | None = None


class CaChecks:
    """The checks of CAs. Thread-safe."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._guard = Lock()
        self._states: dict[tuple[str, str | None], _CaState] = {}

    def findings(self, ca_account: CaAccount, *, needed: bool = False) -> Iterator[Finding]:
        """Yield what is wrong with a CA, this machine's clock, and the account at the CA; `needed`:
        it must have been registered beforehand.
        """
        ca, bundle, account_id = ca_account
        account = choose_account(self._run, ca, account_id)
        state = self._state(ca, bundle)
        if state.error is not None or state.directory is None:
            if state.error is not None:
                yield health.unreachable(ca, state.error)
            return
        yield from state.clock
        yield from health.directory_findings(state.directory, ca, account, needed=needed)
        if account is not None:
            client = self._run.client(ca, bundle, account)
            yield from health.account_findings(client, account)

    def issuance_request(self, spec: CertificateSpec, method: str) -> IssuanceRequest | None:
        """Return what a CAA check needs to know about the CA and the account that would order; None
        if the CA cannot be reached, which is a finding of its own.
        """
        directory = self._state(spec.ca, spec.ca_bundle).directory
        if directory is None:
            return None
        account = self._account(spec)
        identities = directory.caa_identities
        return IssuanceRequest(label(spec.ca), identities, account.url if account else None, method)

    def thumbprint(self, spec: CertificateSpec) -> str | None:
        """Return the thumbprint that the server of a stateless certificate should answer with; None
        for other certificates, and if there is no account yet.
        """
        account = self._account(spec) if spec.challenge.method == METHOD else None
        return thumbprint_of(account, self._run) if account is not None else None

    def profile(self, spec: CertificateSpec) -> Iterator[Finding]:
        """Yield a finding if the CA does not offer the profile of a certificate."""
        directory = self._state(spec.ca, spec.ca_bundle).directory
        if directory is not None:
            yield from health.profile_findings(directory, spec)

    def _state(self, ca: str, bundle: str | None) -> _CaState:
        with self._guard:
            state = self._states.setdefault((ca, bundle), _CaState())
        with state.lock:
            if state.directory is None and state.error is None:
                self._fetch(state, self._run.client(ca, bundle), ca)
        return state

    def _fetch(self, state: _CaState, client: AcmeClient, ca: str) -> None:
        try:
            state.directory = client.directory
        except AcmeError as error:
            state.error = error
            return
        now = self._run.services.clock.now()
        state.clock = tuple(health.clock_findings(ca, client.server_time, now))

    def _account(self, spec: CertificateSpec) -> Account | None:
        with suppress(CertctlError):
            return choose_account(self._run, spec.ca, spec.account)
        return None
