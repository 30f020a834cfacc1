"""Pending orders, the journal, hooks, and accounts."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from certctl.model.ca import Account, AccountKeyType
from certctl.model.certificate import PendingOrder
from certctl.model.errors import ConfigurationError, LockHeld, StoreCorrupt, StoreError
from certctl.model.run import OutstandingPostHooks
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Leftover, Placement
from certctl.model.values import Value
from certctl.rules.options import OPTIONS, Kind, Option
from certctl.rules.settings import OptionTable, Settings, Source
from certctl.store.home.layout import account_id, ca_directory_name
from certctl.store.home.tree import LocalTree
from tests.unit.store_samples import NAME, NOW, everything_below, issued, mode, open_store, wanted

CA = "https://acme-v02.api.letsencrypt.org/directory"
KEY = b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"
OTHER_KEY = KEY.replace(b"secret", b"other")

PENDING = PendingOrder(
    request=issued().request,
    account_url="https://ca.example/account/1",
    created=NOW,
    privkey=KEY,
)


def account(number: int = 1, directory_url: str = CA) -> Account:
    url = f"https://ca.example/account/{number}"
    return Account(
        id=account_id(url),
        directory_url=directory_url,
        url=url,
        key_type=AccountKeyType.ES256,
        contact=("mailto:ada@example.com",),
        created=NOW.replace(year=2030 - number),
    )


# Orders.


def test_an_order_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.pending(NAME) is None
    store.save_pending(NAME, PENDING)
    assert open_store(tmp_path).pending(NAME) == PENDING
    assert mode(tmp_path / "pending" / NAME) == 0o700
    assert mode(tmp_path / "pending" / NAME / "privkey.pem") == 0o600


def test_the_url_of_an_order_is_added_when_it_is_known(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.save_pending(NAME, PENDING)
    privkey = tmp_path / "pending" / NAME / "privkey.pem"
    written = privkey.stat().st_ino, privkey.stat().st_mtime_ns
    store.save_pending(NAME, replace(PENDING, url="https://ca.example/order/1"))
    assert store.pending(NAME) == replace(PENDING, url="https://ca.example/order/1")
    assert (privkey.stat().st_ino, privkey.stat().st_mtime_ns) == written


def test_a_new_order_replaces_all_files_of_the_previous_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.save_pending(NAME, replace(PENDING, url="https://ca.example/order/1"))
    other = replace(PENDING, account_url="https://ca.example/account/2", privkey=None)
    store.save_pending(NAME, other)
    assert store.pending(NAME) == other
    assert everything_below(tmp_path) == [
        "pending",
        f"pending/{NAME}",
        f"pending/{NAME}/order.json",
    ]
    store.drop_pending(NAME)
    store.drop_pending(NAME)
    assert everything_below(tmp_path) == ["pending"]


def test_an_order_that_cannot_be_parsed_is_placed_again(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = open_store(tmp_path, warn=warnings.append)
    store.save_pending(NAME, PENDING)
    (tmp_path / "pending" / NAME / "order.json").write_text('{"version": 1, "request": 3}')
    assert store.pending(NAME) is None
    assert "order.json: orders is not valid: request must be an object" in warnings[0]
    store.save_pending(NAME, PENDING)
    assert store.pending(NAME) == PENDING


# The journal.

TOKEN = Option("dns.fancy.token", Kind.TEXT, None, "A token.", secret=True, in_spec=True)
SERVER = Option("dns.fancy.servers", Kind.TEXTS, (), "Servers.", in_spec=True)
FANCY = Settings(table=OptionTable((*OPTIONS, TOKEN, SERVER)))


def placement(name: str = NAME, value: str = "v") -> Placement:
    return Placement("dns-01", name, name, {"value": value, "zone": "example.com"})


def challenge(**plugin: Value) -> ChallengeSpec:
    return ChallengeSpec(
        method="dns",
        http_port=8080,
        webroots=("/srv/www",),
        dns_provider="fancy",
        dns_propagation_timeout=1.5,
        plugin={f"dns.fancy.{key}": value for key, value in plugin.items()},
    )


def test_placements_are_read_back_for_their_certificate_until_they_are_removed(
    tmp_path: Path,
) -> None:
    journal = open_store(tmp_path, settings=FANCY).journal
    used = challenge(servers=("a", "b"), token=None)
    first = journal.record_placements(used, [placement(), placement(value="w")])
    second = journal.record_placements(used, [placement("other.example")])
    assert open_store(tmp_path, settings=FANCY).journal.leftovers(NAME) == [
        Leftover(first, used, (placement(), placement(value="w")))
    ]
    journal.remove(first)
    journal.remove(first)
    assert journal.leftovers(NAME) == []
    assert [each.entry for each in journal.leftovers("other.example")] == [second]


def test_an_entry_belongs_to_one_certificate(tmp_path: Path) -> None:
    journal = open_store(tmp_path).journal
    with pytest.raises(ValueError, match="one certificate"):
        journal.record_placements(challenge(), [placement(), placement("other.example")])
    with pytest.raises(ValueError, match="one certificate"):
        journal.record_placements(challenge(), [])


def test_names_that_look_like_each_other_do_not_share_entries(tmp_path: Path) -> None:
    journal = open_store(tmp_path).journal
    name = f"{NAME}-0011223344556677"
    journal.record_placements(challenge(), [placement(name)])
    assert journal.leftovers(NAME) == []
    assert len(journal.leftovers(name)) == 1


def test_secrets_are_not_journalled_but_found_again_in_the_settings(tmp_path: Path) -> None:
    journal = open_store(tmp_path, settings=FANCY).journal
    entry = journal.record_placements(challenge(servers=("a",), token="s3cret"), [placement()])
    path = tmp_path / "journal" / f"{entry}.json"
    assert "s3cret" not in path.read_text()
    assert mode(path) == 0o600
    later = FANCY.over({"dns.fancy.token": "n3w"}, Source.ENVIRONMENT)
    [leftover] = open_store(tmp_path, settings=later).journal.leftovers(NAME)
    assert leftover.challenge == challenge(servers=("a",), token="n3w")


def test_a_secret_in_the_spec_is_found_again_there(tmp_path: Path) -> None:
    store = open_store(tmp_path, settings=FANCY)
    store.journal.record_placements(challenge(token="s3cret"), [placement()])
    spec = replace(
        wanted(), chosen={"challenge.dns_provider": "fancy", "dns.fancy.token": "from the spec"}
    )
    store.save_spec(spec)
    [leftover] = store.journal.leftovers(NAME)
    assert leftover.challenge.plugin["dns.fancy.token"] == "from the spec"


def test_post_hooks_are_outstanding_until_they_are_removed(tmp_path: Path) -> None:
    journal = open_store(tmp_path).journal
    assert journal.outstanding_post_hooks() == []
    entry = journal.record_post_hooks(["systemctl start nginx", "true"], 12.5)
    journal.record_placements(challenge(), [placement()])
    assert open_store(tmp_path).journal.outstanding_post_hooks() == [
        OutstandingPostHooks(entry, ("systemctl start nginx", "true"), 12.5)
    ]
    journal.remove(entry)
    assert journal.outstanding_post_hooks() == []


def test_an_entry_that_cannot_be_parsed_is_renamed_and_skipped(tmp_path: Path) -> None:
    warnings: list[str] = []
    journal = open_store(tmp_path, warn=warnings.append).journal
    damaged = journal.record_placements(challenge(), [placement()])
    whole = journal.record_placements(challenge(), [placement()])
    (tmp_path / "journal" / f"{damaged}.json").write_text("{")
    assert [each.entry for each in journal.leftovers(NAME)] == [whole]
    assert (tmp_path / "journal" / f"{damaged}.json.corrupt").read_text() == "{"
    assert "is ignored" in warnings[0]
    assert [each.entry for each in journal.leftovers(NAME)] == [whole]
    assert len(warnings) == 1


@pytest.mark.parametrize("entry", ["../renewal/x", "x", f"placements-../../x-{'0' * 16}", ""])
def test_only_entries_of_the_journal_can_be_removed(tmp_path: Path, entry: str) -> None:
    with pytest.raises(StoreError, match="is not a journal entry"):
        open_store(tmp_path).journal.remove(entry)


# Accounts.


def test_accounts_are_read_back_the_oldest_first(tmp_path: Path) -> None:
    accounts = open_store(tmp_path).accounts
    assert accounts.all() == []
    accounts.save(account(1), KEY)
    accounts.save(account(2, "https://localhost:14000/dir"), OTHER_KEY)
    again = open_store(tmp_path).accounts
    assert again.all() == [account(2, "https://localhost:14000/dir"), account(1)]
    assert again.key(account(1)) == KEY
    directory = tmp_path / "accounts" / "acme-v02.api.letsencrypt.org_directory" / account().id
    assert everything_below(directory) == ["account.json", "key.pem"]
    assert (mode(directory), mode(directory / "key.pem")) == (0o700, 0o600)


def test_an_update_keeps_the_key(tmp_path: Path) -> None:
    accounts = open_store(tmp_path).accounts
    accounts.save(account(), KEY)
    changed = replace(account(), status="deactivated", terms_of_service="https://ca.example/tos")
    accounts.update(changed)
    assert accounts.all() == [changed]
    assert accounts.key(account()) == KEY
    accounts.save(account(), OTHER_KEY)
    assert (accounts.all(), accounts.key(account())) == ([account()], OTHER_KEY)


def test_the_next_key_becomes_the_key_in_one_step(tmp_path: Path) -> None:
    accounts = open_store(tmp_path).accounts
    accounts.save(account(), KEY)
    assert accounts.next_key(account()) is None
    accounts.save_next_key(account(), OTHER_KEY)
    assert (accounts.key(account()), accounts.next_key(account())) == (KEY, OTHER_KEY)
    accounts.promote_next_key(account())
    assert (accounts.key(account()), accounts.next_key(account())) == (OTHER_KEY, None)


def test_a_next_key_can_be_dropped(tmp_path: Path) -> None:
    accounts = open_store(tmp_path).accounts
    accounts.save(account(), KEY)
    accounts.save_next_key(account(), OTHER_KEY)
    accounts.drop_next_key(account())
    accounts.drop_next_key(account())
    assert (accounts.key(account()), accounts.next_key(account())) == (KEY, None)


def test_an_account_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    accounts = open_store(tmp_path).accounts
    accounts.save(account(), KEY)
    path = tmp_path / "accounts" / ca_directory_name(CA) / account().id / "key.pem"
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="contains a secret") as caught:
        accounts.key(account())
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_damaged_account_is_an_error(tmp_path: Path) -> None:
    accounts = open_store(tmp_path).accounts
    accounts.save(account(), KEY)
    path = tmp_path / "accounts" / ca_directory_name(CA) / account().id / "account.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key_type": "dsa"}))
    with pytest.raises(StoreCorrupt, match="key_type must be one of es256, es384, rs256"):
        accounts.all()


@pytest.mark.parametrize("id", ["../x", "", ".new-x", "a/b"])
def test_no_account_leads_out_of_its_directory(tmp_path: Path, id: str) -> None:  # noqa: A002
    accounts = open_store(tmp_path).accounts
    with pytest.raises(StoreError, match="is not a valid account id"):
        accounts.update(replace(account(), id=id))
    assert accounts.save(replace(account(), id=id), KEY) == account()


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        (CA, "acme-v02.api.letsencrypt.org_directory"),
        ("https://Acme.ZeroSSL.com/v2/DV90", "acme.zerossl.com_v2_DV90"),
        ("https://localhost:14000/dir", "localhost_14000_dir"),
        ("https://[::1]:14000/dir", "1_14000_dir"),
        ("https://u:p@ca.example/../../etc/?q=/", "ca.example_.._.._etc"),
        ("https:///../..", "ca"),
        ("", "ca"),
        ("https://ca.example/" + "a" * 500, "ca.example_" + "a" * 139),
    ],
)
def test_a_directory_of_a_ca_is_one_safe_name(url: str, directory: str) -> None:
    assert ca_directory_name(url) == directory


def test_orders_share_the_lock_of_an_account_and_changes_hold_it_exclusively(
    tmp_path: Path,
) -> None:
    accounts = open_store(tmp_path).accounts
    with (
        accounts.lock(CA, exclusive=False, timeout=0),
        accounts.lock(CA, exclusive=False, timeout=0),
        pytest.raises(LockHeld, match=f"the account at {CA}"),
    ):
        accounts.lock(CA, exclusive=True, timeout=0)
    with accounts.lock(CA, exclusive=True, timeout=0), pytest.raises(LockHeld):
        accounts.lock(CA, exclusive=False, timeout=0)


def test_an_exclusive_lock_removes_temporary_files_of_accounts_after_a_crash(
    tmp_path: Path,
) -> None:
    accounts = open_store(tmp_path).accounts
    accounts.save(account(), KEY)
    ca = tmp_path / "accounts" / ca_directory_name(CA)
    before = everything_below(ca)
    (ca / ".new-abc-0a0b0c0d").mkdir()
    (ca / ".new-abc-0a0b0c0d" / "key.pem").touch()
    (ca / account().id / ".new-key.pem-0a0b0c0d").touch()
    accounts.lock(CA, exclusive=False, timeout=0).release()
    assert everything_below(ca) != before
    accounts.lock(CA, exclusive=True, timeout=0).release()
    assert everything_below(ca) == before


# Hooks.


def hook(home: Path, name: str, permissions: int = 0o755) -> Path:
    directory = home / "hooks" / "deploy.d"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).touch()
    (directory / name).chmod(permissions)
    return directory / name


def test_hooks_are_the_executables_in_byte_order(tmp_path: Path) -> None:
    tree = LocalTree(tmp_path)
    assert tree.hooks("deploy") == []
    for name in ("b", "B", "10", "9", "ä", "b~", ".b.swp"):
        hook(tmp_path, name)
    hook(tmp_path, "README", 0o644)
    (tmp_path / "hooks" / "deploy.d" / "folder").mkdir()
    (tmp_path / "hooks" / "deploy.d" / "broken").symlink_to("nowhere")
    names = [os.path.basename(each) for each in tree.hooks("deploy")]  # noqa: PTH119
    assert names == ["10", "9", "B", "b", "ä"]
    assert tree.hooks("pre") == []


def test_a_hook_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    path = hook(tmp_path, "reload", 0o757)
    with pytest.raises(ConfigurationError, match="can be written by other users") as caught:
        LocalTree(tmp_path).hooks("deploy")
    assert caught.value.hint == f"chmod go-w {path}"


def test_there_are_hooks_for_three_events_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no hooks for"):
        LocalTree(tmp_path).hooks("../certificates")
