"""A pytest plugin: an ACME CA for tests of ACME clients and of programs that use them.

    def test_my_client(certctl_ca):
        ca = certctl_ca
        order(ca.directory_url, trusting=ca.root_file, answer_at=ca.http_port)
        assert ca.count("finalize") == 1

pytest loads it automatically if certctl is installed. The CA starts when a test first uses the
fixture.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from certctl.model.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from certctl.devca.server import DevCa
    from certctl.devca.settings import DevCaSettings
    from certctl.devca.zone import MockZone

_LIFETIME = "certctl_ca_lifetime"


@dataclass(frozen=True)
class ServerFiles:
    """A certificate that the CA has issued: the PEM files of its chain and its private key."""

    chain_file: Path
    key_file: Path

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain_file, self.key_file)
        return context


class CertctlCa:
    """A CA that runs in this process (RFC 8555 and 9773), for one test.

    For all names, HTTP-01 and TLS-ALPN-01 are validated at this machine, on ports that were free,
    and DNS-01 in `zone`, a table of TXT records. A test's changes are undone at its end.
    """

    def __init__(self, ca: DevCa, dns: str, directory: Path) -> None:
        self._ca = ca
        self._directory = directory
        self.dns = dns

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory, over HTTPS."""
        return self._ca.directory_url

    @property
    def root_file(self) -> Path:
        """The PEM file to trust: the root of the server's and of the issued certificates."""
        return self._ca.tls_ca_bundle

    @property
    def http_port(self) -> int:
        """The port where the CA validates HTTP-01."""
        return self.settings.http_port

    @property
    def tls_alpn_port(self) -> int:
        """The port where the CA validates TLS-ALPN-01."""
        return self.settings.tls_alpn_port

    @property
    def settings(self) -> DevCaSettings:
        """The settings that can be changed while it runs: lifetimes, profiles, EAB keys, faults."""
        return self._ca.settings

    @property
    def zone(self) -> MockZone:
        """The TXT records for DNS-01; the server at `dns` serves them, and accepts updates (RFC
        2136).
        """
        return self._ca.zone

    def fault(self, **faults: object) -> None:
        """Misbehave from now on: `bad_nonce=50` (percent), `lost_reply=10`, `times=1`, ...

        The names are the fields of `certctl.devca.faults.Faults`.
        """
        from certctl.devca.faults import Faults  # noqa: PLC0415 - only if a test uses it

        self.settings.faults = Faults.from_mapping(faults)

    def certificate(self, *names: str) -> ServerFiles:
        """Return a new certificate for names and addresses, by default those of this machine. It is
        signed without an order, and valid for a year.
        """
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        chain, key = self._ca.server_files(directory, names or ("localhost", "127.0.0.1", "::1"))
        return ServerFiles(chain, key)

    def count(self, *resources: str) -> int:
        """Return the number of requests for these resources, such as `new-order`; for all resources
        without arguments.
        """
        return self._ca.requests.count(*resources)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting for the lifetime of certificates."""
    parser.addini(
        _LIFETIME, "Lifetime of certificates issued by the fixture certctl_ca: 30s, 15m, 12h, 90d."
    )


@pytest.fixture(scope="session")
def certctl_ca_server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CertctlCa]:
    """The CA shared by all tests of a session; tests should use `certctl_ca`."""
    from certctl.devca.endpoint import free_ports, zone_server  # noqa: PLC0415 - only if used
    from certctl.devca.server import DevCa  # noqa: PLC0415 - only if a test uses it
    from certctl.devca.settings import (  # noqa: PLC0415 - only if a test uses it
        DevCaSettings,
        parse_duration,
    )

    state = tmp_path_factory.mktemp("certctl-ca")
    http_port, tls_alpn_port = free_ports(2)
    lifetime = pytestconfig.getini(_LIFETIME)
    settings = DevCaSettings(
        http_port=http_port,
        tls_alpn_port=tls_alpn_port,
        lifetime=parse_duration(lifetime) if lifetime else None,
    )
    with DevCa(state, settings=settings) as ca, zone_server(ca.zone, state) as dns:
        yield CertctlCa(ca, dns.address, tmp_path_factory.mktemp("certctl-ca-certificates"))


@pytest.fixture
def certctl_ca(certctl_ca_server: CertctlCa) -> Iterator[CertctlCa]:
    """An ACME CA in its initial state: no faults, an empty request log, an empty zone."""
    ca = certctl_ca_server
    before = replace(ca.settings)
    ca._ca.requests.clear()
    yield ca
    for name in before.__slots__:
        setattr(ca.settings, name, getattr(before, name))
    for name in ca.zone.all_values():
        ca.zone.remove(name)
