"""The fixtures that tests of the CA edge, of the operations, and of servers of our own share."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.ca.client import AcmeClient
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.ca_clients import Caller
from tests.support.operations import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without certificates, and a CA of its own that validates what it serves; one that
    leaves it to us when to renew.
    """
    with ScriptedCA() as ca:
        ca.renewal_info = False
        yield Machine(tmp_path / "home", ca)


@pytest.fixture
def by_ari(machine: Machine) -> Machine:
    """The same with a CA that says when to renew (RFC 9773)."""
    machine.ca.renewal_info = True
    return machine


@pytest.fixture
def ca() -> Iterator[ScriptedCA]:
    """A CA that does as it is told."""
    with ScriptedCA() as ca:
        yield ca


@pytest.fixture
def caller(ca: ScriptedCA, clock: SteerableClock) -> Caller:
    """One who talks to that CA; time stands still."""
    return Caller(ca.directory_url, ca.ca_bundle, clock)


@pytest.fixture
def client(caller: Caller) -> Iterator[AcmeClient]:
    """A client with an account at that CA."""
    with caller.registered() as client:
        yield client


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Clients and server share this process here, and so its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
