"""One proxy on one address, two names by SNI, an application behind it in plain HTTP: renewed again
and again under load, and no request is lost. What is broken is deployed once it is mended.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.apache import apache
from tests.lab.caddy import caddy
from tests.lab.haproxy import HaproxyFront, haproxy
from tests.lab.nginx import nginx
from tests.lab.pebble import PebbleServer
from tests.lab.programs import require
from tests.lab.sites import Front, Site
from tests.lab.visitors import Seen, visitors
from tests.lab.web_application import web_application
from tests.real.driver import Host, host

RENEWALS = 3

Started = Callable[[Path, Sequence[Site], int], AbstractContextManager[Front]]


@dataclass(frozen=True)
class Proxy:
    """A proxy of the lab, and how certctl is told of it. `resets`: so many connections that come in
    the moment of its reloads it may reset in a test, whoever asks for these.
    """

    name: str
    start: Started
    program: str
    options: Callable[[Front], list[str]]
    resets: int = 0


def _haproxy_reloaded(front: Front) -> list[str]:
    assert isinstance(front, HaproxyFront)
    return ["--haproxy-config", str(front.config), "--haproxy-pid-file", str(front.pid_file)]


def _haproxy_by_its_socket(front: Front) -> list[str]:
    assert isinstance(front, HaproxyFront)
    return [*_haproxy_reloaded(front), "--haproxy-socket", str(front.socket)]


PROXIES = (
    Proxy("nginx", nginx, "nginx", lambda front: ["--nginx-config", str(front.config)]),
    Proxy("apache", apache, "apache2", lambda front: ["--apache-config", str(front.config)]),
    Proxy("haproxy", haproxy, "haproxy", _haproxy_reloaded),
    Proxy("haproxy", haproxy, "haproxy", _haproxy_by_its_socket),
    Proxy("caddy", caddy, "caddy", lambda front: ["--caddy-config", str(front.config)], resets=2),
)


@dataclass(frozen=True)
class Stage:
    """A proxy that serves two certificates of certctl's, which knows how to deploy to it."""

    here: Host
    front: Front
    names: tuple[str, str]
    root: Path
    resets: int

    def lost(self, seen: Seen) -> list[str]:
        """What visitors lost, but for connections that the proxy may reset."""
        resets = [each for each in seen.lost if each.startswith("ConnectionResetError")]
        tolerated = resets if len(resets) <= self.resets else []
        return [each for each in seen.lost if each not in tolerated]

    def live(self) -> list[int]:
        """The serial numbers of what is live, by name."""
        return [self.here.leaf(name).serial_number for name in self.names]

    def serves_what_is_live(self) -> bool:
        """Whether that is served, or soon is."""
        return all(self.front.comes_to_serve(name, self.here.leaf(name)) for name in self.names)


@contextmanager
def stage(proxy: Proxy, pebble: PebbleServer, directory: Path) -> Iterator[Stage]:
    require(proxy.program)
    here = host(directory, pebble)
    label = pebble.http_port
    names = (f"one-{proxy.name}-{label}.example", f"two-{proxy.name}-{label}.example")
    for name in names:
        here.given(name)
    sites = [Site(name, here.home / "live" / name) for name in names]
    root = directory / "root.pem"
    root.write_bytes(pebble.root())
    with (
        web_application(directory / "application") as backend,
        proxy.start(directory / "front", sites, backend) as front,
    ):
        for name in names:
            options = ["--deploy", proxy.name, *proxy.options(front)]
            finished = here.certctl("edit", name, *options)
            assert finished.exit_status == 0, finished
        yield Stage(here, front, names, root, proxy.resets)


@pytest.fixture(params=PROXIES, ids=["nginx", "apache", "haproxy", "haproxy-socket", "caddy"])
def set_up(request: pytest.FixtureRequest, pebble: PebbleServer, tmp_path: Path) -> Iterator[Stage]:
    with stage(request.param, pebble, tmp_path) as ready:
        yield ready


def test_three_renewals_under_load_lose_no_request_and_are_on_the_wire(set_up: Stage) -> None:
    seen_on_the_wire = [set_up.live()]
    assert set_up.serves_what_is_live()
    with visitors(set_up.front.port, set_up.names, set_up.root) as seen:
        for _ in range(RENEWALS):
            answered = seen.answered
            finished = set_up.here.certctl("renew", "--force")
            assert (finished.exit_status, finished.stderr) == (0, ""), finished
            assert set_up.serves_what_is_live()
            seen_on_the_wire.append(set_up.live())
            assert seen.answered > answered

    assert set_up.lost(seen) == []
    assert len({tuple(each) for each in seen_on_the_wire}) == RENEWALS + 1
    assert seen.answers != []
    for answer in seen.answers:
        assert (answer["scheme"], answer["forwarded_proto"]) == ("http", "https")
        assert answer["forwarded_for"] == "127.0.0.1"
    assert {answer["host"] for answer in seen.answers} == set(set_up.names)
    for name in set_up.names:
        assert seen.serials[name] >= {each[set_up.names.index(name)] for each in seen_on_the_wire}


def test_a_broken_configuration_is_not_reloaded_and_the_next_good_run_pays_the_debt(
    set_up: Stage,
) -> None:
    before = {name: set_up.here.leaf(name) for name in set_up.names}
    assert set_up.serves_what_is_live()
    with visitors(set_up.front.port, set_up.names, set_up.root) as seen:
        set_up.front.spoil()
        broken = set_up.here.certctl("renew", "--force")
        still = {name: set_up.front.served(name) for name in set_up.names}
        deployed = [set_up.here.show(name)["deployed"] for name in set_up.names]
        set_up.front.mend()
        mended = set_up.here.certctl("deploy", "--pending")
        deployed_later = set_up.serves_what_is_live()

    assert broken.exit_status == 4, broken
    assert still == before
    assert deployed == [False, False]
    assert mended.exit_status == 0, mended
    assert deployed_later
    assert all(set_up.here.leaf(name) != leaf for name, leaf in before.items())
    assert set_up.lost(seen) == []
