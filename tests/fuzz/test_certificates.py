"""Downloads and keys: a chain that was changed anywhere is inspected or refused, never a crash."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.ca import messages
from certctl.model.errors import CertctlError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.rules.formats import split_certificates
from certctl.rules.keys import key_sha256, load_private_key
from certctl.rules.x509 import inspect, read_csr
from tests.fuzz.inputs import attempt, fuzzed, is_fit_to_print, response
from tests.lab.certificates import make_server_certificate

NOW = datetime.now(UTC)
NAMES = (Identifier(IdentifierType.DNS, "a.example"),)

cuts = st.tuples(
    st.floats(0, 1),
    st.floats(0, 1),
    st.binary(max_size=40) | st.just(b"-----BEGIN CERTIFICATE-----\n"),
)
"""From where to where, as parts of the whole, and what to put there instead."""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A chain, which is a leaf and the root that issued it, and the key of the leaf."""
    made = make_server_certificate(tmp_path_factory.mktemp("certificates"), ("a.example",))
    chain = made.certificate.read_bytes() + made.ca_bundle.read_bytes()
    return chain, made.private_key.read_bytes()


def changed(content: bytes, cut: tuple[float, float, bytes]) -> bytes:
    first, last, instead = cut
    start, end = sorted((int(first * len(content)), int(last * len(content))))
    return content[:start] + instead + content[end:]


@fuzzed
@given(cut=cuts | st.tuples(st.just(0.0), st.just(1.0), st.binary(max_size=300)))
def test_a_changed_chain_is_refused_or_begins_with_the_same_leaf(
    pem: tuple[bytes, bytes], cut: tuple[float, float, bytes]
) -> None:
    chain, key = pem
    found = attempt(
        lambda: inspect(
            messages.chain(response(changed(chain, cut))),
            identifiers=NAMES,
            key_sha256=key_sha256(key),
            now=NOW + timedelta(days=1),
        )
    )

    if isinstance(found, CertctlError):
        assert is_fit_to_print(found)
    else:
        assert found.cert == split_certificates(chain)[0]


@fuzzed
@given(cut=cuts | st.tuples(st.just(0.0), st.just(1.0), st.binary(max_size=300)))
def test_a_changed_key_is_read_or_refused(
    pem: tuple[bytes, bytes], cut: tuple[float, float, bytes]
) -> None:
    found = attempt(lambda: load_private_key(changed(pem[1], cut)))
    assert not isinstance(found, CertctlError) or is_fit_to_print(found)


@fuzzed
@given(st.binary(max_size=400) | st.binary(max_size=100).map(lambda der: b"\x30\x82" + der))
def test_any_bytes_as_a_signing_request_are_read_or_refused(content: bytes) -> None:
    found = attempt(lambda: read_csr(content))
    assert not isinstance(found, CertctlError) or is_fit_to_print(found)
