"""Whatever a noun has is stored: each value here has every field set, and is read back the same.

A field that is added to a noun needs no change here. It fails a test until it can be stored.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl.model.ca import Account, LedgerEntry
from certctl.model.certificate import (
    IssuedCertificate,
    PendingOrder,
    RenewalState,
    Request,
    Version,
)
from certctl.model.delivery import THIS_MACHINE, Deployment, InterruptedCopies, SavedFile
from certctl.model.errors import StoreCorrupt, StoreNewer
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import OutstandingPostHooks, RunHistory
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import CleanupState, Leftover, Placement
from certctl.rules.options import OPTIONS, Kind, Option
from certctl.rules.settings import OptionTable, Settings
from certctl.store.codec import from_json, to_json
from tests.lab.clock import SteerableClock
from tests.support.filled import PAST, defaults_in, filled
from tests.support.local_store import LocalStore
from tests.unit.store_samples import NAME, issued, material, wanted

NOW = PAST + timedelta(days=30)
STORED = [
    Version,
    RenewalState,
    Deployment,
    PendingOrder,
    Account,
    LedgerEntry,
    RunHistory,
    Leftover,
]


def store(home: Path, settings: Settings | None = None) -> LocalStore:
    return LocalStore(home, settings or Settings(), SteerableClock(NOW))


@pytest.mark.parametrize("kind", STORED)
def test_a_filled_value_has_no_default_anywhere(kind: type) -> None:
    assert defaults_in(filled(kind)) == []


@pytest.mark.parametrize("kind", STORED)
def test_every_field_of_a_noun_survives_json(kind: type) -> None:
    value: object = filled(kind)

    assert from_json(kind, json.loads(json.dumps(to_json(value))), "file") == value


def test_every_field_of_a_version_is_stored(tmp_path: Path) -> None:
    certificate = filled(IssuedCertificate, facts=issued().facts, has_key=True)
    facts = replace(issued(mark="2").facts, key_type="rsa-2048")
    second = filled(IssuedCertificate, facts=facts, has_key=True)
    version = Version(NAME, 0, (certificate, second), PAST)

    both = replace(material(), second=material("2"))
    saved = store(tmp_path).save_version(wanted(), version, both)

    first = replace(certificate, chain_sha256=issued().chain_sha256)
    second = replace(second, chain_sha256=issued(mark="2").chain_sha256)
    assert saved == replace(version, number=1, certificates=(first, second))
    assert store(tmp_path).versions(NAME) == [saved]


def test_every_field_of_a_renewal_state_is_stored(tmp_path: Path) -> None:
    state = filled(RenewalState)
    store(tmp_path).save_version(wanted(), issued(), material())

    store(tmp_path).save_renewal_state(NAME, state, next_action_at=None)

    assert store(tmp_path).status(NAME).renewal_state == state


def test_every_field_of_the_deployments_is_stored_by_destination(tmp_path: Path) -> None:
    here, there = filled(Deployment, destination=THIS_MACHINE), filled(Deployment)
    other = replace(there, destination="another")

    for each in (replace(there, failures=0), other, here, there):
        store(tmp_path).save_deployment(NAME, each)

    status = store(tmp_path).status(NAME)
    assert set(status.deployments) == {here, there, other}
    assert status.deployment == here


def test_every_field_of_pending_orders_is_stored_by_ca_and_key_type(tmp_path: Path) -> None:
    first = filled(PendingOrder)
    other_ca = replace(first, request=replace(first.request, ca="https://b"), privkey=b"b")
    other_key = replace(first, request=replace(first.request, key_type=None), privkey=None)
    for each in (first, other_ca, replace(other_key, url=None), other_key):
        store(tmp_path).save_pending(NAME, each)

    changed = replace(other_ca, created=PAST, privkey=b"c")
    store(tmp_path).save_pending(NAME, changed)

    assert set(store(tmp_path).pending_orders(NAME)) == {first, other_key, changed}
    files = sorted(each.name for each in (tmp_path / "pending" / NAME).iterdir())
    assert (len(files), files[0]) == (3, "order.json")


def test_an_account_is_stored_with_every_field(tmp_path: Path) -> None:
    account = store(tmp_path).accounts.save(filled(Account), b"key")

    assert store(tmp_path).accounts.all() == [replace(filled(Account), id=account.id)]


def test_a_ledger_is_stored_with_every_field(tmp_path: Path) -> None:
    entry = filled(LedgerEntry, at=NOW)
    accounts = store(tmp_path).accounts
    account = accounts.save(filled(Account), b"key")

    accounts.add_to_ledger(account, [entry], NOW)

    assert store(tmp_path).accounts.ledger(account) == [entry]


def test_the_history_of_runs_is_stored_with_every_field(tmp_path: Path) -> None:
    history = filled(RunHistory, latest_in_future=None)
    (tmp_path / "run.json").write_text(
        json.dumps({"version": 2, **to_json(history, without={"latest_in_future"})})
    )

    store(tmp_path).record_external_schedule(external=history.external)

    assert store(tmp_path).history() == history


OPEN = Option("dns.fancy.server", Kind.TEXT, None, "A server.", in_spec=True)
FANCY = Settings(table=OptionTable((*OPTIONS, OPEN)))


def test_leftovers_are_stored_with_every_field(tmp_path: Path) -> None:
    challenge = filled(ChallengeSpec, plugin={OPEN.key: "ns.example"})
    placements = tuple(replace(filled(Placement), certificate=NAME) for _ in range(2))
    entry = store(tmp_path, FANCY).journal.record_placements(challenge, placements)
    leftover = Leftover(entry, challenge, placements, filled(CleanupState))

    store(tmp_path, FANCY).journal.save_cleanup(leftover)

    assert store(tmp_path, FANCY).journal.leftovers(NAME) == [leftover]


def test_interrupted_copies_and_post_hooks_are_stored_with_every_field(tmp_path: Path) -> None:
    journal = store(tmp_path).journal
    files = (filled(SavedFile), SavedFile("/a"))
    copies = journal.record_copies(NAME, files)
    hooks = journal.record_post_hooks(["a", "b"], 1.5)

    assert journal.interrupted_copies(NAME) == [InterruptedCopies(copies, files)]
    assert journal.outstanding_post_hooks() == [OutstandingPostHooks(hooks, ("a", "b"), 1.5)]


# What cannot be read.


@dataclass(frozen=True)
class Odd:
    """Has a type that nobody has taught the codec."""

    value: complex


def test_a_field_of_an_unknown_type_is_refused_when_it_is_read() -> None:
    with pytest.raises(TypeError, match="complex"):
        from_json(Odd, {"value": 1}, "file")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ca": None}, "request is not valid: ca must be a string"),
        ({"identifiers": 3}, "request is not valid: identifiers must be a list of objects"),
        (
            {"identifiers": [{"type": "dns"}]},
            "request: identifiers is not valid: value must be a string",
        ),
        ({"profile": 7}, "request is not valid: profile must be a string"),
        ({"profile_required": 1}, "request is not valid: profile_required must be true or false"),
        ({"key_type": "dsa"}, "request is not valid: key_type must be one of ecdsa-p256, "),
    ],
)
def test_an_error_names_the_file_and_the_field(change: dict[str, Any], problem: str) -> None:
    request = {**to_json(filled(Request)), **change}
    values = {**to_json(filled(PendingOrder)), "request": request}

    with pytest.raises(StoreCorrupt) as caught:
        from_json(PendingOrder, values, "order.json")

    assert f"order.json: {problem}" in caught.value.message


@pytest.mark.parametrize("time", ["soon", "2026-01-01T00:00:00", 3, "0001-01-01T00:00:00+14:00"])
def test_a_time_must_be_one_with_an_offset(time: object) -> None:
    values = to_json(filled(LedgerEntry)) | {"at": time}

    with pytest.raises(StoreCorrupt, match="at must be a time with an offset from UTC"):
        from_json(LedgerEntry, values, "ledger.json")


def test_a_missing_field_has_its_default_and_an_unknown_one_is_ignored() -> None:
    assert from_json(Deployment, {"wanted": 3, "later": []}, "file") == Deployment(3)


# A newer certctl.


def everything(home: Path) -> dict[str, bytes]:
    """Each file with its content, without locks."""
    found = (each for each in home.rglob("*") if each.is_file() and "locks" not in each.parts)
    return {str(each): each.read_bytes() for each in found}


def prepared(home: Path) -> LocalStore:
    opened = store(home)
    opened.save_spec(wanted())
    opened.save_version(wanted(), issued(), material())
    opened.save_renewal_state(NAME, RenewalState(), next_action_at=None)
    opened.save_pending(NAME, filled(PendingOrder))
    opened.record_run(NOW, 0)
    account = opened.accounts.save(filled(Account), b"key")
    opened.accounts.add_to_ledger(account, [filled(LedgerEntry, at=NOW)], NOW)
    return opened


STEPS: Mapping[str, Callable[[LocalStore], object]] = {
    "status": lambda store: store.status(NAME),
    "activate": lambda store: store.activate(NAME, 1),
    "save state": lambda store: store.save_renewal_state(NAME, RenewalState(), next_action_at=None),
    "save deployment": lambda store: store.save_deployment(NAME, Deployment(1)),
    "pending": lambda store: store.pending(NAME),
    "save order": lambda store: store.save_pending(NAME, filled(PendingOrder)),
    "delete": lambda store: store.delete(NAME),
    "accounts": lambda store: store.accounts.all(),
    "record run": lambda store: store.record_run(NOW, 1),
    "record schedule": lambda store: store.record_external_schedule(external=True),
}


@pytest.mark.parametrize(
    ("file", "step"),
    [
        *(("archive/*/1/issued.json", step) for step in ("status", "activate")),
        *(("renewal/*.json", step) for step in ("status", "save state", "delete")),
        *(("deployed/*.json", step) for step in ("status", "save deployment", "delete")),
        *(("pending/*/order.json", step) for step in ("pending", "save order", "delete")),
        ("accounts/*/*/account.json", "accounts"),
        *(("run.json", step) for step in ("record run", "record schedule")),
    ],
)
def test_a_document_of_a_newer_certctl_is_refused_by_name_and_nothing_is_changed(
    tmp_path: Path, file: str, step: str
) -> None:
    prepared(tmp_path)
    (path,) = tmp_path.glob(file)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 4}))
    before = everything(tmp_path)

    with pytest.raises(StoreNewer) as caught:
        STEPS[step](store(tmp_path))

    assert str(path) in caught.value.message
    assert everything(tmp_path) == before
