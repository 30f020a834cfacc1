"""dns-account-01 from the command line: signed updates to BIND, and the development CA that asks
BIND by code of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bind import BindServer
from tests.lab.devca import DevCaServer
from tests.lab.programs import require
from tests.real.driver import Host, host, names


@pytest.fixture(scope="module")
def account_ca(bind: BindServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCaServer]:
    """A CA that offers dns-account-01 and nothing else."""
    with DevCaServer(
        folder=tmp_path_factory.mktemp("account-ca"),
        dns_server=bind.address,
        arguments=("--challenge", "dns-account-01"),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def dns_ca(bind: BindServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCaServer]:
    """A CA that offers dns-01 and nothing else."""
    require("named")
    with DevCaServer(
        folder=tmp_path_factory.mktemp("dns-ca"),
        dns_server=bind.address,
        arguments=("--challenge", "dns-01"),
    ) as server:
        yield server


def bind_host(folder: Path, ca: DevCaServer, bind: BindServer) -> Host:
    """A host whose certctl.toml says how this DNS is updated."""
    return host(
        folder,
        ca,
        f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{bind.address}"\n'
        f'dns.rfc2136.server = "{bind.address}"\ndns.rfc2136.key_file = "{bind.keyfile}"',
    )


def test_where_the_ca_offers_dns_account_01_only_it_is_used(
    account_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, account_ca, bind)

    here.issue("*.account.example.test", "account.example.test")

    assert names(here.leaf("account.example.test")) == [
        "*.account.example.test",
        "account.example.test",
    ]
    assert here.leftovers() == []


def test_it_can_be_insisted_on_and_renews_so(
    account_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, account_ca, bind)
    here.given("insisted.example.test", "--dns-challenge", "dns-account-01")

    renewed = here.certctl("renew", "--force", "insisted.example.test")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert here.version("insisted.example.test") == 2
    assert "DNS-ACCOUNT-01, by rfc2136" in here.certctl("show", "insisted.example.test").stdout


def test_what_was_insisted_on_and_is_not_offered_is_said(
    dns_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, dns_ca, bind)

    finished = here.certctl(
        "issue", "refused.example.test", "--dns-challenge", "dns-account-01", "--json"
    )

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (1, "challenge.not_offered")
    assert error["message"] == (
        "the CA does not offer dns-account-01 for refused.example.test; it offers dns-01"
    )
