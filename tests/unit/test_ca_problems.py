"""What a CA says in place of success: read whatever its shape, and turned into errors."""

import json
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from certctl.ca.messages import directory
from certctl.ca.problems import Resource, error_from, links, problem, shown_terms
from certctl.ca.retry_after import LONGEST, retry_after
from certctl.model.errors import (
    AccountError,
    AccountPaused,
    AcmeError,
    BadResponse,
    CaUnavailable,
    EabRequired,
    RateLimited,
    TermsChanged,
)
from certctl.rules.waiting import again

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
URN = "urn:ietf:params:acme:error:"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
problem_shapes = st.dictionaries(
    st.sampled_from(["type", "title", "detail", "status", "instance", "subproblems", "identifier"]),
    json_values,
)


def answer(
    status: int, body: bytes | str = b"", headers: dict[str, str] | None = None
) -> requests.Response:
    """A response as it comes from the network."""
    response = requests.Response()
    response.status_code = status
    response.url = "https://ca.example/new-order"
    response.headers.update(headers or {})
    response._content = body.encode() if isinstance(body, str) else body
    response.encoding = "utf-8"
    return response


def error(
    status: int,
    body: bytes | str = b"",
    headers: dict[str, str] | None = None,
    resource: Resource = Resource.NEW_ORDER,
) -> AcmeError:
    return error_from(answer(status, body, headers), resource, NOW)


@given(json_values | problem_shapes | st.lists(problem_shapes))
def test_a_problem_of_any_shape_is_read(document: object) -> None:
    said = problem(document)
    assert len(said.text) <= 1001
    assert said.text.isprintable()
    assert said.url is None or said.url.startswith("https://")


@given(st.binary(max_size=200), st.integers(300, 599))
def test_an_error_body_of_any_bytes_becomes_an_error(body: bytes, status: int) -> None:
    said = error(status, body)
    assert said.status == status
    assert said.message.isprintable()


def test_a_deeply_nested_body_becomes_an_error() -> None:
    assert isinstance(error(500, "[" * 200_000), CaUnavailable)


def test_control_characters_never_reach_a_message() -> None:
    body = f'{{"type": "{URN}malformed", "detail": "a\\u001b[2Jb\\r\\nc\\u202ed"}}'
    assert error(400, body).message == ("ca.example refused the new order: a [2Jb c d [malformed]")


@pytest.mark.parametrize("body", ["null", '"x"', "[1]", "7", "{}", "<html>no</html>", ""])
def test_without_a_problem_document_the_status_is_reported(body: str) -> None:
    said = error(400, body)
    assert type(said) is AcmeError
    shown = "x" if body == '"x"' else "HTTP status 400, Bad Request"
    assert said.message == f"ca.example refused the new order: {shown}"


@pytest.mark.parametrize(
    ("status", "kind", "resource", "expected"),
    [
        (429, "rateLimited", Resource.NEW_ORDER, RateLimited),
        (403, "rateLimited", Resource.NEW_ORDER, RateLimited),
        (403, "userActionRequired", Resource.NEW_ORDER, TermsChanged),
        (403, "externalAccountRequired", Resource.NEW_ACCOUNT, EabRequired),
        (400, "accountDoesNotExist", Resource.ORDER, AccountError),
        (401, "unauthorized", Resource.NEW_ORDER, AccountError),
        (403, "unauthorized", Resource.ACCOUNT, AccountError),
        (403, "unauthorized", Resource.CERTIFICATE, AcmeError),
        (409, "alreadyReplaced", Resource.NEW_ORDER, AcmeError),
        (400, "rejectedIdentifier", Resource.NEW_ORDER, AcmeError),
        (500, "serverInternal", Resource.NEW_ORDER, CaUnavailable),
        (503, None, Resource.NEW_ORDER, CaUnavailable),
        (503, "rateLimited", Resource.NEW_ORDER, CaUnavailable),
        (503, "rateLimited", Resource.REVOCATION, CaUnavailable),
        (503, "userActionRequired", Resource.NEW_ACCOUNT, CaUnavailable),
        (500, "rateLimited", Resource.NEW_ORDER, CaUnavailable),
        (429, None, Resource.NEW_ORDER, RateLimited),
        (302, None, Resource.NEW_ORDER, BadResponse),
    ],
)
def test_each_problem_has_its_error(
    status: int, kind: str | None, resource: Resource, expected: type[AcmeError]
) -> None:
    body = f'{{"type": "{URN}{kind}", "detail": "because"}}' if kind else "<html>"
    said = error(status, body, resource=resource)
    assert (type(said), said.type, said.status) == (expected, kind, status)


def test_a_rate_limit_without_a_time_and_with_a_way_out_is_a_pause() -> None:
    url = "https://portal.ca.example/unpause?jwt=" + "a" * 900
    body = f'{{"type": "{URN}rateLimited", "detail": "You are temporarily prevented, see: {url}."}}'
    said = error(429, body)
    assert isinstance(said, AccountPaused)
    assert said.hint == f"Unpause it at {url}, then run the command again."
    assert type(error(429, body, {"Retry-After": "60"})) is RateLimited


def test_a_rate_limit_keeps_its_time_and_its_help() -> None:
    body = f'{{"type": "{URN}rateLimited", "detail": "too many"}}'
    link = '<https://ca.example/dir>;rel="index", <https://ca.example/limits>;rel="help"'
    said = error(429, body, {"Retry-After": "3600", "Link": link})
    assert (said.retry_after, said.hint) == (
        3600,
        f"Try again {again(NOW, 3600)}. See https://ca.example/limits.",
    )


def test_changed_terms_are_named() -> None:
    body = f'{{"type": "{URN}userActionRequired", "instance": "https://ca.example/terms/2"}}'
    assert error(403, body).hint == (
        "Read https://ca.example/terms/2, then run: certctl account update --agree-tos"
    )
    assert error(403, body, resource=Resource.NEW_ACCOUNT).hint == (
        "Read https://ca.example/terms/2, then run the command again with --agree-tos."
    )


NOT_FOR_A_BROWSER = (
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "ftp://ca.example/x",
    "https://",
    "https://[::1",
    "https://ca.example/a b",
    "/terms",
)


@pytest.mark.parametrize("url", NOT_FOR_A_BROWSER)
def test_a_url_that_nobody_should_open_is_not_in_a_hint(url: str) -> None:
    changed = error(403, json.dumps({"type": f"{URN}userActionRequired", "instance": url}))
    limited = error(429, "", {"Link": f'<{url}>;rel="help"', "Retry-After": "60"})
    moved = error(302, "", {"Location": url})

    assert changed.hint == (
        "Read the CA's terms of service, then run: certctl account update --agree-tos"
    )
    assert (limited.hint, moved.hint) == (f"Try again {again(NOW, 60)}.", None)


@pytest.mark.parametrize("url", NOT_FOR_A_BROWSER)
def test_a_url_that_nobody_should_open_is_not_offered_as_one_by_a_directory(url: str) -> None:
    body = dict.fromkeys(("newNonce", "newAccount", "newOrder"), "https://ca.example/x")
    meta = {"termsOfService": url, "website": url}

    found = directory(answer(200, json.dumps({**body, "meta": meta})))

    assert found.website is None
    assert shown_terms(str(found.terms_of_service)) == f"'{url}', which is not a web address"


def test_the_hint_for_a_rejected_account_is_to_check_it() -> None:
    body = f'{{"type": "{URN}unauthorized"}}'
    hint = error(403, body).hint
    assert hint is not None
    assert "certctl account show --refresh" in hint
    assert error(403, body, resource=Resource.NEW_ACCOUNT).hint is None


def test_subproblems_are_reported_by_name() -> None:
    body = (
        f'{{"type": "{URN}compound", "detail": "two names", "subproblems": ['
        f'{{"type": "{URN}caa", "detail": "forbidden", "identifier": {{"value": "a.example"}}}},'
        f'{{"type": "{URN}dns", "identifier": {{"value": "b.example"}}, "subproblems": [{{}}]}}]}}'
    )
    assert error(403, body).message == (
        "ca.example refused the new order: "
        "two names; a.example: forbidden; b.example: dns [compound]"
    )


def test_links_are_found_by_their_relation() -> None:
    header = (
        '<https://ca.example/a,1>;rel="alternate", </b>; title="x"; rel=alternate,'
        '<https://ca.example/up>;rel="up", <https://ca.example/c>;rel="other Alternate"'
    )
    assert links(answer(200, headers={"Link": header}), "alternate") == (
        "https://ca.example/a,1",
        "/b",
        "https://ca.example/c",
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-1", 0.0),
        ("1000000000", LONGEST),
        ("9" * 10_000, LONGEST),
        (" 7 ", 7.0),
        ("soon", None),
        ("1.5", None),
        ("", None),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 12:01:30 -0000", 90.0),
        ("Thu, 01 Jan 2026 14:01:30 +0200", 90.0),
        ("Thu, 01 Jan 2026 04:01:30 -0800", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Thu, 99 Jan 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_bounded_number_of_seconds(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, NOW) == seconds


def test_the_longest_retry_after_is_a_week() -> None:
    week = 7 * 24 * 60 * 60

    found = [retry_after({"Retry-After": str(week + more)}, NOW) for more in (-1, 0, 1)]

    assert found == [week - 1, week, week]


@given(st.text(max_size=60))
def test_retry_after_of_any_text_is_read(value: str) -> None:
    seconds = retry_after({"Retry-After": value}, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST


@given(st.integers(-14, 14), st.integers(0, 86400), st.integers(-48, 48))
def test_retry_after_as_a_date_does_not_depend_on_our_clock(
    zone: int, seconds: int, hours_off: int
) -> None:
    then = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=zone)))
    headers = {"Retry-After": format_datetime(then), "Date": format_datetime(NOW, usegmt=True)}
    assert retry_after(headers, NOW + timedelta(hours=hours_off)) == seconds


ACCOUNT_CONTACT = "Give the account a contact: certctl account update --email ADDRESS"
KEY_TYPE = "The CA may accept another key type (--key-type)."
COMMON_NAME = "If the CA insists on a common name, give one of the names: --common-name NAME"


@pytest.mark.parametrize(
    ("kind", "detail", "resource", "hint"),
    [
        ("malformed", "the account has no contact", Resource.NEW_ORDER, ACCOUNT_CONTACT),
        (
            "badCSR",
            "no e-mail address is known for the account",
            Resource.FINALIZE,
            ACCOUNT_CONTACT,
        ),
        ("invalidContact", "missing contact", Resource.NEW_ORDER, ACCOUNT_CONTACT),
        (
            "invalidContact",
            "contact email has invalid domain",
            Resource.NEW_ACCOUNT,
            "Check the addresses given with --email, or give one.",
        ),
        ("badCSR", "the CSR has no common name", Resource.FINALIZE, COMMON_NAME),
        ("badCSR", "CN is mandatory", Resource.FINALIZE, COMMON_NAME),
        ("badCSR", "unsupported curve", Resource.FINALIZE, KEY_TYPE),
        ("badCSR", "weak key; contact support for help", Resource.FINALIZE, KEY_TYPE),
        ("malformed", "broken; please contact us", Resource.NEW_ORDER, None),
        (
            "rejectedIdentifier",
            "contact.example",
            Resource.NEW_ORDER,
            "The CA does not issue for that name. Another CA may (--ca).",
        ),
    ],
)
def test_a_hint_names_what_the_ca_asks_for_in_its_own_words(
    kind: str, detail: str, resource: Resource, hint: str | None
) -> None:
    body = json.dumps({"type": URN + kind, "detail": detail})

    assert error(400, body, resource=resource).hint == hint
