"""The wait for the DNS, against servers that answer as a test tells them to."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.rcode
import pytest

from certctl.dns.propagation import Propagation, WaitPolicy
from certctl.dns.queries import Server
from certctl.dns.quorum import Quorum, parse_quorum
from certctl.dns.resolver import Resolver
from certctl.dns.server_connections import MAX_DATAGRAMS
from certctl.dns.zones import Zones
from certctl.model.errors import ChallengeError, Interrupted, PropagationTimeout
from certctl.model.validation import TxtRecord
from tests.lab.clock import SteerableClock
from tests.lab.processes import wait_until
from tests.lab.scripted_dns import NAME, SOA, ScriptedDns, zone
from tests.support.http01 import needs_ipv6

RECORD = TxtRecord(NAME, "value", "example.com", "example.com")
ALL = Quorum()


@contextlib.contextmanager
def propagation(
    script: ScriptedDns,
    clock: SteerableClock,
    *,
    timeout: float = 10,
    quorum: Quorum = ALL,
    public: tuple[Server, ...] = (),
    stop: threading.Event | None = None,
) -> Iterator[Propagation]:
    """The wait of a run that finds zones by `script`."""
    stop = stop or threading.Event()
    zones = Zones(Resolver(script.address, stop), clock)
    patience = WaitPolicy(timeout, quorum, public)
    with contextlib.closing(Propagation(zones, patience, clock=clock, stop=stop)) as waiting:
        yield waiting


def wait(
    script: ScriptedDns,
    *records: TxtRecord,
    clock: SteerableClock | None = None,
    timeout: float = 10,
    quorum: Quorum = ALL,
    public: tuple[Server, ...] = (),
) -> SteerableClock:
    clock = clock or SteerableClock()
    with propagation(script, clock, timeout=timeout, quorum=quorum, public=public) as waiting:
        waiting.wait(records)
    return clock


def test_an_answer_that_is_too_long_for_a_datagram_comes_by_tcp() -> None:
    records = zone() | {(NAME, "TXT"): tuple(f'"{n}"' for n in range(50))}
    with ScriptedDns(records, truncated=(NAME,)) as script:
        wait(script, TxtRecord(NAME, "49", "example.com", "example.com"))

    assert f"{NAME} TXT tcp" in script.asked


def test_a_zone_without_name_servers_is_an_error() -> None:
    with (
        ScriptedDns({("example.com", "SOA"): SOA}) as script,
        pytest.raises(ChallengeError, match=r"no authoritative server of the zone example\.com"),
    ):
        wait(script, RECORD)


def test_a_value_in_several_strings_is_one_value() -> None:
    with ScriptedDns(zone() | {(NAME, "TXT"): ('"val" "ue"',)}) as script:
        assert wait(script, RECORD).waits == []


def test_both_values_at_one_name_are_waited_for() -> None:
    second = TxtRecord(NAME, "second", "example.com", "example.com")
    with (
        ScriptedDns(zone() | {(NAME, "TXT"): ('"value"', '"foreign"')}) as script,
        pytest.raises(PropagationTimeout) as caught,
    ):
        wait(script, RECORD, second)

    lacks = f'ns0.example.com ({script.address}) does not have {NAME} = "second"'
    assert caught.value.message.endswith(f"TXT records: {lacks}")


def test_pauses_grow_until_the_time_is_up() -> None:
    clock = SteerableClock()
    with ScriptedDns(zone()) as script, pytest.raises(PropagationTimeout):
        wait(script, RECORD, timeout=20, clock=clock)

    assert clock.waits == [0.25, 0.5, 1, 2, 4, 5, 5, 2.25]


def test_what_was_seen_once_is_not_asked_for_again() -> None:
    other = TxtRecord("_acme-challenge.www.example.com", "value", "example.com", "www.example.com")
    with (
        ScriptedDns(zone() | {(NAME, "TXT"): ('"value"',)}) as script,
        pytest.raises(PropagationTimeout),
    ):
        wait(script, RECORD, other, timeout=1)

    assert script.asked.count(f"{NAME} TXT udp") == 1
    assert script.asked.count(f"{other.name} TXT udp") > 1


def test_a_lame_server_is_reported_with_its_answer() -> None:
    with (
        ScriptedDns(zone(), rcodes={NAME: dns.rcode.REFUSED}) as script,
        pytest.raises(PropagationTimeout, match=r"does not have .* \(it returned REFUSED\)"),
    ):
        wait(script, RECORD)


def test_a_family_without_any_answer_is_ignored() -> None:
    # Nobody listens at ::1 here, as for a machine that has no IPv6.
    records = zone(servers=("127.0.0.1", "::1")) | {(NAME, "TXT"): ('"value"',)}
    with ScriptedDns(records) as script:
        assert wait(script, RECORD).waits == []


def test_a_silent_family_does_not_excuse_a_server_of_the_other() -> None:
    records = zone(servers=("127.0.0.1", "::1"))
    with (
        ScriptedDns(records) as script,
        pytest.raises(PropagationTimeout) as caught,
    ):
        wait(script, RECORD, timeout=0)

    assert "ns0.example.com" in caught.value.message
    assert "ns1.example.com" not in caught.value.message


@needs_ipv6
def test_a_server_of_the_second_family_that_answers_is_counted() -> None:
    records = zone(servers=("127.0.0.1", "::1")) | {(NAME, "TXT"): ('"value"',)}
    with (
        ScriptedDns(records) as script,
        ScriptedDns({}, host="::1", port=script.port),
        pytest.raises(PropagationTimeout, match=r"ns1\.example\.com \(\[::1\]:\d+\) does not have"),
    ):
        wait(script, RECORD)


def test_only_a_record_that_is_on_no_server_may_belong_to_another_view_of_the_zone() -> None:
    hosts = ("127.0.0.1", "127.0.0.2")
    hints: list[tuple[bool, bool]] = []
    for text in ("other", "value"):
        records = zone(servers=hosts) | {(NAME, "TXT"): (f'"{text}"',)}
        with (
            ScriptedDns(records) as script,
            ScriptedDns(zone(servers=hosts), host="127.0.0.2", port=script.port),
            pytest.raises(PropagationTimeout) as caught,
        ):
            wait(script, RECORD, timeout=0)
        said = "found the zone example.com. If others see" in (caught.value.hint or "")
        hints.append((said, caught.value.on_some))

    assert hints == [(True, False), (False, True)]


def test_a_closed_port_is_reported_at_once() -> None:
    records = zone(servers=("127.0.0.99",))
    with (
        ScriptedDns(records) as script,
        pytest.raises(PropagationTimeout, match=r"ns0\.example\.com .* \(Connection refused\)"),
    ):
        wait(script, RECORD, timeout=0)


@contextlib.contextmanager
def silence(host: str, port: int) -> Iterator[None]:
    """Something at a DNS port that takes questions and never answers."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        udp.bind((host, port))
        tcp.bind((host, port))
        tcp.listen()
        yield


def test_a_silent_server_is_named_with_the_time_waited() -> None:
    with (
        ScriptedDns(zone(servers=("127.0.0.99",))) as script,
        silence("127.0.0.99", script.port),
        pytest.raises(PropagationTimeout, match=r"ns0\.example\.com .* \(no answer in 3 s\)"),
    ):
        wait(script, RECORD, timeout=0)


def test_with_a_quorum_a_silent_server_is_not_waited_for() -> None:
    records = zone(servers=("127.0.0.1", "127.0.0.2", "127.0.0.99"))
    records[NAME, "TXT"] = ('"value"',)
    with (
        ScriptedDns(records) as script,
        ScriptedDns(records, host="127.0.0.2", port=script.port),
        silence("127.0.0.99", script.port),
        propagation(script, SteerableClock(), quorum=Quorum(number=2)) as waiting,
        ThreadPoolExecutor(1) as pool,
    ):
        done = pool.submit(waiting.wait, [RECORD])
        # The silent server would take three seconds to be given up.
        assert done.result(timeout=2) is None


@pytest.mark.parametrize("quorum", ["all", "3", "67%", "100%"])
def test_a_quorum_that_is_not_reached_is_waited_for(quorum: str) -> None:
    records = zone(servers=("127.0.0.1", "127.0.0.2", "127.0.0.3")) | {(NAME, "TXT"): ('"value"',)}
    with (
        ScriptedDns(records) as script,
        ScriptedDns(records, host="127.0.0.2", port=script.port),
        ScriptedDns(zone(), host="127.0.0.3", port=script.port),
        pytest.raises(PropagationTimeout) as caught,
    ):
        wait(script, RECORD, quorum=parse_quorum(quorum))

    assert f"ns2.example.com (127.0.0.3:{script.port}) does not have {NAME}" in caught.value.message
    assert "ns1.example.com" not in caught.value.message


@pytest.mark.parametrize("quorum", ["1", "2", "66%", "1%"])
def test_a_quorum_that_is_reached_is_enough(quorum: str) -> None:
    records = zone(servers=("127.0.0.1", "127.0.0.2", "127.0.0.3")) | {(NAME, "TXT"): ('"value"',)}
    with (
        ScriptedDns(records) as script,
        ScriptedDns(records, host="127.0.0.2", port=script.port),
        ScriptedDns(zone(), host="127.0.0.3", port=script.port),
    ):
        assert wait(script, RECORD, quorum=parse_quorum(quorum)).waits == []


def names(count: int) -> list[str]:
    return [f"_acme-challenge.n{number}.example.com" for number in range(count)]


def records_of(some: list[str]) -> list[TxtRecord]:
    return [TxtRecord(name, "value", "example.com", name) for name in some]


def test_many_names_are_asked_for_over_tcp_and_each_once() -> None:
    many = names(3 * MAX_DATAGRAMS)
    held = zone() | {(name, "TXT"): ('"value"',) for name in many}
    with ScriptedDns(held) as script:
        assert wait(script, *records_of(many)).waits == []

    asked = [each for each in script.asked if " TXT " in each]
    assert set(asked) == {f"{name} TXT tcp" for name in many}


def test_many_names_are_asked_for_by_datagrams_where_there_is_no_tcp() -> None:
    many = names(3 * MAX_DATAGRAMS)
    held = zone() | {(name, "TXT"): ('"value"',) for name in many}
    with ScriptedDns(held, over=("udp",)) as script:
        assert wait(script, *records_of(many)).waits == []

    asked = [each for each in script.asked if " TXT " in each]
    assert sorted(asked) == sorted(f"{name} TXT udp" for name in many)


def test_orders_of_a_run_share_one_wait_and_each_goes_on_when_its_own_is_there() -> None:
    first, second, third = names(3)
    held = zone()
    done: list[str] = []
    everybody = threading.Event()

    def meanwhile(_: float) -> None:
        everybody.wait(10)
        appearing = (first, second, third)[len(clock.waits) - 1]
        held[appearing, "TXT"] = ('"value"',)
        # Nobody is let go before his record is there.
        wait_until(lambda: len(done) == len(clock.waits) - 1, "the one before has gone on")

    clock = SteerableClock(on_wait=meanwhile)
    with (
        ScriptedDns(held) as script,
        propagation(script, clock, timeout=60) as waiting,
        ThreadPoolExecutor(3) as pool,
    ):

        def order(name: str) -> None:
            waiting.wait(records_of([name]))
            done.append(name)

        orders = [pool.submit(order, name) for name in (third, second, first)]
        wait_until(
            lambda: all(f"{name} TXT udp" in script.asked for name in (first, second, third)),
            "everybody has looked",
        )
        everybody.set()
        for each in orders:
            each.result()

    assert done == [first, second, third]
    assert len(clock.waits) == 3
    # Its servers are looked for once, and what was seen is not asked for again.
    assert script.asked.count("example.com NS udp") == 1
    asked = [script.asked.count(f"{name} TXT udp") for name in (first, second, third)]
    assert asked == [2, 3, 4]


def test_a_later_order_queries_at_once() -> None:
    late, early = names(2)
    held = zone() | {(late, "TXT"): ('"value"',)}
    pausing, go_on = threading.Event(), threading.Event()

    def meanwhile(_: float) -> None:
        pausing.set()
        go_on.wait(10)

    clock = SteerableClock(on_wait=meanwhile)
    with (
        ScriptedDns(held) as script,
        propagation(script, clock) as waiting,
        ThreadPoolExecutor(1) as pool,
    ):
        order = pool.submit(waiting.wait, records_of([early]))
        assert pausing.wait(10)

        waiting.wait(records_of([late]))

        assert not order.done()
        held[early, "TXT"] = ('"value"',)
        go_on.set()
        order.result()


def test_all_waiting_orders_end_when_the_run_is_stopped() -> None:
    stop = threading.Event()
    clock = SteerableClock(on_wait=lambda _: stop.set())
    with (
        ScriptedDns(zone()) as script,
        propagation(script, clock, stop=stop) as waiting,
        ThreadPoolExecutor(2) as pool,
    ):
        orders = [pool.submit(waiting.wait, records_of([name])) for name in names(2)]
        errors = [each.exception() for each in orders]

    assert [type(each) for each in errors] == [Interrupted, Interrupted]
    assert errors[0] is not errors[1]


def public(script: ScriptedDns) -> tuple[Server, ...]:
    return (Server(script.host, script.port),)


def test_a_public_resolver_is_asked_once_the_servers_have_the_record() -> None:
    held = zone()
    clock = SteerableClock(on_wait=lambda _: held.update({(NAME, "TXT"): ('"value"',)}))
    with ScriptedDns(held) as script, ScriptedDns(held) as resolver:
        wait(script, RECORD, clock=clock, public=public(resolver))

    assert script.asked.count(f"{NAME} TXT udp") == 2
    assert resolver.asked == [f"{NAME} TXT udp"]


def test_a_public_resolver_is_not_queried_again_while_it_caches_an_answer() -> None:
    held = zone() | {(NAME, "TXT"): ('"value"',)}
    older: dict[tuple[str, str], tuple[str, ...]] = {(NAME, "TXT"): ('"older"',)}

    def meanwhile(_: float) -> None:
        if clock.monotonic() >= 3:
            older[NAME, "TXT"] = ('"older"', '"value"')

    clock = SteerableClock(on_wait=meanwhile)
    with ScriptedDns(held) as script, ScriptedDns(older, ttl=4) as resolver:
        wait(script, RECORD, clock=clock, public=public(resolver))

    assert clock.monotonic() >= 4
    assert resolver.asked == [f"{NAME} TXT udp"] * 2


def test_a_public_resolver_that_keeps_an_older_answer_is_named_with_its_time() -> None:
    held = zone() | {(NAME, "TXT"): ('"value"',)}
    with (
        ScriptedDns(held) as script,
        ScriptedDns({(NAME, "TXT"): ('"older"',)}, ttl=60) as resolver,
        pytest.raises(PropagationTimeout) as caught,
    ):
        wait(script, RECORD, public=public(resolver))

    assert f"resolver ({resolver.address}) does not have {NAME}" in caught.value.message
    assert f"{resolver.address} caches an older answer for another 50 s" in caught.value.message
    assert caught.value.hint is not None
    assert "--dns-public-resolver" in caught.value.hint
