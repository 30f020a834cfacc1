"""docs/doctor.md lists every finding that `doctor` can have, with its severities."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from certctl.model.run import Severity

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([a-z, ]+) \| (.+) \|$", re.MULTILINE)


def findings() -> Iterator[tuple[str, set[str]]]:
    """The code of each `Finding` that is made somewhere, with the severities named there."""
    for path in sorted((ROOT / "certctl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                code, severity = node.args[:2]
                assert isinstance(code, ast.Constant), f"{path}:{node.lineno}: no code"
                named = {
                    each.attr.lower()
                    for each in ast.walk(severity)
                    if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "Severity"
                }
                assert named, f"{path}:{node.lineno}: no severity"
                yield str(code.value), named


def made() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for code, severities in findings():
        found.setdefault(code, set()).update(severities)
    return found


def documented() -> dict[str, set[str]]:
    text = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    return {code: set(severities.split(", ")) for code, severities, _ in ROW.findall(text)}


def test_every_finding_is_documented_with_its_severities() -> None:
    assert documented() == made()


def test_the_severities_are_those_that_there_are() -> None:
    assert set().union(*made().values()) <= {each.value for each in Severity}
