"""What the CAs of the lab have in common, so that one test can run against each of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class LoggedRequest:
    """One request that reached a CA's ACME interface, by method and kind of resource."""

    method: str
    path: str


class AcmeServer(Protocol):
    """A CA that runs as a process of its own and tries HTTP-01 and TLS-ALPN-01 at ports of this
    machine.
    """

    http_port: int
    tls_port: int

    @property
    def directory_url(self) -> str:
        """The ACME directory, for `--ca`."""
        ...

    @property
    def ca_bundle(self) -> Path:
        """The TLS root of the directory, for `--ca-bundle`."""
        ...

    def root(self, number: int = 0) -> bytes:
        """Return a root certificate of the CA in PEM: 0 is the default chain's."""
        ...

    def certificate_status(self, serial: int) -> dict[str, Any]:
        """Return what the CA knows of a certificate: `Status` is `Valid` or `Revoked`."""
        ...

    def request_count(self) -> int:
        """Return how many ACME requests were received."""
        ...

    def requests(self, since: int = 0) -> list[LoggedRequest]:
        """Return the ACME requests received, without the first `since` of them."""
        ...

    def orders(self, since: int = 0) -> int:
        """Return how many orders were placed after the first `since` requests."""
        ...
