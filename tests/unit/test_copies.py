"""Copies as people ask for them: texts and tables, to and fro."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import UsageError
from certctl.model.spec import CopyFormat, CopySpec, Pkcs12Encryption
from certctl.rules.copies import (
    canonical_copy,
    canonical_key_mode,
    canonical_mode,
    copy_table,
    format_copy,
    parse_copy,
)

ATTRIBUTE = st.text(
    st.characters(codec="utf-8", exclude_characters=",", categories=["L", "N", "P"]), min_size=1
)
COPIES = st.builds(
    CopySpec,
    to=st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1).map("/{}".format),
    format=st.sampled_from([each for each in CopyFormat if each is not CopyFormat.PKCS12]),
    owner=st.none() | ATTRIBUTE,
    group=st.none() | ATTRIBUTE,
    mode=st.none() | st.integers(0, 0o777).map(lambda mode: mode & ~0o026),
    in_place=st.booleans(),
)


@given(COPIES)
def test_a_copy_that_was_written_is_read_back(copy: CopySpec) -> None:
    assert parse_copy(format_copy(copy)) == copy


@given(COPIES)
def test_a_table_and_a_text_say_the_same(copy: CopySpec) -> None:
    assert canonical_copy(copy_table(copy)) == canonical_copy(format_copy(copy))


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("fullchain:/a/b.pem", CopySpec("/a/b.pem", CopyFormat.FULLCHAIN)),
        ("DER:/a", CopySpec("/a", CopyFormat.DER)),
        ("cert:/with,comma=x", CopySpec("/with,comma=x", CopyFormat.CERT)),
        ("cert:C:/with:colon", CopySpec("C:/with:colon", CopyFormat.CERT)),
        (
            "combined:/a,owner=haproxy,group=ssl,mode=640",
            CopySpec("/a", CopyFormat.COMBINED, "haproxy", "ssl", 0o640),
        ),
        (
            "pkcs12:/a.p12,password-file=/secret",
            CopySpec("/a.p12", CopyFormat.PKCS12, password_file="/secret"),
        ),
        (
            "pkcs12:/a.p12,encryption=Legacy,password_file=/secret,mode=0644",
            CopySpec(
                "/a.p12",
                CopyFormat.PKCS12,
                mode=0o644,
                password_file="/secret",
                encryption=Pkcs12Encryption.LEGACY,
            ),
        ),
        ("cert:/a,in-place,mode=0664", CopySpec("/a", CopyFormat.CERT, mode=0o664, in_place=True)),
        ("cert:/in-place", CopySpec("/in-place", CopyFormat.CERT)),
    ],
)
def test_what_a_text_asks_for(text: str, copy: CopySpec) -> None:
    assert parse_copy(text) == copy


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("/a/b.pem", "the format or the path is missing"),
        ("pem:/a", "unknown format 'pem'"),
        ("fullchain:", "the format or the path is missing"),
        ("fullchain:/a,mode=abc", "'abc' is not a valid file mode"),
        ("fullchain:/a,mode=0640,mode=0600", "mode is given twice"),
        ("pkcs12:/a", "password_file is required for pkcs12"),
        ("cert:/a,password_file=/b", "password_file is required for pkcs12"),
        ({"to": "/a"}, "the format is missing"),
        ({"format": "cert"}, "the path (to) is missing"),
        ({"format": "cert", "to": "/a", "user": "root"}, "unknown key 'user'"),
        ({"format": "cert", "to": "/a\n/b"}, "must be a line of text"),
        (7, "must be a string or a table"),
        ("privkey:/a,mode=0666", "mode 0666 would let every user change the file"),
        ("cert:/a,mode=0666", "mode 0666 would let every user change the file"),
        ("privkey:/a,mode=0644", "mode 0644 would let every user read the private key"),
        ("combined:/a,mode=0604", "mode 0604 would let every user read the private key"),
        ("combined:/a,mode=0660", "mode 0660 would let a group change the file"),
        ("pkcs12:/a,password_file=/b,mode=0660", "mode 0660 would let a group change the file"),
        ("pkcs12:/a,password_file=/b,encryption=rot13", "encryption must be one of modern, legacy"),
        ("cert:/a,encryption=legacy", "encryption is only for pkcs12"),
        ({"format": "cert", "to": "/a", "in_place": "yes"}, "in_place must be true or false"),
    ],
)
def test_an_invalid_copy_is_rejected_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        canonical_copy(value)

    assert reason in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(("value", "mode"), [("640", "0640"), ("0o600", "0600"), (0o400, "0400")])
def test_a_mode_may_be_written_in_several_ways(value: object, mode: str) -> None:
    assert canonical_mode(value) == mode


@pytest.mark.parametrize("value", ["0644", "0660", "0040", "0750", "rw", 640, True])
def test_a_mode_that_gives_a_key_to_others_is_refused(value: object) -> None:
    with pytest.raises(UsageError) as refused:
        canonical_key_mode(value)

    assert refused.value.code == "usage.mode"
