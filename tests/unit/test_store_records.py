"""What the port `records` promises, held by each of its implementations: files, and memory.

A database that is added later runs the same tests: a row in `STORES` is all that it needs.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.model.ca import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.model.certificate import Attempts, PendingOrder, RenewalState
from certctl.model.errors import Conflict, Fenced, FilesDamaged, LockHeld, UnknownCertificate
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import CleanupState, Placement
from certctl.rules.settings import Settings
from certctl.store.home.home_records import HomeRecords
from certctl.store.home.layout import Layout
from certctl.store.home.parts import Parts
from certctl.store.memory.memory_records import MemoryRecords
from certctl.store.records import (
    NOTHING,
    AccountKeys,
    Changes,
    Gen,
    NextAction,
    Records,
    Stored,
    Subject,
    Token,
)
from tests.lab.clock import SteerableClock
from tests.support.homes import add_copies
from tests.unit.store_samples import NAME, NOW, REPOSITORY, issued, material, wanted

CERTIFICATE = Subject(NAME)
LATER = NOW + timedelta(days=60)
DIRECTORY = "https://ca.example/directory"
ACCOUNTS = Subject(directory_url=DIRECTORY)
CSR = b"-----BEGIN CERTIFICATE REQUEST-----\n"
COMPROMISED = "ab" * 32
MANY = 300
TTL = 60.0

FAILED = RenewalState((Attempts(DIRECTORY, failures=1),))
CHALLENGE = ChallengeSpec("standalone")
PLACEMENT = Placement("http-01", NAME, NAME, {"token": "abc"})


def order(url: str | None = None) -> PendingOrder:
    return PendingOrder(
        issued().request, "https://ca.example/account/1", NOW, url, privkey=material().privkey
    )


def account(**changes: object) -> Account:
    url = "https://ca.example/account/1"
    made = Account("", DIRECTORY, url, AccountKeyType.ES256, created=NOW)
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class Bench:
    """An implementation, opened as two processes would open it, and what may happen to it."""

    records: Records
    other: Records
    clock: SteerableClock
    lose: Callable[[], None]
    """Whoever holds the lease on `NAME` loses it."""
    fill: Callable[[int], None]
    """Store so many certificates that have nothing to do for now."""

    def write(self, changes: Changes, name: str = NAME) -> Gen:
        """Write with a lease of its own, from what is stored."""
        stored = self.records.read(name) or Stored(name)
        with self.records.lease(Subject(name), wait=0) as lease:
            return self.records.write(name, changes, expect=stored.gen, token=lease.token)

    def add(self, mark: str = "1", order_url: str = "https://ca.example/order/1") -> int:
        """Archive a version with a lease of its own; return its number."""
        with self.records.lease(CERTIFICATE, wait=0) as lease:
            version, token = issued(mark=mark, order_url=order_url), lease.token
            return self.records.add_version(NAME, version, material(mark), token=token).number

    def read(self) -> Stored:
        """What the other process reads."""
        stored = self.other.read(NAME)
        assert stored is not None
        return stored

    def due(self) -> Sequence[str]:
        """What may be due, as the other process sees it."""
        return list(self.other.due(self.clock.now()))


def in_files(directory: Path) -> Bench:
    home, clock = directory / "home", SteerableClock(NOW)

    def lock_file_is_replaced() -> None:
        Layout(home).certificate_lock(NAME).unlink()

    return Bench(
        HomeRecords(Parts(home, Settings(), clock)),
        HomeRecords(Parts(home, Settings(), clock)),
        clock,
        lock_file_is_replaced,
        lambda count: add_copies(home, count),
    )


def in_memory(_directory: Path) -> Bench:
    clock = SteerableClock(NOW)
    return over(MemoryRecords(clock), clock)


def as_overlay(_directory: Path) -> Bench:
    """An overlay without anything below it behaves as the store itself."""
    clock = SteerableClock(NOW)
    return over(MemoryRecords(clock, base=MemoryRecords(clock)), clock)


def over(records: MemoryRecords, clock: SteerableClock) -> Bench:
    bench = Bench(records, records, clock, lambda: clock.advance(TTL), lambda _count: None)

    def fill(count: int) -> None:
        for number in range(count):
            name = f"copy{number}.example"
            state = RenewalState(), NextAction(LATER)
            bench.write(Changes(None, wanted(name), *state), name)

    bench.fill = fill
    return bench


STORES = {"files": in_files, "memory": in_memory, "overlay": as_overlay}


@pytest.fixture(params=STORES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return STORES[request.param](tmp_path)


# Reading and writing.


def test_nothing_is_read_of_a_name_that_nobody_has_used(bench: Bench) -> None:
    assert bench.records.read(NAME) is None
    assert bench.records.names() == []


def test_everything_that_is_written_is_read_back_by_another_process(bench: Bench) -> None:
    spec, state = wanted(csr="ab"), RenewalState(revoked=(1,), paused_until=LATER)

    bench.write(Changes(CSR, spec, state, NextAction(LATER), (order(),)))

    found = bench.read()
    assert (found.spec, found.csr, found.renewal_state) == (spec, CSR, state)
    assert (found.orders, found.saved_at) == ((order(),), NOW)


def test_what_is_left_out_of_a_write_stays(bench: Bench) -> None:
    bench.write(Changes(spec=wanted(), renewal_state=RenewalState(revoked=(1,))))

    bench.write(Changes(orders=(order(),)))

    found = bench.read()
    assert (found.spec, found.renewal_state.revoked, found.orders) == (wanted(), (1,), (order(),))


def test_an_order_gets_its_url_and_is_dropped(bench: Bench) -> None:
    bench.write(Changes(orders=(order(),)))
    bench.write(Changes(orders=(order("https://ca.example/order/1"),)))
    assert bench.read().orders == (order("https://ca.example/order/1"),)

    bench.write(Changes(spec=wanted(), orders=()))

    assert bench.read().orders == ()


def test_a_first_order_has_no_spec_yet(bench: Bench) -> None:
    bench.write(Changes(orders=(order(),)))

    with pytest.raises(UnknownCertificate):
        bench.read().require_spec()
    assert bench.records.names() == []


def test_writing_what_is_stored_changes_nothing(bench: Bench) -> None:
    changes = Changes(None, wanted(), None, None, (order(),))
    bench.write(changes)
    before = bench.read().gen

    assert bench.write(changes) == before
    assert bench.read().gen == before


def test_a_summary_has_no_private_key(bench: Bench) -> None:
    bench.write(Changes(CSR, wanted(csr="ab"), RenewalState(revoked=(1,)), None, (order(),)))

    found = bench.records.summaries([NAME, "other.example"])

    full = bench.read()
    without = replace(full, csr=None, orders=(replace(order(), privkey=None),))
    assert dict(found) == {NAME: without}


def test_names_come_in_pages(bench: Bench) -> None:
    for name in ("c.example", "a.example", "b.example"):
        bench.write(Changes(spec=wanted(name)), name)

    assert bench.records.names() == ["a.example", "b.example", "c.example"]
    assert bench.records.names(after="a.example", limit=1) == ["b.example"]
    assert list(bench.records.due(NOW, after="a.example", limit=1)) == ["b.example"]


def test_a_certificate_is_found_by_its_identifiers(bench: Bench) -> None:
    for name in ("a.example", "b.example"):
        bench.write(Changes(spec=wanted(name)), name)

    assert bench.records.find("b.example") == ["b.example"]
    assert bench.records.find("c.example") == []


# Generations.


def test_a_write_from_a_stale_generation_changes_nothing(bench: Bench) -> None:
    bench.write(Changes(spec=wanted(), renewal_state=RenewalState(revoked=(1,))))
    stale = bench.read().gen
    bench.write(Changes(spec=wanted(reuse_key=True)))

    both = Changes(spec=wanted(allow_subset=True), renewal_state=RenewalState(revoked=(2,)))
    with bench.records.lease(CERTIFICATE, wait=0) as lease, pytest.raises(Conflict):
        bench.records.write(NAME, both, expect=stale, token=lease.token)

    found = bench.read()
    assert (found.spec, found.renewal_state.revoked) == (wanted(reuse_key=True), (1,))


@pytest.mark.parametrize(
    "changes",
    [
        Changes(spec=wanted(reuse_key=True)),
        Changes(renewal_state=RenewalState(revoked=(1,))),
        Changes(orders=(order(),)),
    ],
)
def test_what_exists_is_not_overwritten_as_if_nothing_were_stored(
    bench: Bench, changes: Changes
) -> None:
    bench.write(Changes(None, wanted(), RenewalState(), None, (order("https://ca.example/1"),)))

    with bench.records.lease(CERTIFICATE, wait=0) as lease, pytest.raises(Conflict):
        bench.records.write(NAME, changes, expect=NOTHING, token=lease.token)


def test_a_generation_conflicts_only_over_what_is_written(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    before = bench.read().gen
    bench.write(Changes(spec=wanted(reuse_key=True)))

    with bench.records.lease(CERTIFICATE, wait=0) as lease:
        after = bench.records.write(
            NAME, Changes(orders=(order(),)), expect=before, token=lease.token
        )
        with pytest.raises(Conflict):
            bench.records.write(NAME, Changes(spec=wanted()), expect=after, token=lease.token)

    assert (bench.read().spec, bench.read().orders) == (wanted(reuse_key=True), (order(),))


def test_a_stale_generation_deletes_nothing(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    stale = bench.read().gen
    bench.write(Changes(spec=wanted(reuse_key=True)))

    with bench.records.lease(CERTIFICATE, wait=0) as lease, pytest.raises(Conflict):
        bench.records.delete(NAME, expect=stale, token=lease.token)

    assert bench.read().spec == wanted(reuse_key=True)


def test_a_spec_that_a_user_edits_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    bench = in_files(tmp_path)
    bench.write(Changes(spec=wanted()))
    read = bench.records.read(NAME)
    assert read is not None
    path = Layout(tmp_path / "home").spec(NAME)
    path.write_text(path.read_text() + "# mine\n")

    with bench.records.lease(CERTIFICATE, wait=0) as lease:
        bench.records.write(NAME, Changes(orders=(order(),)), expect=read.gen, token=lease.token)
        changes = Changes(spec=wanted(reuse_key=True))
        with pytest.raises(Conflict) as caught:
            bench.records.write(NAME, changes, expect=read.gen, token=lease.token)

    assert caught.value.message == (
        "the specification of example.com has changed in the meantime, so it was not saved"
    )
    assert path.read_text().endswith("# mine\n")


def test_a_spec_with_a_mistake_is_an_error_only_for_who_needs_it(tmp_path: Path) -> None:
    bench = in_files(tmp_path)
    bench.write(Changes(spec=wanted(), renewal_state=RenewalState(revoked=(1,))))
    Layout(tmp_path / "home").spec(NAME).write_text("names = 1 2")

    found = bench.read()

    assert (found.spec, found.renewal_state.revoked) == (None, (1,))
    assert found.spec_error is not None
    assert found.spec_error.code == "configuration.toml"
    with pytest.raises(type(found.spec_error)):
        found.require_spec()


# Leases.


def test_a_certificate_has_one_holder(bench: Bench) -> None:
    with bench.records.lease(CERTIFICATE, wait=0) as first:
        with pytest.raises(LockHeld):
            bench.other.lease(CERTIFICATE, wait=0)
        with bench.other.lease(Subject("other.example"), wait=0):
            bench.records.write(NAME, Changes(spec=wanted()), expect=NOTHING, token=first.token)

    with bench.other.lease(CERTIFICATE, wait=0):
        assert bench.read().spec == wanted()


def test_a_later_lease_has_a_greater_token(bench: Bench) -> None:
    with bench.records.lease(CERTIFICATE, wait=0) as first:
        pass
    with bench.records.lease(CERTIFICATE, wait=0) as second:
        assert (second.token.epoch, second.token.number) > (first.token.epoch, first.token.number)


def test_without_a_lease_nothing_is_written(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    gen = bench.read().gen
    with bench.records.lease(CERTIFICATE, wait=0) as ended:
        pass

    with bench.records.lease(Subject("other.example"), wait=0) as foreign:
        for token in (ended.token, foreign.token, Token(0, 10**6)):
            with pytest.raises(Fenced):
                bench.records.write(NAME, Changes(orders=(order(),)), expect=gen, token=token)
            with pytest.raises(Fenced):
                bench.records.add_version(NAME, issued(), material(), token=token)
            with pytest.raises(Fenced):
                bench.records.remove_versions(NAME, [1], token=token)
            with pytest.raises(Fenced):
                bench.records.delete(NAME, expect=gen, token=token)

    assert bench.read().gen == gen


def test_who_lost_the_lease_is_fenced_once_another_process_has_it(bench: Bench) -> None:
    first = bench.records.lease(CERTIFICATE, ttl=TTL, wait=0)
    bench.lose()

    with bench.other.lease(CERTIFICATE, ttl=TTL, wait=0) as second:
        bench.other.write(NAME, Changes(spec=wanted()), expect=NOTHING, token=second.token)
        gen = bench.read().gen
        changes = Changes(spec=wanted(reuse_key=True))
        with pytest.raises(Fenced) as caught:
            bench.records.write(NAME, changes, expect=gen, token=first.token)
        with pytest.raises(Fenced):
            first.renew()
        first.release()
        bench.other.write(NAME, Changes(orders=(order(),)), expect=gen, token=second.token)

    assert (caught.value.code, int(caught.value.exit_status)) == ("store.fenced", 5)
    assert (bench.read().spec, bench.read().orders) == (wanted(), (order(),))


def test_a_lease_that_is_renewed_in_time_is_kept(bench: Bench) -> None:
    with bench.records.lease(CERTIFICATE, ttl=TTL, wait=0) as lease:
        for _ in range(3):
            bench.clock.advance(TTL * 0.9)
            lease.renew()

        with pytest.raises(LockHeld):
            bench.other.lease(CERTIFICATE, wait=0)
        bench.records.write(NAME, Changes(spec=wanted()), expect=NOTHING, token=lease.token)


def test_a_lease_is_waited_for(bench: Bench) -> None:
    held = bench.records.lease(CERTIFICATE, wait=0)
    bench.clock.on_wait = lambda _seconds: held.release()

    with bench.other.lease(CERTIFICATE, wait=10):
        assert bench.clock.waits


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    bench = in_files(tmp_path)
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tests.unit.test_store_records import CERTIFICATE, in_files\n"
        "lease = in_files(Path(sys.argv[1])).records.lease(CERTIFICATE, wait=0)\n"
        "print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockHeld):
            bench.records.lease(CERTIFICATE, wait=0)
        holder.kill()
        holder.wait()

        with bench.records.lease(CERTIFICATE, wait=0):
            pass


def test_accounts_are_shared_for_orders_and_exclusive_for_changes(bench: Bench) -> None:
    with (
        bench.records.lease(ACCOUNTS, shared=True, wait=0) as one,
        bench.other.lease(ACCOUNTS, shared=True, wait=0),
    ):
        with pytest.raises(LockHeld):
            bench.other.lease(ACCOUNTS, wait=0)
        keys = AccountKeys(b"key")
        with pytest.raises(Fenced):
            bench.records.save_account(account(), keys, expect=None, token=one.token)

    with bench.other.lease(ACCOUNTS, wait=0), pytest.raises(LockHeld):
        bench.records.lease(ACCOUNTS, shared=True, wait=0)


# Versions.


def test_the_store_numbers_versions(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))

    assert bench.add("1", order_url="https://ca.example/order/1") == 1
    assert bench.add("2", order_url="https://ca.example/order/2") == 2

    found = bench.read()
    assert list(found.versions) == [1, 2]
    assert found.versions[2] == replace(
        issued(mark="2", order_url="https://ca.example/order/2"), number=2
    )
    assert found.last_version == 2
    assert bench.other.material(NAME, 1) == material("1")


def test_the_version_of_an_order_is_archived_once(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    assert bench.add("1", order_url="https://ca.example/order/1") == 1
    assert bench.add("2", order_url="https://ca.example/order/2") == 2

    assert bench.add("1", order_url="https://ca.example/order/1") == 1
    assert list(bench.read().versions) == [1, 2]


def test_a_version_without_its_key_is_not_archived(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    mixed = replace(material("1"), privkey=material("2").privkey)

    with bench.records.lease(CERTIFICATE, wait=0) as lease, pytest.raises(FilesDamaged):
        bench.records.add_version(NAME, issued(), mixed, token=lease.token)

    assert dict(bench.read().versions) == {}


def test_a_removed_version_is_gone_and_its_number_is_not_used_again(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    bench.add("1", order_url="https://ca.example/order/1")
    bench.add("2", order_url="https://ca.example/order/2")
    bench.write(Changes(next_action=NextAction(LATER)))
    with bench.records.lease(CERTIFICATE, wait=0) as lease:
        bench.records.remove_versions(NAME, [2], token=lease.token)

    with pytest.raises(UnknownCertificate):
        bench.records.material(NAME, 2)
    assert bench.add("3", order_url="https://ca.example/order/3") == 3


def test_a_deleted_certificate_leaves_its_last_number_and_its_compromised_keys(
    bench: Bench,
) -> None:
    state = RenewalState(revoked=(1,), compromised_keys=(COMPROMISED,))
    bench.write(Changes(None, wanted(), state, NextAction(LATER), (order(),)))
    bench.add()
    with bench.records.lease(CERTIFICATE, wait=0) as lease:
        bench.records.delete(NAME, expect=bench.read().gen, token=lease.token)

    found = bench.read()
    assert (found.spec, found.orders, dict(found.versions)) == (None, (), {})
    assert found.renewal_state == RenewalState(compromised_keys=(COMPROMISED,))
    assert found.last_version == 1
    assert bench.records.names() == []
    bench.write(Changes(spec=wanted()))
    assert bench.add() == 2


# What is due.


def idle(bench: Bench) -> None:
    bench.write(Changes(None, wanted(), RenewalState(), NextAction(LATER), ()))


def test_a_certificate_is_idle_until_its_next_action(bench: Bench) -> None:
    idle(bench)

    assert bench.due() == []
    bench.clock.set(LATER)
    assert bench.due() == [NAME]


@pytest.mark.parametrize(
    "changes",
    [
        Changes(spec=wanted(reuse_key=True)),
        Changes(renewal_state=FAILED, next_action=NextAction(LATER)),
        Changes(renewal_state=RenewalState()),
        Changes(orders=(order(),)),
    ],
)
def test_what_has_changed_since_may_be_due(bench: Bench, changes: Changes) -> None:
    idle(bench)

    bench.write(changes)

    assert bench.due() == [NAME]


def test_a_certificate_without_a_next_action_is_idle_for_good(bench: Bench) -> None:
    bench.write(Changes(None, wanted(), RenewalState(), NextAction(None), ()))

    bench.clock.set(LATER)

    assert bench.due() == []


def test_what_a_clock_ahead_has_written_may_be_due(bench: Bench) -> None:
    bench.clock.set(LATER)
    bench.write(Changes(None, wanted(), RenewalState(), NextAction(None), ()))

    bench.clock.set(NOW)

    assert bench.due() == [NAME]


def test_idle_certificates_are_skipped_without_being_read(bench: Bench) -> None:
    bench.fill(MANY)
    names = bench.records.names()
    assert len(names) == MANY
    bench.clock.set(max(each.saved_at or NOW for each in bench.other.summaries(names).values()))

    assert bench.due() == []
    assert quickest(bench.due) < quickest(lambda: [bench.other.read(name) for name in names])


def quickest(work: Callable[[], object]) -> float:
    """The shortest of a few measurements, which other processes disturb least."""
    found = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


# Changes.


def test_each_change_is_told_once(bench: Bench) -> None:
    bench.write(Changes(spec=wanted("a.example")), "a.example")
    names, cursor = bench.records.changes()
    assert names == ["a.example"]
    names, cursor = bench.records.changes(cursor)
    assert names == []

    bench.write(Changes(spec=wanted()))
    bench.write(Changes(renewal_state=RenewalState(revoked=(1,))), "a.example")

    names, cursor = bench.records.changes(cursor)
    assert names == ["a.example", NAME]
    assert bench.records.changes(cursor)[0] == []


def test_a_deletion_is_a_change(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))
    _, cursor = bench.records.changes()
    with bench.records.lease(CERTIFICATE, wait=0) as lease:
        bench.records.delete(NAME, expect=bench.read().gen, token=lease.token)

    assert bench.records.changes(cursor)[0] == [NAME]


def test_a_change_is_waited_for(bench: Bench) -> None:
    _, cursor = bench.records.changes()
    told = threading.Event()

    def change(_seconds: float) -> None:
        if not told.is_set():
            told.set()
            bench.write(Changes(spec=wanted()))

    bench.clock.on_wait = change

    assert bench.records.changes(cursor, wait=60)[0] == [NAME]


def test_of_an_unknown_cursor_everything_has_changed(bench: Bench) -> None:
    bench.write(Changes(spec=wanted()))

    assert bench.other.changes("of another time")[0] == [NAME]


# Accounts and what was asked for them.


def registered(bench: Bench) -> Account:
    with bench.records.lease(ACCOUNTS, wait=0) as lease:
        keys = AccountKeys(b"first")
        return bench.records.save_account(account(), keys, expect=None, token=lease.token)


def test_an_account_is_read_back_with_its_key(bench: Bench) -> None:
    saved = registered(bench)

    assert saved == account(id=saved.id)
    assert bench.other.accounts(DIRECTORY) == [saved]
    assert bench.other.accounts() == [saved]
    assert bench.other.accounts("https://other.example") == []
    assert bench.other.account_keys(saved) == AccountKeys(b"first")


def test_an_account_is_changed_only_from_what_is_stored(bench: Bench) -> None:
    saved = registered(bench)
    changed = replace(saved, contact=("mailto:a@example.com",))
    with bench.records.lease(ACCOUNTS, wait=0) as lease:
        bench.records.save_account(changed, None, expect=saved, token=lease.token)
        for stale in (saved, None):
            with pytest.raises(Conflict):
                bench.records.save_account(saved, None, expect=stale, token=lease.token)

    assert bench.other.accounts() == [changed]
    assert bench.other.account_keys(changed) == AccountKeys(b"first")


def test_a_key_rollover_can_be_finished_or_given_up(bench: Bench) -> None:
    saved = registered(bench)
    found = []
    with bench.records.lease(ACCOUNTS, wait=0) as lease:
        for keys in (
            AccountKeys(b"first", b"second"),
            AccountKeys(b"first"),
            AccountKeys(b"first", b"third"),
            AccountKeys(b"third"),
        ):
            bench.records.save_account(saved, keys, expect=saved, token=lease.token)
            found.append(bench.other.account_keys(saved) == keys)

    assert found == [True] * 4


def test_a_forgotten_account_is_gone_with_its_ledger(bench: Bench) -> None:
    saved = registered(bench)
    bench.records.note(saved, [LedgerEntry(LimitedAction.ORDER, NOW)])
    with bench.records.lease(ACCOUNTS, wait=0) as lease:
        bench.records.forget_account(saved, token=lease.token)

    assert (bench.other.accounts(), bench.other.asked(saved)) == ([], [])


def test_what_was_asked_of_a_ca_is_kept_as_long_as_it_counts(bench: Bench) -> None:
    saved = registered(bench)
    early = LedgerEntry(LimitedAction.ORDER, NOW - timedelta(days=400))
    rows = [
        LedgerEntry(LimitedAction.ORDER, NOW - timedelta(hours=1)),
        LedgerEntry(LimitedAction.CERTIFICATE, NOW),
    ]
    bench.records.note(saved, [early, rows[0]])
    bench.records.note(saved, rows[1:])

    assert list(bench.other.asked(saved)) == rows


# Placements.


def test_a_placement_is_known_until_it_is_settled(bench: Bench) -> None:
    entry = bench.records.place(CHALLENGE, [PLACEMENT])
    found = bench.other.placements(NAME)
    state = CleanupState(failures=1, since=NOW, retry_at=LATER, error="no answer")
    bench.records.postpone(replace(found[0], state=state))

    assert [(each.entry, each.placements) for each in found] == [(entry, (PLACEMENT,))]
    assert [each.state for each in bench.other.placements(NAME)] == [state]
    assert bench.other.names_with_placements() == [NAME]
    assert bench.other.placements("other.example") == []

    bench.records.settle(entry)
    bench.records.settle(entry)

    assert bench.other.placements(NAME) == []
    assert bench.other.names_with_placements() == []


# A kill between any two documents.

OLD = Changes(CSR, wanted(csr="ab"), RenewalState(revoked=(1,)), NextAction(LATER), (order(),))
NEW = Changes(
    CSR + b"2",
    wanted(csr="cd"),
    RenewalState(revoked=(1, 2)),
    NextAction(NOW),
    (order("https://ca.example/order/2"),),
)


PREPARATIONS = 5
"""How many documents `prepare` writes."""


class Killed(Exception):
    """In place of a kill, where there is no process to kill."""


def is_new(stored: Stored) -> list[bool]:
    """Which documents have been written, in the order of the writes; each is old or new."""
    found = [stored.csr, stored.spec, stored.renewal_state, stored.orders]
    old, new = ([each.csr, each.spec, each.renewal_state, each.orders] for each in (OLD, NEW))
    assert all(each in pair for each, pair in zip(found, zip(old, new, strict=True), strict=True))
    return [each == pair for each, pair in zip(found, new, strict=True)]


def check_after_a_kill(bench: Bench) -> tuple[list[bool], int]:
    """What a kill left: the first documents in the order of the writes, and whole versions. What is
    missing can be written then.
    """
    left = bench.read()
    written = is_new(left)
    assert written == sorted(written, reverse=True)
    for number in left.versions:
        assert bench.records.material(NAME, number).privkey == material(str(number)).privkey
    assert len(left.versions) == 1 or all(written)
    bench.write(NEW)
    assert bench.add("2", order_url="https://ca.example/order/2") == 2
    assert is_new(bench.read()) == [True] * 4
    return written, len(left.versions)


def work(records: Records) -> None:
    """Write every document, and archive a version."""
    stored = records.read(NAME)
    assert stored is not None
    with records.lease(CERTIFICATE, wait=0) as lease:
        records.write(NAME, NEW, expect=stored.gen, token=lease.token)
        version = issued(mark="2", order_url="https://ca.example/order/2")
        records.add_version(NAME, version, material("2"), token=lease.token)


def prepare(bench: Bench) -> None:
    bench.write(OLD)
    bench.add("1", order_url="https://ca.example/order/1")


def test_an_error_between_any_two_documents_leaves_the_first_ones() -> None:
    left = []
    for number in range(1, 7):
        clock, writes = SteerableClock(NOW), iter(range(1, 100))

        def stop(_document: str, number: int = number, writes: Iterator[int] = writes) -> None:
            if next(writes) == number + PREPARATIONS:
                raise Killed

        records = MemoryRecords(clock, before=stop)
        bench = over(records, clock)
        prepare(bench)
        with suppress(Killed):
            work(records)
        left.append(check_after_a_kill(bench))

    assert left == [
        ([False, False, False, False], 1),
        ([True, False, False, False], 1),
        ([True, True, False, False], 1),
        ([True, True, True, False], 1),
        ([True, True, True, True], 1),
        ([True, True, True, True], 2),
    ]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from tests.unit.test_store_records import in_files, work

prepared, target = Path(sys.argv[1]), Path(sys.argv[2])
STEPS = {"os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir"}
for number in range(1, 1000):
    home = target / str(number)
    shutil.copytree(prepared, home, symlinks=True)
    child = os.fork()
    if child == 0:
        bench, seen = in_files(home), 0

        def count(event, arguments):
            global seen
            seen += event in STEPS
            if event in STEPS and seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work(bench.records)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""
"""Kills a writer at each change of a directory in turn, each time in another copy of a home: the
interpreter's audit events say when one is about to happen.
"""


def test_a_kill_between_any_two_documents_leaves_the_first_ones(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepare(in_files(prepared))

    subprocess.run(
        [sys.executable, "-c", KILLED, prepared, tmp_path / "killed"], check=True, cwd=REPOSITORY
    )

    left = {
        (tuple(written), versions)
        for home in (tmp_path / "killed").iterdir()
        for written, versions in [check_after_a_kill(in_files(home))]
    }
    assert left == {
        ((False, False, False, False), 1),
        ((True, False, False, False), 1),
        ((True, True, False, False), 1),
        ((True, True, True, False), 1),
        ((True, True, True, True), 1),
        ((True, True, True, True), 2),
    }


# The overlay of a dry run.


@pytest.fixture
def below(tmp_path: Path) -> Bench:
    bench = in_files(tmp_path)
    prepare(bench)
    return bench


def snapshot(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


def test_an_overlay_reads_through_and_keeps_what_is_written(below: Bench, tmp_path: Path) -> None:
    overlay = MemoryRecords(below.clock, base=below.records)
    before = snapshot(tmp_path)
    assert overlay.read(NAME) == below.read()

    with overlay.lease(CERTIFICATE, wait=0), pytest.raises(LockHeld):
        below.other.lease(CERTIFICATE, wait=0)
    work(overlay)

    found = overlay.read(NAME)
    assert found is not None
    assert is_new(found) == [True] * 4
    assert list(found.versions) == [1, 2]
    assert [overlay.material(NAME, each) for each in (1, 2)] == [material("1"), material("2")]
    assert is_new(below.read()) == [False] * 4
    assert snapshot(tmp_path) == before


def test_an_overlay_deletes_nothing_below_it(below: Bench, tmp_path: Path) -> None:
    overlay, before = MemoryRecords(below.clock, base=below.records), snapshot(tmp_path)

    with overlay.lease(CERTIFICATE, wait=0) as lease:
        overlay.delete(NAME, expect=below.read().gen, token=lease.token)

    assert overlay.names() == []
    assert below.records.names() == [NAME]
    assert snapshot(tmp_path) == before


def test_a_stale_generation_of_the_base_conflicts_in_the_overlay(below: Bench) -> None:
    overlay = MemoryRecords(below.clock, base=below.records)
    stale = below.read().gen
    below.write(Changes(spec=wanted(reuse_key=True)))

    with overlay.lease(CERTIFICATE, wait=0) as lease, pytest.raises(Conflict):
        overlay.write(NAME, Changes(spec=wanted()), expect=stale, token=lease.token)


def test_what_is_real_in_a_dry_run_goes_through_the_overlay(below: Bench) -> None:
    overlay = MemoryRecords(below.clock, base=below.records)

    with overlay.lease(ACCOUNTS, wait=0) as lease:
        keys = AccountKeys(b"first")
        saved = overlay.save_account(account(), keys, expect=None, token=lease.token)
    overlay.note(saved, [LedgerEntry(LimitedAction.ORDER, NOW)])
    entry = overlay.place(CHALLENGE, [PLACEMENT])

    assert below.other.accounts() == [saved]
    assert list(below.other.asked(saved)) == [LedgerEntry(LimitedAction.ORDER, NOW)]
    assert [each.entry for each in below.other.placements(NAME)] == [entry]
