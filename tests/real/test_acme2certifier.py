"""certctl with a CA that nobody here wrote and that has renewal information and profiles.

Both run in a network of their own, since that CA looks at port 80 alone.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab.acme2certifier import (
    Acme2CertifierServer,
    LoopbackNetwork,
    require_acme2certifier,
)
from tests.lab.ports import free_port
from tests.lab.processes import wait_until
from tests.real.driver import Host, host, names, openssl, public_key

PROFILES = {"standard": "https://ca.example/standard", "short": "https://ca.example/short"}
EAB_KEYS = {"kid-of-a2c": "zNDgzOGY4ZTk1ODM2NDIxYTg3YjBmZWNhNTVkMDc4Mzk"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackNetwork]:
    require_acme2certifier()
    with LoopbackNetwork(tmp_path_factory.mktemp("network")) as network:
        yield network


@pytest.fixture(scope="module")
def ca(
    network: LoopbackNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Acme2CertifierServer]:
    """One that has profiles, and windows at the end of a lifetime."""
    directory = tmp_path_factory.mktemp("acme2certifier")
    with Acme2CertifierServer(
        directory=directory, network=network, port=free_port(), profiles=PROFILES
    ) as server:
        yield server


@pytest.fixture(scope="module")
def hasty_ca(
    network: LoopbackNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Acme2CertifierServer]:
    """One that wants accounts to be bound, and each certificate replaced at once."""
    directory = tmp_path_factory.mktemp("acme2certifier-hasty")
    with Acme2CertifierServer(
        directory=directory, network=network, port=free_port(), eab_keys=EAB_KEYS, window=(0.0, 1)
    ) as server:
        yield server


def inside(directory: Path, server: Acme2CertifierServer, contact: bool = True) -> Host:
    """A home whose commands run in the network of the CA, which wants an address to write to."""
    settings = 'account.email = ["admin@example.com"]' if contact else ""
    made = host(directory, server, settings)
    return Host(made.home, server, server.network.prefix)


def facts(here: Host, name: str) -> dict[str, datetime | None]:
    """What `explain` says of a certificate, with its times."""
    finished = here.certctl("explain", name, "--json")
    assert finished.exit_status == 0, finished
    told = finished.json()["data"]["facts"]
    return {each["key"]: each["at"] and datetime.fromisoformat(each["at"]) for each in told}


def cert_id(certificate: Path) -> str:
    """The CertID of a certificate (RFC 9773 §4.1), from what openssl says of it."""
    asked = ("x509", "-in", certificate, "-noout")
    serial = bytes.fromhex(openssl(*asked, "-serial").strip().partition("=")[2])
    if serial[0] & 0x80:
        serial = b"\0" + serial  # as DER has a number that is not negative
    key_id = openssl(*asked, "-ext", "authorityKeyIdentifier").splitlines()[1]
    parts = (bytes.fromhex(key_id.strip().replace(":", "")), serial)
    return ".".join(urlsafe_b64encode(each).decode().rstrip("=") for each in parts)


def registered_by_binding(here: Host, directory: Path) -> Host:
    (kid, key) = next(iter(EAB_KEYS.items()))
    (directory / "hmac").write_text(key)
    (directory / "hmac").chmod(0o600)
    finished = here.certctl(
        "register", "--eab-kid", kid, "--eab-hmac-key-file", str(directory / "hmac")
    )
    assert finished.exit_status == 0, finished
    return here


def test_a_certificate_is_issued_and_leads_to_the_root_of_the_ca(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)

    here.issue("one.example", "www.one.example")

    (tmp_path / "root.pem").write_bytes(ca.root())
    live = here.live("one.example", "cert.pem")
    assert openssl("verify", "-CAfile", tmp_path / "root.pem", live).endswith("OK\n")
    assert names(here.leaf("one.example")) == ["one.example", "www.one.example"]
    assert here.leftovers() == []


def test_an_address_is_certified(ca: Acme2CertifierServer, tmp_path: Path) -> None:
    here = inside(tmp_path, ca)

    here.issue("127.0.0.1", "--name", "address")

    assert names(here.leaf("address")) == ["127.0.0.1"]


def test_its_advice_is_read_right_after_issuance_and_nothing_is_due(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)
    here.issue("advised.example")
    since = ca.request_count()

    finished = here.certctl("renew")

    leaf, told = here.leaf("advised.example"), facts(here, "advised.example")
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    start, chosen, end = (told[key] for key in ("window_start", "chosen", "window_end"))
    assert start is not None
    assert chosen is not None
    assert abs((start - leaf.not_valid_before_utc) / lifetime - 0.85) < 0.001
    assert end == leaf.not_valid_after_utc
    assert start <= chosen <= end
    assert (finished.exit_status, finished.stdout) == (0, "")
    assert ca.request_count() == since


def test_a_window_that_is_over_is_followed_once_and_the_order_says_what_it_replaces(
    hasty_ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = registered_by_binding(inside(tmp_path, hasty_ca), tmp_path)
    here.issue("hasty.example")
    since, first = hasty_ca.request_count(), here.home / "archive/hasty.example/1/cert.pem"
    end = here.leaf("hasty.example").not_valid_before_utc + timedelta(seconds=2)
    wait_until(lambda: datetime.now(UTC) > end, "the end of the window")

    finished = here.certctl("renew", "--json")
    again = here.certctl("renew", "--json")

    (outcome,) = finished.json()["data"]["certificates"]
    assert (finished.exit_status, outcome["action"]) == (0, "issued")
    assert here.version("hasty.example") == 2
    assert [each["replaces"] for each in hasty_ca.ordered(since)] == [cert_id(first)]
    assert (again.exit_status, again.json()["data"]["certificates"]) == (0, [])


def test_an_account_that_is_not_bound_is_refused_with_the_options_that_bind_it(
    hasty_ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, hasty_ca)

    finished = here.certctl("issue", "unbound.example")

    assert finished.exit_status == 2
    assert "--eab-kid KID --eab-hmac-key-file FILE" in finished.stderr


def test_a_binding_with_another_key_is_refused(
    hasty_ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, hasty_ca)
    variables = {"CERTCTL_EAB_KID": next(iter(EAB_KEYS)), "CERTCTL_EAB_HMAC_KEY": "b3RoZXI"}

    finished = here.certctl("register", variables=variables)

    assert finished.exit_status == 1
    assert list(here.home.glob("accounts/*/*/account.json")) == []


@pytest.mark.parametrize("option", ["--profile", "--required-profile"])
def test_a_profile_that_is_offered_is_asked_for(
    ca: Acme2CertifierServer, tmp_path: Path, option: str
) -> None:
    here, since = inside(tmp_path, ca), ca.request_count()

    here.issue(f"short{option}.example", option, "short")

    assert [each.get("profile") for each in ca.ordered(since)] == ["short"]


def test_a_profile_that_is_only_preferred_is_done_without(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here, since = inside(tmp_path, ca), ca.request_count()

    finished = here.certctl("issue", "preferred.example", "--profile", "another")

    assert finished.exit_status == 0
    assert [each.get("profile") for each in ca.ordered(since)] == [None]


def test_a_profile_that_is_required_is_not(ca: Acme2CertifierServer, tmp_path: Path) -> None:
    here, since = inside(tmp_path, ca), ca.request_count()

    finished = here.certctl("issue", "required.example", "--required-profile", "another")

    assert finished.exit_status == 2
    assert "it offers short, standard" in finished.stderr
    assert ca.ordered(since) == []
    assert not (here.home / "live" / "required.example").is_symlink()


def test_an_order_that_stays_pending_though_its_proof_failed_is_not_waited_for(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)

    finished = here.certctl("issue", "unseen.example", "--http-port", str(free_port()))

    # All that this CA says is that the authorization is invalid; its order goes on waiting.
    assert finished.exit_status == 1
    assert "unseen.example: the authorization is invalid, no reason given" in finished.stderr
    assert "hint: " in finished.stderr
    assert here.leftovers() == []


def test_a_certificate_is_revoked_and_is_so_in_the_list_of_the_ca(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)
    here.issue("gone.example")
    leaf = here.leaf("gone.example")
    assert here.status(leaf) == "Valid"

    finished = here.certctl("revoke", "gone.example", "--reason", "superseded", "--delete", "--yes")

    assert (finished.exit_status, here.status(leaf)) == (0, "Revoked")


def test_a_compromised_key_is_replaced_before_it_is_revoked(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)
    here.issue("stolen.example")
    leaf = here.leaf("stolen.example")

    finished = here.certctl(
        "revoke", "stolen.example", "--reason", "keyCompromise", "--replace", "--yes"
    )

    assert (finished.exit_status, here.status(leaf)) == (0, "Revoked")
    assert public_key(here.leaf("stolen.example")) != public_key(leaf)
    assert here.status(here.leaf("stolen.example")) == "Valid"


def test_the_key_of_an_account_is_changed_and_the_account_goes_on(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)
    here.issue("rolled.example")
    (key,) = here.home.glob("accounts/*/*/key.pem")
    before = key.read_bytes()

    finished = here.certctl("account", "rollover")

    assert finished.exit_status == 0, finished
    assert key.read_bytes() != before
    here.certctl("renew", "--force", "rolled.example")
    assert here.version("rolled.example") == 2


def test_a_deactivated_account_is_used_no_more_and_a_new_one_takes_its_place(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)
    here.issue("left.example")

    finished = here.certctl("account", "deactivate", "--yes")
    renewed = here.certctl("renew", "--force")

    assert (finished.exit_status, renewed.exit_status) == (0, 0)
    assert (here.version("left.example"), len(list(here.home.glob("accounts/*/*/key.pem")))) == (
        2,
        2,
    )


def test_an_account_without_an_address_is_refused_in_the_words_of_the_ca(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca, contact=False)

    finished = here.certctl("issue", "nobody.example")

    assert finished.exit_status == 1
    assert "Contact information is missing" in finished.stderr


def test_a_run_of_many_issues_and_renews_each_once(
    ca: Acme2CertifierServer, tmp_path: Path
) -> None:
    here = inside(tmp_path, ca)
    made = here.add_specs(4)

    issued = here.certctl("renew", "--jobs", "4")
    since = ca.request_count()
    renewed = here.certctl("renew", "--force", "--jobs", "4")

    assert (issued.exit_status, renewed.exit_status) == (0, 0)
    assert [here.version(name) for name in made] == [2, 2, 2, 2]
    assert len({each["replaces"] for each in ca.ordered(since)}) == len(ca.ordered(since)) == 4
