"""What a CA answers: any bytes at all become nouns that are safe to use, or a clear error."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from certctl.ca import messages
from certctl.ca.problems import Resource, error_from
from certctl.ca.retry_after import LONGEST, retry_after
from certctl.model.errors import AcmeError, CertctlError
from tests.fuzz.inputs import (
    attempt,
    fuzzed,
    hostile_text,
    is_fit_to_print,
    jsons,
    objects,
    response,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = re.compile(r"(\*\.)?[a-z0-9_.:-]{1,253}")
"""What an identifier may be; it ends up in file names of DNS hooks, and in orders."""

URN = "urn:ietf:params:acme:error:"

urls = st.sampled_from(["https://ca.example/1", "/2", "http://[", "javascript:alert(1)", "//x/"])
identifiers = objects(type=st.sampled_from(["dns", "ip", "email"]), value=hostile_text)
problems = objects(
    type=st.sampled_from([URN + "malformed", URN + "rateLimited", URN + "caa", "about:blank"]),
    detail=hostile_text,
    instance=urls,
    subproblems=st.lists(objects(type=hostile_text, detail=hostile_text, identifier=identifiers)),
)
directories = objects(
    newNonce=urls,
    newAccount=urls,
    newOrder=urls,
    renewalInfo=urls,
    meta=objects(
        termsOfService=urls,
        profiles=st.dictionaries(hostile_text, hostile_text, max_size=3),
        caaIdentities=st.lists(hostile_text, max_size=3),
        externalAccountRequired=st.booleans(),
    ),
)
orders = objects(
    status=st.sampled_from(["pending", "ready", "processing", "valid", "invalid", "odd"]),
    identifiers=st.lists(identifiers, max_size=3),
    authorizations=st.lists(urls, max_size=3),
    finalize=urls,
    certificate=urls,
    error=problems,
)
authorizations = objects(
    status=st.sampled_from(["pending", "valid", "invalid", "odd"]),
    identifier=identifiers,
    wildcard=st.booleans(),
    challenges=st.lists(
        objects(type=st.sampled_from(["http-01", "dns-01", "new-01"]), url=urls, token=hostile_text)
    ),
)


def body(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def is_url(text: str | None) -> bool:
    return text is None or re.match(r"https?://[^\s]+\Z", text) is not None


@fuzzed
@given(
    content=(problems | jsons).map(body) | st.binary(max_size=200),
    status=st.sampled_from([301, 400, 401, 403, 404, 409, 429, 500, 503]),
    wait=hostile_text.filter(lambda text: text.isprintable() and text.isascii()),
    resource=st.sampled_from(Resource),
)
def test_a_refusal_of_any_shape_is_a_clear_error(
    content: bytes, status: int, wait: str, resource: Resource
) -> None:
    refused = error_from(response(content, status, {"Retry-After": wait}), resource, NOW)

    assert isinstance(refused, AcmeError)
    assert is_fit_to_print(refused)
    assert refused.retry_after is None or 0 <= refused.retry_after <= LONGEST


@fuzzed
@given(hostile_text | st.integers().map(str) | st.floats().map(str))
def test_a_retry_after_is_a_time_that_can_be_waited_for(text: str) -> None:
    seconds = retry_after({"Retry-After": text}, NOW)

    assert seconds is None or 0 <= seconds <= LONGEST


@fuzzed
@given((directories | jsons).map(body) | st.binary(max_size=100))
def test_a_directory_of_any_shape_is_read_or_refused(content: bytes) -> None:
    found = attempt(lambda: messages.directory(response(content)))
    if isinstance(found, CertctlError):
        assert is_fit_to_print(found)
        return

    assert {"newNonce", "newAccount", "newOrder"} <= found.urls.keys()
    assert all(is_url(each) for each in found.urls.values())


@fuzzed
@given((orders | jsons).map(body) | st.binary(max_size=100))
def test_an_order_of_any_shape_is_read_or_refused(content: bytes) -> None:
    found = attempt(lambda: messages.order(response(content), "https://ca.example/order/1"))
    if isinstance(found, CertctlError):
        assert is_fit_to_print(found)
        return

    assert found.status.isprintable()
    assert found.error is None or found.error.isprintable()
    assert all(NAME.fullmatch(each.value) for each in found.identifiers)


@fuzzed
@given((authorizations | jsons).map(body) | st.binary(max_size=100))
def test_an_authorization_of_any_shape_is_read_or_refused(content: bytes) -> None:
    found = attempt(lambda: messages.authorization(response(content), "https://ca.example/authz/1"))
    if isinstance(found, CertctlError):
        assert is_fit_to_print(found)
        return

    assert found.status.isprintable()
    assert NAME.fullmatch(found.identifier.value)
