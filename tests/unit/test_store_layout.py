"""Paths in the home directory: kept while they are in use, and never outside of it."""

from pathlib import Path

import pytest

from certctl.model.errors import UsageError
from certctl.store.home.layout import Layout

HOME = Path("/home/of/certctl")


def test_the_paths_of_a_certificate_are_built_once() -> None:
    layout = Layout(HOME)

    assert layout.version("a.example", 1) is layout.version("a.example", 1)
    assert layout.issued("a.example", 1) is layout.issued("a.example", 1)
    assert layout.renewal("a.example") is layout.renewal("a.example")


def test_different_certificates_versions_and_homes_have_different_paths() -> None:
    layout = Layout(HOME)
    paths = [
        layout.version("a.example", 1),
        layout.version("a.example", 11),
        layout.version("b.example", 1),
        layout.version(name="b.example", number=2),
        layout.version(name="b.example", number=3),
        layout.versions("a.example"),
        layout.live("a.example"),
        layout.pending("a.example"),
        Layout(HOME / "other").live("a.example"),
    ]

    assert len(set(paths)) == len(paths)
    assert layout.version("a.example", 1) == HOME / "archive" / "a.example" / "1"


def test_only_some_paths_are_kept() -> None:
    layout = Layout(HOME)
    for number in range(10_000):
        layout.live(f"n{number}.example")

    assert len(layout.paths_in_use) < 5_000
    assert layout.live("n1.example") == HOME / "live" / "n1.example"


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\n"])
def test_a_name_that_leads_elsewhere_is_refused_every_time(name: str) -> None:
    layout = Layout(HOME)

    for _ in range(2):
        with pytest.raises(UsageError):
            layout.live(name)
