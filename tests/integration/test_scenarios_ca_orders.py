"""What a client must survive at the CA edge: orders, authorizations and certificates.

Each test is named after its number in docs/scenarios.md.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from certctl.ca.client import AcmeClient
from certctl.model.errors import (
    AcmeError,
    BadResponse,
    CaUnavailable,
    OrderFailed,
    ValidationFailed,
)
from certctl.model.names import parse_identifiers
from tests.lab.clock import SteerableClock
from tests.lab.scripted_ca import chains
from tests.lab.scripted_ca.faults import (
    Fault,
    drop_connection,
    problem,
    removing,
    response,
    setting,
)
from tests.lab.scripted_ca.problems import document
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_ca.settings import ALWAYS, Failing
from tests.support.ca_clients import Caller, csr_for, open_authorizations, requests_since

NAMES = parse_identifiers(["a.example"])
THREE = ("a.example", "b.example", "c.example")
HTML = "<html><body>Service unavailable</body></html>"
EAB_KEY = b"a key of thirty-two bytes or so."


# -- orders


def issue_and_name(ca: ScriptedCA, caller: Caller, client: AcmeClient) -> str:
    caller.issue(client, "a.example")
    return ca.issued[-1].certificate_id


def test_scenario_09_already_replaced(ca: ScriptedCA, caller: Caller, client: AcmeClient) -> None:
    replaced = issue_and_name(ca, caller, client)
    client.new_order(NAMES, replaces=replaced)
    with pytest.raises(AcmeError) as refusal:
        client.new_order(NAMES, replaces=replaced)
    assert (refusal.value.type, refusal.value.status) == ("alreadyReplaced", 409)


def test_scenario_10_replaces_is_malformed(client: AcmeClient) -> None:
    with pytest.raises(AcmeError) as refusal:
        client.new_order(NAMES, replaces="AQ.AQ")
    assert (refusal.value.type, refusal.value.status) == ("malformed", 400)


def test_scenario_10_replaces_is_not_sent_to_a_ca_without_renewal_information(
    ca: ScriptedCA, caller: Caller
) -> None:
    ca.renewal_info = False
    with caller.registered() as client:
        client.new_order(NAMES, replaces="AQ.AQ")
    assert "replaces" not in ca.payloads("new-order")[-1]


def test_scenario_11_profile_rejected(ca: ScriptedCA, caller: Caller) -> None:
    ca.profiles = {"short": "six days"}
    with caller.registered() as client:
        assert client.directory.profiles == {"short": "six days"}
        order = client.new_order(NAMES, profile="short")
        with pytest.raises(AcmeError) as refusal:
            client.new_order(NAMES, profile="long")
        assert refusal.value.type == "invalidProfile"
        ca.script("finalize", problem("invalidProfile"))
        ready = caller.prove(client, order)
        with pytest.raises(AcmeError) as refusal:
            client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
        assert refusal.value.type == "invalidProfile"


def test_scenario_12_order_born_ready(ca: ScriptedCA, caller: Caller, client: AcmeClient) -> None:
    ca.authorizations_start = "valid"
    mark = ca.count()
    order = client.await_ready(client.new_order(NAMES), deadline=caller.deadline)
    client.finalize(order, csr_for(NAMES), deadline=caller.deadline)
    assert requests_since(ca, mark) == ["new-order", "finalize"]


def test_scenario_12_one_authorization_is_valid_already(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.already_valid = {"b.example"}
    caller.issue(client, *THREE)
    assert ca.count("challenge") == 2


def test_scenario_13_the_same_pending_order_twice(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.reuse_pending_orders = True
    first, second = client.new_order(NAMES), client.new_order(NAMES)
    assert first == second
    caller.prove(client, first)
    # The other order's run finds it proved; a challenge is answered once.
    for authorization in open_authorizations(client, second):
        client.answer(authorization.challenges[0])
    assert client.await_ready(second, deadline=caller.deadline).status == "ready"
    assert ca.count("challenge") == 1


def test_scenario_14_everything_shuffled_and_a_wildcard_with_its_base(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.shuffled = True
    names = ("example.com", "*.example.com", "192.0.2.1", "2001:db8::1")
    order = client.new_order(parse_identifiers(names))
    found = {str(each.identifier) for each in open_authorizations(client, order)}
    assert found == set(names)
    identifiers = parse_identifiers(names)
    ready = caller.prove(client, order)
    valid = client.finalize(ready, csr_for(identifiers), deadline=caller.deadline)
    assert len(list(client.chains(valid))) == 1
    assert set(ca.issued[0].names) == {f"{each.type}:{each.value}" for each in identifiers}


def test_scenario_14_an_order_for_other_names_is_refused(
    ca: ScriptedCA, client: AcmeClient
) -> None:
    ca.on("new-order", setting(identifiers=[{"type": "dns", "value": "evil.example"}]))
    with pytest.raises(BadResponse, match=r"different names: a\.example, evil\.example differ"):
        client.new_order(NAMES)


def test_scenario_15_finalize_says_valid_at_once(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ready = caller.prove(client, client.new_order(NAMES))
    mark, waits = ca.count(), len(clock.waits)
    valid = client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    assert valid.certificate_url is not None
    assert requests_since(ca, mark) == ["finalize"]
    assert len(clock.waits) == waits


def test_scenario_15_processing_for_minutes(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.finalize_polls, ca.retry_after = 20, 15
    ready = caller.prove(client, client.new_order(NAMES))
    waits = len(clock.waits)
    client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    assert clock.waits[waits:] == [15.0] * 21
    assert ca.count("finalize") == 1


def test_scenario_15_processing_beyond_the_deadline(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.finalize_polls, ca.retry_after = ALWAYS, 15
    ready = caller.prove(client, client.new_order(NAMES))
    begun = clock.monotonic()
    with pytest.raises(OrderFailed, match="still processing when the timeout expired") as failure:
        client.finalize(ready, csr_for(NAMES), deadline=begun + 40)
    assert failure.value.code == "acme.order_timeout"
    assert clock.monotonic() == begun + 40


@pytest.mark.parametrize("polls", [0, 2])
def test_scenario_15_reply_to_finalize_lost(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, polls: int
) -> None:
    ca.finalize_polls = polls
    ca.script("finalize", drop_connection(after_processing=True))
    ready = caller.prove(client, client.new_order(NAMES))
    client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    assert ca.count("finalize") == 1


@pytest.mark.parametrize(
    "fault",
    [drop_connection(), drop_connection(reset=True), response(500, HTML), problem("orderNotReady")],
    ids=["dropped", "reset", "500", "orderNotReady"],
)
def test_scenario_15_finalize_did_not_arrive(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, fault: Fault
) -> None:
    ca.script("finalize", fault)
    ready = caller.prove(client, client.new_order(NAMES))
    mark = ca.count()
    client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    sent = [each for each in requests_since(ca, mark) if each != "new-nonce"]
    assert sent == ["finalize", "order", "finalize"]


def test_scenario_15_finalize_never_works(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.script("finalize", problem("serverInternal", 500, "no signer"), times=ALWAYS)
    ready = caller.prove(client, client.new_order(NAMES))
    with pytest.raises(CaUnavailable, match="no signer"):
        client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    assert ca.count("finalize") == 5


def test_scenario_15_reply_to_new_order_lost(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.reuse_pending_orders = True
    ca.script("new-order", drop_connection(after_processing=True))
    order = client.new_order(NAMES)
    assert order.url.endswith("/order/1")
    assert ca.count("new-order") == 2


def test_scenario_15_order_invalid_after_finalize(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.finalize_succeeds = False
    ready = caller.prove(client, client.new_order(NAMES))
    with pytest.raises(OrderFailed, match=r"invalid: signing failed \[serverInternal\]"):
        client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)


# -- authorizations


@pytest.mark.parametrize("how", ["expired", "revoked", "deactivated", "invalid without error"])
def test_scenario_16_authorization_lost_without_an_error(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, how: Failing
) -> None:
    ca.order_errors = False
    ca.fail("b.example", how)
    order = client.new_order(parse_identifiers(THREE))
    with pytest.raises(ValidationFailed) as failure:
        caller.prove(client, order)
    shown = how.split(maxsplit=1)[0]
    assert failure.value.reasons == (
        ("b.example", f"the authorization is {shown}, no reason given"),
    )


def test_scenario_16_authorization_of_an_unknown_status(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.fail("b.example", "unknown")
    order = client.new_order(parse_identifiers(THREE))
    deadline = caller.deadline
    with pytest.raises(OrderFailed, match=r"still waiting for b\.example \(unknown\)"):
        caller.prove(client, order)
    assert clock.monotonic() == deadline


def test_scenario_16_authorization_stays_pending_although_its_challenge_failed(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    ca.fail("b.example", "stays pending")
    order = client.new_order(parse_identifiers(THREE))
    with pytest.raises(ValidationFailed) as failure:
        caller.prove(client, order)
    assert failure.value.reasons == (("b.example", "b.example: connection refused [connection]"),)
    assert clock.monotonic() < 10


def test_scenario_16_order_invalid_without_a_word(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.on("order", setting(status="invalid"))
    order = client.new_order(NAMES)
    with pytest.raises(OrderFailed, match="declared the order invalid: no reason was given"):
        caller.prove(client, order)


def test_scenario_16_a_challenge_that_the_ca_tries_again_is_waited_for(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.validated_after = 12
    again = document("connection", "the first attempt failed")
    ca.on(
        "authorization",
        lambda body: body["challenges"][0].update(error=again, status="processing"),
        after=1,
    )
    assert caller.prove(client, client.new_order(NAMES)).status == "ready"


def test_scenario_16_the_answer_is_refused_since_validation_failed_at_once(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.fail("b.example", "refused")
    order = client.new_order(parse_identifiers(THREE))
    with pytest.raises(ValidationFailed) as failure:
        caller.prove(client, order)
    assert failure.value.reasons == (("b.example", "b.example: connection refused [connection]"),)


def test_scenario_17_unknown_challenge_types(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.extra_challenges = [
        {"type": "smoke-signal-01", "url": f"{ca.directory_url}/x", "hill": 7},
        {"type": "dns-persist-01", "status": "new", "url": f"{ca.directory_url}/y"},
        {"type": 1, "url": None},
        "nonsense",  # type: ignore[list-item]
    ]
    authorization = open_authorizations(client, client.new_order(NAMES))[0]
    assert [each.type for each in authorization.challenges] == [
        "http-01",
        "dns-01",
        "tls-alpn-01",
        "smoke-signal-01",
        "dns-persist-01",
    ]
    caller.issue(client, "a.example")


@pytest.mark.parametrize("token", ["short", "a" * 21, "a" * 30 + "/../x", "ä" * 30, ""])
def test_scenario_17_a_short_or_invalid_token(client: AcmeClient, token: str) -> None:
    with pytest.raises(BadResponse, match="token that is too short"):
        client.key_authorization(token)


def test_scenario_17_an_identifier_of_type_email(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.on("authorization", setting(identifier={"type": "email", "value": "a@b.example"}))
    order = client.new_order(NAMES)
    with pytest.raises(BadResponse, match=r"not requested: email a@b\.example"):
        client.authorization(order.authorization_urls[0])


def test_scenario_18_some_authorizations_fail(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.fail("b.example")
    ca.fail("c.example", error=document("dns", "no such name"))
    order = client.new_order(parse_identifiers(THREE))
    with pytest.raises(ValidationFailed, match=r"\(2 of 3 names\)") as failure:
        caller.prove(client, order)
    assert dict(failure.value.reasons) == {
        "b.example": "b.example: connection refused [connection]",
        "c.example": "no such name [dns]",
    }


def test_scenario_18_failures_that_show_later_are_gathered(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.fail("a.example")
    ca.fail("b.example")
    # The first look at b finds it undecided still.
    ca.on(
        "authorization",
        lambda body: body.update(
            status="pending",
            challenges=[{**body["challenges"][0], "error": None, "status": "processing"}],
        ),
        times=1,
        after=3,
    )
    order = client.new_order(parse_identifiers(["a.example", "b.example"]))
    with pytest.raises(ValidationFailed) as failure:
        caller.prove(client, order)
    assert set(dict(failure.value.reasons)) == {"a.example", "b.example"}


def test_scenario_18_what_is_left_is_given_up(ca: ScriptedCA, client: AcmeClient) -> None:
    order = client.new_order(parse_identifiers(THREE))
    first, second, _ = order.authorization_urls
    assert client.deactivate(first) is True
    ca.script("authorization", problem("malformed"))
    assert client.deactivate(second) is False
    assert ca.deactivated == ["a.example"]


def test_scenario_18_giving_up_does_not_wait_once_the_run_is_stopped(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, clock: SteerableClock
) -> None:
    order = client.new_order(parse_identifiers(THREE))
    first, second, _ = order.authorization_urls
    caller.stop.set()
    ca.script("authorization", response(503, HTML))
    assert [client.deactivate(first), client.deactivate(second)] == [False, True]
    assert clock.waits == []


def test_scenario_35_a_challenge_is_answered_once(ca: ScriptedCA, client: AcmeClient) -> None:
    challenge = open_authorizations(client, client.new_order(NAMES))[0].challenges[0]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client.answer, [challenge] * 8))
    assert ca.count("challenge") == 1


def test_scenario_35_a_challenge_answered_by_another_client(
    caller: Caller, client: AcmeClient
) -> None:
    order = client.new_order(NAMES)
    challenge = open_authorizations(client, order)[0].challenges[0]
    client.answer(challenge)
    with caller.client(client.account_url) as second:
        second.answer(challenge)
        assert second.await_ready(order, deadline=caller.deadline).status == "ready"


@pytest.mark.parametrize("after_processing", [True, False])
def test_scenario_35_an_answer_whose_request_or_reply_is_lost(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, after_processing: bool
) -> None:
    ca.script("challenge", drop_connection(after_processing=after_processing))
    assert caller.prove(client, client.new_order(NAMES)).status == "ready"
    answers = [each for each in ca.payloads("challenge") if each is not None]
    assert len(answers) == (1 if after_processing else 2)


def test_scenario_35_an_answer_that_is_refused_for_good(ca: ScriptedCA, client: AcmeClient) -> None:
    challenge = open_authorizations(client, client.new_order(NAMES))[0].challenges[0]
    ca.script("challenge", problem("malformed", 400, "not in the mood"))
    with pytest.raises(AcmeError, match="not in the mood"):
        client.answer(challenge)


def test_the_answers_that_a_ca_may_leave_out_are_remembered(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.on("order", removing("finalize", "identifiers", "authorizations", "expires"))
    ca.finalize_polls = 2
    caller.issue(client, *THREE)
    assert len(ca.issued) == 1


# -- certificates


def test_scenario_25_a_chain_with_a_private_key(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.chain = chains.with_private_key
    with pytest.raises(BadResponse, match="not a certificate: PRIVATE KEY"):
        caller.issue(client, "a.example")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"<html>",
        lambda pem: pem[:-40],
        lambda pem: pem.replace(b"-----END CERTIFICATE-----", b"", 1),
        lambda pem: pem.replace(b"\n", b"\n!!!", 1),
    ],
    ids=["empty", "html", "cut", "no end", "no base64"],
)
def test_scenario_25_an_invalid_chain(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, spoil: Callable[[bytes], bytes]
) -> None:
    ca.chain = lambda issued: spoil(chains.full(issued))
    with pytest.raises(BadResponse, match=r"not a PEM certificate chain|not valid base64"):
        caller.issue(client, "a.example")


def test_scenario_25_text_between_the_certificates_is_not_kept(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.chain = lambda issued: b"subject=/CN=x\r\n" + chains.full(issued).replace(b"\n", b"\r\n")
    pem = caller.issue(client, "a.example")
    assert pem == chains.full(ca.issued[0])


@pytest.mark.parametrize("alternates", [0, 3])
def test_scenario_26_alternate_chains(
    ca: ScriptedCA, caller: Caller, client: AcmeClient, alternates: int
) -> None:
    ca.alternates = alternates
    ready = caller.prove(client, client.new_order(NAMES))
    valid = client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    assert len(set(client.chains(valid))) == 1 + alternates


def test_scenario_26_alternates_are_downloaded_only_when_wanted(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.alternates = 3
    caller.issue(client, "a.example")
    assert ca.count("alternate") == 0


def test_scenario_26_one_alternate_is_gone(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    ca.alternates = 3
    ca.script("alternate", problem("malformed", 404), after=1)
    ready = caller.prove(client, client.new_order(NAMES))
    valid = client.finalize(ready, csr_for(NAMES), deadline=caller.deadline)
    assert len(list(client.chains(valid))) == 3
