"""The examples of the documents, which tests run as they are printed."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_blocks(document: str) -> list[str]:
    """Return the Python examples of a document, in order; fails where there is none."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found
