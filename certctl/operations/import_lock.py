"""Takes the other client's own lock, so that it does not run while its files are changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from certctl.engine.run import Run
from certctl.importers import client_lock as locks
from certctl.model.errors import CertctlError
from certctl.model.importing import ImportRecord, ImportState


def client_lock(record: ImportRecord, run: Run) -> AbstractContextManager[None]:
    """Return the client's own lock, to be held while its files are changed."""
    seconds = run.services.settings.seconds("lock_timeout")
    return locks.client_lock(record, run.services.clock, run.stop, seconds)


@contextmanager
def journalled_lock(record: ImportRecord, state: ImportState, run: Run) -> Iterator[ImportRecord]:
    """Hold the client's own lock for a change that is recorded as begun before, and as done after
    it: the lock of a run that is killed is then removed by the next one, which finishes the change.
    Yields the record as it is when the change begins.

    If the lock cannot be taken, the record is as it was; if nothing was changed, there is none.
    Raises `LockHeld`, `StoreError`.
    """
    imports = run.services.machine.imports
    before, begun = imports.find(record.certificate), replace(record, state=state)
    imports.save(begun)
    is_held = False
    try:
        with client_lock(begun, run):
            is_held = True
            yield begun
    except CertctlError:
        now = imports.find(record.certificate)
        if now is not None and now.state is ImportState.PREPARING:
            imports.drop(record.certificate)
        elif before is not None and not is_held:
            imports.save(before)
        raise
