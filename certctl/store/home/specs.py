"""`certificates/NAME.toml`: the spec of a certificate, which users may edit.

`certctl.rules.spec` defines what a document means. Saving changes only the values that differ, so
that comments, the order of keys and the notation of values are preserved.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from certctl.model.errors import ConfigurationError, StoreError, UnknownCertificate
from certctl.model.names import is_certificate_name
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.settings import Settings
from certctl.rules.spec import from_table, to_table
from certctl.store.home.contents import Contents
from certctl.store.home.idle import Signature, file_signature, signature
from certctl.store.home.layout import Layout
from certctl.store.home.new_spec import new_text
from certctl.store.home.seen import SeenFiles
from certctl.system.file_errors import as_store_error
from certctl.system.files import PRIVATE_FILE, remove_file, write_atomic
from certctl.system.reading import read_if_exists, read_own, read_trusted

if TYPE_CHECKING:
    pass

_LIMIT = 1 << 20


class Specs:
    """The specs of all certificates below one home directory."""

    def __init__(self, layout: Layout, settings: Settings, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._settings = settings
        self._warn = warn
        self._seen: dict[str, Signature] = {}
        self._contents = Contents()
        self._loaded = SeenFiles[tuple[CertificateSpec, Signature]]()
        self._last: CertificateSpec | None = None

    def names(self) -> list[str]:
        """Return the names of all certificates that have a spec, sorted."""
        with as_store_error("list", self._layout.certificates):
            try:
                entries = os.listdir(self._layout.certificates)  # noqa: PTH208 - names are enough
            except FileNotFoundError:
                return []
        stems = (each[:-5] for each in entries if each.endswith(".toml"))
        return sorted(each for each in stems if is_certificate_name(each))

    def names_mentioning(self, value: str) -> list[str]:
        """Return the names of certificates whose spec may contain an identifier, sorted.

        Searches the bytes, since parsing thousands of files would take too long.
        """
        wanted = value.encode()
        found: list[str] = []
        for name in self.names():
            try:
                text = read_if_exists(self._layout.spec(name), _LIMIT)
            except StoreError:
                text = None
            if text is None:
                found.append(name)  # its reader will say what is wrong
                continue
            # Users may have written an internationalised name in Unicode.
            if wanted in text.lower() or not text.isascii():
                found.append(name)
        return found

    def read(self, name: str) -> CertificateSpec:
        """Return the spec. Raises `UnknownCertificate`, or `ConfigurationError` with the file and
        line in it, or if another user could have written the file.
        """
        spec, self._seen[name] = self._load(name)
        return spec

    def peek(self, name: str) -> CertificateSpec:
        """Return the spec without recording its signature: `seen` does not change."""
        return self._load(name)[0]

    def check_file(self, name: str) -> None:
        """Raise what `read` raises if the file cannot be read; it is not parsed."""
        self._data(name)

    def _load(self, name: str) -> tuple[CertificateSpec, Signature]:
        path = self._layout.spec(name)
        known = self._loaded.get(name, path)
        if known is not None:
            return known
        data, facts = self._data(name)
        self._contents.note(path, signature(facts), data)
        try:
            document = tomllib.loads(data.decode("utf-8"))
        except ValueError as error:
            raise ConfigurationError(
                f"{path}: {error}",
                hint="Correct the file in an editor.",
                name=name,
                code="configuration.toml",
            ) from error
        spec = from_table(name, document, self._settings, str(path), like=self._last)
        self._last, found = spec, (spec, signature(facts))
        self._loaded.put(name, found[1], found)
        return found

    def _data(self, name: str) -> tuple[bytes, os.stat_result]:
        path = self._layout.spec(name)
        try:
            return read_trusted(path, _LIMIT)
        except FileNotFoundError:
            if path.is_symlink():
                raise ConfigurationError(
                    f"{path} is a link to {path.readlink()}, which does not exist",
                    hint=f"Restore that file, or remove the link: rm {path}",
                    name=name,
                    code="configuration.file",
                ) from None
            raise self._unknown(name) from None

    def digest(self, name: str) -> str:
        """Return the digest of the file as it is now; it is read only if it has changed since this
        process last did so. Raises `StoreError`.
        """
        return self._contents.digest(self._layout.spec(name))

    def seen(self, name: str) -> Signature | None:
        """Return the signature of the spec's file at the last `read` or `save`; None if there was
        neither.
        """
        return self._seen.get(name)

    def save(self, spec: CertificateSpec) -> None:
        """Write the spec durably. If it is a symbolic link, the link's target is written; mode and
        group are kept.

        Raises `StoreError`, and `ConfigurationError` if the existing file is not valid TOML.
        """
        path = Path(os.path.realpath(self._layout.spec(spec.name)))
        self._layout.create_directory(self._layout.certificates)
        wanted = {key: value for key, value in to_table(spec).items() if value is not None}
        before, current = file_signature(path), read_if_exists(path, _LIMIT)
        text = self._text(path, current, wanted).encode()
        if text == current and before is not None:
            self._seen[spec.name] = before
            self._contents.note(self._layout.spec(spec.name), before, text)
            return
        mode, group = _access(path)
        write_atomic(path, text, mode, group)
        with as_store_error("read the status of", path):
            after = self._seen[spec.name] = signature(path.stat())
        self._contents.note(self._layout.spec(spec.name), after, text)

    def remove(self, name: str) -> None:
        """Remove the spec and its certificate signing request durably."""
        remove_file(self._layout.spec(name))
        remove_file(self._layout.csr(name))
        self._seen.pop(name, None)

    def csr(self, name: str) -> bytes | None:
        """Return the certificate signing request that is stored for renewals, as PEM."""
        return read_own(self._layout.csr(name), _LIMIT)

    def save_csr(self, name: str, pem: bytes) -> None:
        """Store a certificate signing request for renewals, durably."""
        path = self._layout.csr(name)
        self._layout.create_directory(path.parent)
        write_atomic(path, pem)

    def _text(self, path: Path, current: bytes | None, wanted: Mapping[str, Value]) -> str:
        if current is None:
            return new_text(wanted)
        # tomlkit is slow to import, and needed only for changes
        from certctl.store.home.spec_text import edited_text  # noqa: PLC0415

        try:
            edited = edited_text(current.decode("utf-8-sig"), wanted, self._settings.table)
        except ValueError as error:
            raise ConfigurationError(
                f"{path}: {error}", hint="Correct the file in an editor.", code="configuration.toml"
            ) from error
        if edited is not None:
            return edited
        self._warn(f"{path} was rewritten; its comments could not be preserved.")
        return new_text(wanted)

    def _unknown(self, name: str) -> UnknownCertificate:
        near = difflib.get_close_matches(name, self.names(), n=1)
        return UnknownCertificate(
            f"there is no certificate named {name!r}",
            hint=f"Did you mean {near[0]}?"
            if near
            else "To see all certificates, run: certctl list",
            name=name,
        )


def _access(path: Path) -> tuple[int, int | None]:
    try:
        facts = path.stat()
    except OSError:
        return PRIVATE_FILE, None
    return stat.S_IMODE(facts.st_mode) & 0o775, facts.st_gid
