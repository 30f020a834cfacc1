"""Paths as users give them: what they become, and what is refused."""

from pathlib import Path

import pytest

from certctl.model.errors import ConfigurationError
from certctl.rules.paths import UNREACHABLE, absolute_path, is_utf8, shown_bytes


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [
        ("www", "/srv", "/srv/www"),
        ("/var/www", "/srv", "/var/www"),
        ("/var/www", UNREACHABLE, "/var/www"),
    ],
)
def test_a_path_becomes_absolute(path: str, directory: str, expected: str) -> None:
    assert absolute_path(path, directory) == Path(expected)


def test_a_path_in_a_home_directory_needs_no_working_directory() -> None:
    assert absolute_path("~/www", UNREACHABLE) == Path.home() / "www"


@pytest.mark.parametrize("path", ["www", "./www", "../www", ""])
def test_a_relative_path_in_a_directory_that_is_gone_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="the working directory does not exist any more"):
        absolute_path(path, UNREACHABLE)


@pytest.mark.parametrize(("path", "directory"), [("\udcff", "/srv"), ("www", "/srv/\udcff")])
def test_a_path_that_is_not_utf8_is_refused(path: str, directory: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        absolute_path(path, directory)

    assert caught.value.message.endswith(r"\xff is not valid UTF-8") or r"\xff/www" in str(
        caught.value
    )
    assert caught.value.code == "configuration.encoding"


def test_bytes_that_are_not_utf8_are_shown_as_such() -> None:
    assert (is_utf8("ü"), is_utf8("a\udcff")) == (True, False)
    assert shown_bytes("ü\udcff") == r"ü\xff"
