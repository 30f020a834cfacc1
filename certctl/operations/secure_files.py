"""The files that `secure` changes: reads, writes and compares them, and keeps the record of them.

A file that does not exist has the contents None; those of a symbolic link are its target.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

from certctl.engine.run import Run
from certctl.model.errors import StoreError, WebServerRefused
from certctl.model.webserver import ChangedFile, FileChange, SecuredSite
from certctl.store.home.secured import SecuredSites
from certctl.system.files import (
    ensure_directory,
    overwrite,
    remove_file,
    remove_unfinished,
    replace_contents,
    replace_link,
    write_atomic,
)
from certctl.system.locks import acquire
from certctl.system.reading import read_regular

_LARGEST_FILE = 16 * 1024 * 1024
_READABLE = 0o644


def contents(path: str, *, link: bool = False) -> bytes | None:
    """Return the bytes of a file, or the target of a link. Raises `WebServerRefused`."""
    try:
        if link:
            return os.fsencode(Path(path).readlink())
        return read_regular(Path(path), _LARGEST_FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WebServerRefused(f"{path} cannot be read: {error.strerror}") from error


def write(wanted: Mapping[str, bytes | None], links: Collection[str] = ()) -> None:
    """Have the files with these contents, one after another. Raises `StoreError`."""
    for name, data in wanted.items():
        path = Path(name)
        if data is None:
            remove_file(path)
        elif name in links:
            replace_link(path, os.fsdecode(data))
        elif path.exists():
            replace_contents(path, data)
        else:
            write_atomic(path, data, _READABLE)


def put_back(before: Mapping[str, bytes | None], links: Collection[str] = ()) -> None:
    """Have the files with the contents that they had. Where a full disk has no room for a second
    copy, a file is written in place. Raises `StoreError`.
    """
    for name, data in before.items():
        try:
            write({name: data}, links)
        except StoreError:
            if data is None or name in links:
                raise
            overwrite(Path(name), data)


def difference(path: str, before: bytes | None, after: bytes | None, *, link: bool = False) -> str:
    """Return a unified diff for people; line ends are not shown."""
    old, new = ([] if each is None else _text(each).splitlines() for each in (before, after))
    if link:
        old, new = ([f"(a link to {line})" for line in lines] for lines in (old, new))
    source, target = ("/dev/null" if each is None else path for each in (before, after))
    return "\n".join(unified_diff(old, new, source, target, lineterm="", n=2))


def digest(data: bytes | None) -> str:
    """Return the SHA-256 of contents, as it is recorded."""
    return hashlib.sha256(data or b"").hexdigest()


@contextmanager
def locked(sites: SecuredSites, run: Run) -> Iterator[None]:
    """Keep other processes from changing web servers."""
    path = sites.layout.web_server_lock
    ensure_directory(path.parent)
    with acquire(
        path,
        exclusive=True,
        timeout=run.services.settings.seconds("lock_timeout"),
        clock=run.services.clock,
        subject="the configuration of web servers",
        stop=run.stop,
    ):
        yield


def require_unchanged(before: Mapping[str, bytes | None], links: Collection[str]) -> None:
    """Raise `WebServerRefused` if a file is not as it was when the changes were planned."""
    for path, data in before.items():
        if contents(path, link=path in links) != data:
            raise WebServerRefused(
                f"{path} was changed in the meantime; nothing was done",
                hint="Run the same command again.",
            )
        remove_unfinished(Path(path))


def recorded(
    name: str,
    known: Iterable[ChangedFile],
    changes: Iterable[FileChange],
    before: Mapping[str, bytes | None],
    sites: SecuredSites,
) -> tuple[ChangedFile, ...]:
    """Return the record of the files of a certificate, which are about to change, with copies of
    those that are somebody else's.
    """
    found = {each.path: each for each in known}
    for each in changes:
        data, old = before[each.path], found.get(each.path)
        backup = old.backup if old is not None else None
        left = [digest(one) for one in (data, each.first) if one is not None]
        left += [old.sha256, *old.left] if old is not None else []
        if backup is None:
            ours = each.source is None or data is None
            backup = "" if ours else sites.back_up(name, len(found), each.path, data or b"")
        found[each.path] = ChangedFile(
            each.path,
            backup,
            digest(each.final),
            link=each.link,
            shared=each.shared,
            left=tuple(dict.fromkeys(left)),
        )
    return tuple(found.values())


def note_written(written: Mapping[str, bytes | None], name: str, sites: SecuredSites) -> None:
    """Have the records of other certificates expect what was written for `name`."""
    for site in sites.all():
        files = tuple(
            replace(each, sha256=digest(written[each.path])) if each.path in written else each
            for each in site.files
        )
        if site.name != name and files != site.files:
            sites.save(replace(site, files=files))


def hand_over(files: Iterable[ChangedFile], heir: SecuredSite, sites: SecuredSites) -> None:
    """Have another certificate's record keep files that it needs too."""
    kept = {each.path: each for each in heir.files}
    for each in files:
        if each.path not in kept:
            backup = each.backup
            if backup:
                data = contents(backup) or b""
                backup = sites.back_up(heir.name, len(kept), each.path, data)
            kept[each.path] = replace(each, backup=backup)
    sites.save(replace(heir, files=tuple(kept.values())))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
