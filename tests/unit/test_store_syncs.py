"""What is on disk when a write returns, as the kernel sees it: strace shows the syncs of a child.

What a power failure may undo is synced less; what it must not undo is synced with its directory.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards, RenewalState, RevocationIntent
from certctl.model.delivery import Deployment
from certctl.rules.remembered_state import only_results_of_deployment, only_results_of_renewal
from tests.lab.programs import require_strace
from tests.support.nouns import asked, tried
from tests.unit.store_samples import NAME, NOW, REPOSITORY

INTENT = RevocationIntent(1, "0a1b", RevocationReason.SUPERSEDED, Afterwards.REPLACE, NOW)

CONTENT, ALL = ["file"], ["file", "directory"]

PREPARED = """
import sys
from pathlib import Path
from certctl.model.ca import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.model.certificate import RenewalState
from certctl.model.delivery import Deployment
from certctl.model.validation import Placement
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.spec import ChallengeSpec
from tests.lab.programs import require_strace
from tests.support.nouns import tried
from tests.unit.store_samples import NAME, NOW, open_store, save, wanted
from dataclasses import replace

store = open_store(Path(sys.argv[1]))
store.save_spec(wanted())
save(store)
store.save_deployment(NAME, Deployment(wanted=1))
store.save_renewal_state(NAME, tried(1), next_action_at=NOW)
placement = Placement("http-01", NAME, NAME, {})
entry = store.journal.record_placements(ChallengeSpec("standalone"), [placement])
url = "https://ca.example/acct/1"
account = Account("", "https://ca.example/dir", url, AccountKeyType.ES256)
account = store.accounts.save(account, b"key")
store.accounts.add_to_ledger(account, [], NOW)
sys.stderr.write("PREPARED")
sys.stderr.flush()
"""


def syncs(home: Path, step: str) -> list[str]:
    """Return what one step syncs, in order: files and directories."""
    synced = [path for call, path in traced(home, step) if call == "fsync"]
    return ["file" if "/.new-" in path else "directory" for path in synced]


def traced(home: Path, step: str) -> list[tuple[str, str]]:
    """Return what one step writes and syncs, in order: the system call, and the path."""
    require_strace()
    trace = home.with_name("trace")
    subprocess.run(
        [
            *("strace", "-qq", "-y", "-e", "trace=fsync,write", "-o", str(trace)),
            *(sys.executable, "-c", PREPARED + step, str(home)),
        ],
        check=True,
        capture_output=True,
        cwd=REPOSITORY,
    )
    _, _, after = trace.read_text().partition("PREPARED")
    return re.findall(r"(fsync|write)\(\d+<([^>]+)>", after)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("store.save_spec(wanted())", []),
        ("store.save_spec(wanted(reuse_key=True))", ALL),
        ("store.save_deployment(NAME, Deployment(wanted=1, deployed=1))", CONTENT),
        ("store.save_deployment(NAME, Deployment(wanted=2))", ALL),
        (
            "store.save_renewal_state(NAME, RenewalState(), next_action_at=NOW)",
            CONTENT,
        ),
        (
            "store.save_renewal_state(NAME, RenewalState(revoked=(1,)), next_action_at=NOW)",
            ALL,
        ),
        ("store.journal.remove(entry)", []),
        (
            "store.accounts.add_to_ledger(account, [LedgerEntry(LimitedAction.ORDER, NOW)], NOW)",
            [],
        ),
    ],
)
def test_a_write_is_synced_as_far_as_a_power_failure_must_not_undo_it(
    tmp_path: Path, step: str, expected: list[str]
) -> None:
    assert syncs(tmp_path / "home", step) == expected


def test_the_files_of_a_version_are_all_written_before_the_first_is_waited_for(
    tmp_path: Path,
) -> None:
    names = ("issued.json", "cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "combined.pem")

    calls = traced(tmp_path / "home", "save(store, mark='2')")

    version = [
        (call, path.rpartition("/")[2] if "." in path.rpartition("/")[2][1:] else "directory")
        for call, path in calls
        if f"/archive/{NAME}/.new-version-" in path
    ]
    every = [*(("write", each) for each in names), *(("fsync", each) for each in names)]
    assert version == [*every, ("fsync", "directory")]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (tried(2, last_attempt=NOW, retry_at=NOW), True),
        (asked("a.b", ask_at=NOW), True),
        (RenewalState(revoked=(1,)), False),
        (RenewalState(compromised_keys=("0a",)), False),
        (RenewalState(paused_until=NOW), False),
        (RenewalState(revocations=(INTENT,)), False),
    ],
)
def test_how_an_attempt_ended_may_be_lost_but_no_revocation(
    after: RenewalState, *, expected: bool
) -> None:
    assert only_results_of_renewal(tried(1), after) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Deployment(2, None), Deployment(2, 2, NOW), True),
        (Deployment(2, 1), Deployment(2, 1, failures=1, retry_at=NOW), True),
        (Deployment(2, 2), Deployment(2, None), False),
        (Deployment(2, 2), Deployment(3, 2), False),
        (Deployment(2, None), Deployment(2, 1), False),
    ],
)
def test_that_a_version_was_deployed_may_be_lost_but_not_that_it_is_pending(
    before: Deployment, after: Deployment, *, expected: bool
) -> None:
    assert only_results_of_deployment(before, after) is expected
