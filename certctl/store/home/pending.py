"""Pending orders: `pending/NAME/` with `order.json` and the certificate's `privkey.pem`.

Both are on disk before the order is sent to the CA, so that a crash never loses the key of a
certificate that may have been issued.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from certctl.model.certificate import PendingOrder
from certctl.model.errors import ConfigurationError, StoreCorrupt, StoreError
from certctl.store.home.documents import encode, read_document, write_document
from certctl.store.home.idle import Signature, file_signature
from certctl.store.home.layout import Layout
from certctl.store.home.records import from_pending, to_pending
from certctl.system.files import (
    PRIVATE_DIRECTORY,
    Sync,
    as_store_error,
    check_own,
    discard,
    read_own,
    remove_tree,
    rename,
    temporary_name,
    write_new,
)

_LIMIT = 1 << 20


class PendingOrders:
    """The pending orders of all certificates below one home directory."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn
        self._saved: dict[str, tuple[Signature, PendingOrder]] = {}

    def read(self, name: str) -> PendingOrder | None:
        """Return the pending order, None if there is none. An order that cannot be parsed counts
        as missing, with a warning: a new order costs less than a permanent failure.
        """
        directory = self._layout.pending(name)
        self._saved.pop(name, None)
        try:
            check_own(directory)
            seen = file_signature(directory / "order.json")
            fields = read_document(directory / "order.json")
            if fields is None:
                return None
            found = to_pending(fields, read_own(directory / "privkey.pem", _LIMIT))
        except (StoreCorrupt, ConfigurationError) as error:
            self._warn(f"{error.message}. A new order will be created.")
            return None
        if seen is not None:
            self._saved[name] = seen, found
        return found

    def save(self, name: str, pending: PendingOrder) -> None:
        """Write an order durably: all of it, or only the URL if the rest is already on disk."""
        self._write(name, pending)
        seen = file_signature(self._layout.pending(name) / "order.json")
        if seen is not None:
            self._saved[name] = seen, pending

    def _write(self, name: str, pending: PendingOrder) -> None:
        directory = self._layout.pending(name)
        current = self._current(name)
        if current is not None and replace(current, url=pending.url) == pending:
            if current != pending:
                write_document(directory / "order.json", from_pending(pending))
            return
        parent = self._layout.create_directory(directory.parent)
        temporary = parent / temporary_name(name)
        try:
            with as_store_error("create the directory", temporary):
                temporary.mkdir(PRIVATE_DIRECTORY)
            _write_new(temporary, pending)
            discard(directory, sync=Sync.CONTENT)  # synced with the next step
            rename(temporary, directory)
        except BaseException:
            with suppress(StoreError):
                remove_tree(temporary)
            raise

    def _current(self, name: str) -> PendingOrder | None:
        """Return the order on disk; it is read only if it is not the one last read or saved."""
        known = self._saved.get(name)
        if known is not None and known[0] == file_signature(
            self._layout.pending(name) / "order.json"
        ):
            return known[1]
        return self.read(name)

    def drop(self, name: str, *, sync: Sync = Sync.CONTENT) -> None:
        """Remove the pending order in one step. If a power failure brings it back, the next run
        finds its version, or that it cannot be resumed, and removes it again.
        """
        discard(self._layout.pending(name), sync=sync)
        self._saved.pop(name, None)


def _write_new(directory: Path, pending: PendingOrder) -> None:
    if pending.privkey is not None:
        write_new(directory / "privkey.pem", pending.privkey)
    write_new(directory / "order.json", encode(from_pending(pending)))
