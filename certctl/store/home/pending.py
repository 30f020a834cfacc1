"""Pending orders: `pending/NAME/` with `order.json` and the private key of each order.

`order.json` has at most one order for each CA and key type, and the name of its key's file:
`privkey.pem` for the first one. All of it is on disk before the order is sent to the CA, so that a
crash never loses the key of a certificate that may have been issued.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from certctl.model.certificate import PendingOrder
from certctl.model.errors import ConfigurationError, StoreCorrupt, StoreError
from certctl.store.codec import Json, corrupt, from_json, to_json
from certctl.store.home import version1
from certctl.store.home.documents import (
    FORMAT,
    TWO_KEYS,
    encode,
    read_document,
    write_document,
)
from certctl.store.home.idle import file_signature
from certctl.store.home.layout import Layout
from certctl.store.home.seen import SeenFiles
from certctl.system.file_errors import as_store_error
from certctl.system.files import (
    PRIVATE_DIRECTORY,
    NewFile,
    Sync,
    discard,
    fsync_directory,
    remove_file,
    remove_tree,
    rename,
    temporary_name,
    write_new,
    write_new_files,
)
from certctl.system.reading import read_own
from certctl.system.trust import check_own

_LIMIT = 1 << 20
_KEY = re.compile(r"privkey(-[0-9a-f]{8})?\.pem")

_Entry = tuple[str | None, PendingOrder]
"""The name of the key's file, None without one, and the order."""


class PendingOrders:
    """The pending orders of all certificates below one home directory."""

    def __init__(self, layout: Layout, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._warn = warn
        self._saved = SeenFiles[list[_Entry]]()

    def read(self, name: str) -> Sequence[PendingOrder]:
        """Return the pending orders. If they cannot be parsed, there are none, with a warning: a
        new order costs less than a permanent failure.
        """
        return [each for _, each in self._current(name)]

    def save(self, name: str, pending: PendingOrder) -> None:
        """Write an order durably, in place of the one for the same CA and key type; only the URL
        and what was issued if the rest is already on disk.
        """
        found = self._current(name)
        entries = next(
            (
                [*found[:index], (filename, pending), *found[index + 1 :]]
                for index, (filename, each) in enumerate(found)
                if replace(each, url=pending.url, finished=pending.finished) == pending
            ),
            None,
        )
        others = [(key, each) for key, each in found if each.subject != pending.subject]
        directory = self._layout.pending(name)
        if entries is not None:
            if entries != found:
                _write(directory, entries)
        elif others:
            entries = self._add(directory, others, pending)
        else:
            entries = self._replace(directory, name, pending)
        self._saved.put(name, file_signature(directory / "order.json"), entries)

    def drop(
        self, name: str, pending: PendingOrder | None = None, *, sync: Sync = Sync.CONTENT
    ) -> None:
        """Remove a pending order, or all of them, in one step. If a power failure brings it back,
        the next run finds its version, or that it cannot be resumed, and removes it again.
        """
        directory = self._layout.pending(name)
        found = [] if pending is None else self._current(name)
        kept = [(key, each) for key, each in found if each != pending]
        if not kept:
            discard(directory, sync=sync)
        elif len(kept) < len(found):
            _write(directory, kept, sync=sync)
            _remove_keys(directory, kept)
        self._saved.drop(name)

    def _read(self, name: str) -> list[_Entry]:
        directory = self._layout.pending(name)
        path = directory / "order.json"
        self._saved.drop(name)
        try:
            check_own(directory)
            seen = file_signature(path)
            document = read_document(path, version1.order)
            orders = [] if document is None else document.get("orders")
            if not isinstance(orders, list):
                raise corrupt(str(path), "orders must be a list of objects")
            entries = [_entry(directory, each, f"{path}: orders") for each in orders]
        except (StoreCorrupt, ConfigurationError) as error:
            self._warn(f"{error.message}. A new order will be created.")
            return []
        self._saved.put(name, seen, entries)
        return entries

    def _current(self, name: str) -> list[_Entry]:
        """Return the orders on disk; they are read only if they are not those last read or
        saved.
        """
        known = self._saved.get(name, self._layout.pending_order(name))
        if known is not None:
            return known
        return self._read(name)

    def _add(self, directory: Path, others: list[_Entry], pending: PendingOrder) -> list[_Entry]:
        """Add an order to others, whose files are not touched."""
        filename = None
        if pending.privkey is not None:
            filename = f"privkey-{os.urandom(4).hex()}.pem"
            write_new(directory / filename, pending.privkey)
            fsync_directory(directory)
        entries = [*others, (filename, pending)]
        _write(directory, entries)
        _remove_keys(directory, entries)
        return entries

    def _replace(self, directory: Path, name: str, pending: PendingOrder) -> list[_Entry]:
        """Write the directory with a single order."""
        parent = self._layout.create_directory(directory.parent)
        temporary = parent / temporary_name(name)
        entries: list[_Entry] = [(None if pending.privkey is None else "privkey.pem", pending)]
        try:
            with as_store_error("create the directory", temporary):
                temporary.mkdir(PRIVATE_DIRECTORY)
            files = [NewFile("order.json", encode(_document(entries), _version(entries)))]
            if pending.privkey is not None:
                files.append(NewFile("privkey.pem", pending.privkey))
            write_new_files(temporary, files)
            discard(directory, sync=Sync.CONTENT)  # synced with the next step
            rename(temporary, directory)
        except BaseException:
            with suppress(StoreError):
                remove_tree(temporary)
            raise
        return entries


def _write(directory: Path, entries: Iterable[_Entry], *, sync: Sync = Sync.ALL) -> None:
    version = _version(entries)
    write_document(directory / "order.json", _document(entries), sync=sync, version=version)


def _version(entries: Iterable[_Entry]) -> int:
    """Return the format version: what is finished would be lost by earlier releases."""
    return TWO_KEYS if any(each.finished is not None for _, each in entries) else FORMAT


def _document(entries: Iterable[_Entry]) -> Json:
    return {
        "orders": [
            {**to_json(each, without={"privkey"}), "privkey": filename}
            for filename, each in entries
        ]
    }


def _entry(directory: Path, values: object, where: str) -> _Entry:
    filename = values.get("privkey") if isinstance(values, dict) else None
    if filename is not None and not (isinstance(filename, str) and _KEY.fullmatch(filename)):
        raise corrupt(where, "privkey must be the name of a key's file")
    privkey = None if filename is None else read_own(directory / filename, _LIMIT)
    filename = None if privkey is None else filename
    return filename, from_json(PendingOrder, values, where, privkey=privkey)


def _remove_keys(directory: Path, entries: Iterable[_Entry]) -> None:
    """Remove the keys of orders that are gone."""
    kept = {filename for filename, _ in entries}
    for each in sorted(directory.glob("privkey*.pem")):
        if each.name not in kept:
            remove_file(each)
