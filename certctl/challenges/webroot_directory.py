"""Files below a web server's directory that others may write to: every step is taken from an open
directory and follows no link, so that nothing outside is ever touched.

Knows of names and directories, not of challenges.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_ATTEMPTS = 5


class OutsideWebroot(Exception):
    """The directory lies outside the root, through a link."""


@dataclass(frozen=True)
class Directory:
    """A directory below a root. `parts` is the way to it, with no link in it when it was found.

    `missing` counts the last parts that did not exist: those are ours to make and to remove.
    """

    root: str
    parts: tuple[str, ...]
    missing: int


def find_directory(root: str, parts: Sequence[str]) -> Directory:
    """Return where `parts` below `root` lead. A link is followed as long as it stays below `root`.

    Raises `OutsideWebroot` if it does not, and `OSError` if `root` is not a readable directory.
    """
    # `Path.resolve` raises RuntimeError for a circle of links before Python 3.13.
    real_root = Path(os.path.realpath(root, strict=True))
    with os.scandir(real_root):
        pass
    target = Path(os.path.realpath(real_root.joinpath(*parts)))
    if not target.is_relative_to(real_root):
        raise OutsideWebroot(f"{real_root.joinpath(*parts)} leads to {target}, outside {real_root}")
    way = target.relative_to(real_root).parts
    chain = [real_root.joinpath(*way[:depth]) for depth in range(1, len(way) + 1)]
    missing = sum(not os.path.lexists(each) for each in chain)
    return Directory(str(real_root), way, missing)


def write(directory: Directory, name: str, content: bytes) -> None:
    """Write a file that everybody can read, whole or not at all, making directories as needed.

    Raises `OSError`, for a link on the way too.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            with _opened(directory, make=True) as descriptor:
                return _write(descriptor, name, content)
        except FileNotFoundError:
            # Another process, done with its own file, removed the empty directory in between.
            if attempts == _ATTEMPTS:
                raise


def remove(directory: Directory, name: str) -> None:
    """Remove the file and what a write that was cut off left; what is gone is no failure."""
    with contextlib.suppress(FileNotFoundError), _opened(directory, make=False) as descriptor:
        for each in (_temporary(name), name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each, dir_fd=descriptor)


def remove_created(directory: Directory) -> None:
    """Remove the directories that `directory` counts as missing before, where they are empty."""
    for depth in range(len(directory.parts), len(directory.parts) - directory.missing, -1):
        parent = Directory(directory.root, directory.parts[: depth - 1], 0)
        try:
            with _opened(parent, make=False) as descriptor:
                os.rmdir(directory.parts[depth - 1], dir_fd=descriptor)
        except FileNotFoundError:
            continue
        except OSError:
            # Somebody else has something in it (ENOTEMPTY, or EEXIST on some systems): it stays.
            return


@contextlib.contextmanager
def _opened(directory: Directory, *, make: bool) -> Iterator[int]:
    descriptor = os.open(directory.root, _OPEN_DIRECTORY)
    try:
        for part in directory.parts:
            below = _step(descriptor, part, make=make)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _step(parent: int, part: str, *, make: bool) -> int:
    made = False
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, _DIRECTORY_MODE, dir_fd=parent)
            made = True
    descriptor = os.open(part, _OPEN_DIRECTORY, dir_fd=parent)
    if made:
        # The web server is another user, whatever this one's umask says.
        os.fchmod(descriptor, _DIRECTORY_MODE)
    return descriptor


def _write(directory: int, name: str, content: bytes) -> None:
    temporary = _temporary(name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, _FILE_MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(content)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _temporary(name: str) -> str:
    # Known beforehand, so that whoever cleans up after a crash finds it.
    return f".{name}.tmp"
