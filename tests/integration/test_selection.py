"""Commands take several certificates, by any name that one has, by patterns and by properties."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl.inspection.overview import overview
from certctl.model.certificate import Attempts, LastError, RenewalState
from certctl.model.delivery import Deployment
from certctl.model.errors import UsageError
from certctl.model.names import parse_identifiers
from certctl.operations.issue import edit
from tests.support.command import certctl
from tests.support.homes import add_certificate
from tests.support.nouns import CA
from tests.support.operations import Machine


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home, now = tmp_path / "home", datetime.now(UTC)
    add_certificate(home, "a.example", names=["a.example", "www.a.example", "shared.example"])
    add_certificate(home, "b.example", names=["b.example", "shared.example"], rsa_key=True)
    add_certificate(home, "w.example", names=["*.w.example"], age=timedelta(days=70))
    error = LastError("challenge.failed", "port 80 is closed", now, "challenge")
    tried = Attempts(CA, 1, now, error, now + timedelta(hours=1))
    add_certificate(
        home, "f.example", age=timedelta(days=75), renewal_state=RenewalState(attempts=(tried,))
    )
    failed = Deployment(1, None, failures=1, last_error=error, retry_at=now + timedelta(hours=1))
    add_certificate(home, "p.example", deployment=failed, chosen={"deploy.reload": "true"})
    return home


def rows(home: Path, *arguments: str) -> list[dict[str, Any]]:
    found = certctl("list", "--json", *arguments, home=home).json()
    return list(found["data"]["certificates"])


def listed(home: Path, *arguments: str) -> list[str]:
    return [each["name"] for each in rows(home, *arguments)]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["a.example"], ["a.example"]),
        (["www.a.example"], ["a.example"]),
        (["shared.example"], ["a.example", "b.example"]),
        (["*.w.example"], ["w.example"]),
        (["[ab].*"], ["a.example", "b.example"]),
        (["a*", "f.example"], ["a.example", "f.example"]),
        (["--failing"], ["f.example", "p.example"]),
        (["--expiring", "30d"], ["f.example", "w.example"]),
        (["--expiring", "30d", "--failing"], ["f.example"]),
        (["--where", "key_type=rsa-2048"], ["b.example"]),
        (["--where", "ca=ca.example", "*w*"], ["a.example", "w.example"]),
        (["--where", "state=undeployed"], ["p.example"]),
        (["--where", "challenge=standalone", "--failing"], ["f.example", "p.example"]),
        (["--match", "*.w.example"], ["w.example"]),
        (["--all", "--failing"], ["f.example", "p.example"]),
        (["--sort", "expires"], ["f.example", "w.example", "b.example", "a.example", "p.example"]),
        (["--sort", "state"], ["f.example", "p.example", "w.example", "a.example", "b.example"]),
    ],
    ids=" ".join,
)
def test_list_finds_by_names_patterns_and_properties(
    home: Path, arguments: list[str], names: list[str]
) -> None:
    found = listed(home, *arguments)

    if arguments == ["--sort", "expires"]:  # issued within the same second, in any order
        found = [*found[:2], *names[2:]] if set(found[2:]) == set(names[2:]) else found
    assert found == names


@pytest.mark.parametrize(
    "arguments",
    [
        ["x*"],
        ["nosuch.example"],
        ["--match", "x*"],
        ["--where", "ca=google"],
        ["--where", "x=y"],
        ["--expiring", "soon"],
        ["--expiring", "30"],
        ["--match", " "],
        ["a.example", "x*"],
    ],
    ids=" ".join,
)
def test_what_matches_nothing_is_exit_2(home: Path, arguments: list[str]) -> None:
    finished = certctl("list", *arguments, home=home)

    assert (finished.exit_status, finished.stdout) == (2, "")


def test_a_condition_that_nothing_meets_is_no_error(home: Path) -> None:
    for command in (["list"], ["renew"], ["deploy"], ["show"], ["verify"], ["explain"], ["delete"]):
        finished = certctl(*command, "--expiring", "1s", home=home)

        assert (finished.exit_status, finished.stdout, finished.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["show", "explain"])
def test_show_and_explain_take_several_names_and_patterns(home: Path, command: str) -> None:
    one = certctl(command, "www.a.example", "--json", home=home).json()["data"]
    several = certctl(command, "www.a.example", "b.example", "--json", home=home).json()["data"]
    matched = certctl(command, "--match", "[ab].*", "--json", home=home).json()["data"]

    assert one["name"] == "a.example"
    assert [each["name"] for each in several["certificates"]] == ["a.example", "b.example"]
    assert [each["name"] for each in matched["certificates"]] == ["a.example", "b.example"]


@pytest.mark.parametrize(
    "command", ["show", "explain", "renew", "deploy", "delete", "export", "rollback", "verify"]
)
def test_a_name_of_several_certificates_is_an_error_that_lists_them(
    home: Path, command: str
) -> None:
    finished = certctl(command, "shared.example", home=home)

    assert (finished.exit_status, finished.stdout) == (2, "")
    assert "is a name of 2 certificates: a.example, b.example" in finished.stderr


@pytest.mark.parametrize("command", ["show", "explain", "renew", "deploy", "delete", "export"])
def test_an_argument_is_no_pattern(home: Path, command: str) -> None:
    finished = certctl(command, "[ab].example", home=home)

    assert finished.exit_status == 2
    assert "--match '[ab].example'" in finished.stderr
    assert listed(home) == ["a.example", "b.example", "f.example", "p.example", "w.example"]


def test_show_has_the_names_in_unicode_too(home: Path) -> None:
    add_certificate(home, "xn--n3h.example", names=["xn--n3h.example", "xn--bcher-kva.example"])

    finished = certctl("show", "☃.example", home=home)

    assert "  in Unicode   bücher.example\n" in finished.stdout
    assert "in Unicode" not in certctl("show", "a.example", home=home).stdout


def test_a_wildcard_that_nobody_has_may_have_been_meant_as_a_pattern(home: Path) -> None:
    finished = certctl("deploy", "*.example", home=home)

    assert finished.exit_status == 2
    assert "--match '*.example'" in finished.stderr


def test_deploy_and_renew_work_on_those_that_are_meant(home: Path) -> None:
    deployed = certctl("deploy", "www.a.example", "*.w.example", "--json", home=home)
    pending = certctl("deploy", "--failing", "--pending", "--json", home=home)
    renewed = certctl("renew", "www.a.example", "--json", home=home)

    assert [each["name"] for each in deployed.json()["data"]["certificates"]] == [
        "a.example",
        "w.example",
    ]
    assert [each["name"] for each in pending.json()["data"]["certificates"]] == ["p.example"]
    assert [each["name"] for each in renewed.json()["data"]["certificates"]] == ["a.example"]


def test_edit_changes_several_at_once_or_none(machine: Machine) -> None:
    for name in ("a.example", "b.example"):
        machine.issue(name)
    options = {"autorenew": False}
    absent = parse_identifiers(["a.example"])
    with machine.run() as run:
        with pytest.raises(UsageError, match=r"b\.example does not contain a\.example"):
            edit(run, ("a.example", "b.example"), parse_identifiers(["x.example"]), absent, options)
        untouched = [each.autorenew for each in overview(run)]
        report = edit(run, ("a.example", "b.example"), (), (), options)
        states = [each.state for each in overview(run)]

    assert untouched == [True, True]
    assert [each.action for each in report.outcomes] == ["updated", "updated"]
    assert states == ["stopped", "stopped"]


def test_edit_by_a_pattern_shows_a_plan_and_asks(home: Path) -> None:
    arguments = ("edit", "--match", "[ab].*", "--no-autorenew")
    refused = certctl(*arguments, home=home)
    asked = certctl(*arguments, home=home, stdin="n\n", terminal=True)
    untouched = [each["autorenew"] for each in rows(home, "--match", "[ab].*")]
    agreed = certctl(*arguments, home=home, stdin="y\n", terminal=True)

    for each in (refused, asked, agreed):
        for name in ("a.example", "b.example"):
            assert f"~ {name}" in each.stdout
        assert "autorenew  not set (true) → false\n" in each.stdout
        assert "Plan: 2 to change.\n" in each.stdout
    assert (refused.exit_status, asked.exit_status, agreed.exit_status) == (2, 0, 0)
    assert "Change 2 certificates? [y/N]" in asked.stderr
    assert untouched == [True, True]
    assert [each["autorenew"] for each in rows(home, "--match", "[ab].*")] == [False, False]


@pytest.mark.parametrize(
    "arguments",
    [["www.a.example"], ["--match", "a.*"], ["a.example", "*.w.example"], ["--failing"]],
    ids=" ".join,
)
def test_delete_by_another_name_or_a_pattern_shows_the_list_and_asks(
    home: Path, arguments: list[str]
) -> None:
    alone = certctl("delete", *arguments, home=home)
    declined = certctl("delete", *arguments, home=home, stdin="n\n", terminal=True)

    assert (alone.exit_status, alone.stdout) == (2, "")
    assert "These certificates are meant:\n" in alone.stderr
    assert "there is no terminal to ask on" in alone.stderr
    assert (declined.exit_status, "[y/N]" in declined.stderr) == (0, True)
    assert len(listed(home)) == 5


def test_delete_takes_several_names(home: Path) -> None:
    finished = certctl("delete", "a.example", "*.w.example", "--yes", "--json", home=home)

    assert finished.json()["data"]["certificates"] == [
        {"name": "a.example", "deleted": True},
        {"name": "w.example", "deleted": True},
    ]
    assert listed(home) == ["b.example", "f.example", "p.example"]


def test_revoke_by_another_name_shows_which_certificate_it_means(home: Path) -> None:
    finished = certctl("revoke", "www.a.example", "--stop", home=home)

    assert finished.exit_status == 2
    assert "These certificates are meant:\n  a.example\n" in finished.stderr


@pytest.mark.parametrize(
    "arguments", [["a.example", "b.example"], ["--match", "[ab].*"]], ids=" ".join
)
def test_revoke_of_several_shows_which_they_are_and_asks(home: Path, arguments: list[str]) -> None:
    command = ("revoke", *arguments, "--stop")
    alone = certctl(*command, home=home)
    declined = certctl(*command, "--quiet", home=home, stdin="n\n", terminal=True)

    assert (alone.exit_status, alone.stdout) == (2, "")
    for each in (alone, declined):
        assert "These certificates are meant:\n  a.example\n  b.example\n" in each.stderr
    assert "Permanently revoke 2 certificates? [y/N]" in declined.stderr
    assert declined.exit_status == 0


def test_revoke_revokes_several_and_one_that_fails_stops_no_other(machine: Machine) -> None:
    for name in ("a.example", "b.example"):
        machine.issue(name)
    specs = machine.home / "certificates"
    never = (specs / "a.example.toml").read_text().replace("a.example", "never.example")
    (specs / "never.example.toml").write_text(never)

    names = ("a.example", "never.example", "b.example")
    finished = certctl("revoke", *names, "--stop", "--yes", "--json", home=machine.home)

    document = finished.json()
    rows = document["data"]["certificates"]
    assert [(each["name"], each["already_revoked"]) for each in rows] == [
        ("a.example", False),
        ("b.example", False),
    ]
    assert [each["name"] for each in document["errors"]] == ["never.example"]
    assert len(machine.ca.revoked) == 2
    assert finished.exit_status == 2


def test_a_key_without_its_certificate_file_is_no_revocation(home: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("key")

    key = ("--key-path", str(tmp_path / "key.pem"))
    finished = certctl("revoke", "a.example", *key, "--stop", "--yes", home=home)

    assert finished.exit_status == 2
    assert "--cert-path" in finished.stderr


def test_delete_of_several_shows_the_list_once_even_if_quiet(home: Path) -> None:
    arguments = ("delete", "a.example", "w.example", "--quiet")
    finished = certctl(*arguments, home=home, stdin="n\n", terminal=True)

    assert finished.stderr.count("  a.example\n  w.example\n") == 1


def test_a_plain_name_reads_no_other_certificate(home: Path) -> None:
    (home / "certificates" / "b.example.toml").write_text("not TOML")

    finished = certctl("show", "a.example", home=home)

    assert (finished.exit_status, finished.stderr) == (0, "")


def test_one_that_cannot_be_read_is_skipped_in_a_search(home: Path) -> None:
    (home / "certificates" / "b.example.toml").write_text('names = ["shared.example"')

    finished = certctl("show", "shared.example", home=home)

    assert finished.exit_status == 0
    assert finished.stdout.startswith("a.example\n")
    assert "skipped b.example" in finished.stderr


def test_below_the_table_are_the_problems_and_the_totals(home: Path) -> None:
    lines = certctl("list", home=home).stdout.splitlines()

    table, below = lines[: lines.index("")], lines[lines.index("") + 1 :]
    renews = {line.split()[0]: line.split()[3] for line in table[1:]}
    assert renews["w.example"] == "now"
    assert renews["f.example"] == f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%d}"
    assert below[0].startswith("f.example: port 80 is closed; next attempt 20")
    assert below[1].startswith("p.example: version 1 is not deployed yet: port 80 is closed; next")
    assert below[2] == "5: 2 valid, 1 due, 1 failing, 1 not deployed" or sorted(
        below[2].partition(": ")[2].split(", ")
    ) == ["1 due", "1 failing", "1 not deployed", "2 valid"]


@pytest.mark.parametrize("columns", ["60", "80", "100", "140"])
def test_a_terminal_shows_whole_names_and_dates_at_each_width(
    home: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = f"{'l' * 60}.{'m' * 21}.example"
    add_certificate(home, long, names=[long, "x.example"], lifetime=timedelta(days=6))
    monkeypatch.setenv("COLUMNS", columns)

    shown = certctl("list", home=home, terminal=True, variables={"NO_COLOR": "1"}).stdout

    for row in certctl("list", "--json", home=home).json()["data"]["certificates"]:
        assert row["name"] in shown.split()
    assert [line for line in shown.splitlines() if len(line) > int(columns) and line != long] == []


def test_a_terminal_shows_the_first_name_and_how_many_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")

    shown = certctl("list", home=home, terminal=True, variables={"NO_COLOR": "1"}).stdout

    assert "a.example +2" in shown
    assert "www.a.example" not in shown


def test_files_without_a_specification_are_mentioned(home: Path) -> None:
    (home / "certificates" / "a.example.toml").unlink()

    listed, part = certctl("list", home=home), certctl("list", "b.example", home=home)

    assert "There are files, but no specifications, of a.example" in listed.stdout
    assert "certctl doctor" in listed.stdout
    assert "no specifications" not in part.stdout


def test_a_short_lived_certificate_is_renewed_at_a_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, "short.example", lifetime=timedelta(days=6))

    row = certctl("list", home=home).stdout.splitlines()[1].split()

    assert datetime.strptime(" ".join(row[3:5]), "%Y-%m-%d %H:%M").astimezone(UTC) is not None


@pytest.mark.parametrize("command", ["list", "show", "explain", "renew"])
def test_all_are_meant_by_all(home: Path, command: str) -> None:
    data = certctl(command, "--all", "--json", home=home).json()["data"]

    names = {each["name"] for each in data["certificates"]}
    assert {"f.example", "p.example"} <= names
    assert (len(names) == 5) is (command != "renew")


def test_delete_is_not_asked_for_all(home: Path) -> None:
    assert certctl("delete", "--all", "--yes", home=home).exit_status == 2
    assert len(listed(home)) == 5
