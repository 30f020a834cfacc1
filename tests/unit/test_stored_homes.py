"""A home directory that was written in format version 1 opens unchanged, and means what it meant.

`tests/data/homes/README.md` says what is in it.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl.engine.plugins import option_table
from certctl.model.ca import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.model.certificate import (
    AriState,
    Attempts,
    LastError,
    PendingOrder,
    RenewalInfo,
    RenewalState,
    Request,
)
from certctl.model.delivery import Deployment, SavedFile
from certctl.model.errors import StoreError
from certctl.model.names import parse_identifiers
from certctl.model.run import LastAlert
from certctl.model.spec import (
    CopyFormat,
    CopySpec,
    KeyType,
    OnFailure,
    Pkcs12Encryption,
    ServiceAddress,
)
from certctl.model.validation import CleanupState, Placement
from certctl.rules.ari import ari_state, renewal_info_for
from certctl.rules.integrity import chain_sha256
from certctl.rules.keys import key_sha256
from certctl.rules.renewal import after_failure, after_success, attempts, decide, differences
from certctl.rules.settings import Settings
from certctl.rules.x509 import facts
from tests.lab.clock import SteerableClock
from tests.support.local_store import LocalStore

VERSION_1 = Path(__file__).parents[1] / "data" / "homes" / "v1"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When the home was written, by its own clock."""

CA = "https://ca.example/directory"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PUBLIC = {"cert.pem", "chain.pem", "fullchain.pem", "issued.json"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home with its modes, of which git keeps none."""
    home = tmp_path / "home"
    shutil.copytree(VERSION_1, home, symlinks=True)
    for path in [home, *home.rglob("*")]:
        if not path.is_symlink():
            traversable = path.name in {"home", "archive", "live"}
            directory = 0o711 if traversable else 0o700
            file = 0o644 if path.name in PUBLIC else 0o600
            path.chmod(directory if path.is_dir() else file)
    return home


def opened(home: Path) -> LocalStore:
    def fail(message: str) -> None:
        raise AssertionError(message)

    return LocalStore(home, Settings(table=option_table()), SteerableClock(NOW), warn=fail)


def contents(home: Path) -> dict[str, bytes]:
    return {str(each.relative_to(home)): each.read_bytes() for each in files(home)}


def files(home: Path) -> list[Path]:
    return [each for each in home.rglob("*") if each.is_file() and "locks" not in each.parts]


def version_of(path: Path) -> object:
    return json.loads(path.read_text())["version"]


# What it means.


def test_everything_can_be_read_without_a_warning_and_nothing_is_changed(home: Path) -> None:
    before = contents(home)
    store = opened(home)

    for name in store.names():
        store.spec(name)
        store.status(name)
        store.versions(name)
        store.pending_orders(name)
        store.journal.leftovers(name)
        store.journal.interrupted_copies(name)
    for account in store.accounts.all():
        store.accounts.ledger(account)
    store.journal.outstanding_post_hooks()
    store.history()
    list(store.possibly_due(store.names(), NOW))

    assert store.names() == [f"{each}.example" for each in ("csr", "every", "failing", *ORDERED)]
    assert contents(home) == before
    assert {version_of(each) for each in files(home) if each.suffix == ".json"} == {1}


ORDERED = ("ordered", "plain")


@pytest.mark.parametrize(
    ("name", "ages"),
    [
        ("plain.example", (130, 70, 10)),
        ("every.example", (1,)),
        ("failing.example", (89, 80)),
        ("ordered.example", (65,)),
        ("csr.example", (3,)),
    ],
)
def test_each_version_is_what_was_issued(home: Path, name: str, ages: tuple[int, ...]) -> None:
    store = opened(home)
    spec = store.spec(name)

    for number, (version, age) in enumerate(zip(store.versions(name), ages, strict=True), 1):
        (certificate,) = version.certificates
        assert (version.name, version.number, version.issued) == (name, number, NOW - age * DAY)
        assert certificate.order_url == f"https://ca.example/order/{name}/{number}"
        assert certificate.account_url == "https://ca.example/account/1"
        assert certificate.origin is None
        found = store.material(name, number, with_key=certificate.has_key)
        assert certificate.facts == facts(found.cert)
        assert certificate.has_key is (name != "csr.example")
        assert certificate.chain_sha256 == chain_sha256(found.chain)
        assert differences(spec, version.request) == ()


def test_the_state_of_each_certificate_is_what_it_was(home: Path) -> None:
    store = opened(home)
    found = [store.status(name) for name in store.names()]

    assert {
        each.name: (each.live and each.live.number, each.undeployed, each.damage) for each in found
    } == {
        "csr.example": (1, True, None),
        "every.example": (1, False, None),
        "failing.example": (2, True, None),
        "ordered.example": (1, False, None),
        "plain.example": (3, False, None),
    }


def test_failures_count_for_every_ca_until_the_next_attempt(home: Path) -> None:
    store = opened(home)
    status = store.status("failing.example")
    state, live = status.renewal_state, status.live
    error = LastError(
        "acme.rate_limited",
        "too many certificates: “failing.example”",
        NOW - HOUR,
        "rate_limited",
        "Wait.",
    )

    assert live is not None
    assert attempts(state, CA) == Attempts(CA, 3, NOW - HOUR, error, NOW + HOUR)
    assert attempts(state, "https://other").failures == 3
    assert (state.failures, state.last_error, state.retry_at) == (3, error, NOW + HOUR)
    assert state.revoked == (1,)
    assert state.compromised_keys == ("ab" * 32,)
    assert state.paused_until == NOW - 5 * DAY
    assert state.renewed_by_ari == NOW - 80 * DAY
    failed = after_failure(state, CA, StoreError("no"), NOW, live.facts)
    assert [each.ca for each in failed.attempts] == [CA]
    assert failed.failures == 4
    assert after_success(failed, CA, NOW).revoked == (1,)


def test_a_window_stays_that_of_its_certificate_and_the_next_query_that_of_the_current_one(
    home: Path,
) -> None:
    store = opened(home)
    failing, plain = store.status("failing.example"), store.status("plain.example")

    assert failing.live is not None
    assert plain.live is not None
    assert renewal_info_for(failing.live, failing.renewal_state) is None
    assert ari_state(failing.live, failing.renewal_state) == AriState(
        failing.live.facts.ari_id, None, NOW + HOUR, 2
    )
    info = RenewalInfo(NOW - 9 * DAY, NOW - 8 * DAY, NOW - 8 * DAY - HOUR, withdrawn=True)
    assert AriState("YWJj.ZGVm", info, NOW + HOUR, 2) in failing.renewal_state.ari
    assert ari_state(plain.live, plain.renewal_state) == AriState(
        plain.live.facts.ari_id,
        RenewalInfo(NOW + 48 * DAY, NOW + 50 * DAY, NOW + 49 * DAY, "https://ca.example/why"),
        NOW + 6 * HOUR,
    )
    decision = decide(store.spec("plain.example"), plain, NOW)
    assert (decision.due, decision.at, decision.reason) == (False, NOW + 49 * DAY, "ari")


def test_a_deployment_is_that_of_this_machine(home: Path) -> None:
    error = LastError("deploy.hook", "the deploy hook ended with 1", NOW - HOUR, "deployment")

    assert opened(home).status("failing.example").deployments == (
        Deployment(
            wanted=2,
            deployed=1,
            deployed_at=NOW - 89 * DAY,
            failures=2,
            last_error=error,
            retry_at=NOW + HOUR,
            verified_at=NOW - 89 * DAY,
            copies=("/srv/tls/failing.pem",),
            destination="local",
        ),
    )


def test_the_order_in_progress_has_its_key_and_url(home: Path) -> None:
    store = opened(home)

    (pending,) = store.pending_orders("ordered.example")

    identifiers = tuple(parse_identifiers(["ordered.example", "www.ordered.example"]))
    request = Request(identifiers, KeyType.ECDSA_P256, CA, "tlsserver")
    key = (home / "pending" / "ordered.example" / "privkey.pem").read_bytes()
    assert pending == PendingOrder(
        request, "https://ca.example/account/1", NOW - HOUR, "https://ca.example/order/77", key
    )
    assert len(key_sha256(key)) == 64


def test_a_specification_has_every_setting_that_it_had(home: Path) -> None:
    spec = opened(home).spec("every.example")

    assert [each.value for each in spec.identifiers] == [
        "every.example",
        "*.every.example",
        "192.0.2.7",
    ]
    assert (spec.ca, spec.ca_bundle, spec.account) == (CA, "/etc/ssl/ca.pem", "0a1b2c3d4e5f")
    assert (spec.key_type, spec.reuse_key, spec.key_mode) == (KeyType.RSA_2048, True, 0o640)
    assert (spec.profile, spec.preferred_chain) == ("shortlived", "A Root")
    assert (spec.allow_subset, spec.common_name) == (True, "every.example")
    assert (spec.managed_by, spec.origin) == (None, None)
    challenge, deploy = spec.challenge, spec.deploy
    assert (challenge.method, challenge.dns_provider) == ("dns", "rfc2136")
    assert challenge.dns_options == ("zone=every.example",)
    assert (challenge.dns_follow_cname, challenge.dns_propagation_timeout) == (False, 90.5)
    assert challenge.dns_public_resolvers == ("192.0.2.1", "192.0.2.2")
    assert challenge.plugin["dns.rfc2136.server"] == "192.0.2.53"
    assert (deploy.pre_hook, deploy.post_hook) == ("systemctl stop mail", "systemctl start mail")
    assert (deploy.deploy_hook, deploy.reload) == (
        "/usr/local/bin/tell 'x y'",
        "systemctl reload mail",
    )
    assert (deploy.hook_timeout, deploy.targets, deploy.verify_timeout) == (60, ("nginx",), 12)
    assert deploy.on_failure is OnFailure.ROLLBACK
    assert deploy.verify == (
        ServiceAddress("every.example"),
        ServiceAddress("mail.every.example", 25, "smtp"),
    )
    assert deploy.copies == (
        CopySpec("/srv/tls/every.pem", CopyFormat.FULLCHAIN, mode=0o644),
        CopySpec(
            "/srv/tls/every.p12",
            CopyFormat.PKCS12,
            password_file="/etc/p12",
            encryption=Pkcs12Encryption.LEGACY,
        ),
    )


def test_the_account_its_next_key_and_its_ledger_are_there(home: Path) -> None:
    accounts = opened(home).accounts

    (account,) = accounts.all()

    assert account == Account(
        id="7b937b6525b5",
        directory_url=CA,
        url="https://ca.example/account/1",
        key_type=AccountKeyType.ES256,
        contact=("mailto:a@example.com",),
        status="valid",
        terms_of_service="https://ca.example/terms",
        created=NOW - 200 * DAY,
        ca_bundle="/etc/ssl/ca.pem",
        key_changed=NOW - 100 * DAY,
    )
    names = ("plain.example", "www.plain.example")
    assert set(accounts.ledger(account)) == {
        LedgerEntry(LimitedAction.ORDER, NOW - 2 * DAY, names, renewal=True, replaces=True),
        LedgerEntry(LimitedAction.CERTIFICATE, NOW - 2 * DAY, names, renewal=True, replaces=True),
        LedgerEntry(LimitedAction.FAILURE, NOW - DAY, ("failing.example",)),
    }
    next_key = accounts.next_key(account)
    assert next_key is not None
    assert key_sha256(next_key) != key_sha256(accounts.key(account))


def test_the_history_of_runs_is_known(home: Path) -> None:
    history = opened(home).history()

    assert history.runs == (*(NOW - hours * HOUR for hours in (36, 24, 12)), NOW - HOUR)
    assert (history.exit_status, history.succeeded_at) == (3, NOW - 12 * HOUR)
    failures = ("failing.example acme.rate_limited",)
    assert history.last_alert == LastAlert(NOW - HOUR, failures)


def test_what_an_interrupted_run_left_is_known(home: Path) -> None:
    journal = opened(home).journal

    (leftover,) = journal.leftovers("every.example")
    (copies,) = journal.interrupted_copies("every.example")
    (hooks,) = journal.outstanding_post_hooks()

    data = {"name": "_acme-challenge.every.example", "value": "abc", "zone": "every.example"}
    assert leftover.placements == (Placement("dns", "every.example", "every.example", data),)
    assert leftover.state == CleanupState(2, NOW - DAY, NOW + HOUR, "the server refused")
    assert leftover.challenge == opened(home).spec("every.example").challenge
    assert copies.files == (
        SavedFile("/srv/tls/every.pem", b"\x00old\xff", 0o640, 0, 4, in_place=True),
        SavedFile("/srv/tls/every.p12"),
    )
    assert (hooks.commands, hooks.timeout) == (("systemctl start mail", "echo 'done'"), 60)


def test_a_deleted_certificate_uses_no_number_and_no_compromised_key_again(home: Path) -> None:
    store = opened(home)

    assert store.status("gone.example").renewal_state == RenewalState(
        compromised_keys=("ef" * 32, "01" * 32)
    )
    version = store.versions("plain.example")[2]
    moved = type(version)("gone.example", 0, version.certificates, NOW)
    material = store.material("plain.example", 3)
    assert store.save_version(store.spec("plain.example"), moved, material).number == 3


def test_a_copy_still_belongs_to_its_certificate(home: Path) -> None:
    assert opened(home).claim_copy("/srv/tls/every.pem", "plain.example") == "every.example"


# When it becomes version 2.


def saved_again(store: LocalStore) -> Mapping[str, Callable[[], object]]:
    """What writes each document, without a change."""
    (account,) = store.accounts.all()
    name, leftover = "failing.example", store.journal.leftovers("every.example")[0]
    status = store.status(name)
    (pending,) = store.pending_orders("ordered.example")

    def placed_again() -> None:
        store.drop_pending("ordered.example")
        store.save_pending("ordered.example", pending)

    return {
        f"renewal/{name}.json": lambda: store.save_renewal_state(
            name, status.renewal_state, next_action_at=NOW
        ),
        f"deployed/{name}.json": lambda: store.save_deployment(name, status.deployment),
        "pending/ordered.example/order.json": placed_again,
        f"accounts/ca.example_directory/{account.id}/account.json": lambda: store.accounts.update(
            account
        ),
        f"accounts/ca.example_directory/{account.id}/ledger.json": (
            lambda: store.accounts.add_to_ledger(account, [], NOW)
        ),
        "run.json": lambda: store.record_external_schedule(external=False),
        f"journal/{leftover.entry}.json": lambda: store.journal.save_cleanup(leftover),
    }


def meaning(home: Path) -> list[Any]:
    store = opened(home)
    (account,) = store.accounts.all()
    return [
        store.status("failing.example"),
        store.pending_orders("ordered.example"),
        account,
        set(store.accounts.ledger(account)),
        store.history(),
        store.journal.leftovers("every.example"),
    ]


@pytest.mark.parametrize(
    "file",
    [
        "renewal/failing.example.json",
        "deployed/failing.example.json",
        "pending/ordered.example/order.json",
        "accounts/ca.example_directory/7b937b6525b5/account.json",
        "accounts/ca.example_directory/7b937b6525b5/ledger.json",
        "run.json",
        "journal/placements-every.example-defa3e396b4d8c52.json",
    ],
)
def test_a_document_becomes_version_2_when_it_is_next_written_and_no_other_does(
    home: Path, file: str
) -> None:
    before, meant = contents(home), meaning(home)

    saved_again(opened(home))[file]()

    assert version_of(home / file) == 2
    after = contents(home)
    assert {each for each in before if before[each] != after.get(each)} == {file}
    assert meaning(home) == meant


def test_a_new_version_beside_old_ones_is_version_2(home: Path) -> None:
    store = opened(home)
    before = store.versions("plain.example")

    saved = store.save_version(
        store.spec("plain.example"), before[2], store.material("plain.example", 3)
    )

    assert store.versions("plain.example") == [*before, saved]
    archive = home / "archive" / "plain.example"
    assert [version_of(archive / str(n) / "issued.json") for n in (1, 2, 3, 4)] == [1, 1, 1, 2]


def test_an_idle_certificate_of_version_1_is_looked_at_once_and_idle_in_version_2(
    home: Path,
) -> None:
    store, name = opened(home), "plain.example"
    status = store.status(name)
    store.spec(name)

    before = list(store.possibly_due([name], NOW))
    store.save_renewal_state(name, status.renewal_state, next_action_at=NOW + 6 * HOUR)

    assert before == [name]
    assert list(opened(home).possibly_due([name], NOW)) == []
