"""`certificates/NAME.toml`: the spec of a certificate, which users may edit.

`certctl.rules.spec` defines what a document means. Saving changes only the values that differ, so
that comments, the order of keys and the notation of values are preserved.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certctl.model.errors import ConfigurationError, StoreError, UnknownCertificate
from certctl.model.names import is_certificate_name
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.copies import copy_table, parse_copy
from certctl.rules.options import Option
from certctl.rules.settings import OWN_KEYS, Settings, check, flatten
from certctl.rules.spec import from_table, to_table
from certctl.store.home.contents import Contents
from certctl.store.home.idle import Signature, file_signature, signature
from certctl.store.home.layout import Layout
from certctl.store.home.seen import SeenFiles
from certctl.system.files import (
    PRIVATE_FILE,
    as_store_error,
    read_if_exists,
    read_own,
    read_trusted,
    remove_file,
    write_atomic,
)

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_LIMIT = 1 << 20
_HEADING = (
    "The specification of this certificate. After editing it, run `certctl renew`.",
    "Settings that are missing here come from certctl.toml or have their default.",
)
_LONG_LIST = 3
_COPIES = "deploy.copy"
"""The one setting that is written as tables; a list of strings is accepted too."""


class Specs:
    """The specs of all certificates below one home directory."""

    def __init__(self, layout: Layout, settings: Settings, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._settings = settings
        self._warn = warn
        self._seen: dict[str, Signature] = {}
        self._contents = Contents()
        self._loaded = SeenFiles[tuple[CertificateSpec, Signature]]()

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
        found = from_table(name, document, self._settings, str(path)), signature(facts)
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
            return _new_text(wanted)
        try:
            edited = _edit(current.decode("utf-8-sig"), wanted, self._settings.table)
        except ValueError as error:
            raise ConfigurationError(
                f"{path}: {error}", hint="Correct the file in an editor.", code="configuration.toml"
            ) from error
        if edited is not None:
            return edited
        self._warn(f"{path} was rewritten; its comments could not be preserved.")
        return _new_text(wanted)

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


def _new_text(wanted: Mapping[str, Value]) -> str:
    import tomlkit  # noqa: PLC0415 - slow to import, and needed only for changes

    document = tomlkit.document()
    for line in _HEADING:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    for key, value in wanted.items():
        _set(document, key, value)
    return tomlkit.dumps(document)


def _edit(text: str, wanted: Mapping[str, Value], table: Mapping[str, Option]) -> str | None:
    """Return the text with the values that differ replaced; None if the result would not mean
    `wanted`. Raises ValueError if the text is not valid TOML.
    """
    import tomlkit  # noqa: PLC0415 - slow to import, and needed only for changes

    document = tomlkit.parse(text)
    present = _prune(document, "", wanted)
    for key, value in wanted.items():
        if key not in present or not _is_same(key, present[key], value, table):
            _set(document, key, value)
    result = tomlkit.dumps(document)
    return result if _parses_to(result, wanted, table) else None


def _prune(
    node: MutableMapping[str, Any],
    prefix: str,
    wanted: Mapping[str, Value],
) -> dict[str, object]:
    """Remove unwanted keys, and the tables that become empty; return the remaining values by
    dotted key.
    """
    present: dict[str, object] = {}
    for name in list(node):
        key, value = f"{prefix}{name}", node[name]
        if isinstance(value, MutableMapping) and key not in OWN_KEYS:
            below = _prune(value, f"{key}.", wanted)
            present.update(below)
            if not below and not _has_comment(value):
                del node[name]
        elif key in wanted:
            present[key] = _plain(value)
        else:
            del node[name]
    return present


def _has_comment(node: MutableMapping[str, Any]) -> bool:
    as_string = getattr(node, "as_string", None)
    return callable(as_string) and "#" in str(as_string())


def _is_same(key: str, present: object, value: Value, table: Mapping[str, Option]) -> bool:
    if present == _toml(value):
        return True
    option = table.get(key)
    if option is None:
        return False
    try:
        return check(option, present) == value
    except ConfigurationError:
        return False


def _set(document: TOMLDocument, key: str, value: Value) -> None:
    """Set a dotted key; creates missing tables."""
    import tomlkit  # noqa: PLC0415 - slow to import, and needed only for changes

    *path, leaf = key.split(".")
    node: MutableMapping[str, Any] = document
    for index, name in enumerate(path):
        if name not in node:
            # a table that contains only tables needs no header
            node[name] = tomlkit.table(is_super_table=index < len(path) - 1)
        node = node[name]
    if isinstance(value, tuple) and leaf in node and _set_list(node[leaf], value):
        return
    if key == _COPIES and isinstance(value, tuple) and value:
        # removed first: tomlkit cannot replace a list with tables
        node.pop(leaf, None)
        node[leaf] = _tables([copy_table(parse_copy(each)) for each in value])
        return
    node[leaf] = _item(value)


def _tables(tables: Sequence[Mapping[str, str | bool]]) -> Any:
    import tomlkit  # noqa: PLC0415 - slow to import, and needed only for changes

    array = tomlkit.aot()
    for each in tables:
        array.append(tomlkit.item(dict(each)))
    return array


def _set_list(array: Any, value: tuple[str, ...]) -> bool:
    """Change a list in place, which preserves its comments; return whether that was possible."""
    import tomlkit.items  # noqa: PLC0415 - slow to import, and needed only for changes

    if not isinstance(array, tomlkit.items.Array):
        return False
    for index in reversed(range(len(array))):
        if array[index] not in value:
            del array[index]
    for each in value:
        if each not in array:
            array.append(each)
    return bool(tuple(_plain(array)) == value)


def _item(value: Value) -> Any:
    import tomlkit  # noqa: PLC0415 - slow to import, and needed only for changes

    item = tomlkit.item(_toml(value))
    if isinstance(value, tuple) and len(value) > _LONG_LIST:
        item.multiline(True)
    return item


def _toml(value: Value) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _plain(value: Any) -> Any:
    unwrap = getattr(value, "unwrap", None)
    return unwrap() if callable(unwrap) else value


def _parses_to(text: str, wanted: Mapping[str, Value], table: Mapping[str, Option]) -> bool:
    """Return whether another parser reads exactly `wanted` from the text."""
    try:
        found = flatten(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False
    return found.keys() == wanted.keys() and all(
        _is_same(key, found[key], value, table) for key, value in wanted.items()
    )
