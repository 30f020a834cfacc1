"""The page of scenarios and the tests that are named after them say the same."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
WITHOUT = "Without a test so far: "

_NAME = re.compile(r"test_scenario_(\d+)(?:_and_(\d+))?_\w+")


def numbers_of_the_page() -> list[int]:
    return [int(found) for found in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]


def without_a_test() -> set[int]:
    sentence = PAGE.partition(WITHOUT)[2].partition(".")[0]
    return {int(found) for found in re.findall(r"\d+", sentence)}


def of_scenarios() -> Iterator[tuple[set[int], ast.FunctionDef]]:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            named = _NAME.fullmatch(node.name)
            if named is not None:
                yield {int(each) for each in named.groups() if each}, node


def checks_something(node: ast.FunctionDef) -> bool:
    """Whether a test could fail: it asserts, or expects an error."""
    return any(
        isinstance(each, ast.Assert)
        or (isinstance(each, ast.Attribute) and each.attr in {"raises", "warns"})
        for each in ast.walk(node)
    )


def test_the_page_counts_its_scenarios() -> None:
    numbers = numbers_of_the_page()

    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 38


def test_every_scenario_of_the_page_has_a_test_but_for_those_that_it_names() -> None:
    tested = set().union(*(numbers for numbers, _ in of_scenarios()))

    assert set(numbers_of_the_page()) - tested == without_a_test()
    assert tested <= set(numbers_of_the_page())


def test_every_test_of_a_scenario_could_fail() -> None:
    assert [node.name for _, node in of_scenarios() if not checks_something(node)] == []
