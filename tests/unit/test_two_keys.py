"""The rules for a certificate with two keys: one unit, of which each half has its own order."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from certctl.model.certificate import (
    AriState,
    FinishedOrder,
    IssuedCertificate,
    PendingOrder,
    RenewalInfo,
    RenewalState,
    Version,
)
from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.names import parse_identifiers
from certctl.model.spec import KeyType
from certctl.rules.ari import next_request_time
from certctl.rules.options import OPTIONS
from certctl.rules.plan import Order, Wanted, is_resumable, plan
from certctl.rules.rate_limits import orders_for
from certctl.rules.renewal import (
    decide,
    differences_from,
    latest_renewal,
    may_wait,
    parts_of,
    predecessor,
    renewal_time,
    request_of,
    with_revoked,
)
from certctl.rules.renewal_windows import next_action
from certctl.rules.settings import Settings, check, parse
from certctl.rules.spec import from_table, resolve, to_table
from tests.support.nouns import ISSUED, LIFETIME, LIVE, SPEC, days, issued, status, wanted

BOTH = wanted(chosen={"key_type": ("ecdsa-p256", "rsa-2048")})
(OPTION,) = [each for each in OPTIONS if each.key == "key_type"]


def half(key_type: KeyType, mark: str, lifetime: timedelta = LIFETIME) -> IssuedCertificate:
    part = replace(BOTH, key_type=key_type, second_key_type=None)
    certificate = issued(part, lifetime).first
    facts = replace(certificate.facts, serial=mark, ari_id=f"id-{mark}", key_sha256=2 * mark)
    return replace(certificate, facts=facts, order_url=f"https://ca.example/order/{mark}")


ECDSA, RSA = half(KeyType.ECDSA_P256, "ec"), half(KeyType.RSA_2048, "5a")
PAIR = Version(BOTH.name, 1, (ECDSA, RSA), ISSUED)


def window(mark: str, start: timedelta, *, withdrawn: bool = False) -> AriState:
    begin = ISSUED + start
    info = RenewalInfo(begin, begin + days(2), begin + days(1), withdrawn=withdrawn)
    return AriState(f"id-{mark}", info, ISSUED + days(365))


# -- the setting


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("rsa-2048", "rsa-2048"),
        (["rsa-2048"], "rsa-2048"),
        (["RSA-2048", "rsa-2048"], "rsa-2048"),
        (["ecdsa-p256", "rsa-2048"], ("ecdsa-p256", "rsa-2048")),
        (("rsa-4096", "ecdsa-p384"), ("rsa-4096", "ecdsa-p384")),
    ],
)
def test_one_word_stays_a_word_and_two_keep_their_order(given: object, value: object) -> None:
    assert check(OPTION, given) == value


def test_the_environment_separates_two_by_a_comma() -> None:
    assert parse(OPTION, "ecdsa-p256, rsa-2048") == ("ecdsa-p256", "rsa-2048")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["ecdsa-p256", "ecdsa-p384"], "at most one ECDSA and one RSA key"),
        (["rsa-2048", "rsa-3072"], "at most one ECDSA and one RSA key"),
        (["ecdsa-p256", "rsa-2048", "rsa-3072"], "at most one ECDSA and one RSA key"),
        (["ecdsa-p256", "rsa-1024"], "'rsa-1024' is not one of"),
        ([], r"\[\] is not one of"),
        ([["rsa-2048"]], "is not one of"),
        ({"rsa-2048": 1}, "is not one of"),
    ],
)
def test_anything_else_is_refused(given: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check(OPTION, given)


@pytest.mark.parametrize(("value", "version"), [("rsa-2048", 1), (("ecdsa-p256", "rsa-2048"), 2)])
def test_only_a_list_makes_the_file_one_that_earlier_releases_refuse(
    value: str | tuple[str, ...], version: int
) -> None:
    spec = wanted(chosen={"key_type": value})
    table: Mapping[str, object] = json.loads(json.dumps(to_table(spec)))

    assert table["version"] == version
    assert from_table(spec.name, table, Settings(), "the file") == spec


def test_a_signing_request_has_one_key_unless_two_are_only_the_default() -> None:
    names = parse_identifiers(["example.com"])
    two = ("ecdsa-p256", "rsa-2048")

    with pytest.raises(UsageError, match="a signing request has one key"):
        resolve("example.com", names, {"csr": "00", "key_type": two}, Settings())


# -- when it is due


def test_each_half_is_compared_with_the_specification() -> None:
    assert differences_from(BOTH, PAIR) == ()
    assert differences_from(BOTH, LIVE) == ("key ecdsa-p256 and rsa-2048 instead of ecdsa-p256",)
    assert differences_from(SPEC, PAIR) == ("key ecdsa-p256 instead of ecdsa-p256 and rsa-2048",)
    swapped = wanted(chosen={"key_type": ("rsa-2048", "ecdsa-p256")})
    assert differences_from(swapped, PAIR) == (
        "key rsa-2048 and ecdsa-p256 instead of ecdsa-p256 and rsa-2048",
    )


def test_a_name_that_only_the_second_lacks_is_a_difference() -> None:
    fewer = replace(RSA, request=replace(RSA.request, identifiers=()))

    assert differences_from(BOTH, replace(PAIR, certificates=(ECDSA, fewer))) == (
        "adds example.com",
    )


def test_it_is_due_when_the_first_of_both_is() -> None:
    shorter = half(KeyType.RSA_2048, "5a", days(30))
    pair = replace(PAIR, certificates=(ECDSA, shorter))

    decision = decide(BOTH, status(pair), ISSUED)

    assert pair.not_after == ISSUED + days(30)
    assert decision.at == renewal_time(pair) == ISSUED + days(20)
    assert latest_renewal(pair) == ISSUED + days(25)
    assert decide(BOTH, status(pair), ISSUED + days(30)).reason == "expired"


@pytest.mark.parametrize("mark", ["ec", "5a"])
def test_the_window_of_either_counts(mark: str) -> None:
    other = "5a" if mark == "ec" else "ec"
    state = RenewalState(ari=(window(mark, days(10)), window(other, days(40))))
    current = replace(status(PAIR), renewal_state=state)

    decision = decide(BOTH, current, ISSUED + days(1))

    assert (decision.due, decision.at, decision.reason) == (False, ISSUED + days(11), "ari")
    assert next_action(BOTH, current, ISSUED + days(1)) == ISSUED + days(10)
    assert decide(BOTH, current, ISSUED + days(11)).due


def test_a_half_that_is_withdrawn_makes_both_due_at_once() -> None:
    state = RenewalState(ari=(window("5a", days(1), withdrawn=True), window("ec", days(40))))

    decision = decide(BOTH, replace(status(PAIR), renewal_state=state), ISSUED + days(4))

    assert (decision.due, decision.reason) == (True, "withdrawn")


def test_the_ca_is_asked_about_each() -> None:
    later = AriState("id-ec", ask_at=ISSUED + days(2))

    assert next_request_time(PAIR, RenewalState(), ISSUED) == ISSUED
    assert next_request_time(PAIR, RenewalState(ari=(later,)), ISSUED) == ISSUED
    both = (later, AriState("id-5a", ask_at=ISSUED + days(1)))
    assert next_request_time(PAIR, RenewalState(ari=both), ISSUED) == ISSUED + days(1)


# -- the two orders


def test_each_order_replaces_the_certificate_with_the_same_kind_of_key() -> None:
    ecdsa, rsa = parts_of(BOTH)

    replaced = [predecessor(PAIR, each, alone=False) for each in (ecdsa, rsa)]
    assert [each and each.first for each in replaced] == [ECDSA, RSA]
    assert predecessor(LIVE, rsa, alone=False) is None
    assert predecessor(LIVE, ecdsa, alone=False) == LIVE
    assert predecessor(LIVE, replace(rsa, second_key_type=None), alone=True) == LIVE
    assert predecessor(None, ecdsa, alone=True) is None


def test_each_order_counts_towards_the_limits_as_what_it_replaces_says() -> None:
    state = RenewalState(ari=(window("5a", days(10)),))
    now = ISSUED + days(11)

    pair = orders_for(BOTH, replace(status(PAIR), renewal_state=state), now)
    first = orders_for(BOTH, status(None), now)

    assert [(each.renewal, each.replaces) for each in pair] == [(True, False), (True, True)]
    assert [(each.renewal, each.replaces) for each in first] == [(False, False)] * 2
    assert len(orders_for(SPEC, status(LIVE), now)) == 1


def pending(certificate: IssuedCertificate, *, finished: bool = True) -> PendingOrder:
    done = FinishedOrder(certificate.facts, "PEM", "PEM") if finished else None
    return PendingOrder(
        certificate.request, "acct", ISSUED, url=certificate.order_url, finished=done
    )


def test_a_half_waits_until_it_would_be_renewed_itself() -> None:
    waiting, due = pending(ECDSA), renewal_time(PAIR)

    assert is_resumable(waiting, due - timedelta(seconds=1))
    assert not is_resumable(waiting, due)
    assert not is_resumable(pending(ECDSA, finished=False), ISSUED + days(2))
    assert waiting.finished is not None
    assert may_wait(waiting.finished, ISSUED)


def test_what_waits_is_a_reason_to_go_on() -> None:
    now = ISSUED + days(3)

    found = plan(Wanted(BOTH, BOTH, by_hand=True, pending=(pending(RSA),)), status(PAIR), now)

    order = found.step(Order)
    assert order is not None
    assert order.why == "an earlier run left its order unfinished"
    for other in (half(KeyType.RSA_4096, "5a"), half(KeyType.ECDSA_P384, "ec")):
        again = plan(Wanted(BOTH, BOTH, by_hand=True, pending=(pending(other),)), status(PAIR), now)
        assert again.step(Order) is None


def test_what_waits_is_no_reason_for_a_certificate_with_one_key() -> None:
    now = ISSUED + timedelta(hours=1)

    found = plan(Wanted(SPEC, SPEC, by_hand=True, pending=(pending(ECDSA),)), status(LIVE), now)

    assert found.step(Order) is None


def test_both_keys_of_a_compromised_version_are_barred() -> None:
    state = with_revoked(RenewalState(), PAIR, compromised=True)

    assert state.compromised_keys == (ECDSA.facts.key_sha256, RSA.facts.key_sha256)
    assert state.revoked == (1,)
    one = with_revoked(RenewalState(), PAIR.parts[1], compromised=True)
    assert one.compromised_keys == (RSA.facts.key_sha256,)


def test_the_request_of_a_part_is_that_of_one_key() -> None:
    assert [request_of(each).key_type for each in parts_of(BOTH)] == ["ecdsa-p256", "rsa-2048"]
    assert parts_of(SPEC) == (SPEC,)
