"""Output as a terminal, a log and a program get it."""

import errno
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certctl.model.ca import Account, AccountKeyType
from certctl.model.errors import (
    CertctlError,
    ExitStatus,
    HookFailed,
    UnknownCertificate,
    UsageError,
    ValidationFailed,
)
from certctl.output.accounts import account_lines, account_object
from certctl.output.certificates import pairs
from certctl.output.console import Labelled, Message, Output, Paragraph
from certctl.output.document import Result, error_object, render
from certctl.output.tables import Row, Table
from certctl.output.times import Times, left, left_in_short, moment
from tests.support.command import certctl
from tests.support.streams import Broken, output, printed

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

TABLE = Table(
    ("NAME", "STATE"),
    (Row(("a.example", "valid")), Row(("long-name.example", "expired"), "1;31")),
)


ERROR = CertctlError("it did not work", hint="Try again.", name="a.example")


# Results.


def test_results_go_to_standard_output_and_errors_to_standard_error() -> None:
    made = output()

    made.finish("list", Result(lines=["one", "two"], errors=[ERROR]))

    assert printed(made) == (
        "one\ntwo\n",
        "error: a.example: it did not work\n hint: Try again.\n",
    )


def test_a_name_that_is_in_the_message_is_not_said_twice() -> None:
    made = output()

    made.error(CertctlError("a.example is gone", name="a.example"))

    assert printed(made)[1] == "error: a.example is gone\n"


def test_the_words_of_an_error_about_a_name_on_the_command_line_name_it_once() -> None:
    made = output()

    made.error(UnknownCertificate("there is no certificate named a.example", name="a.example"))
    made.error(UsageError("it is not public", name="a.example"))

    assert printed(made)[1] == (
        "error: there is no certificate named a.example\nerror: a.example: it is not public\n"
    )


def test_a_reason_that_the_message_has_is_not_said_twice() -> None:
    made = output()

    made.error(ValidationFailed("no answer: 404", reasons=[("a.example", "404")]))

    assert printed(made)[1] == "error: no answer: 404\n"


def test_the_cas_words_stand_under_the_error_for_each_name() -> None:
    made = output()

    made.error(
        ValidationFailed("the CA refused", reasons=[("a.example", "404"), ("b.example", "no A")])
    )

    assert printed(made)[1] == (
        "error: the CA refused\n       a.example: 404\n       b.example: no A\n"
    )


def test_quiet_leaves_nothing_but_errors() -> None:
    made = output(quiet=True)

    made.note("a step")
    made.warning("beware")
    made.finish("list", Result(lines=["one", TABLE], errors=[ERROR]))

    assert printed(made) == ("", "error: a.example: it did not work\n hint: Try again.\n")


def test_a_terminal_shows_each_command_of_a_message_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = (
        "To try again now: certctl dns cleanup --retry. To forget them: certctl dns cleanup --drop"
    )
    made, elsewhere = output(terminal=True), output()

    for each in (made, elsewhere):
        each.finish("list", Result(lines=[Message(text)]))
    made.error(CertctlError("it failed", hint="Do this: certctl renew a, then: certctl verify a"))

    assert printed(elsewhere)[0] == f"{text}\n"
    assert printed(made)[0] == (
        "To try again now:\n  certctl dns cleanup --retry\n"
        "To forget them:\n  certctl dns cleanup --drop\n"
    )
    assert plain(printed(made)[1]).splitlines()[1:] == [
        " hint: Do this:",
        "       certctl renew a",
        "       then:",
        "       certctl verify a",
    ]


def test_a_warning_is_printed_once_however_often_it_is_found() -> None:
    made = output()

    for message in ("beware", "beware", "beware of this too", "beware"):
        made.warning(message)

    assert printed(made)[1] == "warning: beware\nwarning: beware of this too\n"


def test_a_table_off_a_terminal_is_columns_and_spaces() -> None:
    made = output()

    made.finish("list", Result(lines=[TABLE]))

    assert printed(made)[0] == (
        "NAME               STATE\na.example          valid\nlong-name.example  expired\n"
    )


def test_a_table_on_a_terminal_is_drawn() -> None:
    made = output(terminal=True)

    made.finish("list", Result(lines=[TABLE]))

    drawn, _ = printed(made)
    assert "─" in drawn
    assert "\x1b[" in drawn
    assert re.search(r"long-name\.example\s+expired", plain(drawn))


WIDE = Table(
    ("NAME", "KEY", "NAMES"),
    (Row(("a.example", "ecdsa-p256", "a.example, www.a.example")),),
    optional=("KEY", "NAMES"),
)


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        (80, [["NAME", "KEY", "NAMES"], ["a.example", "ecdsa-p256", "a.example, www.a.example"]]),
        (
            40,
            [["NAME", "KEY", "NAMES"], ["a.example", "ecdsa-p256", "a.example,", "www.a.example"]],
        ),
        (30, [["NAME", "NAMES"], ["a.example", "a.example,", "www.a.example"]]),
        (20, [["NAME"], ["a.example"]]),
    ],
)
def test_a_narrow_terminal_wraps_the_last_column_then_leaves_out_optional_ones(
    columns: int, cells: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    made = output(terminal=True)

    made.finish("list", Result(lines=[WIDE]))

    headings, _, *rows = plain(printed(made)[0]).splitlines()
    found = [re.split(r"\s{2,}", line.strip()) for line in (headings, *rows)]
    assert [found[0], [cell for row in found[1:] for cell in row]] == cells


def test_a_terminal_wraps_a_paragraph_between_words_under_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    line = Paragraph("  label  a value of some words, /and/a/path/that/is/longer/than/that")
    made, elsewhere = output(terminal=True), output()

    for each in (made, elsewhere):
        each.finish("show", Result(lines=[line]))

    assert printed(elsewhere)[0] == f"{line}\n"
    assert printed(made)[0] == (
        "  label\n    a value of some words,\n    /and/a/path/that/is/longer/than/that\n"
    )


def test_a_terminal_keeps_a_path_next_to_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    line = Paragraph("  label  /a/path/that/is/longer/than/thirty/columns")
    made = output(terminal=True)

    made.finish("show", Result(lines=[line]))

    assert printed(made)[0] == f"{line}\n"


def test_a_terminal_shows_a_path_on_its_own_line_where_it_fits_there_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    line = Paragraph("  label  /a/path/of/twenty-four/c")
    made, elsewhere = output(terminal=True), output()

    for each in (made, elsewhere):
        each.finish("show", Result(lines=[line]))

    assert printed(made)[0] == "  label\n    /a/path/of/twenty-four/c\n"
    assert printed(elsewhere)[0] == f"{line}\n"


def test_a_terminal_wraps_an_error_and_keeps_a_command_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    made.error(
        HookFailed(
            "this is longer than thirty columns\n  quoted as it came, though it is long",
            hint="Deploy it again: certctl deploy --pending",
        )
    )

    assert printed(made)[1] == (
        "error: this is longer than\n"
        "       thirty columns\n"
        "  quoted as it came, though it is long\n"
        " hint: Deploy it again:\n"
        "       certctl deploy --pending\n"
    )


def test_the_colour_of_a_label_does_not_change_where_a_line_is_wrapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    made = output(terminal=True)

    made.finish("doctor", Result(lines=[Labelled("warning", "33", "too old and slow")]))

    assert printed(made)[0] == "\x1b[33mwarning\x1b[0m: too old and\n  slow\n"


def test_nothing_in_a_cell_is_taken_for_markup() -> None:
    made = output(terminal=True)

    made.finish("list", Result(lines=[Table(("NAME",), (Row(("[red]a[/red]",)),))]))

    assert "[red]a[/red]" in plain(printed(made)[0])


def test_where_standard_error_takes_nothing_the_work_goes_on() -> None:
    stdout = io.StringIO()
    made = Output(stdout, Broken(errno.ENOSPC), {})

    made.warning("beware")
    made.note("a step")
    made.finish("list", Result(lines=["one"], errors=[ERROR]))

    assert stdout.getvalue() == "one\n"


def test_where_standard_output_takes_nothing_that_is_an_error() -> None:
    made = Output(Broken(errno.ENOSPC), io.StringIO(), {})

    with pytest.raises(OSError, match="No space left"):
        made.finish("list", Result(lines=["one"]))


# Colour.


@pytest.mark.parametrize(
    ("terminal", "variables", "coloured"),
    [
        (True, {}, True),
        (True, {"TERM": "xterm"}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
        (False, {"FORCE_COLOR": "1", "TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    terminal: bool, variables: dict[str, str], coloured: bool
) -> None:
    made = output(terminal=terminal, variables=variables)

    made.error(ERROR)
    made.warning("beware")

    assert ("\x1b[" in printed(made)[1]) is coloured
    assert plain(printed(made)[1]) == (
        "error: a.example: it did not work\n hint: Try again.\nwarning: beware\n"
    )


def test_a_table_without_colour_has_none() -> None:
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    made.finish("list", Result(lines=[TABLE]))

    drawn, _ = printed(made)
    assert "─" in drawn
    assert "\x1b" not in drawn


def test_progress_is_drawn_on_a_terminal_that_is_not_told_to_keep_quiet() -> None:
    assert output(terminal=True).live is True
    assert output(terminal=False).live is False
    assert output(terminal=True, quiet=True).live is False
    assert output(terminal=True, json=True).live is False
    assert output(terminal=True, variables={"TERM": "dumb"}).live is False


# JSON.


@pytest.mark.parametrize(
    ("exit_status", "status"),
    [
        (ExitStatus.DONE, "success"),
        (ExitStatus.PARTIAL, "partial"),
        (ExitStatus.FAILED, "error"),
        (ExitStatus.USAGE, "error"),
        (ExitStatus.NOT_DEPLOYED, "error"),
        (ExitStatus.LOCKED, "error"),
        (ExitStatus.LATER, "error"),
        (ExitStatus.INTERRUPTED, "error"),
    ],
)
def test_the_document_of_a_result(exit_status: ExitStatus, status: str) -> None:
    made = output(json=True)

    made.finish("issue", Result({"a": 1}, ["for people"], errors=[ERROR], exit_status=exit_status))

    stdout, stderr = printed(made)
    assert stderr == ""
    assert json.loads(stdout) == {
        "schema": 1,
        "command": "issue",
        "status": status,
        "exit_code": int(exit_status),
        "data": {"a": 1},
        "errors": [
            {
                "code": "internal",
                "message": "it did not work",
                "hint": "Try again.",
                "name": "a.example",
            }
        ],
    }


def test_json_is_as_complete_when_quiet() -> None:
    made = output(json=True, quiet=True)

    made.finish("list", Result({"a": 1}))

    assert json.loads(printed(made)[0])["data"] == {"a": 1}


def test_the_cas_words_for_each_name_are_part_of_its_error() -> None:
    error = ValidationFailed("no", reasons=[("a.example", "404")], name="a.example")

    assert error_object(error)["identifiers"] == [{"identifier": "a.example", "reason": "404"}]
    assert "identifiers" not in error_object(ValidationFailed("no"))


def test_a_document_ends_in_one_newline_and_keeps_letters() -> None:
    document = render("list", Result({"name": "bücher.example"}))

    assert document.endswith("}\n")
    assert "bücher.example" in document


# Words.


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (-1, "expired"),
        (0, "expired"),
        (1, "1 second"),
        (1.9, "1 second"),
        (2, "2 seconds"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7199, "1 hour"),
        (7200, "2 hours"),
        (86399, "23 hours"),
        (86400, "1 day"),
        (90 * 86400 - 1, "89 days"),
    ],
)
def test_what_is_left_is_said_in_the_largest_unit(seconds: float | None, words: str) -> None:
    assert left(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "expired"), (59, "59s"), (840, "14m"), (7200, "2h"), (90 * 86400, "90d")],
)
def test_what_is_left_is_one_word_in_a_column(seconds: float | None, words: str) -> None:
    assert left_in_short(seconds) == words


def test_times_are_utc_unless_a_person_reads_them() -> None:
    assert Times().minute(NOW) == "2026-01-01 12:00 UTC"
    assert (Times().day(NOW), Times().day(None)) == ("2026-01-01", "-")
    assert Times(local=True).minute(NOW) == f"{NOW.astimezone():%Y-%m-%d %H:%M %Z}"


def test_moments_are_utc_to_the_second() -> None:
    assert moment(NOW.replace(microsecond=999_999)) == "2026-01-01T12:00:00Z"
    assert moment(None) is None


def test_values_stand_under_one_another() -> None:
    assert pairs([("a", "1"), ("longer", "2")]) == ["  a       1", "  longer  2"]


def test_an_account_is_shown_without_its_key() -> None:
    account = Account(
        id="0123456789ab",
        directory_url="https://ca.example/directory",
        url="https://ca.example/account/1",
        key_type=AccountKeyType.ES256,
        contact=("mailto:a@example.com",),
        created=NOW,
    )

    assert account_object(account) == {
        "id": "0123456789ab",
        "ca": "https://ca.example/directory",
        "url": "https://ca.example/account/1",
        "status": "valid",
        "key_type": "es256",
        "contact": ["mailto:a@example.com"],
        "terms_of_service": None,
        "created": "2026-01-01T12:00:00Z",
    }
    assert account_lines(account)[-1] == "  contact  mailto:a@example.com"


def plain(text: str) -> str:
    """`text` without the codes that terminals obey."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_document_is_indented_for_people_only(tmp_path: Path, terminal: bool) -> None:
    finished = certctl("account", "show", "--json", home=tmp_path / "home", terminal=terminal)

    assert (len(finished.stdout.splitlines()) > 1) is terminal
    assert finished.json()["data"] == {"accounts": []}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "  in the end  to turn it on: certctl edit a.example",
            "  in the end  to turn it on:\n              certctl edit a.example\n",
        ),
        (
            "  in the end  to turn it on: certctl edit a.example --autorenew",
            "  in the end  to turn it on:\n    certctl edit a.example --autorenew\n",
        ),
        (
            "  all  of it: certctl 0.1.0, with a library 1.2.3",
            "  all  of it: certctl 0.1.0, with a\n       library 1.2.3\n",
        ),
    ],
)
def test_a_command_in_a_paragraph_is_not_broken(
    line: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    made = output(terminal=True)

    made.finish("explain", Result(lines=[Paragraph(line)]))

    assert printed(made)[0] == shown


def test_what_a_finding_quotes_stands_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    made = output(terminal=True, variables={"NO_COLOR": "1"})

    made.finish(
        "doctor", Result(lines=[Labelled("error", "31", "a hook failed, too\n  as it said")])
    )

    assert printed(made)[0] == "error: a hook failed, too\n  as it said\n"


def test_a_long_name_stands_below_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    made = output(terminal=True)
    name = "a-name-of-more-than.thirty.columns.example"

    made.finish("show", Result(lines=[Paragraph(f"  names  {name}, b.example")]))

    assert printed(made)[0] == f"  names\n    {name},\n    b.example\n"
