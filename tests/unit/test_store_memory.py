"""State kept between runs: saved, damaged, lost; and which certificates are idle."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.model.ca import RevocationReason
from certctl.model.certificate import (
    Afterwards,
    AriState,
    LastError,
    RenewalInfo,
    RenewalState,
    RevocationIntent,
)
from certctl.model.delivery import Deployment
from certctl.rules.settings import Settings, Source
from tests.support.local_store import LocalStore
from tests.support.nouns import tried
from tests.unit.store_samples import NAME, NOW, mode, open_store, save, wanted

LATER = NOW + timedelta(days=60)

ERROR = LastError(
    code="acme.rate_limited",
    message="too many certificates: “example.com”",
    at=NOW,
    failure="rate_limited",
    hint="Wait.",
)

MEMORY = tried(
    failures=2,
    last_attempt=NOW,
    last_error=ERROR,
    retry_at=NOW + timedelta(minutes=10, microseconds=5),
    paused_until=LATER,
    revoked=(1, 3),
    compromised_keys=("ab" * 32,),
    ari=(
        AriState(
            "a.b",
            RenewalInfo(
                start=NOW,
                end=LATER,
                chosen=NOW + timedelta(days=1),
                explanation_url="https://ca.example/why",
            ),
        ),
    ),
    revocations=(
        RevocationIntent(3, "0a1b", RevocationReason.SUPERSEDED, Afterwards.REPLACE, NOW),
    ),
)

DEPLOYMENT = Deployment(
    wanted=1,
    deployed=1,
    deployed_at=NOW,
    failures=1,
    last_error=ERROR,
    retry_at=NOW + timedelta(days=1),
    verified_at=NOW,
)


def saved(home: Path) -> LocalStore:
    """A certificate that needs nothing for sixty days."""
    store = open_store(home)
    save(store)
    store.save_spec(wanted())
    store.save_deployment(NAME, Deployment(wanted=1, deployed=1, deployed_at=NOW))
    store.save_renewal_state(NAME, RenewalState(), next_action_at=LATER)
    return store


def busy(home: Path, settings: Settings | None = None) -> list[str]:
    """What a new process would look at."""
    return list(open_store(home, settings=settings).possibly_due([NAME], NOW))


def test_state_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    store = saved(tmp_path)
    store.save_renewal_state(NAME, MEMORY, next_action_at=LATER)
    store.save_deployment(NAME, DEPLOYMENT)
    status = open_store(tmp_path).status(NAME)
    assert status.renewal_state == MEMORY
    assert status.deployment == DEPLOYMENT
    assert mode(tmp_path / "renewal" / f"{NAME}.json") == 0o600
    assert mode(tmp_path / "renewal") == 0o700


def test_an_unknown_name_has_an_empty_status(tmp_path: Path) -> None:
    status = open_store(tmp_path / "nowhere").status(NAME)
    assert (status.live, status.renewal_state, status.deployment, status.undeployed) == (
        None,
        RenewalState(),
        Deployment(),
        False,
    )
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 0}',
        b'{"version": "2"}',
        b'{"version": 2, "renewal_state": 3, "deployments": {}}',
        b'{"version": 1, "failures": "many", "revoked": 7}',
        b'{"version": 1, "failures": 1, "retry_at": "0001-01-01T00:00:00+14:00"}',
        b"[" * 100_000,
        b" " * 5_000_000,
    ],
    ids=range(12),
)
def test_damaged_state_counts_as_missing_and_deployment_is_pending(
    tmp_path: Path, damage: bytes
) -> None:
    saved(tmp_path)
    for directory in ("renewal", "deployed"):
        (tmp_path / directory / f"{NAME}.json").write_bytes(damage)
    warnings: list[str] = []
    store = open_store(tmp_path, warn=warnings.append)
    status = store.status(NAME)
    assert status.renewal_state == RenewalState()
    assert status.deployment == Deployment(wanted=1)
    assert status.undeployed
    assert busy(tmp_path) == [NAME]
    assert len(warnings) == 2
    store.save_renewal_state(NAME, tried(1), next_action_at=None)
    assert (tmp_path / "renewal" / f"{NAME}.json.corrupt").read_bytes() == damage
    assert open_store(tmp_path).status(NAME).renewal_state == tried(1)


def test_missing_state_is_derived_from_the_live_version(tmp_path: Path) -> None:
    store = saved(tmp_path)
    save(store, mark="2")
    store.activate(NAME, 1)
    (tmp_path / "deployed" / f"{NAME}.json").unlink()
    assert store.status(NAME).deployment == Deployment(wanted=1)
    assert store.status(NAME).undeployed


def test_without_state_and_live_link_the_newest_version_is_wanted(tmp_path: Path) -> None:
    store = saved(tmp_path)
    save(store, mark="2")
    (tmp_path / "deployed" / f"{NAME}.json").unlink()
    (tmp_path / "live" / NAME).unlink()
    assert store.status(NAME).deployment == Deployment(wanted=2)
    assert store.status(NAME).undeployed


def test_a_compromised_key_is_remembered_after_delete(tmp_path: Path) -> None:
    store = saved(tmp_path)
    store.save_renewal_state(NAME, MEMORY, next_action_at=None)
    store.delete(NAME)
    assert store.status(NAME).renewal_state == RenewalState(
        compromised_keys=MEMORY.compromised_keys
    )


def test_deleting_a_certificate_without_a_version_leaves_no_state(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.save_spec(wanted())
    store.save_renewal_state(NAME, tried(1), next_action_at=None)
    store.delete(NAME)
    assert not (tmp_path / "renewal" / f"{NAME}.json").exists()


def test_a_certificate_before_its_next_action_is_idle(tmp_path: Path) -> None:
    store = saved(tmp_path)
    assert busy(tmp_path) == []
    assert list(store.possibly_due([NAME], LATER - timedelta(seconds=1))) == []
    assert list(store.possibly_due([NAME], LATER)) == [NAME]


def test_a_certificate_without_a_next_action_stays_idle(tmp_path: Path) -> None:
    store = saved(tmp_path)
    store.save_renewal_state(NAME, RenewalState(), next_action_at=None)
    assert list(store.possibly_due([NAME], LATER + timedelta(days=10_000))) == []


def test_only_the_given_names_are_yielded_in_their_order(tmp_path: Path) -> None:
    store = saved(tmp_path)
    assert list(store.possibly_due(["z.example", NAME, "a.example"], NOW)) == [
        "z.example",
        "a.example",
    ]


def test_an_edited_spec_makes_a_certificate_possibly_due(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "certificates" / f"{NAME}.toml"
    path.write_text(path.read_text().replace("example.com", "example.net"))
    assert busy(tmp_path) == [NAME]


def test_an_edit_during_a_run_is_found_by_the_next_run(tmp_path: Path) -> None:
    saved(tmp_path)
    run = open_store(tmp_path)
    run.spec(NAME)
    path = tmp_path / "certificates" / f"{NAME}.toml"
    path.write_text(path.read_text() + '\nkey_type = "rsa-2048"\n')
    run.save_renewal_state(NAME, RenewalState(), next_action_at=LATER)
    assert busy(tmp_path) == [NAME]
    run.spec(NAME)
    run.save_renewal_state(NAME, RenewalState(), next_action_at=LATER)
    assert busy(tmp_path) == []


def test_state_saved_without_reading_the_spec_makes_a_certificate_possibly_due(
    tmp_path: Path,
) -> None:
    saved(tmp_path)
    open_store(tmp_path).save_renewal_state(NAME, RenewalState(), next_action_at=LATER)
    assert busy(tmp_path) == [NAME]


def test_other_defaults_make_a_certificate_possibly_due(tmp_path: Path) -> None:
    saved(tmp_path)
    changed = Settings().over({"key_type": "rsa-2048"}, Source.FILE)
    assert busy(tmp_path, changed) == [NAME]


def test_another_live_version_makes_a_certificate_possibly_due(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "live" / NAME).unlink()
    assert busy(tmp_path) == [NAME]
    (tmp_path / "live" / NAME).symlink_to(f"../archive/{NAME}/2")
    assert busy(tmp_path) == [NAME]


def test_a_deployment_pending_since_then_makes_a_certificate_possibly_due(tmp_path: Path) -> None:
    store = saved(tmp_path)
    store.save_deployment(NAME, Deployment(wanted=1))
    assert busy(tmp_path) == [NAME]


def test_a_pending_order_makes_a_certificate_possibly_due(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "pending" / NAME).mkdir(parents=True)
    assert busy(tmp_path) == [NAME]


def test_a_certificate_without_a_spec_or_without_state_is_possibly_due(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "certificates" / f"{NAME}.toml").unlink()
    assert busy(tmp_path) == [NAME]
    (tmp_path / "renewal" / f"{NAME}.json").unlink()
    assert busy(tmp_path) == [NAME]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": 3},
        {"renewal_state": {}},
        {"next_action_at": "soon"},
        {"next_action_at": 12},
        {"next_action_at": "2027-01-01T00:00:00"},
        {"seen": None},
        {"seen": {}},
    ],
)
def test_state_that_cannot_be_parsed_makes_a_certificate_possibly_due(
    tmp_path: Path, change: dict[str, object]
) -> None:
    saved(tmp_path)
    path = tmp_path / "renewal" / f"{NAME}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert busy(tmp_path) == [NAME]


def test_state_without_a_next_action_makes_a_certificate_possibly_due(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "renewal" / f"{NAME}.json"
    renewal_state = json.loads(path.read_text())
    del renewal_state["next_action_at"]
    path.write_text(json.dumps(renewal_state))
    assert busy(tmp_path) == [NAME]
