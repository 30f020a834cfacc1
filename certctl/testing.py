"""A pytest plugin: an ACME CA for tests of clients and of whatever uses them.

    def test_my_client(certctl_ca):
        ca = certctl_ca
        order(ca.directory_url, trusting=ca.root_file, answer_at=ca.http_port)
        assert ca.count("finalize") == 1

pytest finds it once certctl is installed. Nothing starts before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from certctl.devca.server import DevCa
    from certctl.devca.settings import DevCaSettings
    from certctl.devca.zone import MockZone

_LIFETIME = "certctl_ca_lifetime"


class CertctlCa:
    """A CA that runs in this process (RFC 8555 and 9773), as one test sees it.

    HTTP-01 and TLS-ALPN-01 are tried at this machine, whatever the name, at ports that were free;
    DNS-01 in `zone`, a table of TXT records. What a test changes ends with it.
    """

    def __init__(self, ca: DevCa, dns: str) -> None:
        self._ca = ca
        self.dns = dns

    @property
    def directory_url(self) -> str:
        """Where a client begins, over HTTPS."""
        return self._ca.directory_url

    @property
    def root_file(self) -> Path:
        """The PEM file to trust: the root of the server's certificate and of those it issues."""
        return self._ca.tls_ca_bundle

    @property
    def http_port(self) -> int:
        """Where a client has to answer HTTP-01."""
        return self.settings.http_port

    @property
    def tls_alpn_port(self) -> int:
        """Where a client has to answer TLS-ALPN-01."""
        return self.settings.tls_alpn_port

    @property
    def settings(self) -> DevCaSettings:
        """What may be changed while it runs: lifetimes, profiles, bindings, faults."""
        return self._ca.settings

    @property
    def zone(self) -> MockZone:
        """The TXT records that DNS-01 finds; `dns` serves them, and takes updates (RFC 2136)."""
        return self._ca.zone

    def fault(self, **faults: object) -> None:
        """Misbehave from now on: `bad_nonce=50` (percent), `lost_reply=10`, `times=1`, ...

        The names are those of `certctl.devca.faults.Faults`.
        """
        from certctl.devca.faults import Faults  # noqa: PLC0415 - once a test wants it

        self.settings.faults = Faults.from_mapping(faults)

    def count(self, *resources: str) -> int:
        """Return how many requests came for these resources, such as `new-order`; for any without
        argument.
        """
        return self._ca.requests.count(*resources)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting for how long certificates live."""
    parser.addini(_LIFETIME, "Lifetime of what the fixture certctl_ca issues: 30s, 15m, 12h, 90d.")


@pytest.fixture(scope="session")
def certctl_ca_server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CertctlCa]:
    """The CA that all tests of a session share; tests want `certctl_ca`."""
    from certctl.devca.endpoint import free_ports, zone_server  # noqa: PLC0415 - once it is wanted
    from certctl.devca.server import DevCa  # noqa: PLC0415 - once a test wants it
    from certctl.devca.settings import (  # noqa: PLC0415 - once a test wants it
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
        yield CertctlCa(ca, dns.address)


@pytest.fixture
def certctl_ca(certctl_ca_server: CertctlCa) -> Iterator[CertctlCa]:
    """An ACME CA as it is when it starts: no faults, nothing logged, no record in its zone."""
    ca = certctl_ca_server
    before = replace(ca.settings)
    ca._ca.requests.clear()
    yield ca
    for name in before.__slots__:
        setattr(ca.settings, name, getattr(before, name))
    for name in ca.zone.all_values():
        ca.zone.remove(name)
