"""The site of the documentation has each document, once, in a place of its navigation."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "packaging" / "site"


def test_each_document_is_a_page_of_the_navigation() -> None:
    settings = (SITE / "mkdocs.yml").read_text(encoding="utf-8")
    pages = re.findall(r"([\w-]+\.md)$", settings, re.MULTILINE)
    documents = {each.name for each in (ROOT / "docs").glob("*.md")}
    of_the_top = {"index.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}

    assert len(pages) == len(set(pages))
    assert set(pages) == documents | of_the_top
