"""For tests of the CA edge: clients with accounts, and the way through an order, step by step.

Time stands still in a `Caller` unless it is given a real clock: what a client waits for is in
`clock.waits`, and takes no time.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from certctl.ca.client import AcmeClient, Directory
from certctl.ca.documented_limits import DocumentedLimits
from certctl.model.ca import AccountKeyType, Authorization, Endpoint, Order
from certctl.model.identifiers import Identifier
from certctl.model.names import parse_identifiers
from certctl.model.ports import Clock
from certctl.model.spec import KeyType
from certctl.rules.keys import generate_account_key, generate_key
from certctl.rules.x509 import build_csr
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca.server import ScriptedCA

LONG = 600.0
"""Seconds that an order may take by the caller's clock."""


def new_account_key(kind: AccountKeyType = AccountKeyType.ES256) -> bytes:
    return generate_account_key(kind)


def csr_for(identifiers: Sequence[Identifier]) -> bytes:
    """A signing request in DER with a key of its own."""
    return build_csr(generate_key(KeyType.ECDSA_P256), identifiers)


@dataclass
class Caller:
    """One who talks to a CA: what operations would be, and what was heard on the way."""

    directory_url: str
    ca_bundle: Path | None
    clock: Clock = field(default_factory=SteerableClock)
    stop: threading.Event = field(default_factory=threading.Event)
    retries: list[tuple[str, float]] = field(default_factory=list)
    key: bytes = field(default_factory=new_account_key, repr=False)
    timeout: float = 20.0
    documented_limits: DocumentedLimits | None = None

    def client(self, account_url: str | None = None) -> AcmeClient:
        return AcmeClient(
            Endpoint(self.directory_url, str(self.ca_bundle) if self.ca_bundle else None),
            clock=self.clock,
            stop=self.stop,
            notify=lambda reason, seconds: self.retries.append((reason, seconds)),
            key=self.key,
            account_url=account_url,
            timeout=self.timeout,
            documented_limits=self.documented_limits,
        )

    def directory(self) -> Directory:
        with self.client() as client:
            return client.directory

    @contextmanager
    def registered(self) -> Iterator[AcmeClient]:
        """A client with an account, its directory fetched and its connection open."""
        with self.client() as nobody:
            state = nobody.new_account(["admin@example.com"], terms_agreed=True)
            yield nobody.with_key(self.key, state.url)

    @property
    def deadline(self) -> float:
        return self.clock.monotonic() + LONG

    def prove(self, client: AcmeClient, order: Order) -> Order:
        """Answer the first challenge of each open authorization; return the order once ready."""
        for authorization in open_authorizations(client, order):
            client.answer(authorization.challenges[0])
        return client.await_ready(order, deadline=self.deadline)

    def issue(self, client: AcmeClient, *names: str) -> bytes:
        """The way from names to the default chain in PEM."""
        identifiers = parse_identifiers(names)
        order = client.new_order(identifiers)
        order = self.prove(client, order)
        order = client.finalize(order, csr_for(identifiers), deadline=self.deadline)
        return next(client.chains(order))

    def issue_in_parallel(self, client: AcmeClient, *names: str) -> bytes:
        """The same as operations do it: authorizations are read, and challenges answered, in
        parallel if that saves time."""
        identifiers = parse_identifiers(names)
        order = client.new_order(identifiers)
        found = client.authorizations(order)
        client.answer_all([each.challenges[0] for each in found if each.status == "pending"])
        order = client.await_ready(order, deadline=self.deadline)
        order = client.finalize(order, csr_for(identifiers), deadline=self.deadline)
        return next(client.chains(order))


def open_authorizations(client: AcmeClient, order: Order) -> list[Authorization]:
    found = [client.authorization(url) for url in order.authorization_urls]
    return [each for each in found if each.status == "pending"]


def requests_since(ca: ScriptedCA, mark: int) -> list[str]:
    """The resources that were asked for since there had been `mark` requests."""
    return ca.sequence()[mark:]
