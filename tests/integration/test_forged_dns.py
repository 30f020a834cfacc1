"""A DNS server, or whoever is between, that answers something else than it was asked."""

import threading
from collections.abc import Callable

import dns.flags
import dns.message
import dns.name
import dns.rrset
import dns.tsig
import pytest

from certctl.challenges.dns01 import create
from certctl.challenges.system import SolverSystem
from certctl.dns.resolver import Resolver
from certctl.dns.zones import Location, Zones
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError
from certctl.model.names import parse_identifier
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Task
from tests.lab.clock import SteerableClock
from tests.lab.scripted_dns import NAME, ScriptedDns, zone

SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
WRONG = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc="


def unsigned(reply: dns.message.Message) -> bytes:
    return reply.to_wire()


def signed_by_another_key(reply: dns.message.Message) -> bytes:
    reply.use_tsig(dns.tsig.Key("certctl.", WRONG, dns.tsig.HMAC_SHA256))
    return reply.to_wire()


def cut_off(reply: dns.message.Message) -> bytes:
    return reply.to_wire()[:20]


def empty(_reply: dns.message.Message) -> bytes:
    return b""


def noise(reply: dns.message.Message) -> bytes:
    return reply.to_wire()[:12] + b"\xff" * 200


def name_that_points_to_itself(reply: dns.message.Message) -> bytes:
    return reply.to_wire()[:12] + b"\xc0\x0c\x00\x06\x00\x01"


def another_id(reply: dns.message.Message) -> bytes:
    reply.id ^= 1
    return reply.to_wire()


def another_question(reply: dns.message.Message) -> bytes:
    reply.question[0].name = dns.name.from_text("other.example.")
    return reply.to_wire()


def question_as_answer(reply: dns.message.Message) -> bytes:
    reply.flags &= ~dns.flags.QR
    return reply.to_wire()


def name_for_terminals(reply: dns.message.Message) -> bytes:
    owner = reply.question[0].name
    reply.answer = [dns.rrset.from_text(owner, 1, "IN", "CNAME", r"\027[31m\007.example.")]
    return reply.to_wire()


HOSTILE = (
    cut_off,
    empty,
    noise,
    name_that_points_to_itself,
    another_id,
    another_question,
    question_as_answer,
)


def located(script: ScriptedDns) -> Location:
    resolver = Resolver(script.address, threading.Event())
    return Zones(resolver, SteerableClock()).locate(NAME)


def test_a_name_in_an_answer_is_printable_in_the_error_about_it() -> None:
    with (
        ScriptedDns(zone(), forged=name_for_terminals) as script,
        pytest.raises(ChallengeError) as caught,
    ):
        located(script)

    assert caught.value.message.isprintable()


@pytest.mark.parametrize("forged", [unsigned, signed_by_another_key, *HOSTILE])
def test_an_update_counts_only_with_an_answer_that_the_key_signed(
    forged: Callable[[dns.message.Message], bytes],
) -> None:
    with ScriptedDns(zone(), forged=forged) as server, ScriptedDns(zone()) as resolver:
        challenge = ChallengeSpec(
            method="dns",
            dns_provider="rfc2136",
            dns_resolver=resolver.address,
            plugin={
                "dns.rfc2136.server": server.address,
                "dns.rfc2136.key_name": "certctl",
                "dns.rfc2136.secret": SECRET,
            },
        )
        solver = create(challenge, SolverSystem(SteerableClock(), threading.Event()))
        task = Task(
            identifier=parse_identifier("example.com"),
            type=ChallengeType.DNS_01,
            token="t",
            key_authorization="t.thumbprint",
            certificate="example.com",
            account_url="https://ca.example/account/1",
        )

        with pytest.raises(ChallengeError) as caught:
            solver.present([solver.plan(task)])

    assert caught.value.code == "challenge.dns.rfc2136"
