"""Adds the documents of the repository's top directory to the site, the README as its first page.

A hook of MkDocs. Links between documents are those of the repository, so they are rewritten here.
"""  # noqa: INP001 - MkDocs loads the file

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
}
"""Each document of the top directory, and the page that it becomes."""

_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the top directory."""
    for document, page in PAGES.items():
        text = (ROOT / document).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs's signature
    """Return the page with links between pages."""
    return _LINK.sub(lambda link: _target(link[1]), markdown)


def _target(link: str) -> str:
    name = link.removeprefix("../").removeprefix("docs/")
    return PAGES.get(name, name)
