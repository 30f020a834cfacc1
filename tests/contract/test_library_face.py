"""The public names of the library: loaded when used, complete, and known to type checkers."""

import ast
import subprocess
import sys

import pytest

import certctl
from certctl import CertctlError, Event
from tests.support.documents import ROOT, python_blocks

FACE = ROOT / "certctl" / "__init__.py"


def test_importing_it_loads_nothing_else_of_it() -> None:
    program = "import certctl, sys; print(*(n for n in sys.modules if n.startswith('certctl')))"

    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert finished.stdout.split() == ["certctl"]


def test_type_checkers_see_the_names_that_it_loads() -> None:
    block, *_ = [each for each in ast.parse(FACE.read_text()).body if isinstance(each, ast.If)]
    seen = {
        (str(each.module), alias.name, alias.asname)
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }

    places: dict[str, tuple[str, ...]] = certctl._PLACES
    assert seen == {
        (f"certctl.{place}", name, name) for place, names in places.items() for name in names
    }
    assert all(getattr(certctl, name) is not None for name in dir(certctl))


def test_every_error_and_every_event_is_a_public_name() -> None:
    def below(kind: type[object]) -> set[type[object]]:
        found = {kind}
        for each in kind.__subclasses__():
            found |= below(each)
        return found

    model = {"certctl.model.errors", "certctl.model.events"}
    kinds = below(CertctlError) | below(Event)
    found = {each.__name__ for each in kinds if each.__module__ in model}

    assert found - set(dir(certctl)) == set()


def test_a_name_that_it_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        certctl.nosuch  # type: ignore[attr-defined] # noqa: B018 - this is the test


def test_a_program_of_six_lines_issues_and_one_renews() -> None:
    first, renew, *_ = python_blocks("docs/library.md")

    assert len(first.strip().splitlines()) <= 6
    assert len(renew.strip().splitlines()) <= 6
