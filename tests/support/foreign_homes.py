"""Homes of other ACME clients: made by running those clients, with what an import must find."""

import json
import tarfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "homes"
NAMES = tuple(sorted(each.parent.name for each in DATA.glob("*/facts.json")))


def facts(name: str) -> dict[str, Any]:
    """What is in a home."""
    found: dict[str, Any] = json.loads((DATA / name / "facts.json").read_bytes())
    return found


def unpack(name: str, root: Path) -> Path:
    """Unpack a machine with a home below `root`, and return `root`."""
    with tarfile.open(DATA / name / "tree.tar.gz") as archive:
        archive.extractall(root, filter="tar")
    return root
