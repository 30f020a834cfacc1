"""Texts use the field's usual terms: words that made readers stop do not come back.

Looked at: documents, manual pages, help, and every string and docstring of the code. A text that
quotes somebody else's word, or uses one in its technical sense, is listed with the place.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OLD_WORDS = {
    "deployment pending": r"\bowed\b|\bowes\b|\bdebts?\b",
    "domain validation": r"\bproo?f of control\b|\bprov(?:e|es|ed|ing) (?:the )?control\b",
    "live check": r"\bon the wire\b|\bthe look\b|\blooks? on\b",
    "validation failed": r"\bconfirm control\b",
    "in the window suggested by the CA (ARI)": r"\badvis(?:es|ed) so\b|\bits CA advises\b",
    "permanently, automatically": r"\bfor good\b|\bfor ever\b|\bforever\b",
    "dry run": r"\brehears(?:e|es|ed|al|als|ing)\b",
    "skipped": r"\bpassed over\b",
    "resumed": r"\btaken up again\b|\btakes up again\b",
    "accepted": r"\bto (?:its|his|their) liking\b",
    "compatible": r"\b(?:its|their) kin\b",
    "is not a valid": r"(?<!there )\b(?:is|are) no (?:copy|name|URL|number|directory|duration)\b",
    "cannot be combined": r"\bcannot both be meant\b|\bboth be meant\b",
    "Timeouts and concurrency": r"^Patience:?$",
    "directory": r"\bfolders?\b",
    "standalone": r"\bstand-alone\b",
    "renewal is turned off": r"\brenewed no more\b|\bno more renew",
    "key rollover": r"\broll-key\b|\bre-key\b",
    "the private key is readable by other users": r"\bothers than its owner\b",
    "starting (requested)": r"\bbegun:",
}
"""What to write instead, and what not to write."""

TECHNICAL = {
    ("directory", "CHANGELOG.md"): "names what was renamed",
    ("key rollover", "CHANGELOG.md"): "names what was renamed",
    ("deployment pending", "CHANGELOG.md"): "names what was renamed",
    ("dry run", "CHANGELOG.md"): "names what was renamed",
    ("directory", "certctl/challenges/http01_webroot.py"): "a key of the journal's format",
}
"""A word that is right in one file, with the reason."""


@cache
def texts() -> tuple[tuple[str, int, str], ...]:
    """Every text with the file and the line it is in."""
    return tuple(_read_texts())


def _read_texts() -> Iterator[tuple[str, int, str]]:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("man/man*/*")]
    for path in sorted(documents):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield str(path.relative_to(ROOT)), number, line
    for path in sorted(ROOT.glob("certctl/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(path.relative_to(ROOT)), node.lineno, node.value


@pytest.mark.parametrize("term", OLD_WORDS)
def test_an_old_word_does_not_come_back(term: str) -> None:
    old = re.compile(OLD_WORDS[term], re.IGNORECASE | re.MULTILINE)

    found = [
        f"{file}:{line}: {match[0]}"
        for file, line, text in texts()
        if (match := old.search(text)) and (term, file) not in TECHNICAL
    ]

    assert found == [], f"write instead: {term}"


@pytest.mark.parametrize(("term", "file"), TECHNICAL)
def test_an_exception_is_still_needed(term: str, file: str) -> None:
    old = re.compile(OLD_WORDS[term], re.IGNORECASE | re.MULTILINE)

    assert [text for place, _, text in texts() if place == file and old.search(text)] != []
