"""Which certificates a selection means."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from certctl.model.errors import UnknownCertificate, UsageError
from certctl.rules.selection import (
    Candidate,
    Selection,
    condition,
    holders_of,
    looks_like_pattern,
    matching,
    require_one,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = {
    "example.com": ("example.com", "www.example.com"),
    "w.example": ("*.w.example",),
    "other": ("www.example.com", "192.0.2.1"),
    "xn--bcher-kva.example": ("xn--bcher-kva.example",),
}
CANDIDATES = [
    Candidate("a.example", ("a.example", "www.a.example"), {"ca": ("letsencrypt",)}),
    Candidate("b.example", ("b.example",), {"ca": ("letsencrypt-staging",)}, failing=True),
    Candidate("c", ("c.example",), {"ca": ("zerossl",)}, expires=NOW + timedelta(days=20)),
    Candidate("xn--bcher-kva.example", (), {"ca": ("zerossl",)}, expires=NOW - timedelta(days=1)),
]


def find(identifier: str) -> Sequence[str]:
    return [name for name, names in NAMES.items() if identifier in names]


@pytest.mark.parametrize(
    ("word", "holders"),
    [
        ("example.com", ["example.com"]),
        ("other", ["other"]),
        ("WWW.Example.com.", ["example.com", "other"]),
        ("*.w.example", ["w.example"]),
        ("x.w.example", []),
        ("192.0.2.1", ["other"]),
        ("bücher.example", ["xn--bcher-kva.example"]),
        ("*", []),
        ("w*", []),
        ("../../etc/passwd", []),
        ("", []),
    ],
)
def test_a_word_is_a_name_or_one_of_the_names_that_a_certificate_is_for(
    word: str, holders: list[str]
) -> None:
    assert list(holders_of(word, NAMES, find)) == holders


def test_a_name_that_several_certificates_have_is_an_error_that_lists_them() -> None:
    with pytest.raises(UsageError, match=r"2 certificates: example\.com, other") as caught:
        require_one("www.example.com", ["example.com", "other"], NAMES)

    assert caught.value.code == "usage.ambiguous"


@pytest.mark.parametrize(
    ("word", "code", "hint"),
    [
        ("w*", "usage.pattern", "--match 'w*'"),
        ("example.con", "usage.unknown_certificate", "Did you mean example.com?"),
        ("*.zz.test", "usage.unknown_certificate", "--match '*.zz.test'"),
        ("a/b", "usage.name", "letters, digits"),
    ],
)
def test_a_word_that_means_nothing_says_what_to_type(word: str, code: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_one(word, (), NAMES)

    assert (caught.value.code, hint in str(caught.value.hint)) == (code, True)


@pytest.mark.parametrize(
    ("word", "pattern"),
    [
        ("x*", True),
        ("*", True),
        ("a?.example", True),
        ("[ab].example", True),
        ("*.w.example", False),
        ("[2001:db8::1]", False),
        ("example.com", False),
    ],
)
def test_a_wildcard_name_is_no_pattern(word: str, pattern: bool) -> None:
    assert looks_like_pattern(word) is pattern


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["a.example", "b.example", "c", "xn--bcher-kva.example"]),
        (Selection(patterns=("[ab].example",)), ["a.example", "b.example"]),
        (Selection(patterns=("WWW.*",)), ["a.example"]),
        (Selection(patterns=("bü*",)), ["xn--bcher-kva.example"]),
        (Selection(patterns=("a.*", "c")), ["a.example", "c"]),
        (Selection(words=("c",), patterns=("a.*",)), ["a.example", "c"]),
        (Selection(words=("c",), where=(("ca", "zerossl"),)), ["c"]),
        (Selection(where=(("ca", "letsencrypt"),)), ["a.example"]),
        (Selection(where=(("ca", "LetsEncrypt*"),)), ["a.example", "b.example"]),
        (
            Selection(where=(("ca", "letsencrypt"), ("ca", "zerossl"))),
            ["a.example", "c", "xn--bcher-kva.example"],
        ),
        (Selection(failing=True), ["b.example"]),
        (Selection(where=(("ca", "zerossl"),), failing=True), []),
        (Selection(expiring=timedelta(days=20)), ["c", "xn--bcher-kva.example"]),
        (Selection(expiring=timedelta(days=19)), ["xn--bcher-kva.example"]),
        (Selection(expiring=timedelta.max), ["c", "xn--bcher-kva.example"]),
        (Selection(everything=True, failing=True), ["b.example"]),
    ],
)
def test_patterns_add_up_and_conditions_leave_out(selection: Selection, names: list[str]) -> None:
    assert list(matching(selection, selection.words, CANDIDATES, NOW)) == names


@pytest.mark.parametrize(
    "selection",
    [
        Selection(patterns=("nosuch*",)),
        Selection(patterns=("a.*", "nosuch*")),
        Selection(where=(("ca", "google"),)),
        Selection(where=(("issuer", "*"),)),
    ],
)
def test_what_matches_nothing_is_an_error(selection: Selection) -> None:
    with pytest.raises(UnknownCertificate, match="no certificate matches"):
        matching(selection, (), CANDIDATES, NOW)


@pytest.mark.parametrize("text", ["ca", "=x", "ca=", "nosuch=1", "", "group name=1"])
def test_a_condition_has_a_known_key_and_a_value(text: str) -> None:
    with pytest.raises(UsageError, match="not a condition KEY=VALUE"):
        condition(text)


def test_the_key_of_a_condition_may_be_written_like_an_option() -> None:
    assert condition("Key-Type = rsa-2048") == ("key_type", "rsa-2048")
