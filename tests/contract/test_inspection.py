"""What `certctl.inspection` may do: it reads, and changes nothing but its own cache."""

import ast
from pathlib import Path

import certctl

INSPECTION = Path(certctl.__file__).parent / "inspection"

CHANGES = (
    *("save", "record", "write", "add", "drop", "remove", "restore", "grant", "claim", "prune"),
    *("activate", "revert", "delete", "forget", "hold", "lock", "lease", "flip", "place", "note"),
    *("settle", "postpone"),
)
"""The first words of the methods by which the store is changed."""


def test_nothing_in_it_changes_the_store() -> None:
    assert [each for path in sorted(INSPECTION.glob("*.py")) for each in changes(path)] == []


def test_a_change_is_found(tmp_path: Path) -> None:
    path = tmp_path / "looks.py"
    path.write_text("def look(run):\n    run.services.machine.save_deployment(run.it)\n")

    assert changes(path) == ["looks.py, line 2: save_deployment"]


def changes(path: Path) -> list[str]:
    """The calls in a module that change what a run or its services store."""
    return [
        f"{path.name}, line {node.lineno}: {node.func.attr}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.partition("_")[0] in CHANGES
        and ast.unparse(node.func.value).partition(".")[0]
        in {"run", "services", "records", "machine"}
    ]
