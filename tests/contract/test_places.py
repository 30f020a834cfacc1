"""One place to touch for each kind of change, as CONTRIBUTING.md says: a setting that nobody reads,
or a row that points to nothing, fails here.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest

import certctl
from certctl.model.names import parse_identifiers
from certctl.model.spec import (
    CertificateSpec,
    ChallengeSpec,
    CopySpec,
    DeploySpec,
    KeyType,
    ServiceAddress,
)
from certctl.rules.options import METHODS, OPTIONS, Option
from certctl.rules.settings import Settings
from certctl.rules.spec import resolve

PACKAGE = Path(certctl.__file__).parent
REPOSITORY = PACKAGE.parent
ELSEWHERE = [
    path
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "model" and path != PACKAGE / "rules" / "spec.py"
]
"""The modules outside those that define specs and read their files."""

CALLED = {
    CertificateSpec: {"spec"},
    ChallengeSpec: {"challenge", "_challenge"},
    DeploySpec: {"deploy"},
    CopySpec: {"copy"},
    ServiceAddress: {"service", "address", "_service"},
}
"""What values of each part of a spec are called: `spec.deploy.reload` reads a field of `deploy`."""


def read_fields(sources: Iterator[str]) -> set[tuple[str, str]]:
    """Which attributes are read, each with what it is read from."""
    found: set[tuple[str, str]] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value
                if isinstance(owner, ast.Attribute):
                    found.add((owner.attr, node.attr))
                elif isinstance(owner, ast.Name):
                    found.add((owner.id, node.attr))
    return found


@pytest.mark.parametrize("kind", CALLED)
def test_every_field_of_a_specification_is_read_somewhere(kind: type) -> None:
    read = read_fields(path.read_text() for path in ELSEWHERE)

    assert {
        each.name
        for each in fields(kind)
        if not any((name, each.name) in read for name in CALLED[kind])
    } == set()


def test_a_field_that_is_only_written_or_read_of_something_else_is_not_read() -> None:
    source = "spec.csr = 1\nrequest.profile\nspec.deploy.reload\nspec.ca(1)"

    assert read_fields(iter([source])) == {
        ("request", "profile"),
        ("spec", "deploy"),
        ("deploy", "reload"),
        ("spec", "ca"),
    }


class Recorded(dict[str, Option]):
    """A table of options that knows which ones were looked up."""

    def __init__(self) -> None:
        super().__init__({each.key: each for each in OPTIONS})
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Option:
        self.read.add(key)
        return super().__getitem__(key)


def test_every_setting_of_a_certificate_reaches_its_specification() -> None:
    table = Recorded()

    resolve("a.example", parse_identifiers(["a.example"]), {}, Settings(table=table))

    assert table.read == {each.key for each in OPTIONS if each.in_spec}


def test_every_other_setting_is_read_somewhere() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "settings_tables"]
    sources = "".join(path.read_text() for path in modules)
    unread = [each.key for each in OPTIONS if not each.in_spec and f'"{each.key}"' not in sources]

    assert unread == []


def test_every_key_type_is_offered_and_documented() -> None:
    (option,) = [each for each in OPTIONS if each.key == "key_type"]
    documented = (REPOSITORY / "docs" / "configuration.md").read_text()

    assert option.choices == tuple(KeyType)
    assert [each for each in KeyType if f"`{each}`" not in documented] == []


def test_every_challenge_method_has_its_module_and_the_settings_of_a_method_have_it() -> None:
    named = {each for option in OPTIONS for each in (option.only_for, option.implies) if each}

    assert [
        name for name in METHODS.values() if not (PACKAGE / "challenges" / f"{name}.py").is_file()
    ] == []
    assert named - set(METHODS) == set()


def places() -> Mapping[str, list[str]]:
    """The table of places in CONTRIBUTING.md: what changes, and the files that it names."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    _, _, section = text.partition("## Where to change what\n")
    section, _, _ = section.partition("\n## ")
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", section, re.MULTILINE)[2:]
    return {what: re.findall(r"`([\w/]+\.(?:py|md))", where) for what, where in rows}


def test_every_place_in_the_table_exists() -> None:
    found = places()

    assert len(found) >= 8
    assert [
        (what, file)
        for what, files in found.items()
        for file in files
        if not (REPOSITORY / file).is_file()
    ] == []
    assert [what for what, files in found.items() if not files] == []
