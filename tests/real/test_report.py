"""A real browser opens the page of `certctl report` from disk, and its script runs."""

import re
from datetime import timedelta
from pathlib import Path

from tests.lab.browser import Browser
from tests.lab.programs import require
from tests.support.command import certctl
from tests.support.homes import add_certificate


def test_a_browser_opens_the_page_from_disk_and_the_table_can_be_filtered_and_sorted(
    tmp_path: Path,
) -> None:
    require("chromium")
    home, file = tmp_path / "home", tmp_path / "report.html"
    for number in range(3):
        add_certificate(home, f"host{number}.example", age=timedelta(days=number))
    certctl("report", "--out", str(file), home=home)

    page = Browser(tmp_path / "browser").open(file.as_uri())

    assert '<form id="filter" role="search">' in page.document
    assert ">3 of 3</output>" in page.document
    assert len(re.findall(r"<th scope=\"col\"><button type=\"button\">", page.document)) == 9
    assert re.findall(r"<th scope=\"row\">(host\d)", page.document.partition("<form")[2]) == [
        "host2",
        "host1",
        "host0",
    ]
    assert "Content Security Policy" not in page.log
