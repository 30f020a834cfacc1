"""Zones and name servers, against DNS servers that answer as a test tells them to."""

import threading
from contextlib import ExitStack
from dataclasses import replace

import dns.rcode
import pytest

from certctl.challenges.dns01 import create
from certctl.challenges.system import SolverSystem
from certctl.dns.queries import Server
from certctl.dns.resolver import Resolver
from certctl.dns.zones import (
    CACHE_SECONDS,
    MAX_ADDRESSES,
    MAX_NAME_SERVERS,
    Location,
    NameServer,
    Zones,
    name_servers,
)
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, Interrupted, PropagationTimeout
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.names import parse_identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Task
from certctl.model.values import Value
from tests.lab.clock import SteerableClock
from tests.lab.scripted_dns import NAME, SOA, ScriptedDns, zone


def resolver_of(script: ScriptedDns) -> Resolver:
    return Resolver(script.address, threading.Event())


def locate(name: str, script: ScriptedDns) -> Location:
    return Zones(resolver_of(script), SteerableClock()).locate(name)


def test_the_zone_is_found_by_climbing_where_negative_answers_carry_no_soa() -> None:
    with ScriptedDns(zone()) as script:
        found = locate("_acme-challenge.a.b.example.com", script)

    assert found == Location("_acme-challenge.a.b.example.com", "example.com")
    assert script.asked[:3] == [
        "a.b.example.com SOA udp",
        "b.example.com SOA udp",
        "example.com SOA udp",
    ]


@pytest.mark.parametrize("name", [NAME, f"_account.{NAME}"])
def test_a_resolver_is_not_queried_for_the_name_itself_since_it_would_cache_its_absence(
    name: str,
) -> None:
    with (
        ScriptedDns(zone(servers=("127.0.0.2",))) as resolver,
        ScriptedDns(zone(), host="127.0.0.2", port=resolver.port) as server,
    ):
        assert locate(name, resolver) == Location(name, "example.com")

    assert [each for each in resolver.asked if NAME in each] == []
    assert server.asked == [f"{name} SOA udp"]


def test_the_resolver_is_used_if_the_servers_cannot_be_queried() -> None:
    with ScriptedDns(zone(servers=("127.0.0.99",))) as script:
        zones = Zones(resolver_of(script), SteerableClock())
        found = [zones.locate(f"_acme-challenge.{host}.example.com") for host in ("a", "b")]

    assert {each.zone for each in found} == {"example.com"}
    assert "_acme-challenge.b.example.com SOA udp" in script.asked


def test_a_zone_below_a_known_one_is_found_by_its_delegation() -> None:
    parent = {("_acme-challenge.www.sub.example.com", "SOA"): "sub.example.com"}
    below = {
        ("sub.example.com", "NS"): ("ns.sub.example.com.",),
        ("ns.sub.example.com", "A"): ("127.0.0.3",),
    }
    with (
        ScriptedDns(zone(servers=("127.0.0.2",)) | below) as resolver,
        ScriptedDns({}, referrals=parent, host="127.0.0.2", port=resolver.port),
        ScriptedDns({}, host="127.0.0.3", port=resolver.port) as server,
    ):
        zones = Zones(resolver_of(resolver), SteerableClock())
        zones.locate(NAME)
        found = zones.locate("_acme-challenge.www.sub.example.com")

    assert found == Location("_acme-challenge.www.sub.example.com", "sub.example.com")
    assert server.asked == ["_acme-challenge.www.sub.example.com SOA udp"]


def test_a_zone_and_its_servers_are_looked_up_once_for_all_its_names() -> None:
    with ScriptedDns(zone()) as script:
        clock = SteerableClock()
        zones = Zones(resolver_of(script), clock)
        zones.locate(NAME)
        zones.name_servers("example.com")
        before = len(script.asked)

        zones.locate("_acme-challenge.www.example.com")
        zones.name_servers("example.com")
        assert script.asked[before:] == ["_acme-challenge.www.example.com SOA udp"]

        clock.advance(CACHE_SECONDS)
        zones.name_servers("example.com")
        assert script.asked.count("example.com NS udp") == 2


def test_a_zone_of_the_record_itself_is_taken() -> None:
    with ScriptedDns({(NAME, "SOA"): SOA}) as script:
        assert locate(NAME, script) == Location(NAME, NAME)


def test_aliases_are_followed_one_answer_at_a_time() -> None:
    records = zone() | {
        ("_acme-challenge.www.test", "CNAME"): ("one.test.",),
        ("one.test", "CNAME"): ("TWO.example.com.",),
    }
    with ScriptedDns(records) as script:
        found = locate("_acme-challenge.www.test", script)

    assert found == Location("two.example.com", "example.com")


EDGE = ("edge.cdn.test.",)
CDN: dict[tuple[str, str], tuple[str, ...]] = {("cdn.test", "SOA"): SOA}


@pytest.mark.parametrize(
    ("name", "at_zone"),
    [
        ("_acme-challenge.www.example.com", "example.com"),
        ("_acme-challenge.a.b.example.com", "example.com"),
        ("_account._acme-challenge.www.example.com", "example.com"),
        ("_validation-persist.www.example.com", "example.com"),
    ],
)
def test_a_cname_that_comes_from_a_wildcard_is_not_followed(name: str, at_zone: str) -> None:
    records = zone() | CDN | {("*.example.com", "CNAME"): EDGE}
    with ScriptedDns(records) as script:
        assert locate(name, script) == Location(name, at_zone)


def test_a_wildcards_cname_is_told_by_the_resolver_where_the_servers_cannot_be_queried() -> None:
    records = zone(servers=("127.0.0.99",)) | CDN | {("*.example.com", "CNAME"): EDGE}
    with ScriptedDns(records) as script:
        assert locate(NAME, script) == Location(NAME, "example.com")


@pytest.mark.parametrize("target", ["acme.cdn.test", "edge.cdn.test"])
@pytest.mark.parametrize("servers", [("127.0.0.1",), ("127.0.0.99",)])
def test_a_cname_of_its_own_is_followed_beside_a_wildcard_whatever_its_target(
    target: str, servers: tuple[str, ...]
) -> None:
    records = zone(servers=servers) | CDN | {("*.example.com", "CNAME"): EDGE}
    records |= {(NAME, "CNAME"): (f"{target}.",), (target, "A"): ("192.0.2.1",)}
    with ScriptedDns(records) as script:
        assert locate(NAME, script) == Location(target, "cdn.test")


def test_a_wildcard_at_the_target_of_a_cname_ends_the_chain_there() -> None:
    records = zone() | CDN | {(NAME, "CNAME"): ("acme.cdn.test.",)}
    records |= {("*.cdn.test", "CNAME"): ("edge.example.com.",)}
    with ScriptedDns(records) as script:
        assert locate(NAME, script) == Location("acme.cdn.test", "cdn.test")


def test_a_dname_is_followed_since_nothing_can_be_written_below_it() -> None:
    records = zone() | CDN | {("sub.example.com", "DNAME"): ("cdn.test.",)}
    with ScriptedDns(records) as script:
        found = locate("_acme-challenge.www.sub.example.com", script)

    assert found == Location("_acme-challenge.www.cdn.test", "cdn.test")


def test_a_wildcard_in_a_zone_below_leaves_the_record_in_that_zone() -> None:
    # The target is in the zone above, whose SOA record a resolver returns with the alias.
    below = {
        ("sub.example.com", "SOA"): SOA,
        ("sub.example.com", "NS"): ("ns0.example.com.",),
        ("*.sub.example.com", "CNAME"): ("edge.example.com.",),
    }
    name = "_acme-challenge.www.sub.example.com"
    with ScriptedDns(zone() | below) as script:
        zones = Zones(resolver_of(script), SteerableClock())
        zones.locate(NAME)  # the zone above is known by now

        assert zones.locate(name) == Location(name, "sub.example.com")


def test_cnames_are_not_followed_on_request() -> None:
    records = zone() | CDN | {(NAME, "CNAME"): ("acme.cdn.test.",)}
    with ScriptedDns(records) as script:
        found = Zones(resolver_of(script), SteerableClock(), follow=False).locate(NAME)

    assert found == Location(NAME, "example.com")


def test_cname_loops_are_refused() -> None:
    records = {
        ("a.test", "CNAME"): ("b.test.",),
        ("b.test", "CNAME"): ("c.test.",),
        ("c.test", "CNAME"): ("b.test.",),
    }
    with ScriptedDns(records) as script, pytest.raises(ChallengeError) as caught:
        locate("a.test", script)

    assert caught.value.code == "challenge.dns.alias"
    assert "a.test -> b.test -> c.test -> b.test" in caught.value.message


@pytest.mark.parametrize(("aliases", "allowed"), [(16, True), (17, False)])
def test_sixteen_aliases_are_followed_and_no_more(aliases: int, allowed: bool) -> None:
    records = zone() | {(f"a{n}.test", "CNAME"): (f"a{n + 1}.test.",) for n in range(aliases)}
    records[f"a{aliases}.test", "SOA"] = SOA
    with ScriptedDns(records) as script:
        if allowed:
            assert locate("a0.test", script).name == "a16.test"
        else:
            with pytest.raises(ChallengeError, match="too long"):
                locate("a0.test", script)


def test_a_resolver_that_fails_is_asked_again_and_then_named_with_its_answer() -> None:
    with (
        ScriptedDns({}, rcodes={NAME: dns.rcode.SERVFAIL}) as script,
        pytest.raises(ChallengeError) as caught,
    ):
        locate(NAME, script)

    assert caught.value.code == "challenge.dns.lookup"
    assert f"{script.address}: it returned SERVFAIL" in caught.value.message
    assert script.asked.count(f"{NAME} SOA udp") == 2


def test_a_stopped_run_sends_no_more_queries() -> None:
    stop = threading.Event()
    stop.set()
    with ScriptedDns(zone()) as script, pytest.raises(Interrupted):
        Zones(Resolver(script.address, stop), SteerableClock()).locate(NAME)

    assert script.asked == []


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
        placement = solver.plan(TASK)
        solver.present([placement])
        solver.wait([placement])
        solver.cleanup([placement])

    assert (placement.data["name"], placement.data["zone"]) == (NAME, "")


def test_a_provider_that_needs_the_zone_says_so() -> None:
    with ScriptedDns({}) as script:
        solver = unchecked(script, "rfc2136", {"dns.rfc2136.server": "127.0.0.1"})
        with pytest.raises(ChallengeError, match="zone of the TXT record is unknown") as caught:
            solver.present([solver.plan(TASK)])

    assert caught.value.hint is not None
    assert "--dns-resolver" in caught.value.hint


def test_names_stay_a_labels_on_their_way_into_the_dns() -> None:
    records = {("xn--bcher-kva.example", "SOA"): SOA}
    with ScriptedDns(records) as script:
        found = locate("_acme-challenge.xn--bcher-kva.example", script)

    assert found == Location("_acme-challenge.xn--bcher-kva.example", "xn--bcher-kva.example")


def test_of_a_thousand_name_servers_only_the_first_are_looked_up() -> None:
    hosts = [f"ns{number:04}.example.com" for number in range(1500)]
    records = {
        ("example.com", "SOA"): SOA,
        ("example.com", "NS"): tuple(f"{host}." for host in hosts),
        (hosts[0], "A"): tuple(f"192.0.2.{number}" for number in range(200)),
        (hosts[1], "A"): ("127.0.0.1",),
    }
    with ScriptedDns(records) as script:
        found = name_servers("example.com", resolver_of(script))

    assert len(found) == MAX_ADDRESSES + 1
    looked_up = {each.split()[0] for each in script.asked} - {"example.com"}
    assert looked_up == set(hosts[:MAX_NAME_SERVERS])


def test_the_servers_behind_one_that_does_not_answer_are_asked_side_by_side() -> None:
    hosts = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
    together = threading.Barrier(len(hosts) - 1)
    with ScriptedDns(zone(servers=hosts)) as resolver, ExitStack() as servers:
        for host in hosts[1:]:
            one = ScriptedDns(
                zone(), gate=lambda _: together.wait(10), host=host, port=resolver.port
            )
            servers.enter_context(one)

        assert locate(NAME, resolver) == Location(NAME, "example.com")

    assert [each for each in resolver.asked if NAME in each] == []


def test_no_query_is_sent_after_the_deadline() -> None:
    clock = SteerableClock()
    with (
        ScriptedDns(zone()) as script,
        pytest.raises(ChallengeError, match="took too long") as caught,
    ):
        Zones(resolver_of(script), clock).locate(NAME, deadline=clock.monotonic())

    assert (script.asked, caught.value.code) == ([], "challenge.dns.lookup")


def test_an_order_waits_for_its_records_no_longer_than_until_its_own_deadline() -> None:
    clock = SteerableClock()
    challenge = ChallengeSpec(method="dns", dns_provider="exec", plugin={"dns.exec.hook": "true"})
    with ScriptedDns(zone()) as script:
        solver = create(
            replace(challenge, dns_resolver=script.address),
            SolverSystem(clock, threading.Event()),
        )
        placement = solver.plan(replace(TASK, deadline=clock.monotonic() + 3))
        with pytest.raises(PropagationTimeout):
            solver.wait([placement])
        solver.close()

    assert sum(clock.waits) == 3


@pytest.mark.parametrize(
    "value",
    ["a b.example", "a..example", "$(id).example", f"{'a' * 64}.example", "a.b." * 70 + "example",
     "\u0430.example", "a\n.example", ""],
)  # fmt: skip
@pytest.mark.parametrize("skip", [True, False])
def test_a_name_that_the_dns_cannot_have_is_refused_before_anything_is_looked_up(
    value: str, skip: bool
) -> None:
    plugin: dict[str, Value] = {"dns.exec.hook": "true"}
    task = replace(TASK, identifier=Identifier(IdentifierType.DNS, value))
    with ScriptedDns({}) as script:
        challenge = ChallengeSpec(
            method="dns",
            dns_provider="exec",
            dns_resolver=script.address,
            dns_skip_propagation=skip,
            plugin=plugin,
        )
        solver = create(challenge, SolverSystem(SteerableClock(), threading.Event()))
        with pytest.raises(ChallengeError, match="is not a domain name"):
            solver.plan(task)

    assert script.asked == []


def test_a_cname_cannot_lead_to_a_name_that_a_hook_should_not_be_passed() -> None:
    records = zone() | {(NAME, "CNAME"): ("a|id.example.com.",)}
    with ScriptedDns(records) as script, pytest.raises(ChallengeError) as caught:
        locate(NAME, script)

    assert caught.value.code == "challenge.dns.name"


def test_without_the_check_a_resolver_is_not_asked_for_the_record() -> None:
    with (
        ScriptedDns(zone(servers=("127.0.0.2",))) as resolver,
        ScriptedDns(zone(), host="127.0.0.2", port=resolver.port) as server,
    ):
        found = unchecked(resolver, "exec", {"dns.exec.hook": "true"}).plan(TASK)

    assert (found.data["name"], found.data["zone"]) == (NAME, "example.com")
    assert server.asked == [f"{NAME} SOA udp"]
    assert [each for each in resolver.asked if NAME in each] == []


def test_without_the_check_not_even_servers_out_of_reach_make_it_ask_the_resolver() -> None:
    with ScriptedDns(zone(servers=("127.0.0.99",))) as script:
        found = unchecked(script, "exec", {"dns.exec.hook": "true"}).plan(TASK)

    assert (found.data["name"], found.data["zone"]) == (NAME, "example.com")
    assert [each for each in script.asked if NAME in each] == []
