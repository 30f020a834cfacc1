"""All that certctl does, with CAs that refuse every second good nonce (RFC 8555 §6.5)."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.lab.authority import AcmeServer
from tests.lab.devca import DevCaServer
from tests.lab.processes import wait_until
from tests.real.driver import Host, host, public_key

LIFETIME = "24s"
"""Of certificates renewed by ARI: their CA suggests a window after half of it."""


@pytest.fixture(scope="session")
def devca_bad_nonces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCaServer]:
    """The development CA, with renewal information and profiles."""
    directory = tmp_path_factory.mktemp("devca-bad-nonces")
    with DevCaServer(directory=directory, arguments=("--fault", "bad-nonce=50")) as server:
        yield server


@pytest.fixture(params=["pebble_bad_nonces", "devca_bad_nonces"])
def forgetful(request: pytest.FixtureRequest) -> AcmeServer:
    server: AcmeServer = request.getfixturevalue(request.param)
    return server


def answers(server: DevCaServer, resource: str) -> Counter[int]:
    """How often the CA answered requests for a resource with which status."""
    log = json.loads(server.get("/manage/requests"))["requests"]
    return Counter(each["status"] for each in log if each["resource"] == resource)


def refusals(server: DevCaServer) -> int:
    """How many requests met with badNonce."""
    log = json.loads(server.get("/manage/requests"))["requests"]
    return sum(each["fault"] == "bad-nonce" for each in log)


def memory(here: Host, name: str) -> dict[str, str]:
    """The renewal information in the renewal state."""
    found = json.loads((here.home / "renewal" / f"{name}.json").read_text())
    info: dict[str, str] = found["renewal_state"]["ari"][0]["info"]
    return info


def lifetime_days(here: Host, name: str) -> float:
    leaf = here.leaf(name)
    return (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() / 86400


def test_certificates_are_issued_renewed_side_by_side_and_revoked(
    forgetful: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, forgetful)
    made = here.add_specs(8)

    issued = here.certctl("renew")
    first = here.leaf(made[0])
    renewed = here.certctl("renew", "--force")
    revoked = here.certctl("revoke", made[0], "--reason", "superseded", "--delete", "--yes")

    assert [each.exit_status for each in (issued, renewed, revoked)] == [0, 0, 0]
    assert [here.version(name) for name in made[1:]] == [2] * 7
    assert not (here.home / "live" / made[0]).is_symlink()
    assert here.status(first) == "Valid"
    assert here.leftovers() == []


def test_an_account_is_changed_and_its_key_too(forgetful: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, forgetful)
    here.issue("account.example")
    (key,) = here.home.glob("accounts/*/*/key.pem")
    before = key.read_bytes()

    updated = here.certctl("account", "update", "--email", "admin@example.com")
    rolled = here.certctl("account", "rollover")
    renewed = here.certctl("renew", "--force")
    ended = here.certctl("account", "deactivate", "--yes")

    assert [each.exit_status for each in (updated, rolled, renewed, ended)] == [0, 0, 0, 0]
    assert key.read_bytes() != before
    assert here.version("account.example") == 2


def test_a_compromised_certificate_is_replaced_and_revoked(
    forgetful: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, forgetful)
    here.issue("stolen.example")
    old = here.leaf("stolen.example")

    finished = here.certctl(
        *("revoke", "stolen.example", "--replace", "--yes", "--reason", "keyCompromise")
    )

    assert (finished.exit_status, here.status(old)) == (0, "Revoked")
    assert here.status(here.leaf("stolen.example")) == "Valid"
    assert public_key(here.leaf("stolen.example")) != public_key(old)


def test_profiles_are_preferred_and_required(devca_bad_nonces: DevCaServer, tmp_path: Path) -> None:
    here = host(tmp_path, devca_bad_nonces)

    here.issue("preferred.example", "--profile", "shortlived")
    here.issue("required.example", "--required-profile", "tlsserver")
    here.issue("fallen-back.example", "--profile", "another")
    refused = here.certctl("issue", "refused.example", "--required-profile", "another")

    assert round(lifetime_days(here, "preferred.example"), 1) == 6.7
    assert round(lifetime_days(here, "required.example")) == 45
    assert round(lifetime_days(here, "fallen-back.example")) == 90
    assert refused.exit_status == 2
    assert not (here.home / "live" / "refused.example").is_symlink()


def test_certificates_are_renewed_in_the_window_suggested_by_the_ca(tmp_path: Path) -> None:
    with DevCaServer(
        directory=tmp_path, arguments=("--fault", "bad-nonce=50", "--lifetime", LIFETIME)
    ) as server:
        here = host(tmp_path, server)
        made = here.add_specs(3, prefix="by-ari")
        assert here.certctl("renew").exit_status == 0
        chosen = max(datetime.fromisoformat(memory(here, name)["chosen"]) for name in made)
        placed, serials = answers(server, "new-order"), [here.leaf(name) for name in made]

        wait_until(lambda: datetime.now(UTC) > chosen, "the time chosen in the windows")
        why = here.certctl("explain", made[0], "--json").json()["data"]["reason"]
        finished = here.certctl("renew")

        assert (finished.exit_status, why) == (0, "ari")
        assert [here.version(name) for name in made] == [2, 2, 2]
        assert [here.leaf(name) for name in made] != serials
        # One order each: none was placed again for want of what the first one said.
        assert (answers(server, "new-order") - placed)[201] == 3
        assert refusals(server) > 10
