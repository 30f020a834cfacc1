"""What certctl says where a user would otherwise not know what happened, or what to type next."""

from pathlib import Path

import pytest

from certctl import Certctl
from certctl.inspection.overview import details, overview
from certctl.model.errors import Declined
from certctl.model.names import parse_identifiers
from certctl.operations.issue import edit
from certctl.operations.versions import rollback
from certctl.output.certificates import details_lines, view_object
from certctl.output.listing import list_table
from certctl.output.times import Times
from tests.lab.scripted_ca.faults import delay, problem
from tests.support.command import certctl, certctl_process
from tests.support.homes import add_certificate, add_copies
from tests.support.operations import Machine, codes

# -- timeouts


@pytest.mark.parametrize("resource", ["new-order", "authorization", "finalize", "certificate"])
def test_a_response_that_the_order_has_no_time_for_names_the_order_timeout(
    machine: Machine, resource: str
) -> None:
    machine.issue("a.example")
    machine.ca.script(resource, delay(3.0))

    report = machine.issue("b.example", options={"order_timeout": 1.0})

    (error,) = report.all_errors
    assert codes(report) == ["acme.order_timeout"]
    assert "before the timeout of the order expired" in error.message
    assert str(error.hint).endswith("To allow more time, use --order-timeout.")


def test_retries_that_the_order_has_no_time_for_name_the_order_timeout(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.script("new-order", problem("serverInternal", 500, retry_after=30))

    report = machine.issue("b.example", options={"order_timeout": 20.0})

    (error,) = report.all_errors
    assert error.code == "acme.unavailable"
    assert str(error.hint).endswith("To allow more time, use --order-timeout.")


# -- questions that are answered with no


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete", "a.example"),
        ("revoke", "a.example", "--stop"),
        ("issue", "a.example", "b.example", "--name", "a.example", "--ca", "dev"),
    ],
    ids=" ".join,
)
def test_a_declined_question_changes_nothing_and_is_no_error(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    Certctl(home).issue("a.example", ca="dev")
    before = sorted(home.rglob("*"))

    finished = certctl(*arguments, home=home, stdin="n\n", terminal=True)

    assert finished.exit_status == 0
    assert finished.stdout.splitlines() == ["Nothing was changed."]
    assert "error" not in finished.stderr
    assert sorted(home.rglob("*")) == before


def test_terms_that_are_declined_are_no_error_either(machine: Machine) -> None:
    way = ("--ca", machine.ca.directory_url, "--ca-bundle", str(machine.ca.ca_bundle))

    finished = certctl("register", *way, home=machine.home, stdin="no\n", terminal=True)

    assert (finished.exit_status, finished.stdout) == (0, "Nothing was changed.\n")
    assert not (machine.home / "accounts").exists()


def test_where_nobody_can_be_asked_it_is_an_error_as_before(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    finished = certctl("delete", "a.example", "--json", home=tmp_path)

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (2, "usage.consent")


def test_a_program_that_answers_no_gets_an_error(tmp_path: Path) -> None:
    home = Certctl(tmp_path, settings={"ca": "dev"}, ask=lambda _question: False)
    home.issue("a.example")

    with pytest.raises(Declined) as caught:
        home.issue("a.example", "b.example", name="a.example")

    assert caught.value.code == "usage.declined"


# -- edit without a change


def test_edit_without_a_change_says_what_can_be_changed(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    finished = certctl("edit", "a.example", "--json", home=tmp_path)
    unknown = certctl("edit", "b.example", "--json", home=tmp_path)

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (2, "usage.nothing_to_change")
    for named in ("--add", "--remove", "--key-type", "--deploy", "certctl show a.example"):
        assert named in error["hint"]
    assert unknown.json()["errors"][0]["code"] == "usage.unknown_certificate"


# -- renewal that is turned off


def test_renew_of_a_name_with_renewal_turned_off_says_how_to_turn_it_on(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", chosen={"autorenew": False})

    finished = certctl_process("renew", "a.example", home=tmp_path)

    assert finished.exit_status == 0
    assert "certctl edit a.example --autorenew" in " ".join(finished.stdout.split())


# -- how names are validated


def test_show_says_dns_01_for_a_wildcard_at_the_development_ca(tmp_path: Path) -> None:
    home = Certctl(tmp_path, settings={"ca": "dev"})
    home.issue("a.example", "*.a.example", name="wild")
    home.issue("b.example")

    wild, plain = (certctl("show", name, home=tmp_path).stdout for name in ("wild", "b.example"))

    assert "DNS-01, in the built-in zone of the development CA" in wild
    assert "HTTP-01, built-in server on port 80" in plain


# -- names that are live, and names that were asked for


def test_after_a_rollback_to_other_names_both_are_shown(machine: Machine) -> None:
    machine.issue("a.example")
    add, none = parse_identifiers(["b.example"]), ()
    with machine.run() as run:
        edit(run, ("a.example",), add, none, {})
    with machine.run() as run:
        before = view_object(overview(run)[0])
    with machine.run() as run:
        rollback(run, ("a.example",), 1)

    with machine.run() as run:
        (view,) = overview(run)
        found = view_object(view)
        row = list_table([view], Times(), short=False).rows[0].cells
        shown = [
            str(getattr(each, "text", each))
            for each in details_lines(details(run, "a.example"), Times(), "a.example")
        ]

    assert before["names"] == before["live_names"] == ["a.example", "b.example"]
    assert (found["names"], found["live_names"]) == (["a.example", "b.example"], ["a.example"])
    assert row[-1] == "a.example, b.example (live: a.example)"
    assert any("a.example, b.example (live: a.example)" in each for each in shown)


def test_the_cache_of_many_rows_has_the_live_names_too(tmp_path: Path) -> None:
    add_copies(tmp_path, 120)

    first = certctl("list", "--json", home=tmp_path).json()["data"]["certificates"]
    second = certctl("list", "--json", home=tmp_path).json()["data"]["certificates"]

    assert (tmp_path / "list.json").exists()
    assert [each["live_names"] for each in second] == [each["live_names"] for each in first]
    assert second[0]["live_names"] == ["copy0.example"]


def test_an_edit_says_whether_renewal_is_turned_off(tmp_path: Path) -> None:
    certctl("issue", "a.example", "--ca", "dev", home=tmp_path)

    off = certctl("edit", "a.example", "--no-autorenew", home=tmp_path)
    on = certctl("edit", "a.example", "--autorenew", home=tmp_path)

    assert off.stdout == "a.example: options saved; renewal is turned off (autorenew = false).\n"
    assert on.stdout == "a.example: options saved.\n"
