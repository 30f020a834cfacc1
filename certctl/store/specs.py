"""`certificates/NAME.toml`: what is wanted of a certificate, read by certctl and edited by people.

What a document means is `certctl.spec`'s business. Saving changes only what differs, so that
people's comments, their order and their way of writing a value stay.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certctl.copies import copy_table, parse_copy
from certctl.errors import ConfigurationError, UnknownCertificate, UsageError
from certctl.models import CertificateSpec, Value
from certctl.names import certificate_name
from certctl.options import Option
from certctl.settings import OWN_KEYS, Settings, check, flatten
from certctl.spec import from_table, to_table
from certctl.store.idle import Signature, signature
from certctl.store.layout import Layout
from certctl.system.files import (
    PRIVATE_FILE,
    as_store_error,
    read_if_exists,
    read_trusted,
    remove_file,
    write_atomic,
)

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_LIMIT = 1 << 20
_HEADING = (
    "What is wanted of this certificate; edit it, then run `certctl renew`.",
    "What does not stand here is as in certctl.toml, or as certctl does it by default.",
)
_LONG_LIST = 3
_COPIES = "deploy.copy"
"""The one setting that is written as tables; a list of texts is understood too."""


class Specs:
    """The specs of all certificates below one home directory."""

    def __init__(self, layout: Layout, settings: Settings, warn: Callable[[str], None]) -> None:
        self._layout = layout
        self._settings = settings
        self._warn = warn
        self._seen: dict[str, Signature] = {}

    def names(self) -> list[str]:
        """Return the names of all certificates that have a spec, sorted."""
        with as_store_error("list", self._layout.certificates):
            try:
                entries = os.listdir(self._layout.certificates)  # noqa: PTH208 - names are enough
            except FileNotFoundError:
                return []
        stems = (each[:-5] for each in entries if each.endswith(".toml"))
        return sorted(each for each in stems if _is_name(each))

    def names_mentioning(self, value: str) -> list[str]:
        """Return the names of certificates whose spec may hold an identifier, sorted.

        Looks at the bytes, since parsing thousands of files takes longer than one command may.
        """
        wanted = value.encode()
        found: list[str] = []
        for name in self.names():
            text = read_if_exists(self._layout.spec(name), _LIMIT) or b""
            # People may have written an internationalised name in letters of its own.
            if wanted in text.lower() or not text.isascii():
                found.append(name)
        return found

    def read(self, name: str) -> CertificateSpec:
        """Return what is wanted. Raises `UnknownCertificate`, or `ConfigurationError` naming file
        and line, or who could have written it.
        """
        spec, self._seen[name] = self._load(name)
        return spec

    def peek(self, name: str) -> CertificateSpec:
        """Return what is wanted, for something else than a decision: `seen` does not change."""
        return self._load(name)[0]

    def _load(self, name: str) -> tuple[CertificateSpec, Signature]:
        path = self._layout.spec(name)
        try:
            data, facts = read_trusted(path, _LIMIT)
        except FileNotFoundError:
            raise self._unknown(name) from None
        try:
            document = tomllib.loads(data.decode("utf-8"))
        except ValueError as error:
            raise ConfigurationError(
                f"{path}: {error}",
                hint="Correct it in an editor.",
                name=name,
                code="configuration.toml",
            ) from error
        return from_table(name, document, self._settings, str(path)), signature(facts)

    def seen(self, name: str) -> Signature | None:
        """Return the signature of the spec's file as it was when `read` or `save` last had it; None
        where that has not happened.
        """
        return self._seen.get(name)

    def save(self, spec: CertificateSpec) -> None:
        """Write the spec, durably. A link is written through; mode and group stay.

        Raises `StoreError`, and `ConfigurationError` where the file that stands there is no TOML.
        """
        path = Path(os.path.realpath(self._layout.spec(spec.name)))
        self._layout.make(self._layout.certificates)
        wanted = {key: value for key, value in to_table(spec).items() if value is not None}
        mode, group = _access(path)
        write_atomic(path, self._text(path, wanted).encode(), mode, group)
        with as_store_error("look at", path):
            self._seen[spec.name] = signature(path.stat())

    def remove(self, name: str) -> None:
        """Remove the spec and its certificate signing request, durably."""
        remove_file(self._layout.spec(name))
        remove_file(self._layout.csr(name))
        self._seen.pop(name, None)

    def csr(self, name: str) -> bytes | None:
        """Return the certificate signing request that is kept for renewals, as PEM."""
        return read_if_exists(self._layout.csr(name), _LIMIT)

    def save_csr(self, name: str, pem: bytes) -> None:
        """Keep a certificate signing request for renewals, durably."""
        path = self._layout.csr(name)
        self._layout.make(path.parent)
        write_atomic(path, pem)

    def _text(self, path: Path, wanted: Mapping[str, Value]) -> str:
        current = read_if_exists(path, _LIMIT)
        if current is None:
            return _fresh(wanted)
        try:
            edited = _edited(current.decode("utf-8"), wanted, self._settings.table)
        except ValueError as error:
            raise ConfigurationError(
                f"{path}: {error}", hint="Correct it in an editor.", code="configuration.toml"
            ) from error
        if edited is not None:
            return edited
        self._warn(f"{path} was written anew; its comments could not be kept.")
        return _fresh(wanted)

    def _unknown(self, name: str) -> UnknownCertificate:
        near = difflib.get_close_matches(name, self.names(), n=1)
        return UnknownCertificate(
            f"there is no certificate named {name!r}",
            hint=f"Did you mean {near[0]}?" if near else "`certctl list` shows those that are.",
            name=name,
        )


def _is_name(text: str) -> bool:
    try:
        certificate_name(text)
    except UsageError:
        return False
    return True


def _access(path: Path) -> tuple[int, int | None]:
    try:
        facts = path.stat()
    except OSError:
        return PRIVATE_FILE, None
    return stat.S_IMODE(facts.st_mode) & 0o775, facts.st_gid


def _fresh(wanted: Mapping[str, Value]) -> str:
    import tomlkit  # noqa: PLC0415 - slow to import, and only a change needs it

    document = tomlkit.document()
    for line in _HEADING:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    for key, value in wanted.items():
        _put(document, key, value)
    return tomlkit.dumps(document)


def _edited(text: str, wanted: Mapping[str, Value], table: Mapping[str, Option]) -> str | None:
    """Return the text with what differs changed; None where the result would mean something else
    than `wanted`. Raises ValueError where the text is no TOML.
    """
    import tomlkit  # noqa: PLC0415 - slow to import, and only a change needs it

    document = tomlkit.parse(text)
    present = _prune(document, "", wanted)
    for key, value in wanted.items():
        if key not in present or not _same(key, present[key], value, table):
            _put(document, key, value)
    result = tomlkit.dumps(document)
    return result if _means(result, wanted, table) else None


def _prune(
    node: MutableMapping[str, Any],
    prefix: str,
    wanted: Mapping[str, Value],
) -> dict[str, object]:
    """Remove the leaves that are not wanted, and the tables that this leaves empty; return the
    others by dotted key.
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


def _same(key: str, present: object, value: Value, table: Mapping[str, Option]) -> bool:
    if present == _toml(value):
        return True
    option = table.get(key)
    if option is None:
        return False
    try:
        return check(option, present) == value
    except ConfigurationError:
        return False


def _put(document: TOMLDocument, key: str, value: Value) -> None:
    """Set a dotted key, in the tables that are there, or in new ones."""
    import tomlkit  # noqa: PLC0415 - slow to import, and only a change needs it

    *path, leaf = key.split(".")
    node: MutableMapping[str, Any] = document
    for index, name in enumerate(path):
        if name not in node:
            # a table that only holds tables needs no heading of its own
            node[name] = tomlkit.table(is_super_table=index < len(path) - 1)
        node = node[name]
    if isinstance(value, tuple) and leaf in node and _put_list(node[leaf], value):
        return
    if key == _COPIES and isinstance(value, tuple) and value:
        # taken out first: tomlkit cannot put tables in the place of a list
        node.pop(leaf, None)
        node[leaf] = _tables([copy_table(parse_copy(each)) for each in value])
        return
    node[leaf] = _item(value)


def _tables(tables: Sequence[Mapping[str, str]]) -> Any:
    import tomlkit  # noqa: PLC0415 - slow to import, and only a change needs it

    array = tomlkit.aot()
    for each in tables:
        array.append(tomlkit.item(dict(each)))
    return array


def _put_list(array: Any, value: tuple[str, ...]) -> bool:
    """Change a list in place, which keeps the comments in it; return whether that was possible."""
    import tomlkit.items  # noqa: PLC0415 - slow to import, and only a change needs it

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
    import tomlkit  # noqa: PLC0415 - slow to import, and only a change needs it

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


def _means(text: str, wanted: Mapping[str, Value], table: Mapping[str, Option]) -> bool:
    """Whether the text says what is wanted, read by a parser that did not write it."""
    try:
        found = flatten(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False
    return found.keys() == wanted.keys() and all(
        _same(key, found[key], value, table) for key, value in wanted.items()
    )
