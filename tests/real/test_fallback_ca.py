"""A certificate with two CAs, of which the first, the development CA, fails in every way that a CA
can; the second is Pebble. Both are processes of their own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.conftest import EAB_KEYS
from tests.lab.devca import DevCaServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.real.driver import Host, host
from tests.support.command import Finished

NAME = "two.example"

FAULTS: Mapping[str, Mapping[str, object]] = {
    "5xx": {"server_error": 100},
    "maintenance": {"unavailable": 100, "retry_after": "7200", "html": True},
    "rate limited": {"rate_limited": 100, "retry_after": "7200"},
    "no answer": {"lost_reply": 100},
}


@dataclass
class TwoCas:
    """A home directory with an account at each of two CAs."""

    host: Host
    first: DevCaServer
    second: PebbleServer

    @property
    def urls(self) -> tuple[str, str]:
        return self.first.directory_url, self.second.directory_url

    def issue(self, *arguments: str) -> Finished:
        flags = [word for url in self.urls for word in ("--ca", url)]
        return self.host.certctl("issue", *(arguments or (NAME,)), *flags)

    def issuer(self, name: str = NAME) -> str:
        """Which of the two issued what is live."""
        is_second = "Pebble" in self.host.leaf(name).issuer.rfc4514_string()
        return "second" if is_second else "first"

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """The facts of each event of this kind in the audit trail."""
        text = (self.host.home / "log" / "audit.jsonl").read_text()
        events = [json.loads(line) for line in text.splitlines()]
        return [each["facts"] for each in events if each["kind"] == kind]


@pytest.fixture
def cas(tmp_path: Path, pebble: PebbleServer) -> Iterator[TwoCas]:
    directory = tmp_path / "first"
    directory.mkdir()
    with DevCaServer(directory=directory, http_port=pebble.http_port) as first:
        roots = tmp_path / "roots.pem"
        roots.write_bytes(first.ca_bundle.read_bytes() + pebble.ca_bundle.read_bytes())
        found = host(tmp_path, pebble, "order_timeout = 5")
        settings = found.home / "certctl.toml"
        settings.write_text(settings.read_text().replace(str(pebble.ca_bundle), str(roots)))
        two = TwoCas(found, first, pebble)
        flags = [word for url in two.urls for word in ("--ca", url)]
        assert found.certctl("register", *flags).exit_status == 0
        yield two


def test_the_first_ca_is_asked_while_it_is_in_service(cas: TwoCas) -> None:
    done = cas.issue()

    assert (done.exit_status, done.stderr) == (0, "")
    assert cas.issuer() == "first"
    stored = (cas.host.home / "certificates" / f"{NAME}.toml").read_text()
    first, second = cas.urls
    assert f'ca = ["{first}", "{second}"]' in stored


@pytest.mark.parametrize("failure", FAULTS)
def test_the_second_ca_issues_if_the_first_one_fails_by_itself(cas: TwoCas, failure: str) -> None:
    cas.first.misbehave(**FAULTS[failure], resources=["new-order"])

    done = cas.issue()

    assert done.exit_status == 0, done
    assert "is out of service" in done.stderr
    assert cas.issuer() == "second"
    [event] = cas.recorded("ca.next")
    assert (event["failed_ca"], event["ca"]) == cas.urls
    assert cas.host.leftovers() == []


def test_the_second_ca_issues_if_the_first_one_is_down(cas: TwoCas) -> None:
    cas.first.stop()

    done = cas.issue()

    assert done.exit_status == 0, done
    assert cas.issuer() == "second"


def test_both_certificates_of_two_key_types_come_from_the_second_ca(cas: TwoCas) -> None:
    cas.first.stop()

    done = cas.issue(NAME, "--key-type", "ecdsa-p256", "--key-type", "rsa-2048")

    assert done.exit_status == 0, done
    live = cas.host.home / "live" / NAME
    issuers = [
        x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes()).issuer
        for directory in (live, live / "rsa")
    ]
    assert all("Pebble" in each.rfc4514_string() for each in issuers), issuers
    assert cas.host.leftovers() == []
    assert cas.host.certctl("renew").exit_status == 0
    assert cas.host.version(NAME) == 1


def test_the_second_ca_issues_if_the_first_one_leaves_an_order_unfinished(cas: TwoCas) -> None:
    cas.first.set(processing="never")

    done = cas.issue()

    assert done.exit_status == 0, done
    assert cas.issuer() == "second"
    assert cas.host.leftovers() == []
    assert cas.host.certctl("renew").exit_status == 0
    assert cas.host.version(NAME) == 1


def test_a_failed_validation_is_no_reason_to_ask_another_ca(cas: TwoCas) -> None:
    before = cas.second.request_count()

    done = cas.issue(NAME, "--webroot", str(cas.host.home.parent))

    assert done.exit_status == 1, done
    assert "is out of service" not in done.stderr
    assert cas.second.request_count() == before
    assert cas.recorded("ca.next") == []


def test_both_cas_are_named_if_both_are_down(cas: TwoCas, tmp_path: Path) -> None:
    directory = tmp_path / "third"
    directory.mkdir()
    with DevCaServer(directory=directory, http_port=cas.first.http_port) as other:
        roots = tmp_path / "roots.pem"
        roots.write_bytes(roots.read_bytes() + other.ca_bundle.read_bytes())
        assert cas.host.certctl("register", "--ca", other.directory_url).exit_status == 0
    cas.first.stop()

    flags = ("--ca", cas.urls[0], "--ca", other.directory_url)
    done = cas.host.certctl("issue", NAME, *flags)

    assert done.exit_status == 6, done
    assert f"127.0.0.1:{cas.first.port}" in done.stderr
    assert f"127.0.0.1:{other.port}" in done.stderr
    assert not (cas.host.home / "certificates" / f"{NAME}.toml").exists()


def test_an_account_at_each_ca_is_needed_beforehand(
    cas: TwoCas, pebble_eab: PebbleServer, tmp_path: Path
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(roots.read_bytes() + pebble_eab.ca_bundle.read_bytes())
    flags = ("--ca", cas.urls[0], "--ca", pebble_eab.directory_url)
    before = cas.first.orders()

    refused = cas.host.certctl("issue", NAME, *flags)

    assert refused.exit_status == 2
    command = f"certctl register --ca {pebble_eab.directory_url} --ca-bundle {roots}"
    assert f"{command} --eab-kid KID --eab-hmac-key-file FILE" in refused.stderr
    assert cas.first.orders() == before

    secret = tmp_path / "hmac"
    secret.write_text(EAB_KEYS["kid-1"])
    secret.chmod(0o600)
    words = command.removeprefix("certctl ").split()
    bound = cas.host.certctl(*words, "--eab-kid", "kid-1", "--eab-hmac-key-file", str(secret))
    assert bound.exit_status == 0, bound
    assert cas.host.certctl("issue", NAME, *flags).exit_status == 0


def test_each_ca_is_tried_by_a_dry_run_and_by_doctor(
    cas: TwoCas, challenge_dns: ChallengeTestServer
) -> None:
    cas.issue(NAME, "--dns-resolver", challenge_dns.dns_address)

    tried = cas.host.certctl("renew", "--dry-run")
    checked = cas.host.certctl("doctor", NAME)

    assert tried.exit_status == 0
    assert all(f"127.0.0.1:{each.port}" in tried.stdout for each in (cas.first, cas.second))
    assert all(
        f"the CA 127.0.0.1:{each.port}" in checked.stdout for each in (cas.first, cas.second)
    )


@pytest.fixture
def alike(tmp_path: Path) -> Iterator[tuple[Host, tuple[str, str]]]:
    """A home directory without an account, and two development CAs."""
    directories = (tmp_path / "a", tmp_path / "b")
    for each in directories:
        each.mkdir()
    with DevCaServer(directory=directories[0]) as a, DevCaServer(directory=directories[1]) as b:
        roots = tmp_path / "roots.pem"
        roots.write_bytes(a.ca_bundle.read_bytes() + b.ca_bundle.read_bytes())
        made = host(tmp_path, a)
        settings = made.home / "certctl.toml"
        settings.write_text(settings.read_text().replace(str(a.ca_bundle), str(roots)))
        yield made, (a.directory_url, b.directory_url)


def test_stateless_answers_get_one_account_key(alike: tuple[Host, tuple[str, str]]) -> None:
    made, (a, b) = alike

    printed = made.certctl("snippet", "nginx", NAME, "--stateless", "--ca", a, "--ca", b)

    assert printed.exit_status == 0, printed
    keys = [path.read_bytes() for path in made.home.glob("accounts/*/*/key.pem")]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_caa_records_permit_each_of_the_cas(
    alike: tuple[Host, tuple[str, str]], challenge_dns: ChallengeTestServer
) -> None:
    made, (a, b) = alike
    flags = ("--ca", a, "--ca", b)
    made.certctl("register", *flags)
    listed = made.certctl("account", "show", "--json").json()["data"]["accounts"]

    records = made.certctl("dns", "caa", NAME, *flags, "--dns-resolver", challenge_dns.dns_address)

    assert records.exit_status == 0, records
    assert len(listed) == 2
    assert all(f"accounturi={each['url']}" in records.stdout for each in listed)


def test_accounts_with_different_keys_are_refused_for_stateless_answers(cas: TwoCas) -> None:
    refused = cas.issue(NAME, "--stateless")

    assert refused.exit_status == 2
    assert "have different keys" in refused.stderr
