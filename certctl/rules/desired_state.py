"""The desired state of many certificates in one text: TOML files, or JSON on standard input.

`[defaults]`, `[group.NAME]` and `[certificate.NAME]` have the words of a specification, and
`extends` names the group that a certificate or a group is like. Pure: a text becomes what each
certificate should be; nothing is looked up.
"""

from __future__ import annotations

import difflib
import json
import os.path
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import certificate_name, is_certificate_name, parse_identifiers
from certctl.model.text import LINE, printable
from certctl.model.values import Value
from certctl.rules.option import Option
from certctl.rules.paths import absolute_path
from certctl.rules.settings import check, flatten
from certctl.rules.spec import merge_choices, with_absolute_paths, with_method
from certctl.rules.toml_lines import line_of

FORMAT = 1
DEFAULTS, GROUP, CERTIFICATE = "defaults", "group", "certificate"
EXTENDS, NAMES, CSR, OWNER, VERSION = "extends", "names", "csr", "owner", "version"
TOP_LEVEL = (VERSION, OWNER, DEFAULTS, GROUP, CERTIFICATE)

MOST_CERTIFICATES = 100_000
_LONGEST_OWNER = 64

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Text:
    """A text that was read: `name` is what messages call it, and relative paths in it start at
    `directory`. It is JSON or TOML.
    """

    name: str
    directory: str
    content: str = field(repr=False)
    json: bool = False


@dataclass(frozen=True)
class Desired:
    """What a certificate should be. `chosen` has its settings by key, those of its groups and the
    defaults included; `groups` are those it belongs to, the nearest first. `csr` is the path of its
    signing request, which then says for which `identifiers` it is. `path` is where it is in `text`.
    """

    name: str
    identifiers: tuple[Identifier, ...]
    chosen: Mapping[str, Value] = field(repr=False)
    text: Text
    path: tuple[str, ...]
    groups: tuple[str, ...] = ()
    csr: str | None = None

    def wrong(
        self, what: str, *, hint: str | None = None, code: str = "configuration.value"
    ) -> ConfigurationError:
        """Return the error for something about the certificate, with its place."""
        error = wrong(self.text, self.path, what, hint=hint, code=code)
        error.name = self.name
        return error


@dataclass(frozen=True)
class DesiredState:
    """The certificates of a desired state, sorted by name, and its owner, if it has one."""

    owner: str | None
    certificates: tuple[Desired, ...]


@dataclass(frozen=True)
class _Table:
    """A table of a text, with its settings by key; `path` is where it is in the text."""

    text: Text
    path: tuple[str, ...]
    chosen: Mapping[str, Value]
    extends: str | None = None
    names: tuple[Identifier, ...] | None = None
    csr: str | None = None


def parse(texts: Sequence[Text], table: Mapping[str, Option]) -> DesiredState:
    """Return the desired state that these texts describe together; `table` has the settings.

    Raises `ConfigurationError` with the text and the line for what is not valid: also for a table
    that is there twice, groups that extend each other, and if there is no certificate at all.
    """
    reader = _Reader(table)
    for each in texts:
        reader.read(each)
    return reader.state(texts)


def place(text: Text, path: Sequence[str]) -> str:
    """Return where a key is, as `FILE, line N`; of JSON, whose lines a program chose, the text."""
    line = None if text.json else line_of(text.content, path)
    return text.name if line is None else f"{text.name}, line {line}"


class _Reader:
    """Collects the tables of several texts."""

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._options = options
        self._owner: tuple[str, Text] | None = None
        self._defaults: _Table | None = None
        self._groups: dict[str, _Table] = {}
        self._certificates: dict[str, _Table] = {}

    def read(self, text: Text) -> None:
        """Add the tables of a text."""
        document = _document(text)
        for key in document:
            if key not in TOP_LEVEL:
                raise _unknown(text, (key,), TOP_LEVEL)
        if document.get(VERSION, FORMAT) != FORMAT:
            raise wrong(text, (VERSION,), f"this certctl reads only version {FORMAT}")
        if OWNER in document:
            self._add_owner(text, document[OWNER])
        if DEFAULTS in document:
            if self._defaults is not None:
                raise _twice(text, (DEFAULTS,), self._defaults)
            self._defaults = self._table(text, (DEFAULTS,), document[DEFAULTS], ())
        for name, value in _tables(text, GROUP, document).items():
            path = (GROUP, name)
            if name in self._groups:
                raise _twice(text, path, self._groups[name])
            self._groups[name] = self._table(text, path, value, (EXTENDS,))
        for name, value in _tables(text, CERTIFICATE, document).items():
            path = (CERTIFICATE, name)
            known = _certificate_name(text, path)
            if known in self._certificates:
                raise _twice(text, path, self._certificates[known])
            self._certificates[known] = self._table(text, path, value, (NAMES, EXTENDS, CSR))

    def state(self, texts: Sequence[Text]) -> DesiredState:
        """Return the desired state. Raises `ConfigurationError` without any certificate."""
        if not self._certificates:
            names = ", ".join(each.name for each in texts) or "the directory"
            raise ConfigurationError(
                f"{names}: there is no certificate in it",
                hint='Add one: [certificate."example.com"]. That nothing is to be managed any more'
                " is said by deleting the certificates: certctl delete --where managed_by=OWNER",
                code="plan.no_certificate",
            )
        if len(self._certificates) > MOST_CERTIFICATES:
            raise ConfigurationError(
                f"there are more than {MOST_CERTIFICATES} certificates in it",
                hint="Divide them among several owners.",
                code="plan.too_many",
            )
        for name in self._groups:  # also those that no certificate is in
            self._chain(self._groups[name])
        found = [
            self._desired(name, self._certificates[name]) for name in sorted(self._certificates)
        ]
        return DesiredState(self._owner[0] if self._owner else None, tuple(found))

    def _add_owner(self, text: Text, value: object) -> None:
        if not isinstance(value, str) or not is_certificate_name(value):
            raise wrong(
                text,
                (OWNER,),
                f"{_shown(value)} is not a word of letters, digits, '.', '-' and '_'",
            )
        if len(value) > _LONGEST_OWNER:
            raise wrong(text, (OWNER,), f"it is longer than {_LONGEST_OWNER} characters")
        if self._owner is not None and self._owner[0] != value:
            before, where = self._owner
            raise wrong(text, (OWNER,), f"it is {value!r} here, and {before!r} in {where.name}")
        self._owner = value, text

    def _table(
        self, text: Text, path: tuple[str, ...], value: object, own: Sequence[str]
    ) -> _Table:
        """Return a table; `own` are the keys that it may have besides settings."""
        if not isinstance(value, Mapping):
            raise wrong(text, path, "it must be a table")
        rest = dict(value)
        extends = _text(text, (*path, EXTENDS), rest.pop(EXTENDS, None)) if EXTENDS in own else None
        csr = _text(text, (*path, CSR), rest.pop(CSR, None)) if CSR in own else None
        names = (
            _names(text, (*path, NAMES), rest.pop(NAMES))
            if NAMES in own and NAMES in rest
            else None
        )
        chosen: dict[str, Value] = {}
        for key, found in flatten(rest).items():
            where = (*path, *key.split("."))
            option = self._options.get(key)
            if option is None or not option.in_spec or key == CSR:
                options = [each for each in self._options.values() if each.in_spec]
                known = [*own, *(each.key for each in options if each.key != CSR)]
                raise _unknown(text, where, known, key, options)
            chosen[key] = _value(text, where, option, found)
        absolute = _checked(
            text,
            path,
            lambda: with_absolute_paths(with_method(chosen), self._options, text.directory),
        )
        return _Table(text, path, absolute, extends, names, csr)

    def _chain(self, table: _Table) -> list[_Table]:
        """Return the groups of a table, the nearest first. Raises `ConfigurationError`."""
        found: list[_Table] = []
        at = table
        while at.extends is not None:
            group = self._groups.get(at.extends)
            where = (*at.path, EXTENDS)
            if group is None:
                near = difflib.get_close_matches(at.extends, self._groups, n=1)
                raise wrong(
                    at.text,
                    where,
                    f"there is no group {at.extends!r}",
                    hint=f"Did you mean {near[0]}?" if near else f"Add it: [group.{at.extends}]",
                    code="plan.unknown_group",
                )
            if group is table or group in found:
                names = " → ".join(each.path[-1] for each in [*found, group])
                raise wrong(
                    at.text,
                    where,
                    f"groups extend each other in a circle: {names}",
                    hint="Remove one of these lines.",
                    code="plan.circle",
                )
            found.append(group)
            at = group
        return found

    def _desired(self, name: str, table: _Table) -> Desired:
        groups = self._chain(table)
        layers = [self._defaults, *reversed(groups), table]
        chosen: dict[str, Value] = {}
        for each in layers:
            chosen = merge_choices(chosen, each.chosen) if each is not None else chosen
        names = table.names
        if names is None and table.csr is None:
            names = _names(table.text, table.path, [table.path[-1]], of_table=True)
        csr = table.csr
        if csr is not None:
            csr = os.path.normpath(absolute_path(csr, table.text.directory))
        return Desired(
            name,
            names or (),
            chosen,
            table.text,
            table.path,
            tuple(each.path[-1] for each in groups),
            csr,
        )


def _document(text: Text) -> Mapping[str, object]:
    """Return the document of a text. Raises `ConfigurationError` if it is not valid."""
    try:
        if text.json:
            found = json.loads(
                text.content, object_pairs_hook=_without_duplicates, parse_constant=_no_constant
            )
        else:
            found = tomllib.loads(text.content)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if text.json else "TOML"
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigurationError(
            f"{text.name} is not valid {kind}: {reason}",
            hint="Correct it; nothing was changed.",
            code="configuration.file",
        ) from None
    if not isinstance(found, Mapping):
        raise wrong(text, (), "it must be an object with the key certificate")
    return found


def _without_duplicates(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a value")


def _tables(text: Text, key: str, document: Mapping[str, object]) -> Mapping[str, object]:
    found = document.get(key, {})
    if not isinstance(found, Mapping):
        raise wrong(text, (key,), f"it must be a table of tables: [{key}.NAME]")
    return found


def _certificate_name(text: Text, path: tuple[str, ...]) -> str:
    name = path[-1]
    if name.startswith("*."):
        raise wrong(
            text,
            path,
            "a wildcard is not the name of a certificate",
            hint=f'Write, for example: [certificate."{name[2:]}"] and names = ["{name}"]',
            code="usage.name",
        )
    return _checked(text, path, lambda: certificate_name(name))


def _names(
    text: Text, path: tuple[str, ...], value: object, *, of_table: bool = False
) -> tuple[Identifier, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise wrong(
            text,
            path,
            "it must be a list of at least one name",
            hint='Write, for example: names = ["example.com"]',
        )
    try:
        return parse_identifiers(value)
    except CertctlError as error:
        if of_table:
            raise wrong(
                text,
                path,
                "names is missing, and its own name is not that of a host",
                hint='Write, for example: names = ["example.com"]',
                code=error.code,
            ) from None
        raise wrong(text, path, error.message, hint=error.hint, code=error.code) from None


def _text(text: Text, path: tuple[str, ...], value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise wrong(text, path, f"{_shown(value)} is not a text")
    return value


def _value(text: Text, path: tuple[str, ...], option: Option, value: object) -> Value:
    return _checked(text, path, lambda: check(option, value))


def _checked(text: Text, path: tuple[str, ...], work: Callable[[], _Result]) -> _Result:
    """Return the result of `work`; what it refuses is raised with its place."""
    try:
        return work()
    except CertctlError as error:
        raise wrong(text, path, error.message, hint=error.hint, code=error.code) from None


def wrong(
    text: Text,
    path: Sequence[str],
    what: str,
    *,
    hint: str | None = None,
    code: str = "configuration.value",
) -> ConfigurationError:
    """Return the error for what is not valid at this path."""
    key = ".".join(path)
    subject, colon, rest = what.partition(": ")
    if colon and subject in key:  # it is named as the setting already
        what = rest
    named = f"{key}: " if key else ""
    return ConfigurationError(
        f"{place(text, path)}: {named}{what}",
        hint=hint or "Correct it; nothing was changed.",
        code=code,
    )


def _unknown(
    text: Text,
    path: tuple[str, ...],
    known: Sequence[str],
    key: str = "",
    options: Iterable[Option] = (),
) -> ConfigurationError:
    """Return the error for an unknown key, with the one that was probably meant: of a similar name,
    or of the flag that is written so.
    """
    key = key or path[-1]
    flag = f"--{key.replace('_', '-')}"
    by_flag = [each.key for each in options if each.flag == flag]
    near = by_flag or difflib.get_close_matches(key, known, n=1)
    words = "The words are those of certctl.toml: man certctl.toml"
    return ConfigurationError(
        f"{place(text, path)}: unknown setting {key!r} in {'.'.join(path[:-1]) or 'the file'}",
        hint=f"Did you mean {near[0]}?" if near else words,
        code="configuration.unknown_key",
    )


def _twice(text: Text, path: tuple[str, ...], before: _Table) -> ConfigurationError:
    return wrong(
        text,
        path,
        f"it is also at {place(before.text, before.path)}",
        hint="Remove one of them.",
        code="plan.twice",
    )


def _shown(value: object) -> str:
    return printable(repr(value), LINE)
