"""Gives certificates back to the clients that they came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certctl.engine.held import Held
from certctl.engine.run import Run
from certctl.importers import handover
from certctl.importers.tree import Tree, Unreadable
from certctl.model.errors import CertctlError, UsageError
from certctl.model.importing import FoundCertificate, ImportRecord, ImportState
from certctl.model.lazy_dataclass import dataclass
from certctl.operations.adopted_accounts import account_key
from certctl.operations.import_finish import turn_on_again
from certctl.operations.import_lock import client_lock, journalled_lock
from certctl.operations.in_use import require_unnamed
from certctl.rules.keys import key_sha256
from certctl.system.effective_user import acting_as


@dataclass(frozen=True)
class Taken:
    """A certificate that was taken over or given back, or the reason why not."""

    found: FoundCertificate | None
    certificate: str
    steps: tuple[tuple[str, str], ...] = ()
    error: CertctlError | None = None


def give_back(name: str, run: Run) -> Taken:
    """Give a certificate back to the client that it came from, in its newest version. The client
    renews it from then on. Raises `UsageError` if it did not come from another client.
    """
    held = run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    imports = run.services.machine.imports
    record = imports.find(name)
    if record is None:
        known = ", ".join(each.certificate for each in imports.all()) or "none"
        raise UsageError(
            f"{name} was not imported; imported: {known}",
            hint="See what was imported with: certctl import --status",
            name=name,
            code="usage.unknown_certificate",
        )
    require_unnamed(name, run)
    with journalled_lock(record, ImportState.GIVING_BACK, run) as begun:
        steps = _give_back_steps(begun, held, run)
    _forget(record, run)
    return Taken(None, name, tuple(steps))


def give_back_held(record: ImportRecord, held: Held, run: Run) -> None:
    """Finish giving a certificate back, after a run was killed. Raises `CertctlError`."""
    with client_lock(record, run):
        handover.remove_temporary_files(record)
        _give_back_steps(record, held, run)
    _forget(record, run)


def _forget(record: ImportRecord, run: Run) -> None:
    """Drop the record, once the client's lock is released."""
    imports = run.services.machine.imports
    others = [each for each in imports.all() if each.certificate != record.certificate]
    if not any(each.home == record.home for each in others):
        handover.leave_hooks(Path(run.services.tree.home), record.home)
    imports.drop(record.certificate)


def _give_back_steps(record: ImportRecord, held: Held, run: Run) -> list[tuple[str, str]]:
    imports, steps = run.services.machine.imports, list[tuple[str, str]]()
    live = held.live
    if live is not None:
        changed = live.facts.sha256 != record.taken_sha256
        if changed and record.given_back is None:
            now = int(run.services.clock.now().timestamp())
            record = replace(record, given_back=handover.next_version(record, now))
            imports.save(record)
        if changed:
            handover.give_back(record, held.material(live.number))
            steps.append(
                ("version", f"{live.number} is {record.client}'s newest now ({record.given_back})")
            )
        else:
            handover.restore_paths(record)
            steps.append(("version", "certctl had not renewed it: as it was"))
    elif record.given_back is None:  # otherwise a killed run has done all that already
        live_files = Path(run.services.tree.home) / "live" / record.certificate
        # a killed run may have done it, and the client may have renewed it since
        handover.restore_paths(record, but=handover.not_linked(record, live_files))
        steps.append(("version", "certctl has deleted it: as it was when it was imported"))
    steps.append(("paths", f"{len(record.paths)} lead to {record.client}'s files again"))
    steps += _give_account_back(record, run)
    held.delete()
    handover.start_client(record)
    if record.stop is not None:
        steps.append((record.client, f"{record.stop.path} is back: {record.client} renews it"))
    steps += [
        (record.client, f"{each} runs it again") for each in turn_on_again(record.client, run)
    ]
    return steps


def _give_account_back(record: ImportRecord, run: Run) -> list[tuple[str, str]]:
    """Give the account's current key back if it was changed; warn where the client cannot be given
    it. Returns the step that was done.
    """
    path, records = record.account_key_file, run.services.records
    chosen = record.choices.get("account.id")
    account = next((each for each in records.accounts() if each.id == chosen), None)
    if account is None or path is None:
        return []
    key = records.account_keys(account).current
    try:
        with acting_as(record.acting(path)):
            old = account_key(Tree(Path("/")).read(path))
    except (CertctlError, Unreadable):
        return []
    if key_sha256(old) == key_sha256(key):
        return []
    directory = handover.give_account_back(record, key, account.url)
    if directory is not None:
        return [("account", f"its key was changed since; the current one is in {directory}")]
    where = run.services.machine.account_file(account.directory_url, account.id)
    run.warn(
        f"the key of the account {account.url} was changed since: {record.client} has the old one"
        f" in {path} and cannot renew until it has the new one, from {where}",
        record.certificate,
    )
    return []
