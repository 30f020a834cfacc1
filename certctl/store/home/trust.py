"""Whether another user could have written what a home directory contains.

Whoever can write to the home directory, to a directory above it or to one in it can put commands
into the journal, and keys into pending orders. The directories are checked once per process; the
files in them are checked when they are read (`certctl.system.reading.read_own`).
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from certctl.model.errors import ConfigurationError
from certctl.store.home.layout import Layout
from certctl.system import trust
from certctl.system.file_errors import as_store_error

_DIRECTORIES = (
    "accounts",
    "archive",
    "certificates",
    "challenges",
    "copies",
    "credentials",
    "deployed",
    "dev-ca",
    "hooks",
    "imported",
    "journal",
    "live",
    "locks",
    "log",
    "pending",
    "renewal",
    "webservers",
)
_WITH_SUBDIRECTORIES = ("accounts", "hooks", "locks")
"""Those with a few subdirectories, which are checked too. Those of `archive` and `pending` are
checked when they are read: there is one for each certificate.
"""

_NO_LINKS = ("locks", "log")


class HomeTrust:
    """The trust in one home directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._trusted = False

    def require(self) -> None:
        """Check the home directory, unless that has been done. What does not exist is accepted.

        Raises `ConfigurationError` with the path and the command that corrects it, `StoreError`.
        """
        if self._trusted:
            return
        exists = self._layout.home.is_dir()
        for _, error in self.problems():
            raise error
        self._trusted = exists

    def problems(self) -> Iterator[tuple[Path, ConfigurationError]]:
        """Yield each directory to which other users can write, with the error. The first is the
        outermost. Raises `StoreError` if one cannot be examined.
        """
        home = self._layout.home
        with as_store_error("read the status of", home):
            try:
                trust.refuse_path(home)
            except ConfigurationError as error:
                yield home, error
                return
            for path in self._directories():
                problem = _problem(path)
                if problem is not None:
                    yield path, problem

    def _directories(self) -> Iterator[Path]:
        for name in _DIRECTORIES:
            top = self._layout.home / name
            yield top
            if name in _WITH_SUBDIRECTORIES:
                yield from _subdirectories(top)
        for directory in _subdirectories(self._layout.accounts):
            yield from _subdirectories(directory)


def create_trusted_directory(layout: Layout, home_trust: HomeTrust, directory: Path) -> None:
    """Create a directory below home, and its missing parents, if home is trusted; another user may
    have created the home directory in the meantime. Raises as `HomeTrust.require` does.
    """
    home_trust.require()
    layout.create_directory(directory)
    home_trust.require()


def _problem(path: Path) -> ConfigurationError | None:
    try:
        facts = path.lstat()
        link = stat.S_ISLNK(facts.st_mode)
        if link and path.name in _NO_LINKS:
            return ConfigurationError(
                f"{path} is a symbolic link; certctl would write to another directory",
                hint=f"rm {shlex.quote(str(path))}",
                code=trust.CODE,
            )
        trust.refuse(path, facts)
        if link:
            trust.refuse_path(path)
    except FileNotFoundError:
        return None
    except ConfigurationError as error:
        return error
    return None


def _subdirectories(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            found = (each for each in entries if not each.is_file(follow_symlinks=False))
            return sorted(path / each.name for each in found)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
