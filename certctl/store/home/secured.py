"""What `secure` changed in web servers: one record for each certificate, and copies of the files
from before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from certctl.model.errors import StoreCorrupt
from certctl.model.values import Value
from certctl.model.webserver import ChangedFile, SecuredSite
from certctl.store.home.layout import Layout
from certctl.system.file_errors import as_store_error
from certctl.system.files import (
    PRIVATE_DIRECTORY,
    TRAVERSABLE_DIRECTORY,
    ensure_directory,
    remove_file,
    remove_tree,
    write_atomic,
)
from certctl.system.reading import read_own

_VERSION = 1
_LIMIT = 1024 * 1024


class SecuredSites:
    """The records below one home directory. Its methods raise `StoreError`."""

    def __init__(self, home: Path) -> None:
        self._layout = Layout(home.absolute())

    @property
    def layout(self) -> Layout:
        """The paths of the home directory."""
        return self._layout

    def all(self) -> Sequence[SecuredSite]:
        """Return every record, by name."""
        directory = self._layout.web_servers
        with as_store_error("list", directory):
            names = sorted(path.stem for path in directory.glob("*.json"))
        found = [self.get(each) for each in names]
        return [each for each in found if each is not None]

    def get(self, name: str) -> SecuredSite | None:
        """Return the record of a certificate, None if there is none. Raises `StoreCorrupt`."""
        path = self._layout.secured(name)
        data = read_own(path, _LIMIT)
        if data is None:
            return None
        try:
            found = json.loads(data)
            if found["version"] != _VERSION:
                raise ValueError(found["version"])
            return SecuredSite(
                str(found["name"]),
                str(found["server"]),
                tuple(map(str, found["names"])),
                tuple(
                    ChangedFile(
                        str(each["path"]),
                        str(each["backup"]),
                        str(each["sha256"]),
                        link=bool(each.get("link")),
                        shared=bool(each.get("shared")),
                        left=tuple(map(str, each.get("left", ()))),
                    )
                    for each in found["files"]
                ),
                tls=bool(found["tls"]),
                redirect=None if found["redirect"] is None else bool(found["redirect"]),
                redirected=tuple(map(str, found["redirected"])),
                hsts=bool(found["hsts"]),
                loaded=bool(found.get("loaded", True)),
                challenge=_choices(found.get("challenge")),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(
                f"{path} is not a valid record of changes to a web server",
                hint="The changes are the lines marked with #certctl; remove them by hand, then the"
                " record.",
            ) from error

    def save(self, site: SecuredSite) -> None:
        """Write a record."""
        self._create(self._layout.web_servers)
        document = {"version": _VERSION, **asdict(site)}
        text = json.dumps(document, indent=2, ensure_ascii=False)
        write_atomic(self._layout.secured(site.name), f"{text}\n".encode())

    def back_up(self, name: str, number: int, path: str, data: bytes) -> str:
        """Keep a copy of a file's bytes, and return where."""
        directory = self._layout.web_server_backups(name)
        self._create(self._layout.web_servers)
        ensure_directory(directory.parent, PRIVATE_DIRECTORY)
        ensure_directory(directory, PRIVATE_DIRECTORY)
        backup = directory / f"{number}-{Path(path).name}"
        write_atomic(backup, data)
        return str(backup)

    def remove(self, name: str) -> None:
        """Remove a record, then its copies."""
        remove_file(self._layout.secured(name))
        remove_tree(self._layout.web_server_backups(name))

    def create_challenges(self) -> Path:
        """Create the directory below which web servers find challenge responses; return it."""
        ensure_directory(self._layout.home, TRAVERSABLE_DIRECTORY)
        ensure_directory(self._layout.challenges, TRAVERSABLE_DIRECTORY)
        return self._layout.challenges

    def write_tls_settings(self, server: str, data: bytes) -> None:
        """Write the file that a web server includes, if it differs."""
        path = self._layout.tls_settings(server)
        self._create(path.parent)
        if read_own(path, _LIMIT) != data:
            write_atomic(path, data)

    def write_default_certificate(self, server: str, create: Callable[[], bytes]) -> None:
        """Write the certificate without names, unless there is one."""
        path = self._layout.default_certificate(server)
        self._create(path.parent)
        if read_own(path, _LIMIT) is None:
            write_atomic(path, create())

    def keep(self, path: str, data: bytes) -> Path:
        """Keep the bytes of a file that somebody edited, and that is about to be removed."""
        directory = self._layout.web_servers / "removed"
        self._create(self._layout.web_servers)
        ensure_directory(directory, PRIVATE_DIRECTORY)
        kept = directory / Path(path).name
        write_atomic(kept, data)
        return kept

    def _create(self, directory: Path) -> None:
        ensure_directory(self._layout.home, TRAVERSABLE_DIRECTORY)
        ensure_directory(directory, PRIVATE_DIRECTORY)


def _choices(found: object) -> dict[str, Value] | None:
    """Return options as they were saved; JSON has lists for tuples."""
    if found is None:
        return None
    if not isinstance(found, dict):
        raise TypeError(found)
    return {
        str(key): tuple(map(str, value)) if isinstance(value, list) else value
        for key, value in found.items()
    }
