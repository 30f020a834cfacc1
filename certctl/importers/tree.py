"""Reads the files of another client, which may belong to another user and may be damaged.

A tree is a machine's files below a root directory, `/` by default. Paths are those of the machine.
Each component is opened relative to its parent without following links: a link is read and resolved
here, so that none leads out of the directory that the caller allows. Sizes are bounded, and only
regular files are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import printable

LIMIT = 1 << 20
"""The maximum size of a file, in bytes; the files of all clients are far smaller."""

_MAX_LINKS = 32
_MAX_ENTRIES = 20_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Unreadable(Exception):
    """A file that cannot be used; the text says why and names it."""


@dataclass(frozen=True)
class Entry:
    """A directory entry: `kind` is `file`, `directory`, `link` or `other`."""

    name: str
    kind: str


class Tree:
    """The files of a machine below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.whole_machine = root == Path("/")

    def real(self, path: str) -> Path:
        """Return where a path of the machine is found by this process."""
        return self._root / path.lstrip("/")

    def resolve(self, path: str, within: str | None = None) -> str:
        """Return the path with all links resolved, relative to the machine's root.

        Raises `Unreadable` if something is missing, or if a link leads out of `within`.
        """
        if "\0" in path:
            raise Unreadable(f"{_shown(path)}: no path has a null byte")
        limit = None if within is None else self.resolve(within)
        pending = list(PurePosixPath(path).parts[1:])
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            where = self.real("/".join(["", *done, part]))
            try:
                is_link = stat.S_ISLNK(where.lstat().st_mode)
                target = os.fspath(where.readlink()) if is_link else None
            except OSError as error:
                raise Unreadable(_said(path, error)) from error
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise Unreadable(f"{_shown(path)}: too many links")
            if target.startswith("/"):
                done = []
            pending = [each for each in target.split("/") if each not in ("", ".")] + pending
        found = "/" + "/".join(done)
        if limit is not None and found != limit and not found.startswith(f"{limit}/"):
            raise Unreadable(f"{_shown(path)} is a link that leads out of {_shown(limit)}")
        return found

    def read(self, path: str, within: str | None = None, limit: int = LIMIT) -> bytes:
        """Return the bytes of a regular file. Raises `Unreadable`."""
        found = self.resolve(path, within)
        try:
            with self._opened(found) as descriptor:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise Unreadable(f"{_shown(path)} is not a regular file")
                data = os.read(descriptor, limit + 1)
                while len(data) <= limit and (more := os.read(descriptor, limit + 1)):
                    data += more
        except OSError as error:
            raise Unreadable(_said(path, error)) from error
        if len(data) > limit:
            raise Unreadable(f"{_shown(path)} is larger than {limit} bytes")
        return data

    def text(self, path: str, within: str | None = None) -> str:
        """Return a file as text; bytes that are not UTF-8 are replaced, and a byte order mark and
        carriage returns removed. Raises `Unreadable`.
        """
        text = self.read(path, within).decode("utf-8", errors="replace")
        return text.removeprefix("\ufeff").replace("\r\n", "\n")

    def status(self, path: str, within: str | None = None) -> os.stat_result:
        """Return the status of what a path leads to. Raises `Unreadable`."""
        found = self.resolve(path, within)
        try:
            return self.real(found).lstat()
        except OSError as error:
            raise Unreadable(_said(path, error)) from error

    def others_reach(self, path: str, within: str | None = None) -> bool:
        """Return whether all users may traverse every directory to what a path leads to."""
        try:
            parents = PurePosixPath(self.resolve(path, within)).parents
            return all(self.real(str(each)).lstat().st_mode & 0o001 for each in parents)
        except (OSError, Unreadable):
            return False

    def exists(self, path: str) -> bool:
        """Return whether a path leads to something."""
        try:
            self.resolve(path)
        except Unreadable:
            return False
        return True

    def is_directory(self, path: str) -> bool:
        """Return whether a path leads to a directory."""
        try:
            return stat.S_ISDIR(self.status(path).st_mode)
        except Unreadable:
            return False

    def entries(self, path: str, within: str | None = None) -> Sequence[Entry]:
        """Return the entries of a directory, sorted; empty if it cannot be read."""
        try:
            found = self.resolve(path, within)
            with os.scandir(self.real(found)) as listed:
                some = [each for each, _ in zip(listed, range(_MAX_ENTRIES), strict=False)]
        except (OSError, Unreadable):
            return ()
        return sorted((Entry(each.name, _kind(each)) for each in some), key=lambda one: one.name)

    def directories(self, path: str, within: str | None = None) -> Sequence[str]:
        """Return the names of the directories in a directory, sorted; links are left out."""
        return [each.name for each in self.entries(path, within) if each.kind == "directory"]

    def files(self, path: str, within: str | None = None) -> Sequence[str]:
        """Return the names of the files and links in a directory, sorted."""
        return [each.name for each in self.entries(path, within) if each.kind in ("file", "link")]

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """Open a resolved path component by component, following no link."""
        *parents, name = PurePosixPath(path).parts[1:] or (".",)
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parents:
                child = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = child
            opened = os.open(name, _FILE, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        try:
            yield opened
        finally:
            os.close(opened)


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _said(path: str, error: OSError) -> str:
    return f"{_shown(path)}: {error.strerror or error}"


def _shown(path: str) -> str:
    return printable(path, 300)
