"""Names in A-labels are shown in Unicode where a browser does so, and can be typed as shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import InvalidIdentifier
from certctl.model.names import parse_identifier, stored_name
from certctl.rules.shown_names import shown_name, shown_names

SHOWN = (
    "bücher.example",
    "*.bücher.example",
    "łódź.pl",
    "straße.de",
    "việt.vn",
    "ıstanbul.tr",
    "москва.example",
    "кто.рф",
    "аре.рф",  # looks Latin, but its top-level domain cannot be
    "ооо.ru",
    "ελληνικά.gr",
    "日本語.jp",
    "ハローworld.jp",
    "例え.テスト",
    "한국.kr",
    "ไทย.th",
    "हिन्दी.example",
)
KEPT = (
    "раураl.com",  # Cyrillic, and a Latin l
    "аррӏе.com",  # all Cyrillic
    "googlе.com",
    "xn--80ak6aa92e.com",
    "αι.com",  # all Greek
    "ıstanbul.com",
    "ノexample.com",  # a stroke before a Latin letter
    "שלום.example",  # from right to left
    "xn--n3h.example",  # an emoji
    "१२.example",  # digits of another script
    "əz.az",  # only specialists know this letter elsewhere
    "l·l.cat",
)


@pytest.mark.parametrize("name", SHOWN)
def test_a_name_of_one_script_is_shown_in_unicode(name: str) -> None:
    stored = parse_identifier(name).value

    assert stored.isascii()
    assert shown_name(stored) == name
    assert parse_identifier(shown_name(stored)).value == stored


@pytest.mark.parametrize("name", KEPT)
def test_what_could_be_taken_for_another_name_stays_in_a_labels(name: str) -> None:
    stored = parse_identifier(name).value

    assert shown_name(stored) == stored


def test_each_label_is_judged_by_itself() -> None:
    name = stored_name("аррӏе.bücher.example")

    assert shown_names([name, "a.example"]) == ["xn--80ak6aa92e.bücher.example", "a.example"]


@pytest.mark.parametrize("name", ["xn--a.example", "my-xn--cert", "xn--", "*.xn--zzzzzz.example"])
def test_what_is_no_a_label_stays_as_it_is(name: str) -> None:
    assert shown_name(name) == name


@given(st.text(min_size=1, max_size=12))
def test_a_name_as_shown_means_the_same_certificate(label: str) -> None:
    try:
        stored = parse_identifier(f"{label}.example").value
    except InvalidIdentifier:
        return

    assert parse_identifier(shown_name(stored)).value == stored
