"""What records of dns-persist-01 say, and whether one that is there serves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.validation import PersistentRecord
from certctl.rules.persistent_validation import (
    ANY_NAME,
    hashed_account,
    mismatch,
    record_name,
    satisfied,
    text_of,
)

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
ACCOUNT = "https://ca.example/acct/123"
RECORD = PersistentRecord(
    "a.example", ("ca.example", "ca.test"), (ACCOUNT, "https://ca.example/h/1")
)
WILDCARD = PersistentRecord("a.example", ("ca.example",), (ACCOUNT,), wildcard=True)


def test_a_record_stands_below_a_label_of_its_own() -> None:
    assert record_name("a.example") == "_validation-persist.a.example"


@pytest.mark.parametrize(
    ("record", "until", "text"),
    [
        (RECORD, None, f"ca.example; accounturi={ACCOUNT}"),
        (WILDCARD, None, f"ca.example; accounturi={ACCOUNT}; policy=wildcard"),
        (
            WILDCARD,
            datetime(2030, 1, 1, tzinfo=UTC),
            f"ca.example; accounturi={ACCOUNT}; policy=wildcard; persistUntil=1893456000",
        ),
    ],
)
def test_the_text_names_the_issuer_and_the_account_and_ends_without_a_semicolon(
    record: PersistentRecord, until: datetime | None, text: str
) -> None:
    assert text_of(record, until) == text


@pytest.mark.parametrize(
    ("domain", "digest"),
    [
        ("example.com", "5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"),
        (ANY_NAME, "NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug"),
    ],
)
def test_the_hash_is_that_of_the_examples_in_the_draft(domain: str, digest: str) -> None:
    found = hashed_account(
        "https://ca.example/account-hash/",
        domain,
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ACCOUNT,
    )

    assert found == f"https://ca.example/account-hash/sha-256/{digest}"


@pytest.mark.parametrize(
    "text",
    [
        f"ca.example; accounturi={ACCOUNT}",
        "ca.test;ACCOUNTURI=https://ca.example/h/1 ; unknown=1;other=",
        f"ca.example; accounturi={ACCOUNT}; policy=WILDCARD; persistUntil=4102444800",
        f"ca.example; accounturi={ACCOUNT}; persistUntil=" + "9" * 5000,
    ],
)
def test_a_record_in_somebody_elses_words_serves(text: str) -> None:
    assert mismatch(text, RECORD, NOW) is None


@pytest.mark.parametrize(
    ("text", "record", "why"),
    [
        ("", RECORD, "it is for the issuer ''"),
        (f"CA.example; accounturi={ACCOUNT}", RECORD, "it is for the issuer 'CA.example'"),
        ("ca.example", RECORD, "it names another account"),
        (f"ca.example; accounturi={ACCOUNT}0", RECORD, "it names another account"),
        (f"ca.example; accounturi={ACCOUNT};", RECORD, "'' is not a valid parameter"),
        (
            f"ca.example; accounturi={ACCOUNT}; accounturi=1",
            RECORD,
            "or appears twice",
        ),
        (f"ca.example; accounturi={ACCOUNT}", WILDCARD, "it lacks policy=wildcard"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=1000", RECORD, "persistUntil has passed"),
        (
            f"ca.example; accounturi={ACCOUNT}; persistUntil=-1",
            RECORD,
            "not a timestamp: '-1'",
        ),
        (
            f"ca.example; accounturi={ACCOUNT}; persistUntil=²",
            RECORD,
            "not a timestamp: '²'",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_said(text: str, record: PersistentRecord, why: str) -> None:
    assert why in str(mismatch(text, record, NOW))


def test_one_record_among_those_of_others_is_enough() -> None:
    others = ("v=spf1 -all", "other.example; accounturi=https://other.example/1")

    assert not satisfied(others, RECORD, NOW)
    assert satisfied((*others, text_of(RECORD)), RECORD, NOW)


@given(
    st.builds(
        PersistentRecord,
        st.just("a.example"),
        st.just(("ca.example",)),
        st.just((ACCOUNT,)),
        wildcard=st.booleans(),
    ),
    st.none() | st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=9999)),
)
def test_what_is_written_is_found_to_serve(
    record: PersistentRecord, left: timedelta | None
) -> None:
    until = None if left is None else NOW + left

    assert mismatch(text_of(record, until), record, NOW) is None


@given(st.text(max_size=100))
def test_any_text_can_be_judged(text: str) -> None:
    assert mismatch(text, RECORD, NOW) is not None
