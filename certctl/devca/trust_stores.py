"""Where this machine keeps the roots that its programs trust: the system's store, and the databases
of browsers (NSS), which do not use it on Linux.

A root is added under a name with a part of its fingerprint, so that only that one is removed again,
and so that roots whose CA is gone are found.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.files import ensure_directory, write_atomic
from certctl.system.process import run

_PREFIX = "certctl-dev-ca-"
_NAME = re.compile(rf"{_PREFIX}[0-9a-f]{{8}}\Z")
_TIMEOUT = 60.0
_NO_CERTUTIL = (
    "Install certutil: apt install libnss3-tools (Debian, Ubuntu), dnf install nss-tools (Fedora)."
)

_SYSTEM_STORES = (
    ("usr/local/share/ca-certificates", ("update-ca-certificates",)),  # Debian, Ubuntu, Alpine
    ("etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract")),  # Fedora, RHEL
    ("etc/ca-certificates/trust-source/anchors", ("trust", "extract-compat")),  # Arch
    ("etc/pki/trust/anchors", ("update-ca-certificates",)),  # SUSE
)
"""The directory for an administrator's roots, and the command that makes programs use them."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Programs that read ~/.pki/nssdb, once it exists."""
_CHROMIUM = (".pki/nssdb", "snap/chromium/current/.pki/nssdb")
_FIREFOX = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
)


class Trust(StrEnum):
    """What came of one store."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    NEEDS_ROOT = "needs-root"


@dataclass(frozen=True)
class Root:
    """A root certificate: its file, its content, and the name that stores know it by."""

    path: Path
    pem: bytes

    @property
    def name(self) -> str:
        """The name, such as `certctl-dev-ca-0123abcd`."""
        certificate = x509.load_pem_x509_certificate(self.pem)
        return f"{_PREFIX}{certificate.fingerprint(SHA256()).hex()[:8]}"


@dataclass(frozen=True)
class Machine:
    """Whose stores they are: the user, their home directory, and the variable PATH. `root` is the
    root of the file system.
    """

    user_id: int
    home: Path | None
    variables: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")


class Store(Protocol):
    """A place with trusted roots. Methods raise `CertctlError` if it cannot be read or changed."""

    @property
    def title(self) -> str:
        """What uses it, and where it is."""
        ...

    def names(self) -> list[str]:
        """Return the names of all roots of development CAs that it has."""
        ...

    def add(self, root: Root) -> Trust:
        """Trust a root."""
        ...

    def remove(self, names: Collection[str]) -> Trust:
        """Trust the roots of these names no more."""
        ...

    def adding(self, root: Root) -> str:
        """Return the command that adds a root, for a user who may become root."""
        ...

    def removing(self, names: Collection[str]) -> str:
        """Return the command that removes roots, for a user who may become root."""
        ...


def stores(machine: Machine) -> list[Store]:
    """Return the stores that exist on this machine, and Chromium's if it is installed."""
    found: list[Store] = []
    path = machine.variables.get("PATH")
    for directory, command in _SYSTEM_STORES:
        if (machine.root / directory).is_dir() and shutil.which(command[0], path=_paths(path)):
            found.append(SystemStore(machine.root / directory, command, machine.user_id))
            break
    if machine.home is not None:
        found += [
            NssStore(program, directory, path)
            for program, directory in _databases(machine.home, path)
        ]
    return found


def _paths(path: str | None) -> str:
    """Return PATH with the directories of programs for administrators, which users often lack."""
    return os.pathsep.join((path or os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"))


def _databases(home: Path, path: str | None) -> Iterable[tuple[str, Path]]:
    chromium = any(shutil.which(each, path=path) for each in _BROWSERS)
    for number, name in enumerate(_CHROMIUM):
        if (home / name / "cert9.db").is_file() or (chromium and number == 0):
            yield "Chromium", home / name
    for name in _FIREFOX:
        for database in sorted((home / name).glob("*/cert9.db")):
            yield "Firefox", database.parent


@dataclass(frozen=True)
class SystemStore:
    """The roots of most programs: a directory, and a command that reads it."""

    directory: Path
    command: tuple[str, ...]
    user_id: int

    @property
    def title(self) -> str:
        return f"the system, in {self.directory}"

    def add(self, root: Root) -> Trust:
        path = self._path(root)
        if _content(path) == root.pem:
            return Trust.UNCHANGED
        if self.user_id != 0:
            return Trust.NEEDS_ROOT
        write_atomic(path, root.pem, mode=0o644)
        try:
            _run(self.command)
        except CertctlError:
            path.unlink()  # so that the next attempt does not take it for done
            raise
        return Trust.CHANGED

    def remove(self, names: Collection[str]) -> Trust:
        there = self._there(names)
        if not there:
            return Trust.UNCHANGED
        if self.user_id != 0:
            return Trust.NEEDS_ROOT
        for each in there:
            each.unlink(missing_ok=True)
        _run(self._removing)
        return Trust.CHANGED

    def names(self) -> list[str]:
        found = (each.stem for each in self.directory.glob(f"{_PREFIX}*.crt"))
        return sorted(each for each in found if _NAME.match(each))

    def adding(self, root: Root) -> str:
        paths = shlex.join((str(root.path), str(self._path(root))))
        return f"sudo cp {paths} && sudo {shlex.join(self.command)}"

    def removing(self, names: Collection[str]) -> str:
        paths = shlex.join(str(each) for each in self._there(names))
        return f"sudo rm {paths} && sudo {shlex.join(self._removing)}"

    def _there(self, names: Collection[str]) -> list[Path]:
        return [self.directory / f"{each}.crt" for each in self.names() if each in names]

    @property
    def _removing(self) -> tuple[str, ...]:
        """The command after a removal: by default Debian's keeps links to what is gone."""
        fresh = ("--fresh",) if self.command == ("update-ca-certificates",) else ()
        return (*self.command, *fresh)

    def _path(self, root: Root) -> Path:
        return self.directory / f"{root.name}.crt"


@dataclass(frozen=True)
class NssStore:
    """A browser's database."""

    program: str
    directory: Path
    path: str | None

    @property
    def title(self) -> str:
        return f"{self.program}, in {self.directory}"

    def add(self, root: Root) -> Trust:
        if not (self.directory / "cert9.db").exists():
            ensure_directory(self.directory, mode=0o700)
            self._certutil("-N", "--empty-password")
        elif root.name in self.names():
            return Trust.UNCHANGED
        # C: trusted to issue certificates of servers.
        self._certutil("-A", "-n", root.name, "-t", "C,,", "-i", str(root.path))
        return Trust.CHANGED

    def remove(self, names: Collection[str]) -> Trust:
        there = [each for each in self.names() if each in names]
        for each in there:
            self._certutil("-D", "-n", each)
        return Trust.CHANGED if there else Trust.UNCHANGED

    def names(self) -> list[str]:
        if not (self.directory / "cert9.db").exists():
            return []
        lines = self._certutil("-L").splitlines()
        nicknames = {line.split()[0] for line in lines if line.strip()}
        return sorted(each for each in nicknames if _NAME.match(each))

    def adding(self, root: Root) -> str:  # noqa: ARG002 - never needs root
        return ""

    def removing(self, names: Collection[str]) -> str:  # noqa: ARG002 - never needs root
        return ""

    def _certutil(self, *arguments: str) -> str:
        program = shutil.which("certutil", path=self.path)
        if program is None:
            raise ConfigurationError(
                f"{self.program} keeps its roots in a database, and certutil is not installed",
                hint=_NO_CERTUTIL,
                code="dev_ca.certutil",
            )
        return _run((program, *arguments, "-d", f"sql:{self.directory}"))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _run(command: Sequence[str]) -> str:
    """Run a command and return its output. Raises `CertctlError` if it fails."""
    done = run(command, environment={}, timeout=_TIMEOUT)
    if done.exit_status != 0:
        said = done.output.strip().splitlines()
        raise CertctlError(
            f"{shlex.join(command)} failed: {said[-1] if said else done.exit_status}",
            code="dev_ca.trust_store",
        )
    return done.output
