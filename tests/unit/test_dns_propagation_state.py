"""Which servers a waiting order has to wait for, and how long resolvers cache answers."""

from collections.abc import Mapping

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.dns.propagation_state import (
    ServerState,
    authoritative_timeout,
    blocking,
    cache_seconds,
)
from certctl.dns.queries import NoReply, Server
from certctl.dns.quorum import Quorum, parse_quorum
from certctl.dns.zones import NameServer
from certctl.model.errors import ConfigurationError

NAME = "_acme-challenge.example.com"
ALL = Quorum()


def state(address: str, *, missing: bool, zone: str = "example.com") -> ServerState:
    lacks = {NAME: frozenset({"value"})} if missing else {}
    return ServerState(zone, NameServer(f"ns.{zone}", Server(address)), lacks)


def replies(answers: Mapping[str, bool]) -> Mapping[Server, bool]:
    return {Server(address): replied for address, replied in answers.items()}


def test_a_server_without_the_value_blocks() -> None:
    has, lacks = state("192.0.2.1", missing=False), state("192.0.2.2", missing=True)

    replied = replies({"192.0.2.1": True, "192.0.2.2": True})
    assert blocking([has, lacks], replied, ALL) == [lacks]


def test_a_silent_server_blocks_while_its_family_answers() -> None:
    has, silent = state("192.0.2.1", missing=False), state("192.0.2.2", missing=True)

    replied = replies({"192.0.2.1": True, "192.0.2.2": False})
    assert blocking([has, silent], replied, ALL) == [silent]


@pytest.mark.parametrize(
    ("here", "away"), [("192.0.2.1", "2001:db8::1"), ("2001:db8::1", "192.0.2.1")]
)
def test_a_family_without_any_answer_does_not_block(here: str, away: str) -> None:
    has, silent = state(here, missing=False), state(away, missing=True)

    assert blocking([has, silent], replies({here: True, away: False}), ALL) == []


def test_a_family_that_has_not_been_queried_blocks() -> None:
    has, untried = state("192.0.2.1", missing=False), state("2001:db8::1", missing=True)

    assert blocking([has, untried], replies({"192.0.2.1": True}), ALL) == [untried]


def test_without_any_answer_every_server_blocks() -> None:
    silent = [state(each, missing=True) for each in ("192.0.2.1", "2001:db8::1")]

    assert blocking(silent, replies({"192.0.2.1": False, "2001:db8::1": False}), ALL) == silent


def test_families_are_checked_for_each_zone() -> None:
    has = state("192.0.2.1", missing=False)
    silent = state("2001:db8::1", missing=True, zone="example.org")

    replied = replies({"192.0.2.1": True, "2001:db8::1": False})
    assert blocking([has, silent], replied, ALL) == [silent]


def test_a_quorum_is_counted_for_each_value() -> None:
    # Each server has one of the two values: together they have both, but none is at two of them.
    first, second = (
        ServerState("example.com", NameServer("ns", Server(address)), {NAME: frozenset({value})})
        for address, value in (("192.0.2.1", "one"), ("192.0.2.2", "two"))
    )

    replied = replies({"192.0.2.1": True, "192.0.2.2": True})
    assert blocking([first, second], replied, Quorum(number=1)) == []
    assert blocking([first, second], replied, Quorum(number=2)) == [first, second]


def test_the_report_names_the_quorum_that_was_not_reached() -> None:
    error = authoritative_timeout([state("192.0.2.1", missing=True)], 20, Quorum(share=0.6))

    assert error.message == (
        "after 20 s, not enough authoritative servers (60% must) have the TXT records: "
        f'ns.example.com (192.0.2.1) does not have {NAME} = "value"'
    )


@pytest.mark.parametrize(
    ("text", "servers", "needed"),
    [
        ("all", 4, 4),
        ("ALL", 1, 1),
        ("2", 4, 2),
        ("9", 4, 4),
        ("50%", 4, 2),
        ("51%", 4, 3),
        ("1%", 4, 1),
        ("100%", 3, 3),
        ("70%", 10, 7),
    ],
)
def test_a_quorum_is_all_or_a_number_or_a_share(text: str, servers: int, needed: int) -> None:
    assert parse_quorum(text).of(servers) == needed


@pytest.mark.parametrize("text", ["", "none", "0", "0%", "101%", "-1", "1.5", "2 of 3", "%"])
def test_an_invalid_quorum_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_quorum(text)

    assert caught.value.hint is not None
    assert "--dns-propagation-quorum" in caught.value.hint


@given(st.integers(1, 100), st.integers(1, 20))
def test_a_share_is_between_one_server_and_all(percent: int, servers: int) -> None:
    needed = parse_quorum(f"{percent}%").of(servers)

    assert 1 <= needed <= servers
    assert needed * 100 >= percent * servers


def test_a_missing_answer_leaves_the_missing_values_as_they_were() -> None:
    before = state("192.0.2.1", missing=True)

    after = before.after({NAME: NoReply("no answer in 3 s")})

    assert (after.missing, after.problem) == (before.missing, "no answer in 3 s")


def answer(*, ttl: int | None = None, soa: tuple[int, int] | None = None) -> dns.message.Message:
    message = dns.message.make_response(dns.message.make_query(NAME, "TXT"))
    if ttl is not None:
        message.answer.append(dns.rrset.from_text(f"{NAME}.", ttl, "IN", "TXT", '"older"'))
    if soa is not None:
        facts = f"ns.example.com. hostmaster.example.com. 1 3600 600 86400 {soa[1]}"
        message.authority.append(dns.rrset.from_text("example.com.", soa[0], "IN", "SOA", facts))
    return message


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (answer(ttl=60), 60),
        (answer(soa=(300, 900)), 300),
        (answer(soa=(900, 300)), 300),
        (answer(), 0),
    ],
)
def test_a_resolver_caches_an_answer_for_its_ttl_and_a_negative_one_for_the_soa_ttl(
    message: dns.message.Message, seconds: float
) -> None:
    assert cache_seconds(message) == seconds
