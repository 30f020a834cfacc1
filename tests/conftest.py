"""Fixtures that every test may ask for: a clean environment, and real servers started once.

The servers are in tests.lab; a test that needs one with other settings starts its own from there.
Session servers are shared, so tests use certificate names and DNS names of their own.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.lab.authority import AcmeServer
from tests.lab.bind import BindServer
from tests.lab.clock import SteerableClock
from tests.lab.devca import DevCaServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.programs import require

EAB_KEYS = {"kid-1": "zNDgzOGY4ZTk1ODM2NDIxYTg3YjBmZWNhNTVkMDc4Mzk"}
"""External account keys that `pebble_eab` accepts."""

ZONES = {
    "example.test": "_acme-challenge.alias CNAME alias.challenges.test.\n"
    "*.wild CNAME edge.cdn.test.\n"
    "_acme-challenge.own.wild CNAME own.challenges.test.\n"
    "moved DNAME challenges.test.",
    "sub.example.test": "",
    "challenges.test": "",
}
"""The zones of `bind`: one with a wildcard, one below it, and one that aliases of both lead to."""

# A busy machine is no failure: no example has a time limit of its own.
hypothesis.settings.register_profile("certctl", deadline=None)
hypothesis.settings.load_profile("certctl")

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private directory in it
_ENOUGH_BYTES = 2 << 30

# What a developer's shell may carry that changes what certctl does.
_MEDDLING = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_COLOR")


def pytest_configure() -> None:
    """Keep the directories of tests in memory where there is room: certctl syncs each file that it
    writes, and on a disk that takes more time than all else in most tests.
    """
    if _holds_programs(_IN_MEMORY, _ENOUGH_BYTES):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


def _holds_programs(directory: Path, size: int) -> bool:
    """Whether there is so much room in a directory, and hooks can be run from it."""
    try:
        facts = os.statvfs(directory)
    except OSError:
        return False
    free = facts.f_bavail * facts.f_frsize
    return free >= size and not facts.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No setting of the developer's shell, and no home directory of theirs, reaches a test."""
    for name in tuple(os.environ):
        if name.startswith("CERTCTL_") or name in _MEDDLING or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ".local" / "state"))


@pytest.fixture
def clock() -> SteerableClock:
    """Time that stands still until the test moves it."""
    return SteerableClock()


@pytest.fixture(scope="session")
def challenge_dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChallengeTestServer]:
    """DNS for the Pebbles below, in which every name is this machine."""
    require("pebble", "pebble-challtestsrv")
    with ChallengeTestServer(directory=tmp_path_factory.mktemp("challenge-dns")) as server:
        yield server


@pytest.fixture(scope="session")
def pebble(
    challenge_dns: ChallengeTestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    """Pebble at its quickest: no refused nonces, no pauses."""
    directory = tmp_path_factory.mktemp("pebble")
    with PebbleServer(directory=directory, dns_server=challenge_dns.dns_address) as server:
        yield server


@pytest.fixture(scope="session")
def devca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCaServer]:
    """The development CA, as a process of its own."""
    with DevCaServer(directory=tmp_path_factory.mktemp("devca")) as server:
        yield server


@pytest.fixture(params=["pebble", "devca"])
def authority(request: pytest.FixtureRequest) -> AcmeServer:
    """Each of the CAs in turn: one that nobody here wrote, and our own. What holds with both is no
    mistake that client and server share. What the CA has no part in (files, hooks, proxies, locks)
    is tried with one of them.
    """
    server: AcmeServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def pebble_bad_nonces(
    challenge_dns: ChallengeTestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    """Pebble that refuses every second good nonce."""
    directory = tmp_path_factory.mktemp("pebble-bad-nonces")
    with PebbleServer(
        directory=directory, dns_server=challenge_dns.dns_address, nonce_reject=50
    ) as server:
        yield server


@pytest.fixture(scope="session")
def pebble_eab(
    challenge_dns: ChallengeTestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    """Pebble that wants an external account binding with one of `EAB_KEYS`."""
    directory = tmp_path_factory.mktemp("pebble-eab")
    with PebbleServer(
        directory=directory, dns_server=challenge_dns.dns_address, eab_keys=EAB_KEYS
    ) as server:
        yield server


@pytest.fixture(scope="session")
def pebble_slow(
    challenge_dns: ChallengeTestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    """Pebble that validates after 0, 1 or 2 seconds, so that orders stay pending for a while."""
    directory = tmp_path_factory.mktemp("pebble-slow")
    with PebbleServer(
        directory=directory, dns_server=challenge_dns.dns_address, sleep_seconds=3
    ) as server:
        yield server


@pytest.fixture(scope="session")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BindServer]:
    """The authoritative server of `ZONES`, whose key may change every TXT record in them."""
    require("named")
    with BindServer(directory=tmp_path_factory.mktemp("bind"), zones=ZONES) as server:
        yield server


@pytest.fixture(scope="session")
def pebble_bind(
    bind: BindServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    """Pebble that sees the DNS which `bind` serves."""
    require("pebble")
    directory = tmp_path_factory.mktemp("pebble-bind")
    with PebbleServer(directory=directory, dns_server=bind.address) as server:
        yield server
