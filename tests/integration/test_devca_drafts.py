"""The development CA looks for the records of drafts: dns-account-01 and dns-persist-01."""

import base64
import hashlib
from collections.abc import Iterator

import pytest

from certctl.devca import persistent_validation
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from tests.integration.devca_client import RawClient, begin, outcome
from tests.lab.ports import free_port

ISSUER = "dev-ca.certctl.invalid"


@pytest.fixture
def client() -> Iterator[RawClient]:
    settings = DevCaSettings(
        http_port=free_port(),
        tls_alpn_port=free_port(),
        challenge_types=frozenset({"dns-01", "dns-account-01", "dns-persist-01"}),
    )
    with DevCa(None, settings=settings) as ca:
        client = RawClient(ca)
        client.register()
        yield client
    assert ca.internal_errors == []


# dns-account-01.


def account_record(client: RawClient, name: str) -> str:
    digest = hashlib.sha256(str(client.kid).encode()).digest()[:10]
    return f"_{base64.b32encode(digest).decode().lower()}._acme-challenge.{name}"


def test_the_record_of_the_account_passes_validation(client: RawClient) -> None:
    url, challenge = begin(client, "dns-account-01", "*.a.example")
    value = client.txt_value(challenge["token"])
    client.ca.zone.add(account_record(client, "a.example"), value)

    assert outcome(client, url, challenge) == "valid"


def test_the_record_of_dns_01_does_not(client: RawClient) -> None:
    url, challenge = begin(client, "dns-account-01")
    client.ca.zone.add("_acme-challenge.a.example", client.txt_value(challenge["token"]))

    at = account_record(client, "a.example")
    assert outcome(client, url, challenge) == f"unauthorized: there is no TXT record at {at}"


# dns-persist-01.


def hashed(client: RawClient, name: str) -> str:
    thumbprint = client.key_authorization("AAAAAAAAAAAAAAAAAAAAAAAA").partition(".")[2]
    octets = bytes([len(name)]) + name.encode() + thumbprint.encode() + str(client.kid).encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).decode().rstrip("=")
    return f"https://{ISSUER}/account-hash/sha-256/{digest}"


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("example.com", "5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"),
        ("*", "NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug"),
    ],
)
def test_the_hash_is_that_of_the_examples_in_the_draft(name: str, digest: str) -> None:
    found = persistent_validation.account_uris(
        "02",
        "example.com",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "https://ca.example/acct/123",
    )

    assert f"https://{ISSUER}/account-hash/sha-256/{digest}" in found, name


def test_the_challenge_has_no_token_and_says_its_form_by_its_members(client: RawClient) -> None:
    _, later = begin(client, "dns-persist-01")
    meta = client.directory["meta"]
    client.ca.settings.dns_persist_form = "01"
    _, earlier = begin(client, "dns-persist-01", "b.example")

    assert later.keys() == {"type", "url", "status", "issuerDomainNames"}
    assert later["issuerDomainNames"] == [ISSUER]
    assert meta["issuerDomainNames"] == [ISSUER]
    assert meta["accountHashPrefix"] == f"https://{ISSUER}/account-hash/"
    assert earlier.keys() == {"type", "url", "status", "issuer-domain-names"}
    assert "accountHashPrefix" not in client.directory["meta"]


@pytest.mark.parametrize("form", ["01", "02"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.example", "{issuer}; accounturi={account}"),
        ("a.example", "{issuer};ACCOUNTURI = {account} ;unknown=; policy=other"),
        ("a.example", "{issuer}; accounturi={account}; persistUntil=4102444800"),
        ("*.a.example", "{issuer}; policy=WildCard; accounturi={account}"),
    ],
)
def test_a_record_that_allows_the_name_passes_validation(
    client: RawClient, form: str, name: str, value: str
) -> None:
    client.ca.settings.dns_persist_form = form
    account = str(client.kid) if form == "01" else hashed(client, "a.example")
    at = "_validation-persist.a.example"
    client.ca.zone.add(at, "ca.example; accounturi=https://ca.example/1")
    client.ca.zone.add(at, value.format(issuer=ISSUER, account=account))

    assert outcome(client, *begin(client, "dns-persist-01", name)) == "valid"


def test_an_account_may_be_named_for_all_its_names_at_once(client: RawClient) -> None:
    value = f"{ISSUER}; accounturi={hashed(client, '*')}"
    client.ca.zone.add("_validation-persist.a.example", value)

    assert outcome(client, *begin(client, "dns-persist-01")) == "valid"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "a.example",
            "other.example; accounturi={account}",
            "unauthorized: there is no TXT record for",
        ),
        ("a.example", "{upper}; accounturi={account}", "unauthorized: there is no TXT record for"),
        ("a.example", "{issuer}", "unauthorized: accounturi is None"),
        ("a.example", "{issuer}; accounturi=https://ca.example/2", "unauthorized: accounturi is"),
        ("a.example", "{issuer}; accounturi={url}", "unauthorized: accounturi is"),
        ("a.example", "{issuer}; accounturi={other}", "unauthorized: accounturi is"),
        ("a.example", "{issuer}; accounturi={account};", "malformed: malformed: ''"),
        ("a.example", "{issuer}; accounturi={account}; x", "malformed: malformed: 'x'"),
        ("a.example", "{issuer}; accounturi={account}; a=b c", "malformed: malformed: 'a=b c'"),
        ("a.example", "{issuer}; policy=a; accounturi={account}; policy=b", "malformed: malformed"),
        ("a.example", "{issuer}; accounturi={account}; persistUntil=soon", "malformed: malformed"),
        (
            "a.example",
            "{issuer}; accounturi={account}; persistUntil=1000",
            "unauthorized: the record expired",
        ),
        ("*.a.example", "{issuer}; accounturi={account}", "unauthorized: a wildcard requires"),
    ],
)
def test_any_other_record_does_not(client: RawClient, name: str, value: str, said: str) -> None:
    text = value.format(
        issuer=ISSUER,
        upper=ISSUER.upper(),
        account=hashed(client, "a.example"),
        other=hashed(client, "b.example"),
        url=client.kid,
    )
    client.ca.zone.add("_validation-persist.a.example", text)

    assert outcome(client, *begin(client, "dns-persist-01", name)).startswith(said)


# What is offered.


def test_an_address_is_not_offered_dns_challenges(client: RawClient) -> None:
    refused = client.order("192.0.2.7")

    assert refused.problem == "rejectedIdentifier"


def test_what_is_offered_can_be_changed_while_it_runs(client: RawClient) -> None:
    changed = client.manage("POST", "settings", **{"challenge-types": ["dns-persist-01"]})
    (url,) = client.order("c.example").json["authorizations"]
    refused = client.manage("POST", "settings", **{"challenge-types": ["dns-99"]})

    assert changed.json["challenge-types"] == ["dns-persist-01"]
    assert [each["type"] for each in client.post(url).json["challenges"]] == ["dns-persist-01"]
    assert refused.problem == "malformed"
