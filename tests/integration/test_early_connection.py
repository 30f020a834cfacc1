"""A connection to the CA that is opened while a command is still being loaded."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from certctl.ca.client import AcmeClient
from certctl.model.ca import Endpoint
from certctl.model.errors import CaUnavailable
from certctl.system.clock import SystemClock
from certctl.system.early_connection import EarlyConnection
from tests.lab.ports import free_port
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.operations import Machine


def client_of(url: str, bundle: Path, opened: EarlyConnection) -> AcmeClient:
    return AcmeClient(
        Endpoint(url, str(bundle), opened=opened),
        clock=SystemClock(),
        stop=threading.Event(),
        notify=lambda *_: None,
    )


def test_the_first_request_goes_over_the_connection_that_is_open(ca: ScriptedCA) -> None:
    opened = EarlyConnection(ca.directory_url, str(ca.ca_bundle))

    with client_of(ca.directory_url, ca.ca_bundle, opened) as client:
        found = client.directory.urls

    assert set(found) > {"newOrder", "newNonce"}
    assert ca.connections == 1
    assert opened.take("127.0.0.1", 443) is None


def test_connecting_begins_before_anything_is_loaded_for_tls() -> None:
    program = (
        "import sys, certctl.system.early_connection; print({'ssl', 'certifi'} & {*sys.modules})"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


def test_a_connection_is_taken_once(ca: ScriptedCA) -> None:
    opened = EarlyConnection(ca.directory_url, str(ca.ca_bundle))

    for _ in range(2):
        with client_of(ca.directory_url, ca.ca_bundle, opened) as client:
            assert client.directory.urls

    assert ca.connections == 2


def test_another_server_gets_a_connection_of_its_own(ca: ScriptedCA) -> None:
    with ScriptedCA() as other:
        opened = EarlyConnection(other.directory_url, str(other.ca_bundle))
        with client_of(ca.directory_url, ca.ca_bundle, opened) as client:
            assert client.directory.urls["newOrder"].startswith(ca.directory_url[:20])
        opened.close()

        assert ca.connections == 1
        assert other.count() == 0


@pytest.mark.parametrize("roots", ["untrusted", "missing"])
def test_a_connection_that_cannot_be_trusted_is_not_used(
    ca: ScriptedCA, tmp_path: Path, roots: str
) -> None:
    with ScriptedCA() as other:
        bundle = other.ca_bundle if roots == "untrusted" else tmp_path / "missing.pem"
        opened = EarlyConnection(ca.directory_url, str(bundle))

        with client_of(ca.directory_url, ca.ca_bundle, opened) as client:
            assert client.directory.urls


def test_a_ca_that_is_down_is_reported_by_who_needs_it(ca: ScriptedCA) -> None:
    url = f"https://127.0.0.1:{free_port()}/directory"
    opened = EarlyConnection(url, str(ca.ca_bundle))

    with client_of(url, ca.ca_bundle, opened) as client, pytest.raises(CaUnavailable) as refused:
        client.until(SystemClock().monotonic() + 0.3).directory  # noqa: B018 - raises

    assert refused.value.code == "acme.unreachable"


def test_a_new_certificate_takes_one_connection_and_one_that_is_not_due_takes_none(
    machine: Machine,
) -> None:
    done = machine.command("issue", "a.example")
    connections = machine.ca.connections
    again = machine.command("issue", "a.example")

    assert (done.exit_status, again.exit_status) == (0, 0)
    assert connections == 1
    assert machine.ca.connections == connections
