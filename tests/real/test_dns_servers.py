"""DNS-01 with BIND and with Knot, primaries and secondaries: the zone is the same afterwards, and
the wait ends when the last server has the record, and not before.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import dns.query
import dns.tsig
import dns.update
import pytest

from tests.lab.bind import BindSecondary, BindServer
from tests.lab.knot import KnotSecondary, KnotServer
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.real.driver import Host, host, names

ZONE = "servers.test"
AT = f"_acme-challenge.{ZONE}"
SECONDARY = "127.0.0.2"

Primary = BindServer | KnotServer
Secondary = BindSecondary | KnotSecondary

THEIRS = f'_acme-challenge 3600 TXT "theirs"\nelse.{ZONE}. 300 TXT "something else"'


def directory(where: Path, name: str) -> Path:
    made = where / name
    made.mkdir()
    return made


@pytest.fixture(params=["named", "knotd"])
def primary(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Primary]:
    """A primary by each of the two, of a zone in which others have records as well."""
    require(request.param)
    where, zones = directory(tmp_path, "primary"), {ZONE: THEIRS}
    server: Primary = (
        BindServer(directory=where, zones=zones)
        if request.param == "named"
        else KnotServer(directory=where, zones=zones)
    )
    with server:
        yield server


@pytest.fixture(params=["named named", "named knotd", "knotd knotd"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Primary, Secondary]]:
    """A primary, and a secondary that copies it when it is told to."""
    programs = request.param.split()
    require(*programs)
    where, zones = directory(tmp_path, "primary"), {ZONE: THEIRS}
    server: Primary = (
        BindServer(directory=where, zones=zones, secondary_host=SECONDARY)
        if programs[0] == "named"
        else KnotServer(directory=where, zones=zones, other_servers={"ns2": SECONDARY})
    )
    with ExitStack() as running:
        running.enter_context(server)
        if programs[1] == "named":
            assert isinstance(server, BindServer)
            secondary: Secondary = server.secondary(directory(tmp_path, "secondary"))
        else:
            secondary = KnotSecondary(
                directory=directory(tmp_path, "secondary"), primary=server, host=SECONDARY
            )
        running.enter_context(secondary)
        yield server, secondary


@pytest.fixture
def pebble_of(tmp_path: Path) -> Iterator["PebbleMaker"]:
    require("pebble")
    with ExitStack() as running:
        yield PebbleMaker(running, tmp_path)


class PebbleMaker:
    """Starts a Pebble that sees the DNS of one server."""

    def __init__(self, running: ExitStack, where: Path) -> None:
        self._running = running
        self._where = where

    def __call__(self, server: Primary) -> PebbleServer:
        where = directory(self._where, "pebble")
        return self._running.enter_context(PebbleServer(directory=where, dns_server=server.address))


def host_of(where: Path, pebble: PebbleServer, server: Primary, settings: str = "") -> Host:
    return host(
        where,
        pebble,
        f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{server.address}"\n'
        f'dns.rfc2136.server = "{server.address}"\ndns.rfc2136.key_file = "{server.keyfile}"\n'
        f"{settings}",
    )


def add(server: Primary, name: str, value: str) -> None:
    """Add a value as another program would."""
    update = dns.update.UpdateMessage(f"{ZONE}.")
    update.use_tsig(dns.tsig.Key(f"{server.key_name}.", server.key_secret, "hmac-sha256"))
    update.add(f"{name}.", 3600, "TXT", value)
    dns.query.tcp(update, server.host, port=server.port, timeout=5)


def told(pebble: PebbleServer) -> bool:
    """Whether the CA was told to look."""
    return any(each.path.startswith("/chalZ") for each in pebble.requests())


def test_a_zone_is_as_it_was_afterwards_with_the_records_of_others_and_their_ttl(
    primary: Primary, pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    before = primary.dump(ZONE)
    here = host_of(tmp_path, pebble_of(primary), primary)

    here.issue(f"*.{ZONE}", ZONE, f"www.{ZONE}")

    assert names(here.leaf(ZONE)) == [f"*.{ZONE}", ZONE, f"www.{ZONE}"]
    assert primary.dump(ZONE) == before
    assert here.leftovers() == []


def test_the_wait_ends_when_the_last_server_has_the_records_and_not_before(
    pair: tuple[Primary, Secondary], pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    primary, secondary = pair
    before, pebble = primary.dump(ZONE), pebble_of(primary)
    here = host_of(tmp_path, pebble, primary)

    with here.begin("issue", ZONE, "-v") as running:
        wait_until(lambda: len(primary.txt(AT)) == 2, "the record is at the primary")
        assert (secondary.txt(AT), told(pebble)) == (["theirs"], False)
        secondary.catch_up()
        wait_until(lambda: len(secondary.txt(AT)) == 2, "the record is at the secondary")
        finished = running.finish()

    assert finished.exit_status == 0, finished
    assert told(pebble)
    assert primary.dump(ZONE) == before


def test_a_secondary_that_never_gets_the_record_is_named(
    pair: tuple[Primary, Secondary], pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    primary, _ = pair
    before, pebble = primary.dump(ZONE), pebble_of(primary)
    here = host_of(tmp_path, pebble, primary)

    finished = here.certctl("issue", ZONE, "--dns-propagation-timeout", "1")

    assert finished.exit_status == 1
    assert f"ns2.{ZONE} ({SECONDARY}:{primary.port}) does not have {AT}" in finished.stderr
    assert f"ns1.{ZONE}" not in finished.stderr
    assert not told(pebble)
    assert (primary.dump(ZONE), here.leftovers()) == (before, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_while_it_waits_removes_its_records_at_once(
    number: signal.Signals, pair: tuple[Primary, Secondary], pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    primary, _ = pair
    before = primary.dump(ZONE)
    here = host_of(tmp_path, pebble_of(primary), primary)

    with here.begin("issue", ZONE) as running:
        wait_until(lambda: len(primary.txt(AT)) == 2, "the record is at the primary")
        running.signal(number)
        finished = running.finish()

    assert finished.exit_status == 130, finished
    assert (primary.dump(ZONE), here.leftovers()) == (before, [])


def test_with_a_quorum_a_lagging_server_does_not_hold_up(
    pair: tuple[Primary, Secondary], pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    primary, secondary = pair
    here = host_of(tmp_path, pebble_of(primary), primary)

    here.issue(ZONE, "--dns-propagation-quorum", "1")

    assert secondary.txt(AT) == ["theirs"]


@pytest.mark.parametrize("silent", ["::1", "2001:db8::53"])
def test_an_ipv6_address_without_a_server_is_skipped(
    silent: str, pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    require("named")
    where, others = directory(tmp_path, "primary"), {"ns6": silent}
    with BindServer(directory=where, zones={ZONE: ""}, other_servers=others) as server:
        here = host_of(tmp_path, pebble_of(server), server)

        here.issue(ZONE)

    assert names(here.leaf(ZONE)) == [ZONE]


def test_eight_aliases_lead_from_bind_into_a_zone_of_knot_s(
    pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    require("named", "knotd")
    elsewhere = "elsewhere.test"
    aliases = [AT, *(f"a{number}.{ZONE}" for number in range(7)), f"proof.{elsewhere}"]
    chain = "\n".join(f"{one}. CNAME {other}." for one, other in pairwise(aliases))
    knot = KnotServer(directory=directory(tmp_path, "knot"), zones={elsewhere: ""}, host=SECONDARY)
    with knot, ExitStack() as running:
        bind = running.enter_context(
            BindServer(
                directory=directory(tmp_path, "bind"),
                zones={ZONE: chain},
                # At one port, as servers that are found by NS records are.
                port=knot.port,
                forwards={elsewhere: knot.endpoint},
            )
        )
        before = [bind.dump(ZONE), knot.dump(elsewhere)]
        here = host(
            tmp_path,
            pebble_of(bind),
            f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{bind.address}"\n'
            f'dns.rfc2136.server = "{knot.address}"\ndns.rfc2136.key_file = "{knot.keyfile}"\n',
        )

        here.issue(f"*.{ZONE}", ZONE)

        assert [bind.dump(ZONE), knot.dump(elsewhere)] == before
    assert "elsewhere.test.] DDNS, finished" in knot.output()


def test_a_public_resolver_is_waited_for_too(pebble_of: PebbleMaker, tmp_path: Path) -> None:
    require("named", "knotd")
    with ExitStack() as running:
        primary = running.enter_context(
            KnotServer(directory=directory(tmp_path, "primary"), zones={ZONE: ""})
        )
        # Not among the name servers: what it shows lags behind, as a resolver's cache does.
        elsewhere = running.enter_context(
            KnotSecondary(
                directory=directory(tmp_path, "elsewhere"), primary=primary, host=SECONDARY
            )
        )
        pebble = pebble_of(primary)
        here = host_of(tmp_path, pebble, primary)
        public = ("--dns-public-resolver", elsewhere.endpoint.address)

        with here.begin("issue", ZONE, *public) as running_certctl:
            wait_until(lambda: len(primary.txt(AT)) == 1, "the record is at the primary")
            assert not told(pebble)
            elsewhere.catch_up()
            finished = running_certctl.finish()

    assert finished.exit_status == 0, finished


def test_after_a_kill_the_next_run_leaves_the_zone_as_it_was_whatever_others_did_meanwhile(
    pair: tuple[Primary, Secondary], pebble_of: PebbleMaker, tmp_path: Path
) -> None:
    primary, _ = pair
    before = primary.dump(ZONE)
    here = host_of(tmp_path, pebble_of(primary), primary)
    with here.begin("issue", f"*.{ZONE}", ZONE, f"www.{ZONE}") as running:
        wait_until(lambda: len(primary.txt(AT)) == 3, "the records are at the primary")
        running.signal(signal.SIGKILL)
        assert running.finish().exit_status == -signal.SIGKILL
    assert len(primary.dump(ZONE)) == len(before) + 3
    add(primary, AT, "meanwhile")

    finished = here.certctl("renew")

    assert (finished.exit_status, finished.stderr) == (0, "")
    meanwhile = f'{AT}. 3600 TXT "meanwhile"'
    assert primary.dump(ZONE) == sorted([*before, meanwhile])
    assert list((here.home / "journal").iterdir()) == []
