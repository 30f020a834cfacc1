"""Writes and removes files below a webroot, which other users may be able to change.

Each path component is opened relative to its parent and without following symbolic links, so that
no file outside the webroot is changed, except by way of links that root created. Nothing here is
specific to challenges.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_ATTEMPTS = 5


class OutsideWebroot(Exception):
    """A symbolic link leads out of the webroot."""


@dataclass(frozen=True)
class Directory:
    """A directory below a root. `parts` is the relative path, with all symbolic links resolved.

    `missing` is how many of the last parts did not exist: certctl creates and removes these.
    """

    root: str
    parts: tuple[str, ...]
    missing: int


def find_directory(root: str, parts: Sequence[str]) -> Directory:
    """Return the directory `parts` below `root`. A symbolic link is followed if it stays there, or
    if root or this user created it: then its target takes the place of `root`.

    Raises `OutsideWebroot` for any other link, and `OSError` if the root is not a readable
    directory.
    """
    # Before Python 3.13, `Path.resolve` raises RuntimeError for a loop of symbolic links.
    real_root = Path(os.path.realpath(root, strict=True))
    with os.scandir(real_root):
        pass
    current = real_root
    for depth, part in enumerate(parts):
        link = current / part
        current = Path(os.path.realpath(link))
        if current.is_relative_to(real_root):
            continue
        if not is_trusted_link(link):
            raise OutsideWebroot(f"{link} leads to {current}, outside {real_root}")
        return find_directory(str(current), parts[depth + 1 :])
    relative = current.relative_to(real_root).parts
    chain = [real_root.joinpath(*relative[:depth]) for depth in range(1, len(relative) + 1)]
    missing = sum(not os.path.lexists(each) for each in chain)
    return Directory(str(real_root), relative, missing)


def is_trusted_link(path: Path) -> bool:
    """Return whether a symbolic link was created by root or by the user who runs certctl, who could
    name its target as the webroot just as well.

    A hard link to somebody else's symbolic link has the owner of the original, so a link with
    several names is not trusted.
    """
    try:
        status = path.lstat()
    except OSError:
        return False
    owned = status.st_uid in {0, os.geteuid()}
    return stat.S_ISLNK(status.st_mode) and owned and status.st_nlink == 1


def write(directory: Directory, name: str, content: bytes) -> None:
    """Atomically write a world-readable file, creating directories as needed.

    Raises `OSError`, also for a symbolic link in the path.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            with _opened(directory, create=True) as descriptor:
                return _write(descriptor, name, content)
        except FileNotFoundError:
            # Another process has just removed the empty directory after its own file.
            if attempts == _ATTEMPTS:
                raise


def remove(directory: Directory, name: str) -> None:
    """Remove the file and the temporary file of an interrupted write; missing files are ignored."""
    with contextlib.suppress(FileNotFoundError), _opened(directory, create=False) as descriptor:
        for each in (_temporary_name(name), name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each, dir_fd=descriptor)


def remove_created(directory: Directory) -> None:
    """Remove the directories that `directory` counts as missing, if they are empty."""
    for depth in range(len(directory.parts), len(directory.parts) - directory.missing, -1):
        parent = Directory(directory.root, directory.parts[: depth - 1], 0)
        try:
            with _opened(parent, create=False) as descriptor:
                os.rmdir(directory.parts[depth - 1], dir_fd=descriptor)
        except FileNotFoundError:
            continue
        except OSError:
            # It contains other files (ENOTEMPTY, or EEXIST on some systems): keep it.
            return


@contextlib.contextmanager
def _opened(directory: Directory, *, create: bool) -> Iterator[int]:
    descriptor = os.open(directory.root, _OPEN_DIRECTORY)
    try:
        for part in directory.parts:
            child = _step(descriptor, part, create=create)
            os.close(descriptor)
            descriptor = child
        yield descriptor
    finally:
        os.close(descriptor)


def _step(parent: int, part: str, *, create: bool) -> int:
    created = False
    if create:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, _DIRECTORY_MODE, dir_fd=parent)
            created = True
    descriptor = os.open(part, _OPEN_DIRECTORY, dir_fd=parent)
    if created:
        # The web server runs as another user, so the umask must not restrict the mode.
        os.fchmod(descriptor, _DIRECTORY_MODE)
    return descriptor


def _write(directory: int, name: str, content: bytes) -> None:
    temporary = _temporary_name(name)
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


def _temporary_name(name: str) -> str:
    # Predictable, so that a cleanup after a crash finds it.
    return f".{name}.tmp"
