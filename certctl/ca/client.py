"""What operations know of a CA: one client for one CA and, where there is one, one account.

It fetches the directory when it is first needed, keeps connections, and may be used by many
threads at once. What happens in which order is for `operations` to say.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from certctl.ca import accounts, certificates, orders, persistent_validation
from certctl.ca.documented_limits import DocumentedLimits
from certctl.ca.messages import AccountState, Directory
from certctl.ca.network import TIMEOUT, Network
from certctl.ca.parallel_requests import ParallelRequests
from certctl.ca.renewal_info import RenewalInfoSource
from certctl.ca.signing import ExternalAccount, Signer
from certctl.errors import BadResponse, CertctlError
from certctl.models import (
    Authorization,
    Challenge,
    Endpoint,
    Identifier,
    Order,
    PersistentRecord,
    SuggestedWindow,
)
from certctl.ports import Clock

__all__ = ["AccountState", "AcmeClient", "Directory", "ExternalAccount"]

# 128 bits of entropy want 22 characters (RFC 8555 §8.1).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,1024}\Z")


class AcmeClient:
    """A CA, spoken to with one key.

    `notify` is told of each retry: the reason, and the seconds until it. `stop` ends every wait
    with `Interrupted`. `key` is PEM; `account_url` comes from `new_account`; to what the CA has
    `documented` all threads keep together. All methods raise `AcmeError`.
    """

    def __init__(
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
    ) -> None:
        self._network = Network(
            endpoint,
            clock=clock,
            stop=stop,
            notify=notify,
            signer=None if key is None else Signer.load(key, account_url),
            timeout=timeout,
            documented_limits=documented_limits,
        )
        self._answered: set[str] = set()
        self._lock = threading.Lock()
        self._renewal_info = RenewalInfoSource()
        self._parallel = ParallelRequests()

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
        self._parallel.close()
        self._network.close()

    def with_key(self, key: bytes, account_url: str | None = None) -> AcmeClient:
        """Return a client with another key or account over the same connections, which stay this
        one's to close.
        """
        other = copy.copy(self)
        other._network = self._network.signed_by(Signer.load(key, account_url))
        return other

    # The CA.

    @property
    def directory(self) -> Directory:
        """The CA's directory (RFC 8555 §7.1.1), fetched once."""
        return self._network.directory

    @property
    def server_time(self) -> datetime | None:
        """The CA's time at its latest answer, in UTC, as far as it tells."""
        return self._network.server_time

    # The account.

    @property
    def account_url(self) -> str | None:
        """The account that this client speaks for, None without one."""
        return self._network.account_url

    def new_account(
        self,
        contact: Sequence[str],
        *,
        terms_agreed: bool,
        eab: ExternalAccount | None = None,
        only_existing: bool = False,
    ) -> AccountState:
        """Register the key, or find its account again (RFC 8555 §7.3). `contact` has e-mail
        addresses or URLs. The client itself keeps no account: make another one with its URL.
        """
        return accounts.new_account(
            self._network,
            contact,
            terms_agreed=terms_agreed,
            external=eab,
            only_existing=only_existing,
        )

    def account(self) -> AccountState:
        """Return the account as the CA knows it. Raises `AccountError` where it does not."""
        return accounts.account(self._network)

    def update_account(self, contact: Sequence[str]) -> AccountState:
        """Replace the contacts (RFC 8555 §7.3.2); none removes them."""
        return accounts.update_contact(self._network, contact)

    def agree_to_terms(self) -> AccountState:
        """Agree to the CA's terms of service as they are now (RFC 8555 §7.3.3)."""
        return accounts.update(self._network, termsOfServiceAgreed=True)

    def deactivate_account(self) -> AccountState:
        """Deactivate the account, for ever (RFC 8555 §7.3.6)."""
        return accounts.deactivate(self._network)

    def change_key(self, new_key: bytes) -> None:
        """Give the account another key (RFC 8555 §7.3.5), and make sure that the CA took it. This
        client goes on signing with the old one. Raises `AccountError`, code `acme.key_in_use` or
        `acme.key_change_refused`.
        """
        accounts.change_key(self._network, new_key)

    def uses_key(self, key: bytes) -> bool:
        """Return whether the CA knows this account under `key`: for recovery after a crash between
        a key change and its saving.
        """
        return accounts.uses_key(self._network, key)

    # The order.

    def key_authorization(self, token: str) -> str:
        """Return what proves control (RFC 8555 §8.1). Raises `BadResponse` for a token that could
        be guessed, or that is no token.
        """
        if _TOKEN.match(token) is None:
            raise BadResponse(
                f"{self._network.host} gave a short token, or one with characters that RFC 8555 "
                "does not allow"
            )
        return f"{token}.{self._network.signer.thumbprint}"

    def persistent_record(self, identifier: Identifier, challenge: Challenge) -> PersistentRecord:
        """Return what the record of dns-persist-01 must say for this account. Raises `BadResponse`
        for a challenge that the draft does not allow.
        """
        return persistent_validation.persistent_record(self._network, identifier, challenge)

    def persistent_validation_offer(self) -> Challenge | None:
        """Return the challenge of dns-persist-01 as far as the directory tells of it before there
        is an order; None where it does not.
        """
        return persistent_validation.offer(self._network)

    def new_order(
        self,
        identifiers: Sequence[Identifier],
        *,
        profile: str | None = None,
        replaces: str | None = None,
    ) -> Order:
        """Place an order (RFC 8555 §7.4). Raises `BadResponse` for one with other identifiers."""
        return orders.new_order(self._network, identifiers, profile=profile, replaces=replaces)

    def order(self, url: str) -> Order:
        """Return the order as it is now."""
        return orders.read_order(self._network, url)

    def authorization(self, url: str) -> Authorization:
        """Return the authorization as it is now."""
        return orders.read_authorization(self._network, url)

    def authorizations(self, urls: Sequence[str]) -> list[Authorization]:
        """Return the authorizations as they are now, in the order of their URLs; many are read side
        by side.
        """
        return self._parallel.map(self.authorization, urls, latency=self._network.latency)

    def answer_all(self, challenges: Sequence[Challenge]) -> None:
        """Tell the CA to validate each of these challenges, many in parallel. If that fails,
        `was_answered` says which of them the CA was told about.
        """
        self._parallel.map(self.answer, challenges, latency=self._network.latency)

    def was_answered(self, challenge: Challenge) -> bool:
        """Return whether this client told the CA that it may look."""
        with self._lock:
            return challenge.url in self._answered

    def answer(self, challenge: Challenge) -> None:
        """Tell the CA that it may look (RFC 8555 §7.5.1), once, however often this is called.

        That the CA looked at once and in vain is no error here: `await_ready` has the reasons.
        """
        with self._lock:
            if challenge.status != "pending" or challenge.url in self._answered:
                return
            self._answered.add(challenge.url)
        try:
            orders.answer(self._network, challenge)
        except CertctlError:
            with self._lock:
                self._answered.discard(challenge.url)
            raise

    def await_ready(self, order: Order, *, deadline: float) -> Order:
        """Return the order once the CA accepted control of every identifier. `deadline` is by the
        clock's `monotonic`. Raises `ValidationFailed` or `OrderFailed`.
        """
        return orders.await_ready(self._network, order, deadline=deadline)

    def finalize(self, order: Order, csr: bytes, *, deadline: float) -> Order:
        """Hand in the signing request (DER), and return the order once it is `valid`. Raises
        `OrderFailed`.
        """
        return orders.finalize(self._network, order, csr, deadline=deadline)

    def deactivate(self, authorization_url: str) -> bool:
        """Give up an authorization (RFC 8555 §7.5.2); return whether the CA did."""
        return orders.deactivate(self._network, authorization_url)

    # The certificate.

    @property
    def has_renewal_info(self) -> bool:
        """Whether the CA says when to renew (RFC 9773)."""
        return self.directory.renewal_info is not None

    def renewal_info(self, cert_id: str) -> SuggestedWindow:
        """Return when the CA suggests to renew the certificate with that CertID (RFC 9773 §4.2).

        Costs a request or two, whatever happens. Raises `RenewalInfoUnavailable`.
        """
        return self._renewal_info.fetch(self._network, cert_id)

    def certificate(self, url: str) -> tuple[bytes, tuple[str, ...]]:
        """Return the certificate with its chain in PEM, and the URLs of its other chains."""
        return certificates.certificate(self._network, url)

    def chains(self, order: Order) -> Iterator[bytes]:
        """Yield the certificate with each of its chains, the CA's choice first; downloaded as they
        are wanted.
        """
        return certificates.chains(self._network, order)

    def revoke(
        self, certificate_der: bytes, reason: int | None, *, certificate_key: bytes | None = None
    ) -> bool:
        """Revoke a certificate (RFC 8555 §7.6), with its own key (PEM) or the account's; return
        False where it was revoked already.
        """
        return certificates.revoke(
            self._network, certificate_der, reason, certificate_key=certificate_key
        )
