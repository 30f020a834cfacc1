"""The ACME client that operations use: one CA and, optionally, one account.

It fetches the directory on first use, keeps connections open, and is safe for many threads. The
sequence of requests is decided in `operations`.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from types import TracebackType
from typing import Self

from certctl.ca import accounts, certificates, orders, persistent_validation
from certctl.ca.accounts import AccountKey
from certctl.ca.documented_limits import DocumentedLimits
from certctl.ca.messages import AccountState, Directory
from certctl.ca.network import TIMEOUT, Network
from certctl.ca.renewal_info import RenewalInfoSource
from certctl.ca.signing import ExternalAccount, Signer
from certctl.model.ca import Authorization, Challenge, Endpoint, Order, SuggestedWindow
from certctl.model.errors import AcmeError, BadResponse, CertctlError
from certctl.model.identifiers import Identifier
from certctl.model.ports import Clock
from certctl.model.validation import PersistentRecord

__all__ = ["AccountKey", "AccountState", "AcmeClient", "Directory", "ExternalAccount"]

# 128 bits of entropy take 22 characters (RFC 8555 §8.1).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,1024}\Z")


class AcmeClient:
    """A client for one CA that signs with one key.

    `notify` is called before each retry with the reason and the delay in seconds. Setting `stop`
    ends every wait with `Interrupted`, and `waiting` is entered during waits that take longer.
    `key` is PEM; `account_url` comes from `new_account`. All threads together respect
    `documented_limits`. All methods raise `AcmeError`.
    """

    def __init__(  # noqa: PLR0913 - all by name, most of them optional
        self,
        endpoint: Endpoint,
        *,
        clock: Clock,
        stop: threading.Event,
        notify: Callable[[str, float], None],
        key: bytes | None = None,
        account_url: str | None = None,
        timeout: float = TIMEOUT,
        documented_limits: DocumentedLimits | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._network = Network(
            endpoint,
            clock=clock,
            stop=stop,
            notify=notify,
            signer=None if key is None else Signer.load(key, account_url),
            timeout=timeout,
            documented_limits=documented_limits,
            waiting=waiting,
        )
        self._answered: set[str] = set()
        self._lock = threading.Lock()
        self._renewal_info = RenewalInfoSource()
        self._doubtful: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._network.close()

    def with_key(self, key: bytes, account_url: str | None = None) -> AcmeClient:
        """Return a client with another key or account that shares this client's connections. Close
        only this one.
        """
        other = copy.copy(self)
        other._network = self._network.signed_by(Signer.load(key, account_url))
        return other

    def patient_with_new_key(self) -> AcmeClient:
        """Return a client for an account whose key was changed a moment ago: it repeats requests
        that servers of the CA refuse which do not know the key yet. Close only this one.
        """
        other = copy.copy(self)
        other._network = self._network.patient_with_new_key()
        return other

    def until(self, deadline: float) -> AcmeClient:
        """Return a client whose requests, retries and waits together end at `deadline`, in terms of
        the clock's `monotonic`, with `OrderTimeout`. It shares everything else with this client;
        close only this one.
        """
        other = copy.copy(self)
        other._network = self._network.until(deadline)
        return other

    # The CA.

    @property
    def directory(self) -> Directory:
        """The CA's directory (RFC 8555 §7.1.1), fetched once."""
        return self._network.directory

    @property
    def server_time(self) -> datetime | None:
        """The time in the CA's latest response, in UTC; None if it had none."""
        return self._network.server_time

    # The account.

    @property
    def account_url(self) -> str | None:
        """The account that this client signs for, None without one."""
        return self._network.account_url

    def new_account(
        self,
        contact: Sequence[str],
        *,
        terms_agreed: bool,
        eab: ExternalAccount | None = None,
        only_existing: bool = False,
    ) -> AccountState:
        """Register the key, or look up its existing account (RFC 8555 §7.3). `contact` has email
        addresses or URLs. This client does not switch to the account: use `with_key` with its URL.
        """
        return accounts.new_account(
            self._network,
            contact,
            terms_agreed=terms_agreed,
            external=eab,
            only_existing=only_existing,
        )

    def account(self) -> AccountState:
        """Return the account's state at the CA. Raises `AccountError` if the CA rejects it."""
        return accounts.account(self._network)

    def update_account(self, contact: Sequence[str]) -> AccountState:
        """Replace the contacts (RFC 8555 §7.3.2); an empty `contact` removes them."""
        return accounts.update_contact(self._network, contact)

    def agree_to_terms(self) -> AccountState:
        """Agree to the CA's current terms of service (RFC 8555 §7.3.3)."""
        return accounts.update(self._network, termsOfServiceAgreed=True)

    def deactivate_account(self) -> AccountState:
        """Deactivate the account permanently (RFC 8555 §7.3.6)."""
        return accounts.deactivate(self._network)

    def change_key(self, new_key: bytes) -> None:
        """Replace the account's key (RFC 8555 §7.3.5), and verify that the CA uses the new one.
        This client continues to sign with the old key. Raises `AccountError`, code
        `acme.key_in_use`, `acme.key_change_refused` or `acme.account_key_unknown`.
        """
        accounts.change_key(self._network, new_key)

    def key_in_use(self, new_key: bytes) -> AccountKey | None:
        """Return whether the account has `new_key` at the CA, or this client's own; None if the CA
        shows neither. For recovery from a key change that was interrupted.
        """
        return accounts.key_in_use(self._network, new_key)

    # The order.

    def key_authorization(self, token: str) -> str:
        """Return the key authorization for a challenge token (RFC 8555 §8.1). Raises `BadResponse`
        if the token is too short to be unguessable, or not valid.
        """
        if _TOKEN.match(token) is None:
            raise BadResponse(
                f"{self._network.host} sent a challenge token that is too short, or that contains "
                "characters that RFC 8555 does not allow"
            )
        return f"{token}.{self._network.signer.thumbprint}"

    def persistent_record(self, identifier: Identifier, challenge: Challenge) -> PersistentRecord:
        """Return the dns-persist-01 record for this account. Raises `BadResponse` for a challenge
        that the draft does not allow.
        """
        return persistent_validation.persistent_record(self._network, identifier, challenge)

    def persistent_validation_offer(self) -> Challenge | None:
        """Return the dns-persist-01 challenge as far as the directory describes it, without an
        order; None if the directory does not.
        """
        return persistent_validation.offer(self._network)

    def new_order(
        self,
        identifiers: Sequence[Identifier],
        *,
        profile: str | None = None,
        replaces: str | None = None,
    ) -> Order:
        """Place an order (RFC 8555 §7.4). Raises `BadResponse` if its identifiers differ."""
        return orders.new_order(self._network, identifiers, profile=profile, replaces=replaces)

    def order(self, url: str) -> Order:
        """Return the order's current state."""
        return orders.read_order(self._network, url)

    def authorization(self, url: str) -> Authorization:
        """Return the authorization's current state."""
        return orders.read_authorization(self._network, url)

    def authorizations(self, order: Order) -> list[Authorization]:
        """Return the current state of an order's authorizations, many read in parallel. Raises
        `BadResponse` for one of a name that is not in the order.
        """
        return orders.read_authorizations(self._network, order)

    def answer_all(self, challenges: Sequence[Challenge]) -> Mapping[str, AcmeError]:
        """Tell the CA to validate each of these challenges, many in parallel. Return the errors of
        those that the CA refused, by URL. If that fails for another reason, `was_answered` says
        which of them the CA was told about.
        """
        refused: dict[str, AcmeError] = {}

        def answer(challenge: Challenge) -> None:
            try:
                self.answer(challenge)
            except AcmeError as error:
                if not orders.is_refusal(error):
                    raise
                refused[challenge.url] = error

        self._network.parallel(answer, challenges)
        return refused

    def was_answered(self, challenge: Challenge) -> bool:
        """Return whether this client told the CA to validate the challenge."""
        with self._lock:
            return challenge.url in self._answered

    def answer(self, challenge: Challenge) -> None:
        """Tell the CA to validate the challenge (RFC 8555 §7.5.1); repeated calls do nothing.

        A validation that fails immediately is not an error here: `await_ready` reports the reason.
        """
        with self._lock:
            if challenge.status != "pending" or challenge.url in self._answered:
                return
            self._answered.add(challenge.url)
        try:
            certain = orders.answer(self._network, challenge)
        except CertctlError:
            with self._lock:
                self._answered.discard(challenge.url)
            raise
        if not certain:
            with self._lock:
                self._doubtful.add(challenge.url)

    def await_ready(self, order: Order, *, deadline: float) -> Order:
        """Return the order once the CA has validated every identifier. `deadline` is in terms of
        the clock's `monotonic`. Raises `ValidationFailed` or `OrderFailed`.
        """
        with self._lock:
            doubtful = frozenset(self._doubtful)
        try:
            return orders.await_ready(self._network, order, deadline=deadline, doubtful=doubtful)
        except orders.Stuck as stuck:
            with self._lock:
                self._answered -= stuck.challenges  # so that their authorizations are given up
            raise stuck.error from None

    def await_validated(self, order: Order, urls: Sequence[str], *, deadline: float) -> None:
        """Return once these authorizations of the order are valid, while others are still pending.
        `deadline` is in terms of the clock's `monotonic`. Raises `ValidationFailed` or
        `OrderFailed`.
        """
        orders.await_validated(self._network, order, urls, deadline=deadline)

    def finalize(self, order: Order, csr: bytes, *, deadline: float) -> Order:
        """Submit the certificate signing request (DER), and return the order once it is `valid`.
        Raises `OrderFailed`.
        """
        return orders.finalize(self._network, order, csr, deadline=deadline)

    def deactivate(self, authorization_url: str) -> bool:
        """Deactivate an authorization (RFC 8555 §7.5.2); return whether the CA did so."""
        return orders.deactivate(self._network, authorization_url)

    def deactivate_all(self, authorization_urls: Sequence[str]) -> None:
        """Deactivate authorizations in a few seconds, even after the client's deadline, as far as
        the CA permits; raises nothing.
        """
        orders.deactivate_all(self._network, authorization_urls)

    # The certificate.

    @property
    def has_renewal_info(self) -> bool:
        """Whether the CA offers renewal information (ARI, RFC 9773)."""
        return self.directory.renewal_info is not None

    def renewal_info(self, cert_id: str) -> SuggestedWindow:
        """Return the renewal window suggested for the certificate with this CertID (RFC 9773 §4.2).

        Sends at most two requests. Raises `RenewalInfoUnavailable`.
        """
        return self._renewal_info.fetch(self._network, cert_id)

    def certificate(self, url: str) -> tuple[bytes, tuple[str, ...]]:
        """Return the certificate with its chain in PEM, and the URLs of its alternate chains."""
        return certificates.certificate(self._network, url)

    def chains(self, order: Order) -> Iterator[bytes]:
        """Yield the certificate with each of its chains, the CA's default first; alternates are
        downloaded on demand.
        """
        return certificates.chains(self._network, order)

    def revoke(
        self, certificate_der: bytes, reason: int | None, *, certificate_key: bytes | None = None
    ) -> bool:
        """Revoke a certificate (RFC 8555 §7.6), with its own key (PEM) or the account key. Return
        False if it was revoked already.
        """
        return certificates.revoke(
            self._network, certificate_der, reason, certificate_key=certificate_key
        )
