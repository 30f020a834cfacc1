"""Scenarios of docs/scenarios.md that are about records in the DNS, against the development CA."""

from pathlib import Path

import pytest

from certctl.ca.client import AcmeClient
from certctl.devca.dns_server import DnsServer
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from certctl.model.ca import Challenge
from certctl.model.errors import BadResponse
from certctl.model.names import parse_identifier
from tests.support.command import certctl

SHOP = parse_identifier("*.shop.example")


def persistent(**members: object) -> Challenge:
    """A challenge of dns-persist-01 as a CA may send it."""
    return Challenge("dns-persist-01", "https://ca.test/1", "pending", **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "account"),
    [("01", "/account/"), ("02", "https://dev-ca.certctl.invalid/account-hash/sha-256/")],
)
def test_scenario_36_both_shapes_of_dns_persist_01_are_told_apart_by_the_challenge(
    tmp_path: Path, form: str, account: str
) -> None:
    settings = DevCaSettings(
        challenge_types=frozenset({"dns-persist-01"}), dns_persist_form=form, terms_of_service=None
    )
    with DevCa(None, settings=settings) as ca, DnsServer(ca.zone) as dns:
        where = ("--ca", ca.directory_url, "--ca-bundle", str(ca.tls_ca_bundle))
        writing = ("--dns", "rfc2136", "--rfc2136-server", dns.address)
        names = ("shop.example", "*.shop.example")

        made = certctl(
            *("dns", "persist", *names, *where, *writing, "--dns-resolver", dns.address),
            home=tmp_path,
        )
        renewed = certctl("renew", "--force", home=tmp_path)

        assert (made.exit_status, made.stderr) == (0, "")
        assert (renewed.exit_status, renewed.stderr) == (0, "")
        ((name, (text,)),) = ca.zone.all_values().items()
        assert name == "_validation-persist.shop.example"
        issuer, uri, policy = text.split("; ")
        assert (issuer, policy) == ("dev-ca.certctl.invalid", "policy=wildcard")
        assert uri.startswith("accounturi=https://")
        assert account in uri
        assert ca.internal_errors == []


def test_scenario_36_the_first_issuer_and_either_uri_of_the_account_are_what_the_record_names(
    client: AcmeClient,
) -> None:
    challenge = persistent(issuers=("ca.example", "ca.test"), account_uri="https://ca.test/other/1")

    record = client.persistent_record(SHOP, challenge)

    assert (record.domain, record.wildcard) == ("shop.example", True)
    assert record.issuers == ("ca.example", "ca.test")
    assert record.account_uris == ("https://ca.test/other/1", client.account_url)


@pytest.mark.parametrize(
    "issuers",
    [(), tuple(f"ca{n}.example" for n in range(11)), ("CA.example",), ("ca.example.",), ("a;b",)],
    ids=["none", "eleven", "upper case", "final dot", "semicolon"],
)
def test_scenario_36_a_challenge_that_the_draft_does_not_allow_is_refused(
    client: AcmeClient, issuers: tuple[str, ...]
) -> None:
    with pytest.raises(BadResponse, match="without a valid issuer name"):
        client.persistent_record(SHOP, persistent(issuers=issuers))


def test_scenario_36_a_hash_without_its_prefix_and_an_account_that_breaks_out_are_refused(
    client: AcmeClient,
) -> None:
    with pytest.raises(BadResponse, match="no accountHashPrefix"):
        client.persistent_record(SHOP, persistent(issuers=("ca.example",), hashed=True))
    with pytest.raises(BadResponse, match="record cannot contain"):
        client.persistent_record(
            SHOP, persistent(issuers=("ca.example",), account_uri="https://ca.test/1; policy=x")
        )


def test_scenario_36_a_directory_that_tells_saves_the_order(tmp_path: Path) -> None:
    settings = DevCaSettings(challenge_types=frozenset({"dns-persist-01"}), terms_of_service=None)
    with DevCa(None, settings=settings) as told, DnsServer(told.zone) as dns:
        where = ("--ca", told.directory_url, "--ca-bundle", str(told.tls_ca_bundle))

        finished = certctl(
            *("dns", "persist", "told.example", "--record-only", "--json", *where),
            *("--dns-resolver", dns.address),
            home=tmp_path,
        )

        (record,) = finished.json()["data"]["records"]
        assert (finished.exit_status, record["state"]) == (0, "missing")
        assert told.requests.counts().get("new-order", 0) == 0
