"""Zones, name servers and propagation, against DNS servers that answer as a test tells them to."""

import threading

import dns.rcode
import pytest

from certctl.challenges.dns01 import create
from certctl.challenges.system import SolverSystem
from certctl.dns.propagation import wait_until_seen
from certctl.dns.queries import Server
from certctl.dns.resolver import Resolver
from certctl.dns.zones import Location, NameServer, locate, name_servers
from certctl.errors import ChallengeError, Interrupted, PropagationTimeout
from certctl.models import ChallengeSpec, ChallengeType, Task, TxtRecord, Value
from certctl.names import parse_identifier
from certctl.ports import Solver
from tests.integration.http01 import needs_ipv6
from tests.integration.scripted_dns import ScriptedDns
from tests.lab.clock import SteerableClock

SOA = ("ns1.example.com. hostmaster.example.com. 1 3600 600 86400 1",)
NAME = "_acme-challenge.example.com"
RECORD = TxtRecord(NAME, "value", "example.com", "example.com")


def resolver_of(script: ScriptedDns) -> Resolver:
    return Resolver(script.address, threading.Event())


def zone(*, servers: tuple[str, ...] = ("127.0.0.1",)) -> dict[tuple[str, str], tuple[str, ...]]:
    """The records of example.com, with a name server at each of `servers`."""
    records = {
        ("example.com", "SOA"): SOA,
        ("example.com", "NS"): tuple(f"ns{n}.example.com." for n in range(len(servers))),
    }
    for number, address in enumerate(servers):
        kind = "AAAA" if ":" in address else "A"
        records[f"ns{number}.example.com", kind] = (address,)
    return records


def wait(script: ScriptedDns, *records: TxtRecord, timeout: float = 10) -> SteerableClock:
    clock = SteerableClock()
    wait_until_seen(
        records,
        resolver_of(script),
        timeout=timeout,
        clock=clock,
        stop=threading.Event(),
    )
    return clock


def test_the_zone_is_found_by_climbing_where_negative_answers_carry_no_soa() -> None:
    with ScriptedDns(zone()) as script:
        found = locate("_acme-challenge.a.b.example.com", resolver_of(script))

    assert found == Location("_acme-challenge.a.b.example.com", "example.com")
    assert script.asked == [
        "_acme-challenge.a.b.example.com SOA udp",
        "a.b.example.com SOA udp",
        "b.example.com SOA udp",
        "example.com SOA udp",
    ]


def test_a_zone_of_the_record_itself_is_taken() -> None:
    with ScriptedDns({(NAME, "SOA"): SOA}) as script:
        assert locate(NAME, resolver_of(script)) == Location(NAME, NAME)


def test_aliases_are_followed_one_answer_at_a_time() -> None:
    records = zone() | {
        ("_acme-challenge.www.test", "CNAME"): ("one.test.",),
        ("one.test", "CNAME"): ("TWO.example.com.",),
    }
    with ScriptedDns(records) as script:
        found = locate("_acme-challenge.www.test", resolver_of(script))

    assert found == Location("two.example.com", "example.com")


def test_aliases_in_a_circle_are_refused() -> None:
    records = {
        ("a.test", "CNAME"): ("b.test.",),
        ("b.test", "CNAME"): ("c.test.",),
        ("c.test", "CNAME"): ("b.test.",),
    }
    with ScriptedDns(records) as script, pytest.raises(ChallengeError) as caught:
        locate("a.test", resolver_of(script))

    assert caught.value.code == "challenge.dns.alias"
    assert "a.test -> b.test -> c.test -> b.test" in caught.value.message


@pytest.mark.parametrize(("aliases", "allowed"), [(16, True), (17, False)])
def test_sixteen_aliases_are_followed_and_no_more(aliases: int, allowed: bool) -> None:
    records = zone() | {(f"a{n}.test", "CNAME"): (f"a{n + 1}.test.",) for n in range(aliases)}
    records[f"a{aliases}.test", "SOA"] = SOA
    with ScriptedDns(records) as script:
        if allowed:
            assert locate("a0.test", resolver_of(script)).name == "a16.test"
        else:
            with pytest.raises(ChallengeError, match="too far"):
                locate("a0.test", resolver_of(script))


def test_a_resolver_that_fails_is_asked_again_and_then_named_with_its_answer() -> None:
    with (
        ScriptedDns({}, rcodes={NAME: dns.rcode.SERVFAIL}) as script,
        pytest.raises(ChallengeError) as caught,
    ):
        locate(NAME, resolver_of(script))

    assert caught.value.code == "challenge.dns.lookup"
    assert f"{script.address}: it answered SERVFAIL" in caught.value.message
    assert script.asked == [f"{NAME} SOA udp"] * 2


def test_a_stopped_run_asks_nothing_more() -> None:
    stop = threading.Event()
    stop.set()
    with ScriptedDns(zone()) as script, pytest.raises(Interrupted):
        locate(NAME, Resolver(script.address, stop))

    assert script.asked == []


def test_an_answer_that_is_too_long_for_a_datagram_comes_by_tcp() -> None:
    records = zone() | {(NAME, "TXT"): tuple(f'"{n}"' for n in range(50))}
    with ScriptedDns(records, truncated=(NAME,)) as script:
        wait(script, TxtRecord(NAME, "49", "example.com", "example.com"))

    assert f"{NAME} TXT tcp" in script.asked


def test_name_servers_of_the_resolvers_own_host_are_asked_at_its_port() -> None:
    servers = ("127.0.0.1", "127.0.0.2", "::1", "192.0.2.53")
    with ScriptedDns(zone(servers=servers)) as script:
        found = name_servers("example.com", resolver_of(script))

    assert found == (
        NameServer("ns0.example.com", Server("127.0.0.1", script.port)),
        NameServer("ns1.example.com", Server("127.0.0.2", script.port)),
        NameServer("ns2.example.com", Server("::1", script.port)),
        NameServer("ns3.example.com", Server("192.0.2.53", 53)),
    )


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

    lacks = f'ns0.example.com ({script.address}) lacks {NAME} = "second"'
    assert caught.value.message.endswith(f"TXT records: {lacks}")


def test_pauses_grow_until_the_time_is_up() -> None:
    clock = SteerableClock()
    with ScriptedDns(zone()) as script, pytest.raises(PropagationTimeout):
        wait_until_seen(
            [RECORD], resolver_of(script), timeout=20, clock=clock, stop=threading.Event()
        )

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
        pytest.raises(PropagationTimeout, match=r"lacks .* \(it answered REFUSED\)"),
    ):
        wait(script, RECORD)


def test_a_family_that_nobody_answers_in_is_not_counted() -> None:
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
        pytest.raises(PropagationTimeout, match=r"ns1\.example\.com \(\[::1\]:\d+\) lacks"),
    ):
        wait(script, RECORD)


def test_a_zone_whose_servers_are_all_silent_is_an_error() -> None:
    records = zone(servers=("127.0.0.99",))
    with (
        ScriptedDns(records) as script,
        pytest.raises(PropagationTimeout, match=r"ns0\.example\.com .* \(no answer in 2 s\)"),
    ):
        wait(script, RECORD, timeout=0)


def unchecked(script: ScriptedDns, provider: str, plugin: dict[str, Value]) -> Solver:
    """A solver that was told not to check propagation, with a resolver that knows no zone."""
    challenge = ChallengeSpec(
        method="dns",
        dns_provider=provider,
        dns_resolver=script.address,
        dns_skip_propagation=True,
        plugin=plugin,
    )
    return create(challenge, SolverSystem(SteerableClock(), threading.Event()))


TASK = Task(
    identifier=parse_identifier("example.com"),
    type=ChallengeType.DNS_01,
    token="abc",
    key_authorization="abc.thumbprint",
    account_url="https://ca.test/account/1",
    certificate="example.com",
)


def test_without_the_check_a_hook_is_called_even_where_no_zone_can_be_found() -> None:
    with ScriptedDns({}) as script:
        solver = unchecked(script, "exec", {"dns.exec.hook": 'test -z "$CERTCTL_DNS_ZONE" #'})
        placement = solver.place(TASK)
        solver.present([placement])
        solver.wait([placement])
        solver.cleanup([placement])

    assert (placement.data["name"], placement.data["zone"]) == (NAME, "")


def test_a_provider_that_needs_the_zone_says_so() -> None:
    with ScriptedDns({}) as script:
        solver = unchecked(script, "rfc2136", {"dns.rfc2136.server": "127.0.0.1"})
        with pytest.raises(ChallengeError, match="zone of the TXT record is unknown") as caught:
            solver.present([solver.place(TASK)])

    assert caught.value.hint is not None
    assert "--dns-resolver" in caught.value.hint


def test_names_stay_a_labels_on_their_way_into_the_dns() -> None:
    records = {("xn--bcher-kva.example", "SOA"): SOA}
    with ScriptedDns(records) as script:
        found = locate("_acme-challenge.xn--bcher-kva.example", resolver_of(script))

    assert found == Location("_acme-challenge.xn--bcher-kva.example", "xn--bcher-kva.example")
