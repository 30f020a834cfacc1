"""The part of `/etc/letsencrypt` that scripts know: `live/NAME/*.pem`, which are links to certctl's
files, and the executables in `renewal-hooks`, which certctl runs.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from certctl.model.errors import CertctlError, UsageError
from certctl.model.events import CertificateSaved, Event
from certctl.system.file_errors import as_store_error
from certctl.system.files import (
    ensure_directory,
    remove_file,
    replace_link,
)

KINDS = ("cert", "chain", "fullchain", "privkey")
_EVENTS = ("pre", "deploy", "post")
_PREFIX = "certbot-"


class Lineages:
    """The links of one certbot directory to one home directory.

    If the home is inside the directory, as in a volume that containers share, links are relative.
    """

    def __init__(self, config_dir: Path, home: Path) -> None:
        self.config_dir = Path(os.path.normpath(config_dir))
        self._home = Path(os.path.normpath(home))

    def path(self, name: str) -> Path:
        """Return the directory of a certificate."""
        return self.config_dir / "live" / name

    def file(self, name: str, kind: str) -> Path:
        """Return the path of a file."""
        return self.path(name) / f"{kind}.pem"

    def shown(self, name: str) -> Path:
        """Return the directory to show for a certificate: its links if it has some."""
        return self.path(name) if self.is_ours(name) else self._home / "live" / name

    def is_ours(self, name: str) -> bool:
        """Return whether a certificate has its links here."""
        return self.file(name, "fullchain").is_symlink() and self._leads_home(
            self.file(name, "fullchain")
        )

    def require_free(self, name: str) -> None:
        """Raise `UsageError` if the place of a certificate is taken by something that is not ours,
        such as a certificate of certbot.
        """
        self._require_own_home()
        directory = self.path(name)
        if not os.path.lexists(directory):
            self._require_writable(directory)
            return
        if directory.is_symlink() or not directory.is_dir():
            raise self._taken(directory, name, "it is not a directory")
        for kind in KINDS:
            path = self.file(name, kind)
            if os.path.lexists(path) and not self._leads_home(path):
                raise self._taken(path, name, "it is not a link of certctl")

    def _require_own_home(self) -> None:
        """Raise `UsageError` if certctl's own `live` is where the links would be."""
        if os.path.realpath(self.config_dir / "live") == os.path.realpath(self._home / "live"):
            raise UsageError(
                f"{self.config_dir} is certctl's home directory and certbot's at the same time",
                hint=f"Give certctl one of its own: CERTCTL_HOME={self.config_dir / 'certctl'}",
                code="usage.certbot_directory",
            )

    def _require_writable(self, directory: Path) -> None:
        """Raise `UsageError` if the links could not be made once there is a certificate."""
        there = next(each for each in directory.parents if each.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise UsageError(
                f"{directory} cannot be created: nothing can be written into {there}",
                hint="Run the same command with sudo, or choose another place with --config-dir.",
                code="usage.certbot_directory",
            )

    def left_to_certbot(self, known: Collection[str]) -> list[str]:
        """Return the names that certbot itself has in this directory, except those in `known`."""
        with suppress(OSError):
            found = sorted((self.config_dir / "renewal").glob("*.conf"))
            return [each.stem for each in found if each.stem not in known]
        return []

    def taking_over(self, name: str) -> str:
        """Return the command that takes a certificate over from certbot."""
        usual = str(self.config_dir) == "/etc/letsencrypt"
        where = "" if usual else f" --from {shlex.quote(str(self.config_dir))}"
        return f"certctl import {name}{where}"

    def _taken(self, path: Path, name: str, why: str) -> UsageError:
        if name in self.left_to_certbot(()):
            return UsageError(
                f"{path} belongs to a certificate of certbot, which is not overwritten",
                hint=f"Take it over first: {self.taking_over(name)}",
                name=name,
                code="usage.certbot_lineage",
            )
        return UsageError(
            f"{path} is not overwritten: {why}",
            hint=f"Remove it, or choose another name with --cert-name: {self.path(name)}",
            name=name,
            code="usage.certbot_lineage",
        )

    def _leads_home(self, path: Path) -> bool:
        with suppress(OSError):
            target = os.path.normpath(path.parent / path.readlink())
            return any(
                Path(each).is_relative_to(home)
                for each, home in (
                    (target, self._home),
                    (os.path.realpath(path), os.path.realpath(self._home)),
                )
            )
        return False

    def create(self, name: str) -> None:
        """Make the links of a certificate. Raises `StoreError`."""
        directory = self.path(name)
        ensure_directory(directory.parent, 0o700)
        ensure_directory(directory, 0o755)
        for kind in KINDS:
            target = self._home / "live" / name / f"{kind}.pem"
            if not target.exists():
                continue
            link = self.file(name, kind)
            words = os.fspath(target)
            if target.is_relative_to(self.config_dir):
                words = os.path.relpath(target, directory)
            if not link.is_symlink() or os.fspath(link.readlink()) != words:
                replace_link(link, words)

    def remove(self, name: str) -> None:
        """Remove the links of a certificate, and its directory if nothing else is there. Raises
        `StoreError`.
        """
        directory = self.path(name)
        if not directory.is_dir() or directory.is_symlink():
            return
        for kind in KINDS:
            path = self.file(name, kind)
            if path.is_symlink() and self._leads_home(path):
                remove_file(path)
        note = directory / "README"
        with suppress(OSError):
            if note.is_file() and list(directory.iterdir()) == [note]:
                note.unlink()  # certbot's, which is beside the links of a certificate taken over
            directory.rmdir()

    def abandoned(self, known: Collection[str]) -> list[str]:
        """Return the names whose links lead to files that are gone, except those in `known`."""
        found: list[str] = []
        with suppress(OSError):
            for each in sorted((self.config_dir / "live").iterdir()):
                paths = [self.file(each.name, kind) for kind in KINDS]
                links = [path for path in paths if path.is_symlink()]
                gone = links and all(self._leads_home(one) and not one.exists() for one in links)
                if gone and each.name not in known:
                    found.append(each.name)
        return found

    def take_hooks(self) -> None:
        """Link each executable of `renewal-hooks` into certctl's hooks, where it runs for every
        certificate; remove links to those that are there no more. Raises `StoreError`.
        """
        wanted = {
            self._home / "hooks" / f"{event}.d" / f"{_PREFIX}{path.name}": os.fspath(path)
            for event in _EVENTS
            for path in executables(self.config_dir / "renewal-hooks" / event)
        }
        for link in self.taken_hooks():
            if link not in wanted:
                remove_file(link)
        for link, target in wanted.items():
            ensure_directory(link.parent)
            if not link.is_symlink() or os.fspath(link.readlink()) != target:
                replace_link(link, target)

    def taken_hooks(self) -> list[Path]:
        """Return the links to executables of `renewal-hooks`."""
        below = f"{self.config_dir}/renewal-hooks/"
        found: list[Path] = []
        for event in _EVENTS:
            with suppress(OSError):
                links = sorted((self._home / "hooks" / f"{event}.d").iterdir())
                found += [one for one in links if one.is_symlink() and _leads_below(one, below)]
        return found


def executables(directory: Path) -> Iterator[Path]:
    """Yield the executables of a directory of hooks, as certbot chooses them, by name."""
    if not directory.is_dir():
        return
    with as_store_error("list", directory):
        for path in sorted(directory.iterdir()):
            if path.is_file() and os.access(path, os.X_OK) and not path.name.endswith("~"):
                yield path


def _leads_below(link: Path, directory: str) -> bool:
    return os.fspath(link.readlink()).startswith(directory)


class LinksWhenSaved:
    """An event sink that makes the links of a certificate when it is saved, before its deploy hooks
    run: of those in `names`. It raises nothing: `errors` has what went wrong.
    """

    def __init__(self) -> None:
        self.lineages: Lineages | None = None
        self.names: set[str] = set()
        self.errors: list[CertctlError] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, CertificateSaved) and event.name in self.names and self.lineages:
            try:
                self.lineages.create(event.name)
            except CertctlError as error:
                self.errors.append(error)
