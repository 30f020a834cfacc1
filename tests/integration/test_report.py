"""The page of `certctl report`: everything is on it, it is escaped, and it loads nothing."""

import base64
import hashlib
import re
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from certctl.engine.rows import CertificateView, LiveVersion
from certctl.inspection.report import ReportData, places, planned_days
from certctl.model.certificate import Attempts, LastError, RenewalState
from certctl.output.report_page import report_page
from tests.support.command import certctl
from tests.support.homes import add_certificate
from tests.support.nouns import CA

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
HOSTILE = "</td><script>alert(1)</script>\u202e\x1b[31m\"'&"


class Page(HTMLParser):
    """The tags of a page, and the text outside of style and script by the tag it is in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inline: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"style", "script"}:
            self.inline[self._open[-1]] = data
        elif data.strip():
            self.texts.append(data.strip())


def view(name: str, **changes: object) -> CertificateView:
    live = LiveVersion(
        1, NOW, NOW + timedelta(days=90), "01", "11", "An Issuer", "rsa-2048", (name,)
    )
    made = CertificateView(
        name=name,
        state="valid",
        names=(name,),
        ca="letsencrypt",
        ca_url=LETSENCRYPT,
        live=live,
        seconds_left=90 * 86400.0,
        renews_at=NOW + timedelta(days=60),
        deployed=True,
        key_type="rsa-2048",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def data(*views: CertificateView) -> ReportData:
    return ReportData(
        NOW, "host", "/etc/certctl", views, planned_days(views, NOW), (), places(views)
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home, now = tmp_path / "home", datetime.now(UTC)
    add_certificate(home, "good.example", chosen={"deploy.targets": ("nginx",)})
    error = LastError("challenge.failed", HOSTILE, now, "challenge")
    state = RenewalState(attempts=(Attempts(CA, 1, now, error, now + timedelta(hours=1)),))
    add_certificate(home, "bad.example", age=timedelta(days=75), renewal_state=state)
    return home


def test_it_is_written_whole_and_for_everybody(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("of before")
    file.chmod(0o600)

    finished = certctl("report", "--out", "report.html", home=home, directory=tmp_path)

    assert (finished.exit_status, finished.stdout, finished.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_text().startswith("<!doctype html>")
    assert file.read_text().endswith("</html>\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "report.html"]


def test_a_directory_that_is_missing_is_an_error_that_says_what_to_do(
    home: Path, tmp_path: Path
) -> None:
    done = certctl("report", "--out", str(tmp_path / "none" / "report.html"), home=home)

    assert done.exit_status != 0
    assert "none/report.html: No such file or directory\n hint: Create the directory" in done.stderr


def test_it_goes_to_standard_output_and_into_the_document(home: Path) -> None:
    shown = certctl("report", "--out", "-", home=home)
    document = certctl("report", "--json", home=home).json()["data"]

    assert shown.stdout.startswith("<!doctype html>")
    assert (document["certificates"], document["file"]) == (2, None)
    assert document["html"].startswith("<!doctype html>")


def test_a_terminal_gets_it_on_request_only(home: Path) -> None:
    refused = certctl("report", home=home, terminal=True)

    assert (refused.exit_status, refused.stdout) == (2, "")
    assert "--out report.html" in refused.stderr


def test_what_others_wrote_is_text(home: Path) -> None:
    text = certctl("report", "--out", "-", home=home).stdout
    page = Page(text)

    assert [tag for tag, _ in page.tags].count("script") == 1
    assert any("</td><script>alert(1)</script>" in each for each in page.texts)
    assert not re.search("[\u202e\x1b]", text)


def test_it_loads_nothing_and_its_policy_allows_its_own_style_and_script_alone(home: Path) -> None:
    page = Page(certctl("report", "--out", "-", home=home).stdout)

    loading = {"src", "href", "srcset", "action", "style", "onclick", "onload"}
    assert [attributes for _, attributes in page.tags if loading & attributes.keys()] == []
    assert "url(" not in page.inline["style"]
    assert "@import" not in page.inline["style"]
    (policy,) = (
        str(attributes["content"])
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    for kind, text in page.inline.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_it_shows_what_fails_what_is_planned_and_where_each_is_served(home: Path) -> None:
    texts = Page(certctl("report", "--out", "-", home=home).stdout).texts

    for heading in ("What fails", "Days left", "Renewals by day", "Served where", "Certificates"):
        assert heading in texts
    for text in ("bad.example", "good.example", "nginx", "failing", "2", "A Test Root"):
        assert text in texts


def test_names_are_shown_in_unicode_and_the_shortest_bar_is_seen(tmp_path: Path) -> None:
    stored = ("xn--bcher-kva.example", "xn--80ak6aa92e.example")  # the second looks Latin
    add_certificate(
        tmp_path / "home", stored[0], names=stored, chosen={"deploy.targets": ("nginx",)}
    )
    many = [view(f"a{number}.example") for number in range(999)]
    soon = view("soon.example", seconds_left=86400.0)

    page = certctl("report", "--out", "-", home=tmp_path / "home").stdout
    bars = report_page(data(*many, soon))

    texts = Page(page).texts
    assert "bücher.example" in texts
    assert stored[1] in texts
    assert stored[0] not in page.partition("Made by")[0]
    widths = [float(each) for each in re.findall(r'<rect width="([\d.]+)"', bars)]
    assert widths[:7] == [0, 2, 0, 0, 0, 100, 0]


def test_every_table_has_a_caption_and_headings_for_rows_and_columns(home: Path) -> None:
    page = Page(certctl("report", "--out", "-", home=home).stdout)

    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") == 5
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def test_without_certificates_there_is_a_page_too(tmp_path: Path) -> None:
    finished = certctl("report", "--out", "-", home=tmp_path / "home")

    assert (finished.exit_status, "Nothing fails." in finished.stdout) == (0, True)
    assert not (tmp_path / "home").exists()


def test_what_is_overdue_is_renewed_today_and_the_limit_is_beside_it() -> None:
    views = [
        view("a.example", renews_at=NOW - timedelta(days=3)),
        view("b.example", renews_at=NOW),
        view("c.example", renews_at=NOW + timedelta(days=1)),
        view("d.example", autorenew=False),
        view("e.example", ca="ca.example", ca_url=CA),
    ]

    found = planned_days(views, NOW)

    assert [(each.day.isoformat(), each.ca, each.count, each.allowed) for each in found] == [
        ("2026-01-01", "letsencrypt", 2, 2400),
        ("2026-01-02", "letsencrypt", 1, 2400),
        ("2026-03-02", "ca.example", 1, None),
    ]


def test_places_have_their_certificates_and_how_many_they_lack() -> None:
    views = [
        view("a.example", places=("nginx", "localhost:8443"), verified_at=NOW),
        view("b.example", places=("nginx",), deployed=False),
        view("c.example"),
    ]

    nginx, service = places(views)

    assert (nginx.place, nginx.names, nginx.pending) == ("nginx", ("a.example", "b.example"), 1)
    assert (nginx.verified_at, service.place) == (NOW, "localhost:8443")


def test_ten_thousand_make_a_page_of_a_few_megabytes() -> None:
    many = [view(f"host{number}.{'l' * 40}.example") for number in range(10_000)]
    failing = [
        view(
            f"f{number}.example",
            state="failing",
            failures=1,
            last_error=LastError("x", "m" * 4000, NOW, "x"),
            places=(f"copy /etc/{number}",),
        )
        for number in range(10_000)
    ]

    assert len(report_page(data(*many))) < 7_000_000
    assert len(report_page(data(*failing))) < 10_000_000
