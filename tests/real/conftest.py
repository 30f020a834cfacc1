"""Fixtures of the tests that change a web server: a CA that validates at port 80, in a network of
the module's own, and a machine that has port 80 for one test.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import Machine
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.securing import local_ca, local_dns, web_machine


@pytest.fixture(scope="module")
def dns_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChallengeTestServer]:
    with local_dns(tmp_path_factory.mktemp("dns"), "nginx", "apache2") as server:
        yield server


@pytest.fixture(scope="module")
def ca_here(
    dns_here: ChallengeTestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    with local_ca(tmp_path_factory.mktemp("ca"), dns_here) as server:
        yield server


@pytest.fixture
def here(ca_here: PebbleServer, tmp_path: Path) -> Iterator[Machine]:
    del ca_here  # whose network it is
    with web_machine(tmp_path) as made:
        yield made
