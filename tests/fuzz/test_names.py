"""Names: whatever is typed is an identifier fit for files, hooks and orders, or a clear error."""

import re

from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import CertctlError
from certctl.model.names import (
    certificate_name,
    default_certificate_name,
    display_name,
    parse_identifier,
    parse_identifiers,
)
from tests.fuzz.inputs import attempt, fuzzed, hostile_text, is_fit_to_print

near_names = st.lists(
    st.sampled_from(["a", "xn--", "*", "ü", ".", "-", "_", "1", "::", ":", "/", "%", " ", "例"]),
    max_size=12,
).map("".join)


@fuzzed
@given(hostile_text | near_names)
def test_a_name_is_plain_ascii_and_stays_itself_or_is_refused(text: str) -> None:
    found = attempt(lambda: parse_identifier(text))
    if isinstance(found, CertctlError):
        assert is_fit_to_print(found)
        return

    assert re.fullmatch(r"(\*\.)?[a-z0-9_.:-]{1,253}", found.value)
    assert parse_identifier(found.value) == found
    assert display_name(found).isprintable()
    assert certificate_name(default_certificate_name((found,), ()))


@fuzzed
@given(hostile_text | near_names)
def test_the_name_of_a_certificate_never_leads_elsewhere(text: str) -> None:
    name = attempt(lambda: certificate_name(text))
    if isinstance(name, CertctlError):
        assert is_fit_to_print(name)
        return

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
    assert ".." not in name


@fuzzed
@given(st.lists(near_names | st.sampled_from(["a.example", "b.example"]), max_size=6))
def test_names_are_each_there_once(texts: list[str]) -> None:
    found = attempt(lambda: parse_identifiers(texts))
    if isinstance(found, CertctlError):
        assert is_fit_to_print(found)
        return

    assert len(found) == len(set(found))
