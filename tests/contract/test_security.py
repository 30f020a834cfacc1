"""SECURITY.md lists each promise with an attack and the tests; each test that it names exists."""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)`")
HEADER = "| promise | attack | test |"


def sections() -> Iterator[tuple[str, str]]:
    """The title and the text of each section about a threat, and of the one about keys."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    threats = text.partition("## Threats\n")[2]
    for section in re.split(r"^#{2,3} ", threats, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        yield title, body


def rows() -> Iterator[tuple[str, str, str]]:
    for _, body in sections():
        lines = body.partition(HEADER)[2].splitlines()[2:]
        for line in takewhile(lambda each: each.startswith("|"), lines):
            promise, attack, test = (each.strip() for each in line.strip("| ").split(" | "))
            yield promise, attack, test


def test_each_section_on_a_threat_has_a_table_of_promises() -> None:
    assert [title for title, body in sections() if HEADER not in body] == []


def test_each_promise_has_an_attack_and_a_test() -> None:
    assert [
        promise
        for promise, attack, test in rows()
        if not (promise and attack and TEST.fullmatch(test.partition("<br>")[0]))
    ] == []


def test_each_test_that_is_named_exists() -> None:
    named = {found for _, _, test in rows() for found in TEST.findall(test)}
    missing = {
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    }

    assert len(named) > 50
    assert missing == set()
