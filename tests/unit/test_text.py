"""Text of others is printable and bounded wherever it is shown, logged or stored."""

import io
import json
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as certificates
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from certctl.ca.directories import directory_url
from certctl.model import events
from certctl.model.errors import (
    AcmeError,
    CertctlError,
    HookFailed,
    InspectionFailed,
    UsageError,
    ValidationFailed,
)
from certctl.model.names import certificate_name, parse_identifier
from certctl.model.text import (
    escaped,
    output_lines,
    printable,
    safe_json,
    texts,
    whole_number,
)
from certctl.output.console import Labelled, Output, PrintableStream
from certctl.output.descriptions import describe
from certctl.output.document import Result
from certctl.output.log import Log
from certctl.output.tables import Row, Table
from certctl.rules import x509
from certctl.store.home.audit import line
from tests.support.command import certctl

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

HOSTILE = "a\x1b]0;owned\x07b\x9b2J\u202ec\u2066\u200bd\r\n\tz\x00\x7f\udce9\U000e0001"
"""Terminal sequences, direction marks, what is not seen, line ends, and half a character."""

# every kind of character, also halves of surrogate pairs, which file names bring
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


def is_safe(text: str) -> bool:
    return all(unicodedata.category(each)[0] not in "CZ" or each == " " for each in text)


# -- the rules


@given(ANY_TEXT, st.integers(2, 200))
def test_prose_becomes_one_bounded_line(text: str, longest: int) -> None:
    shown = printable(text, longest)

    assert is_safe(shown)
    assert len(shown) <= longest


@given(ANY_TEXT, st.integers(2, 200))
def test_escapes_make_any_text_printable_and_bounded(text: str, longest: int) -> None:
    shown = escaped(text, longest)

    assert is_safe(shown)
    assert len(shown) <= longest
    assert escaped(shown, longest) == shown


@given(ANY_TEXT)
def test_escapes_keep_lines_where_these_are_wanted(text: str) -> None:
    shown = escaped(text, None, lines=True)

    assert is_safe(shown.replace("\n", "").replace("\t", ""))
    assert shown.count("\n") == text.count("\n")


@given(st.text(st.characters(categories=["L", "N"]), max_size=100))
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert (printable(text), escaped(text), safe_json(text)) == (text, text, text)


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_json_is_printable_and_means_the_same(value: object) -> None:
    for indent in (None, 2):
        document = safe_json(json.dumps(value, ensure_ascii=False, indent=indent))

        assert is_safe(document.replace("\n", ""))
        assert json.loads(document) == value


@pytest.mark.parametrize("value", [None, 7, b"x", ["x"]])
def test_what_is_no_text_is_empty(value: object) -> None:
    assert printable(value) == ""
    assert list(texts(value)) == (["x"] if value == ["x"] else [])


def test_a_long_text_keeps_what_stands_around_it() -> None:
    error = CertctlError(f"the name {'x' * 20_000} has no dot")

    assert error.message.startswith("the name xxx")
    assert error.message.endswith("xxx has no dot")
    assert len(error.message) == 4000


def test_the_end_of_a_programs_output_is_shown_without_its_colours() -> None:
    output = "one\n\x1b[1;31mtwo\x1b[0m\n\nthree\x07\n" + "x" * 500

    shown = output_lines(output, most=3, longest=10)

    assert shown == ["...", "two", "three\N{REPLACEMENT CHARACTER}", f"{'x' * 10}..."]


def test_a_list_of_a_million_names_is_cut() -> None:
    assert len(list(texts(["x"] * 1_000_000))) == 100
    assert list(texts(["", "x" * 300, "a\x1b", 7, "good"])) == ["good"]


# -- errors


@given(ANY_TEXT)
def test_no_error_carries_a_control_character(text: str) -> None:
    error = CertctlError(text * 20, hint=text * 20, name=text)

    for shown in (error.message, error.hint or "", error.name or "", str(error)):
        assert shown.isprintable()
        assert len(shown) <= 4000


def test_what_is_added_to_an_error_later_is_made_printable_too() -> None:
    error = CertctlError("it failed")

    error.hint, error.name = HOSTILE, HOSTILE

    assert error.hint.isprintable()
    assert error.name.isprintable()


@pytest.mark.parametrize("kind", [AcmeError, ValidationFailed])
def test_the_reasons_of_a_ca_are_printable(kind: Callable[..., AcmeError]) -> None:
    error = kind("refused", reasons=[(HOSTILE, HOSTILE * 10_000)])

    ((name, reason),) = error.reasons
    assert name.isprintable()
    assert reason.isprintable()
    assert len(reason) <= 1000


def test_the_lines_of_a_hooks_output_stay_apart() -> None:
    assert HookFailed("it failed:\n  one\n  two\x1b[2J").message == (
        "it failed:\n  one\n  two\\x1b[2J"
    )


@pytest.mark.parametrize("given_text", [HOSTILE, "x" * 20_000, "\u202egpj.exe", "a" * 60_000])
@pytest.mark.parametrize("check", [parse_identifier, certificate_name, directory_url])
def test_what_a_user_typed_is_echoed_printable_and_bounded(
    check: Callable[[str], object], given_text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check(given_text)

    for shown in (caught.value.message, caught.value.hint or ""):
        assert shown.isprintable()
        assert len(shown) <= 4000


# -- certificates


def hostile_certificate(name: str, *, alternative: str = "a.example") -> bytes:
    """A self-signed certificate in PEM whose common name and SAN are as given."""
    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a common name may have 64 characters
        subject = certificates.Name(
            [certificates.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)]
        )
    names = certificates.SubjectAlternativeName([certificates.DNSName(alternative)])
    built = (
        certificates.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=9))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("name", [HOSTILE.replace("\udce9", ""), "x" * 60_000])
def test_an_issuer_is_printable_and_bounded(name: str) -> None:
    pem = hostile_certificate(name)

    for issuer in (x509.facts(pem).issuer, x509.topmost_issuer(pem)):
        assert issuer.isprintable()
        assert 0 < len(issuer) <= 255


def test_an_issuer_that_cannot_be_seen_is_shown_by_its_structure() -> None:
    assert x509.facts(hostile_certificate("\x07\u202e")).issuer.startswith("CN=")


@pytest.mark.parametrize("name", ["a.example\x1b[2J", "a.example\x00", "x" * 60_000 + ".example"])
def test_a_hostile_name_of_a_certificate_is_printable_and_no_other_name(name: str) -> None:
    pem = hostile_certificate("x", alternative=name)
    facts = x509.facts(pem)

    (identifier,) = facts.identifiers
    assert identifier.value.isprintable()
    assert len(identifier.value) <= 255
    with pytest.raises(InspectionFailed, match="wrong names") as caught:
        x509.inspect(
            pem,
            identifiers=[parse_identifier("a.example")],
            key_sha256=facts.key_sha256,
            now=NOW + timedelta(days=1),
        )
    assert caught.value.message.isprintable()
    assert len(caught.value.message) <= 4000


# -- where text goes out


def outputs(*, terminal: bool, json_lines: bool = False) -> tuple[Output, io.StringIO]:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    return Output(stream, stream, {}, json=json_lines, json_lines=json_lines), stream


HOSTILE_RESULT = Result(
    {"text": HOSTILE},
    [HOSTILE, Table(("NAME",), (Row((HOSTILE,)),)), Labelled("error", "1;31", HOSTILE)],
    [HookFailed(HOSTILE, hint=HOSTILE, name=HOSTILE)],
)


@pytest.mark.parametrize("json_lines", [False, True])
def test_a_result_reaches_a_pipe_printable(json_lines: bool) -> None:
    output, stream = outputs(terminal=False, json_lines=json_lines)

    output.finish("show", HOSTILE_RESULT)
    output.warning(HOSTILE)
    output.note(HOSTILE)

    assert is_safe(stream.getvalue().replace("\n", "").replace("\t", ""))


def test_json_says_exactly_what_there_is() -> None:
    output, stream = outputs(terminal=False, json_lines=True)

    output.finish("show", HOSTILE_RESULT)

    assert json.loads(stream.getvalue())["data"]["text"] == HOSTILE


def test_a_terminal_sees_no_sequences_but_our_own_colours() -> None:
    output, stream = outputs(terminal=True)

    output.finish("show", HOSTILE_RESULT)
    output.warning(HOSTILE)

    shown = stream.getvalue()
    assert "\x1b[1;31merror" in shown
    assert is_safe(re.sub(r"\x1b\[[0-9;]+m", "", shown).replace("\n", "").replace("\t", ""))


def test_debug_output_of_others_is_printable() -> None:
    stream = io.StringIO()

    PrintableStream(stream).write(HOSTILE)

    assert is_safe(stream.getvalue().replace("\n", "").replace("\t", ""))


HAPPENED = [
    events.Warned("", NOW, HOSTILE),
    events.Failed("a.example", NOW, "code", HOSTILE * 10_000),
    events.HookStarted("a.example", NOW, "deploy", HOSTILE),
    events.VerifyFailed("a.example", NOW, "s", "192.0.2.1", HOSTILE, HOSTILE),
    events.AccountRegistered("", NOW, HOSTILE, created=True),
]


@pytest.mark.parametrize("event", HAPPENED, ids=lambda event: event.kind)
def test_an_event_is_logged_and_recorded_printable_and_bounded(
    event: events.Event, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    with Log(path) as log:
        log.sink(event)

    assert is_safe(describe(event))
    for written in (path.read_text(), line(event)):
        assert is_safe(written.removesuffix("\n"))
        assert len(written) <= 30_000
    for value in json.loads(line(event))["facts"].values():
        assert is_safe(str(value).replace("\n", "").replace("\t", ""))


@pytest.mark.parametrize(
    "arguments",
    [
        (f"--{HOSTILE[:20]}",),
        (f"iss{HOSTILE[:20]}",),
        ("show", HOSTILE[:20]),
        ("issue", HOSTILE[:20]),
        ("issue", "a.example", "--ca", HOSTILE[:20]),
        ("issue", "a.example", "--key-type", HOSTILE[:20]),
        ("verify", f"{HOSTILE[:20]}:443"),
        ("--home", f"/nonexistent/{HOSTILE[:20]}", "show", "x"),
    ],
    ids=str,
)
@pytest.mark.parametrize("json_wanted", [False, True])
def test_no_command_echoes_what_was_typed_to_the_terminal(
    arguments: tuple[str, ...], json_wanted: bool, tmp_path: Path
) -> None:
    done = certctl(*arguments, *(["--json"] if json_wanted else []), home=tmp_path)

    assert done.exit_status != 0
    assert is_safe((done.stdout + done.stderr).replace("\n", ""))


def test_the_bytes_of_a_file_name_are_shown(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.toml")

    error = CertctlError(f"{tmp_path / name} cannot be read")

    assert error.message.endswith(r"caf\udce9.toml cannot be read")
    assert sys.getfilesystemencoding() == "utf-8"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("080", 80),
        ("999999999", 999_999_999),
        ("9999999999", None),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        (" 1", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
    ],
)
def test_only_a_few_ascii_digits_are_a_number(text: str, number: int | None) -> None:
    assert whole_number(text) == number
