"""Reads a desired state: a file, a directory of files, or standard input.

Whoever can write such a file can have certctl run commands, so it is believed only if no other user
could have written it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from certctl.engine.run import Run
from certctl.engine.specs import desired
from certctl.model.errors import CertctlError, ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules import x509
from certctl.rules.desired_state import Desired, DesiredState, Text, parse
from certctl.rules.spec_differences import applied
from certctl.system.reading import read_bounded, read_trusted
from certctl.system.trust import check_trusted

STANDARD_INPUT = "-"
_LIMIT = 64 * 1024 * 1024
_CSR_LIMIT = 1_000_000


@dataclass(frozen=True)
class DesiredSpec:
    """A certificate of a desired state as a specification; `csr` is its signing request as PEM."""

    spec: CertificateSpec
    csr: bytes | None = None


@dataclass(frozen=True)
class Wish:
    """A whole desired state as specifications, by name; `owner` is None if it has none."""

    owner: str | None
    certificates: Mapping[str, DesiredSpec]


def read_desired_state(
    source: str, directory: Path, run: Run, standard_input: Callable[[], str] | None = None
) -> Wish:
    """Return the desired state in a file or directory, or for `-` as JSON on standard input, if
    there is one. Relative paths on it start at `directory`.

    Raises `ConfigurationError` with file and line for what is not valid, `UsageError`.
    """
    if source == STANDARD_INPUT and standard_input is not None:
        try:
            content = standard_input()
        except UnicodeDecodeError:
            raise _not_utf8("standard input") from None
        texts = [Text("standard input", str(directory), content, json=True)]
    else:
        texts = [_read(each) for each in _files(directory / source)]
    return specs_of(parse(texts, run.services.settings.table), run)


def state_of_object(document: Mapping[str, object], directory: Path, run: Run) -> Wish:
    """Return the desired state that a program made. Raises as `read_desired_state` does."""
    try:
        content = json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the desired state is not made of JSON's types: {error}",
            hint="Use dictionaries, lists, strings, numbers and booleans.",
        ) from None
    texts = [Text("the desired state", str(directory), content, json=True)]
    return specs_of(parse(texts, run.services.settings.table), run)


def specs_of(state: DesiredState, run: Run) -> Wish:
    """Return a desired state as specifications. Those that share their settings share the work."""
    alike: dict[tuple[tuple[str, Value], ...], CertificateSpec] = {}
    found: dict[str, DesiredSpec] = {}
    for each in state.certificates:
        try:
            made = _spec(each, alike, run)
        except CertctlError as error:
            raise each.wrong(error.message, hint=error.hint, code=error.code) from error
        spec = replace(made.spec, managed_by=state.owner, groups=each.groups)
        found[each.name] = replace(made, spec=applied(spec))
    return Wish(state.owner, found)


def _spec(
    each: Desired, alike: dict[tuple[tuple[str, Value], ...], CertificateSpec], run: Run
) -> DesiredSpec:
    identifiers, chosen, csr = each.identifiers, dict(each.chosen), None
    if each.csr is not None:
        csr = read_bounded(Path(each.csr), _CSR_LIMIT)
        request = x509.read_csr(csr)
        if identifiers and set(identifiers) != set(request.identifiers):
            raise ConfigurationError(
                "its names differ from those in the certificate signing request",
                hint="Omit them: the names are taken from the signing request.",
                code="usage.csr",
            )
        identifiers, chosen["csr"] = request.identifiers, request.sha256
        chosen.pop("common_name", None)
    key = tuple(sorted(chosen.items()))
    like = alike.get(key)
    if like is None or like.common_name is not None:
        like = desired(run, each.name, identifiers, chosen)
        alike[key] = like
    elif any("." not in name.value for name in identifiers):
        like = desired(run, each.name, identifiers, chosen)
    return DesiredSpec(replace(like, name=each.name, identifiers=identifiers), csr)


def _files(path: Path) -> list[Path]:
    """Return the files of a desired state. Raises `UsageError`."""
    if not path.is_dir():
        return [path]
    try:
        paths = sorted(path.iterdir())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    found = [each for each in paths if each.suffix == ".toml" and not each.name.startswith(".")]
    if not found:
        raise ConfigurationError(
            f"there is no file *.toml in {path}",
            hint="Give the directory in which the desired state is, or one file.",
            code="plan.no_certificate",
        )
    return found


def _read(path: Path) -> Text:
    if not path.exists():
        raise UsageError(
            f"there is no file {path}",
            hint="Give the file or the directory with the desired state.",
            code="usage.no_file",
        )
    check_trusted(path)
    raw, _ = read_trusted(path, _LIMIT)
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _not_utf8(str(path)) from None
    return Text(
        str(path), str(path.parent), content.replace("\r\n", "\n"), json=path.suffix == ".json"
    )


def _not_utf8(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is not valid UTF-8", hint="Correct its encoding.", code="configuration.file"
    )
