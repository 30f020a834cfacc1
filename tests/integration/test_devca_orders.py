"""The development CA: orders, authorizations, certificates (RFC 8555 §7.4 to §7.6, RFC 9773)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import inf

import josepy
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from tests.integration.devca_client import Answer, RawClient, csr
from tests.lab.clock import SteerableClock


@pytest.fixture
def ca() -> Iterator[DevCa]:
    with DevCa(None, clock=SteerableClock()) as ca:
        yield ca
    assert ca.internal_errors == []


@pytest.fixture
def client(ca: DevCa) -> RawClient:
    client = RawClient(ca)
    assert client.register().status == 201
    return client


def clock_of(client: RawClient) -> SteerableClock:
    clock = client.ca._clock
    assert isinstance(clock, SteerableClock)
    return clock


# Orders.


def test_an_order_goes_from_pending_over_ready_to_valid(client: RawClient) -> None:
    order = client.order("a.example", "b.example")
    client.prove(order)
    ready = client.post(order.headers["Location"])
    done = client.finalize(order, csr(["b.example", "a.example"]))

    assert [each.json["status"] for each in (order, ready, done)] == ["pending", "ready", "valid"]
    assert order.json["identifiers"] == [
        {"type": "dns", "value": "a.example"},
        {"type": "dns", "value": "b.example"},
    ]
    assert "certificate" not in ready.json
    names = client.certificate(done).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["a.example", "b.example"]


def test_the_same_order_again_is_the_same_while_it_is_open(client: RawClient) -> None:
    first, again = client.order("a.example", "b.example"), client.order("b.example", "a.example")
    client.prove(first)
    ready = client.order("a.example", "b.example")
    client.finalize(first, csr(["a.example", "b.example"]))
    anew = client.order("a.example", "b.example")

    urls = [each.headers["Location"] for each in (first, again, ready, anew)]
    assert urls[:3] == [urls[0]] * 3
    assert urls[3] != urls[0]


@pytest.mark.parametrize(
    ("identifiers", "problem"),
    [
        ([], "malformed"),
        (None, "malformed"),
        ([1], "malformed"),
        ([{"type": "dns"}], "malformed"),
        ([{"type": "email", "value": "a@b.example"}], "unsupportedIdentifier"),
        ([{"type": "dns", "value": "a b.example"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "a_b.example"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "a.*.example"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "192.0.2.1"}], "malformed"),
        ([{"type": "dns", "value": "bücher.example"}], "malformed"),
        ([{"type": "dns", "value": "a.example."}], "malformed"),
        ([{"type": "ip", "value": "2001:db8:0::1"}], "malformed"),
        ([{"type": "ip", "value": "a.example"}], "malformed"),
        ([{"type": "dns", "value": f"{n}.example.com"} for n in range(101)], "malformed"),
    ],
)
def test_identifiers_that_no_certificate_can_have_are_refused(
    client: RawClient, identifiers: object, problem: str
) -> None:
    assert client.post("new-order", {"identifiers": identifiers}).problem == problem


def test_every_refused_identifier_has_a_subproblem(client: RawClient) -> None:
    refused = client.order("a.example", "a b.example", "x_y.example")

    parts = refused.json["subproblems"]
    assert [each["identifier"]["value"] for each in parts] == ["a b.example", "x_y.example"]
    assert {each["type"].rpartition(":")[2] for each in parts} == {"rejectedIdentifier"}


def test_dates_are_not_for_the_client_to_choose(client: RawClient) -> None:
    assert client.order("a.example", notAfter="2030-01-01T00:00:00Z").problem == "malformed"


def test_an_order_cannot_be_read_by_another_account(client: RawClient) -> None:
    order = client.order("a.example")
    other = RawClient(client.ca)
    other.register()
    urls = [order.headers["Location"], *order.json["authorizations"], order.json["finalize"]]

    assert [other.post(url).problem for url in urls] == ["unauthorized"] * 3


def test_a_post_as_get_has_an_empty_payload(client: RawClient) -> None:
    order = client.order("a.example")

    assert client.post(order.headers["Location"], {}).problem == "malformed"
    assert client.get(*order.headers["Location"].split("/")[3:]).status == 405


def test_an_order_that_expired_is_invalid(client: RawClient) -> None:
    order = client.order("a.example")
    clock_of(client).advance(timedelta(days=8).total_seconds())

    late = client.post(order.headers["Location"]).json

    assert late["status"] == "invalid"
    assert "expired" in late["error"]["detail"]
    assert client.post(order.json["authorizations"][0]).json["status"] == "expired"


# Authorizations.


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("a.example", {"http-01", "dns-01", "tls-alpn-01"}),
        ("*.a.example", {"dns-01"}),
        ("192.0.2.1", {"http-01", "tls-alpn-01"}),
        ("2001:db8::1", {"http-01", "tls-alpn-01"}),
    ],
)
def test_the_challenges_suit_the_identifier(client: RawClient, name: str, types: set[str]) -> None:
    (url,) = client.order(name).json["authorizations"]
    found = client.post(url).json

    assert {each["type"] for each in found["challenges"]} == types
    assert found["identifier"]["value"] == name.removeprefix("*.")
    assert found.get("wildcard", False) == name.startswith("*.")


def test_a_challenge_links_to_its_authorization_and_can_be_read(client: RawClient) -> None:
    (url,) = client.order("a.example").json["authorizations"]
    challenge = client.post(url).json["challenges"][0]

    read = client.post(challenge["url"])

    assert (read.json, read.links("up")) == (challenge, [url])
    assert read.json["status"] == "pending"


def test_an_authorization_is_reused_if_the_setting_allows_it(client: RawClient) -> None:
    client.ca.settings.reuse_authorizations = True
    client.issue("a.example")

    again = client.order("a.example", "*.a.example")
    statuses = [client.post(url).json["status"] for url in again.json["authorizations"]]
    ready = client.order("a.example")

    assert statuses == ["valid", "pending"]
    assert ready.json["status"] == "ready"
    clock_of(client).advance(timedelta(days=31).total_seconds())
    assert client.order("a.example").json["status"] == "pending"


def test_a_deactivated_authorization_makes_its_order_invalid(client: RawClient) -> None:
    order = client.order("a.example", "b.example")
    url = order.json["authorizations"][1]

    gone = client.post(url, {"status": "deactivated"})
    after = client.post(order.headers["Location"]).json

    assert (gone.json["status"], after["status"]) == ("deactivated", "invalid")
    assert after["error"]["identifier"] == {"type": "dns", "value": "b.example"}
    assert client.post(url, {"status": "valid"}).problem == "malformed"


def test_a_failed_order_reports_each_name(client: RawClient) -> None:
    order = client.order("a.example", "b.example", "c.example")
    for url in order.json["authorizations"][:2]:
        challenges = client.post(url).json["challenges"]
        client.post(next(each["url"] for each in challenges if each["type"] == "dns-01"), {})
        failed = client.settled(url)
        assert [each["type"] for each in failed["challenges"]] == ["dns-01"]

    after = client.post(order.headers["Location"]).json

    assert after["status"] == "invalid"
    parts = after["error"]["subproblems"]
    assert [each["identifier"]["value"] for each in parts] == ["a.example", "b.example"]
    assert "no TXT record" in parts[0]["detail"]


# Finalize.


def test_an_order_is_finalized_once_it_is_ready_and_not_before_or_again(client: RawClient) -> None:
    order = client.order("a.example")
    early = client.finalize(order, csr(["a.example"]))
    client.prove(order)
    client.finalize(order, csr(["a.example"]))
    again = client.finalize(order, csr(["a.example"]))

    assert [(each.status, each.problem) for each in (early, again)] == [(403, "orderNotReady")] * 2


def bad_requests(client: RawClient) -> dict[str, bytes]:
    right = csr(["a.example"])
    account_key = client.key.key._wrapped
    return {
        "nothing": b"",
        "garbage": b"\x30\x03\x02\x01\x00",
        "other names": csr(["b.example"]),
        "more names": csr(["a.example", "b.example"]),
        "another common name": csr(["a.example"], common_name="b.example"),
        "a wrong signature": right[:-1] + bytes([right[-1] ^ 1]),
        "a short key": csr(["a.example"], rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that is the point
        "a strange curve": csr(["a.example"], ec.generate_private_key(ec.SECP256K1())),
        "the account's key": csr(["a.example"], account_key),
    }


def test_a_signing_request_that_does_not_suit_is_refused_and_the_order_stays_ready(
    client: RawClient,
) -> None:
    order = client.order("a.example")
    client.prove(order)

    problems = {
        what: client.finalize(order, request).problem
        for what, request in bad_requests(client).items()
    }

    assert set(problems.values()) == {"badCSR"}, problems
    assert client.post(order.headers["Location"]).json["status"] == "ready"
    common_name_only = csr([], common_name="a.example")
    assert client.finalize(order, common_name_only).json["status"] == "valid"


def test_an_order_takes_its_time_and_says_when_to_ask_again(client: RawClient) -> None:
    client.ca.settings.processing = 5.0
    order = client.order("a.example")
    client.prove(order)
    url = order.headers["Location"]

    finalized = client.finalize(order, csr(["a.example"]))
    waiting = client.post(url)
    clock_of(client).advance(5)
    done = client.post(url)

    assert (finalized.json["status"], finalized.headers["Retry-After"]) == ("processing", "3")
    assert waiting.json["status"] == "processing"
    assert (done.json["status"], done.headers["Retry-After"]) == ("valid", None)


def test_an_order_can_be_processed_for_ever(client: RawClient) -> None:
    client.ca.settings.processing = inf
    order = client.order("a.example")
    client.prove(order)
    client.finalize(order, csr(["a.example"]))
    clock_of(client).advance(timedelta(days=300).total_seconds())

    assert client.post(order.headers["Location"]).json["status"] == "processing"


# Profiles.


def test_a_profile_is_asked_for_by_name_and_an_unknown_one_refused(client: RawClient) -> None:
    assert client.order("a.example", profile="shortlived").json["profile"] == "shortlived"
    assert client.order("a.example", profile="nosuch").problem == "invalidProfile"
    assert client.order("a.example", profile=["classic"]).problem == "invalidProfile"
    assert client.order("192.0.2.1", profile="tlsserver").problem == "unsupportedIdentifier"


# Revocation.


def der(certificate: x509.Certificate) -> str:
    return str(josepy.encode_b64jose(certificate.public_bytes(Encoding.DER)))


def test_a_certificate_is_revoked_once_and_listed_with_its_reason(client: RawClient) -> None:
    certificate = client.certificate(client.issue("a.example"))
    asked = {"certificate": der(certificate), "reason": 4}

    first, again = (client.post("revoke-certificate", asked) for _ in range(2))

    assert (first.status, again.problem) == (200, "alreadyRevoked")
    listed = x509.load_der_x509_crl(client.get("crl", "ec").body)
    issuer = x509.load_der_x509_certificate(client.get("issuer", "ec").body)
    found = listed.get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert found is not None
    reason = found.extensions.get_extension_for_class(x509.CRLReason).value
    assert reason.reason == x509.ReasonFlags.superseded
    assert listed.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    assert len(x509.load_der_x509_crl(client.get("crl", "rsa").body)) == 0


@pytest.mark.parametrize("reason", [2, 7, 8, 11, -1, "1", True, None])
def test_a_reason_that_is_not_the_subscribers_is_refused(client: RawClient, reason: object) -> None:
    certificate = client.certificate(client.issue("a.example"))

    refused = client.post("revoke-certificate", {"certificate": der(certificate), "reason": reason})

    assert refused.problem == "badRevocationReason"


def test_a_certificate_is_revoked_by_its_own_key_without_an_account(client: RawClient) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    order = client.order("a.example")
    client.prove(order)
    certificate = client.certificate(client.finalize(order, csr(["a.example"], key)))
    holder = RawClient(client.ca, josepy.JWKEC(key=josepy.ComparableECKey(key)))
    asked = {"certificate": der(certificate)}

    assert RawClient(client.ca).post("revoke-certificate", asked, by_key=True).status == 403
    assert holder.post("revoke-certificate", asked, by_key=True).status == 200


def test_who_controls_all_names_may_revoke_too(client: RawClient) -> None:
    certificate = client.certificate(client.issue("a.example", "b.example"))
    other = RawClient(client.ca)
    other.register()
    asked = {"certificate": der(certificate)}
    other.issue("a.example")
    partly = other.post("revoke-certificate", asked)
    other.issue("b.example")

    assert partly.problem == "unauthorized"
    assert other.post("revoke-certificate", asked).status == 200


def test_a_certificate_of_another_ca_cannot_be_revoked(client: RawClient) -> None:
    with DevCa(None) as another:
        stranger = RawClient(another)
        stranger.register()
        foreign = stranger.certificate(stranger.issue("a.example"))

    assert client.post("revoke-certificate", {"certificate": der(foreign)}).status == 404
    assert client.post("revoke-certificate", {"certificate": "AAAA"}).problem == "malformed"
    assert client.post("revoke-certificate", {}).problem == "malformed"


# Renewal information.


def cert_id(certificate: x509.Certificate) -> str:
    """RFC 9773 §4.1, by the DER of the certificate: no code of the CA's."""
    key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    serial = certificate.serial_number
    content = serial.to_bytes((serial.bit_length() + 8) // 8, "big")
    assert key.key_identifier is not None
    parts = (key.key_identifier, content)
    return ".".join(josepy.encode_b64jose(each) for each in parts)


def window(answer: Answer) -> tuple[datetime, datetime]:
    found = answer.json["suggestedWindow"]
    return datetime.fromisoformat(found["start"]), datetime.fromisoformat(found["end"])


@pytest.mark.parametrize(("profile", "share"), [("classic", 2 / 3), ("shortlived", 0.5)])
def test_the_renewal_window_follows_the_life_of_a_certificate(
    client: RawClient, profile: str, share: float
) -> None:
    certificate = client.certificate(client.issue("a.example", profile=profile))

    answer = client.get("renewal-info", cert_id(certificate))

    start, end = window(answer)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    middle = certificate.not_valid_before_utc + life * share
    assert abs(middle - (start + (end - start) / 2)) < timedelta(seconds=1)
    assert abs((end - start) - life / 50) < timedelta(seconds=1)
    assert answer.headers["Retry-After"] == "21600"


def test_a_certificate_of_seconds_has_a_window_with_a_length(client: RawClient) -> None:
    client.ca.settings.lifetime = timedelta(seconds=30)
    certificate = client.certificate(client.issue("a.example"))

    start, end = window(client.get("renewal-info", cert_id(certificate)))

    assert certificate.not_valid_before_utc < start < end < certificate.not_valid_after_utc


def test_a_revoked_certificate_is_to_be_renewed_at_once(client: RawClient) -> None:
    certificate = client.certificate(client.issue("a.example"))
    client.post("revoke-certificate", {"certificate": der(certificate)})

    start, end = window(client.get("renewal-info", cert_id(certificate)))

    assert start < end < clock_of(client).now()


def test_a_window_can_be_set_for_one_certificate(client: RawClient) -> None:
    one, other = (client.certificate(client.issue(f"{name}.example")) for name in "ab")
    start, end = "2031-01-01T00:00:00Z", "2031-01-02T00:00:00Z"
    wanted = {"window": {"start": start, "end": end}, "explanationURL": "https://ca.example/why"}
    client.manage("POST", "renewal-info", certificate=f"{one.serial_number:x}", **wanted)

    answer = client.get("renewal-info", cert_id(one))

    assert window(answer)[0] == datetime(2031, 1, 1, tzinfo=UTC)
    assert answer.json["explanationURL"] == "https://ca.example/why"
    assert window(client.get("renewal-info", cert_id(other)))[0].year < 2031


@pytest.mark.parametrize(
    ("identifier", "status"),
    [("AAAA.AAAA", 404), ("AAAA", 400), ("AA=A.AAAA", 400), ("A.A.A", 400), ("", 400)],
)
def test_an_unknown_or_invalid_cert_id_has_no_window(
    client: RawClient, identifier: str, status: int
) -> None:
    answer = client.get("renewal-info", identifier)

    assert (answer.status, answer.problem) == (status, "malformed")


def test_an_order_replaces_a_certificate_once(client: RawClient) -> None:
    replaced = cert_id(client.certificate(client.issue("a.example", "b.example")))

    order = client.order("a.example", replaces=replaced)
    client.prove(order)
    unfinished = client.order("b.example", replaces=replaced)
    client.finalize(order, csr(["a.example"]))
    again = client.order("a.example", "b.example", replaces=replaced)

    assert order.json["replaces"] == replaced
    assert unfinished.status == 201
    assert (again.status, again.problem) == (409, "alreadyReplaced")


def test_an_order_replaces_what_is_its_own_and_shares_a_name(client: RawClient) -> None:
    replaced = cert_id(client.certificate(client.issue("a.example")))
    other = RawClient(client.ca)
    other.register()

    assert client.order("b.example", replaces=replaced).problem == "malformed"
    assert client.order("a.example", replaces="AAAA.AAAA").status == 404
    assert client.order("a.example", replaces=7).problem == "malformed"
    assert other.order("a.example", replaces=replaced).problem == "unauthorized"


# Chains.


def chain(answer: Answer) -> Sequence[x509.Certificate]:
    return x509.load_pem_x509_certificates(answer.body)


def test_a_certificate_has_a_chain_to_each_root(client: RawClient) -> None:
    order = client.issue("a.example")
    default = client.post(order.json["certificate"])
    (url,) = default.links("alternate")
    other = client.post(url)

    leaf, intermediate = chain(default)
    other_leaf, other_intermediate = chain(other)
    assert default.headers["Content-Type"] == "application/pem-certificate-chain"
    assert leaf == other_leaf
    roots = [
        x509.load_pem_x509_certificate(pem) for pem in (client.ca.root_pem, client.ca.rsa_root_pem)
    ]
    intermediate.verify_directly_issued_by(roots[0])
    other_intermediate.verify_directly_issued_by(roots[1])
    leaf.verify_directly_issued_by(intermediate)
    leaf.verify_directly_issued_by(other_intermediate)
    assert other.links("alternate") == [order.json["certificate"]]
    assert client.post(f"{order.json['certificate']}/2").status == 404


def test_settings_are_those_that_were_given() -> None:
    settings = DevCaSettings(default_profile="tlsserver")
    with DevCa(None, settings=settings) as ca:
        client = RawClient(ca)
        client.register()
        certificate = client.certificate(client.issue("a.example"))

    assert certificate.subject == x509.Name([])
