"""The paths of the certificate files that servers read, and of the hooks; implements
`certctl.model.ports.Tree`.

This is the only part of the store that returns paths.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from certctl.model.certificate import IssuedCertificate, Version
from certctl.model.delivery import CertificateFiles
from certctl.store.home.layout import Layout
from certctl.system.file_errors import as_store_error
from certctl.system.trust import check_own, check_trusted

_EVENTS = {"pre", "deploy", "post"}


class LocalTree:
    """The files below `home`."""

    def __init__(self, home: Path) -> None:
        self._layout = Layout(home.absolute())

    @property
    def home(self) -> str:
        return str(self._layout.home)

    def files(self, version: Version) -> CertificateFiles:
        """Return the paths of a version's files: through the live link if the version is live,
        since those paths do not change, otherwise in its own directory.
        """
        live = self._layout.live(version.name)
        directory = live if self._is_live(version) else self._version_directory(version)
        second = None
        if version.second is not None:
            second = _files(live, directory / version.second.family, version.second)
        return _files(live, directory, version.first, second)

    def hooks(self, event: str) -> Sequence[str]:
        """Return the executables of `hooks/EVENT.d` in byte order, without backups (`~`) and dot
        files. Raises `ConfigurationError` if another user could have written one.
        """
        if event not in _EVENTS:
            raise ValueError(f"there are no hooks for {event!r}")
        directory = self._layout.hooks(event)
        with as_store_error("list", directory):
            try:
                names = os.listdir(directory)  # noqa: PTH208 - sorted by bytes below
            except FileNotFoundError:
                return []
            found = [
                directory / name
                for name in sorted(names, key=os.fsencode)
                if not name.startswith(".") and not name.endswith("~")
            ]
            executables = [each for each in found if _is_executable(each)]
        for each in executables:
            check_own(each)
            check_trusted(each)
        return [str(each) for each in executables]

    def _version_directory(self, version: Version) -> Path:
        return self._layout.version(version.name, version.number)

    def _is_live(self, version: Version) -> bool:
        target = self._layout.live_target(version.name, version.number)
        try:
            return os.fspath(self._layout.live(version.name).readlink()) == target
        except OSError:
            return False


def _files(
    live: Path,
    directory: Path,
    certificate: IssuedCertificate,
    second: CertificateFiles | None = None,
) -> CertificateFiles:
    """Return the paths of the files of one certificate."""
    has_key = certificate.has_key
    return CertificateFiles(
        live=str(live),
        cert=str(directory / "cert.pem"),
        chain=str(directory / "chain.pem"),
        fullchain=str(directory / "fullchain.pem"),
        privkey=str(directory / "privkey.pem") if has_key else None,
        combined=str(directory / "combined.pem") if has_key else None,
        second=second,
    )


def _is_executable(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False  # a dangling link
    return stat.S_ISREG(mode) and bool(mode & 0o111)
