"""The examples of the documents, which tests run as they are printed."""

import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCUMENTS = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
_SHELL = {"", "sh", "console"}
"""What blocks of commands are called; an indented block has no name."""


def command_blocks(document: Path) -> Iterator[str]:
    """Yield the text of each block of commands, in lists too."""
    for token in MarkdownIt().parse(document.read_text(encoding="utf-8")):
        if token.type == "code_block" or (token.type == "fence" and token.info.strip() in _SHELL):
            yield token.content


def command_lines(block: str) -> Iterator[str]:
    """Yield the command lines of a block: in a session those after a prompt, else all of them."""
    joined = re.sub(r"\\\n\s*", "", block).splitlines()
    session = any(re.match(r"[$#] \S", line) for line in joined) and joined[0].startswith("$")
    for line in joined:
        if not session:
            yield line.strip()
        elif found := re.match(r"[$#] (.*)", line):
            yield found[1]


def python_blocks(document: str) -> list[str]:
    """Return the Python examples of a document, in order; fails where there is none."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found
