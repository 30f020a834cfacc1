"""What a client must survive at the CA edge: accounts, refusals and revocation.

Each test is named after its number in docs/scenarios.md.
"""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.ca.client import AccountKey, AcmeClient, ExternalAccount
from certctl.model.ca import AccountKeyType
from certctl.model.errors import (
    AccountError,
    AcmeError,
    CaUnavailable,
    EabRequired,
    TermsChanged,
)
from certctl.model.names import parse_identifiers
from tests.lab.scripted_ca.faults import (
    drop_connection,
    problem,
    response,
    with_status,
)
from tests.lab.scripted_ca.issuer import Issued
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.ca_clients import Caller, new_account_key

NAMES = parse_identifiers(["a.example"])
THREE = ("a.example", "b.example", "c.example")
HTML = "<html><body>Service unavailable</body></html>"
EAB_KEY = b"a key of thirty-two bytes or so."


def der_of(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


# -- accounts


def test_scenario_27_external_account_required(ca: ScriptedCA, caller: Caller) -> None:
    ca.eab_required = True
    with caller.client() as client:
        assert client.directory.external_account_required
        with pytest.raises(EabRequired) as refusal:
            client.new_account((), terms_agreed=True)
    assert refusal.value.hint is not None
    assert "--eab-kid" in refusal.value.hint
    assert refusal.value.exit_status == 2


@pytest.mark.parametrize(
    ("kid", "key", "words"),
    [("kid-1", "bm8", "MAC is wrong"), ("kid-2", "bm8", "kid-2 is unknown")],
    ids=["wrong", "unknown"],
)
def test_scenario_27_external_account_wrong_or_unknown(
    ca: ScriptedCA, caller: Caller, kid: str, key: str, words: str
) -> None:
    ca.eab_required, ca.eab_keys = True, {"kid-1": EAB_KEY}
    with caller.client() as client, pytest.raises(AccountError, match=words):
        client.new_account((), terms_agreed=True, eab=ExternalAccount(kid, key))


@pytest.mark.parametrize(
    "text",
    [
        "YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyBvciBzby4",
        " YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyBvciBzby4=\n",
    ],
)
def test_scenario_27_external_account_accepted(ca: ScriptedCA, caller: Caller, text: str) -> None:
    ca.eab_required, ca.eab_keys = True, {"kid-1": EAB_KEY}
    with caller.client() as client:
        state = client.new_account((), terms_agreed=True, eab=ExternalAccount("kid-1", text))
    assert state.created
    assert ca.accounts[0].eab_kid == "kid-1"


def test_scenario_27_the_hmac_key_is_never_shown() -> None:
    assert "secret" not in repr(ExternalAccount("kid-1", "secret"))


def test_scenario_28_new_terms(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.terms_of_service = "https://ca.example/terms/2"
    with pytest.raises(TermsChanged) as refusal:
        client.new_order(NAMES)
    assert refusal.value.hint == (
        "Read https://ca.example/terms/2, then run: certctl account update --agree-tos"
        f" --ca {ca.directory_url}"
    )
    client.agree_to_terms()
    assert client.new_order(NAMES).status == "pending"


def test_scenario_29_account_deactivated(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.deactivate_accounts()
    for attempt in (client.account, lambda: client.new_order(NAMES)):
        with pytest.raises(AccountError, match="the account is deactivated"):
            attempt()


def test_scenario_29_account_unknown(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.forget_accounts()
    with pytest.raises(AccountError) as refusal:
        client.new_order(NAMES)
    assert refusal.value.type == "accountDoesNotExist"
    assert refusal.value.hint == (
        f"Register an account with this CA: certctl register --ca {ca.directory_url}"
    )


def test_scenario_29_deactivation_whose_reply_is_lost(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.script("account", drop_connection(after_processing=True))
    assert client.deactivate_account().status == "deactivated"
    assert ca.accounts[0].status == "deactivated"


@pytest.mark.parametrize("kind", list(AccountKeyType))
def test_scenario_30_key_change(caller: Caller, kind: AccountKeyType) -> None:
    with caller.registered() as client:
        new_key = new_account_key(kind)
        assert client.key_in_use(new_key) is AccountKey.OLD
        client.change_key(new_key)
        assert client.key_in_use(new_key) is AccountKey.NEW
        assert client.with_key(new_key, client.account_url).account().status == "valid"


def test_scenario_30_key_change_to_a_key_in_use(ca: ScriptedCA, client: AcmeClient) -> None:
    other = Caller(ca.directory_url, ca.ca_bundle)
    with other.registered(), pytest.raises(AccountError) as refusal:
        client.change_key(other.key)
    assert refusal.value.code == "acme.key_in_use"
    assert refusal.value.status == 409


def test_scenario_30_key_change_without_effect(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.key_change_has_effect = False
    with pytest.raises(AccountError, match="still uses the old one") as refusal:
        client.change_key(new_account_key())
    assert refusal.value.code == "acme.key_change_refused"
    assert client.account().status == "valid"


@pytest.mark.parametrize("status", [403, 501])
def test_scenario_30_key_change_not_offered(
    ca: ScriptedCA, client: AcmeClient, status: int
) -> None:
    ca.script("key-change", response(status, HTML))
    with pytest.raises(AccountError) as refusal:
        client.change_key(new_account_key())
    assert refusal.value.code == "acme.key_change_refused"
    assert ca.count("key-change") == 1


def test_scenario_30_key_change_whose_reply_is_lost(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.script("key-change", drop_connection(after_processing=True))
    new_key = new_account_key()
    client.change_key(new_key)
    assert client.key_in_use(new_key) is AccountKey.NEW


def test_scenario_30_key_change_that_did_not_arrive(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.script("key-change", drop_connection())
    new_key = new_account_key()
    with pytest.raises(CaUnavailable):
        client.change_key(new_key)
    assert client.key_in_use(new_key) is AccountKey.OLD


@pytest.mark.parametrize(
    ("resource", "kind", "status"),
    [
        ("new-order", "caa", 403),
        ("new-order", "rejectedIdentifier", 400),
        ("finalize", "badCSR", 400),
        ("finalize", "badPublicKey", 400),
        ("new-account", "badSignatureAlgorithm", 400),
        ("new-account", "badPublicKey", 400),
    ],
)
def test_scenario_31_refusals_say_what_to_do(
    ca: ScriptedCA, caller: Caller, resource: str, kind: str, status: int
) -> None:
    ca.authorizations_start = "valid"
    ca.script(resource, problem(kind, status, "the CA's own words"))
    refused = pytest.raises(AcmeError, match="the CA's own words")
    with refused as refusal, caller.registered() as client:
        caller.issue(client, "a.example")
    assert refusal.value.type == kind
    assert refusal.value.hint is not None
    assert ca.count(resource) == 1


def test_scenario_32_already_revoked(ca: ScriptedCA, caller: Caller, client: AcmeClient) -> None:
    caller.issue(client, "a.example")
    der = der_of(ca.issued[0])
    assert client.revoke(der, 1) is True
    assert client.revoke(der, 1) is False


def test_scenario_32_revocation_whose_reply_is_lost(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    caller.issue(client, "a.example")
    ca.script("revoke-cert", drop_connection(after_processing=True))
    client.revoke(der_of(ca.issued[0]), None)
    assert len(ca.revoked) == 1


def test_scenario_32_a_reason_is_demanded(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    caller.issue(client, "a.example")
    ca.script(
        "revoke-cert",
        problem("malformed", 400, "reason?"),
        when=lambda seen: "reason" not in seen.payload,
    )
    assert client.revoke(der_of(ca.issued[0]), None) is True
    assert ca.revoked[0].reason == 0


def test_scenario_32_a_reason_that_the_ca_does_not_take(
    ca: ScriptedCA, caller: Caller, client: AcmeClient
) -> None:
    caller.issue(client, "a.example")
    with pytest.raises(AcmeError) as refusal:
        client.revoke(der_of(ca.issued[0]), 3)
    assert refusal.value.type == "badRevocationReason"


def test_an_account_url_that_cannot_be_read(ca: ScriptedCA, client: AcmeClient) -> None:
    ca.script("account", with_status(405))
    assert client.account().status == "valid"
