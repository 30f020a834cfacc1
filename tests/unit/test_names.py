"""Identifiers and certificate names: what is taken, what it becomes, what is refused and why."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import InvalidIdentifier, UsageError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.names import (
    certificate_name,
    common_name,
    common_name_for,
    default_certificate_name,
    display_name,
    email_address,
    parse_identifier,
    parse_identifiers,
    reverse_name,
    single_labels,
    stored_name,
    unicode_name,
)

DNS, IP = IdentifierType.DNS, IdentifierType.IP

LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
assert len(LONGEST) == 253


# Email addresses.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ops@example.com", "ops@example.com"),
        (" ops@bücher.example\n", "ops@xn--bcher-kva.example"),
        ("mailto:ops@bücher.example", "mailto:ops@xn--bcher-kva.example"),
        ("ops@xn--bcher-kva.example", "ops@xn--bcher-kva.example"),
        ("tel:+4912345", "tel:+4912345"),
        ("https://example.com/@bücher", "https://example.com/@bücher"),
        ("nobody", "nobody"),
    ],
)
def test_the_domain_of_an_address_is_in_ascii(text: str, address: str) -> None:
    assert email_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["ops@bü cher.example", "ops\x1b@example.com", "ops@exa\u202emple.com", "a\nb@c.example"],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        email_address(text)

    assert caught.value.code == "usage.email"


# Identifiers.


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("example.com", DNS, "example.com"),
        ("  example.com\n", DNS, "example.com"),
        ("Example.COM", DNS, "example.com"),
        ("example.com.", DNS, "example.com"),
        ("*.example.com", DNS, "*.example.com"),
        ("*.Example.com.", DNS, "*.example.com"),
        ("bücher.example", DNS, "xn--bcher-kva.example"),
        ("BÜCHER.example", DNS, "xn--bcher-kva.example"),
        ("*.bücher.example", DNS, "*.xn--bcher-kva.example"),
        ("xn--bcher-kva.example", DNS, "xn--bcher-kva.example"),
        ("straße.example", DNS, "xn--strae-oqa.example"),
        ("例え。テスト", DNS, "xn--r8jz45g.xn--zckzah"),
        ("_dmarc.example.com", DNS, "_dmarc.example.com"),
        ("a-b.c--d.example", DNS, "a-b.c--d.example"),
        ("1.example", DNS, "1.example"),
        (LONGEST, DNS, LONGEST),
        ("Printer.", DNS, "printer"),
        ("*.printer", DNS, "*.printer"),
        ("192.0.2.1", IP, "192.0.2.1"),
        ("2001:db8::1", IP, "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", IP, "2001:db8::1"),
        ("[2001:db8::1]", IP, "2001:db8::1"),
        ("::", IP, "::"),
    ],
)
def test_a_name_becomes_its_canonical_form(text: str, kind: IdentifierType, value: str) -> None:
    assert parse_identifier(text) == Identifier(kind, value)


def test_names_of_a_local_network_are_those_without_a_dot() -> None:
    names = parse_identifiers(["printer", "*.printer", "a.example", "*.a.example", "::1"])

    assert single_labels(names) == ("printer", "*.printer")


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("B\u00fccher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("*.a.example", "*.a.example"),
        ("", ""),
        (" ", ""),
        (f"{'a' * 56}.example", f"{'a' * 56}.example"),
    ],
)
def test_a_common_name_is_a_canonical_name_or_empty(value: str, result: str) -> None:
    assert common_name(value) == result


@pytest.mark.parametrize("value", [f"{'a' * 57}.example", "no name", 1, None])
def test_what_cannot_be_a_common_name_is_rejected(value: object) -> None:
    with pytest.raises(InvalidIdentifier):
        common_name(value)


@pytest.mark.parametrize(
    ("wanted", "names", "result"),
    [
        (None, ["a.example"], None),
        ("", ["a.example"], None),
        ("b.example", ["a.example", "b.example"], "b.example"),
        ("b.example", ["a.example"], "a.example"),
        ("b.example", [f"{'a' * 60}.example", "c.example"], "c.example"),
        ("b.example", [f"{'a' * 60}.example"], None),
    ],
)
def test_an_order_without_the_common_name_takes_another_of_its_names(
    wanted: str | None, names: list[str], result: str | None
) -> None:
    assert common_name_for(wanted, parse_identifiers(names)) == result


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a name is empty"),
        ("   ", "a name is empty"),
        (".", "it has an empty label"),
        ("*.", "a wildcard must be"),
        ("example..com", "it has an empty label"),
        (".example.com", "it has an empty label"),
        ("example.com..", "it has an empty label"),
        ("ex ample.com", "the label 'ex ample'"),
        ("example.com/path", "the label 'com/path'"),
        ("-example.com", "the label '-example'"),
        ("example-.com", "the label 'example-'"),
        ("example.com\0", "the label 'com\\x00'"),
        (f"{'a' * 64}.example", "is too long or contains"),
        (f"{LONGEST}e", "it is 254 characters"),
        ("*", "a wildcard must be"),
        ("*example.com", "a wildcard must be"),
        ("www.*.example.com", "a wildcard must be"),
        ("*.*.example.com", "a wildcard must be"),
        ("*.192.0.2.1", "its last label is a number"),
        ("192.0.2.256", "its last label is a number"),
        ("192.0.2", "its last label is a number"),
        ("2001:db8::g.example", "the label '2001:db8::g'"),
        ("fe80::1%eth0", "cannot have a zone index"),
        ("[fe80::1%eth0]", "cannot have a zone index"),
        ("fe80::1%1.example", "cannot have a zone index"),
        ("100%.example", "the label '100%'"),
        ("a\u0300\u0300--.bü--cher.example", "is not a valid internationalised domain name"),
        ("\u2603\ufe0f.\U000f0000.example", "is not a valid internationalised domain name"),
    ],
)
def test_an_invalid_name_is_rejected_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        parse_identifier(text)

    assert reason in caught.value.message
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "Give a name such as example.com."),
        ("exam ple", "Give names such as example.com, *.example.com or 192.0.2.1."),
        ("https://www.example.com:8443/login", "Give only the host name: www.example.com"),
        ("me@example.com", "This looks like an email address. Give it with --email."),
        ("https://bücher.example/", "Give only the host name: bücher.example"),
        ("ich@bücher.example", "This looks like an email address. Give it with --email."),
    ],
)
def test_the_hint_says_what_to_give_instead(text: str, hint: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        parse_identifier(text)

    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "text",
    [
        "xn--a.example",  # a control character
        "xn--0000h.example",  # not Punycode
        "xn--99999999.example",
        "www.xn--a-ecp.xn--ru.example",
        "xn--Bcher-Kva0.example",
        "xn--a-0hc.example",  # Hebrew after Latin: violates the rule for right-to-left labels
        "*.xn--a.example",
    ],
)
def test_a_label_that_claims_to_be_an_a_label_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier, match="is not a valid internationalised label"):
        parse_identifier(text)


@pytest.mark.parametrize("text", ["xn--.example", "xn--abc-.example", "www.xn--.example"])
def test_a_label_without_anything_after_its_prefix_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier, match="is not a valid domain name"):
        parse_identifier(text)


@pytest.mark.parametrize(
    "text",
    [
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.example",
        "xn--fa-hia.example",  # faß: only in IDNA2008
        "xn--mgberp4a5d4ar",  # a top-level domain
        "xn--i-7iq.ws",  # i❤: an emoji domain
    ],
)
def test_an_a_label_is_taken(text: str) -> None:
    name = text if "." in text else f"example.{text}"

    assert parse_identifier(name) == Identifier(DNS, name.lower())


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # decomposed, as macOS has it
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("Mixed_Case-1", "Mixed_Case-1"),
        ("bü cher", "bü cher"),
        ("\udcff", "\udcff"),
        ("", ""),
    ],
)
def test_a_certificate_named_in_unicode_is_found_by_its_a_labels(typed: str, stored: str) -> None:
    assert stored_name(typed) == stored


def test_the_name_of_a_certificate_may_be_given_in_unicode() -> None:
    assert certificate_name("bücher.example") == "xn--bcher-kva.example"
    assert unicode_name("xn--bcher-kva.example") == "bücher.example"


def test_names_keep_their_order_and_count_once() -> None:
    parsed = parse_identifiers(["b.example,a.example", "B.example", " c.example , ", ""])

    assert [each.value for each in parsed] == ["b.example", "a.example", "c.example"]


def test_a_wildcard_and_its_base_are_two_identifiers() -> None:
    wildcard, base = parse_identifiers(["*.example.com", "example.com"])

    assert (wildcard.wildcard, base.wildcard) == (True, False)
    assert (wildcard.base, base.base) == ("example.com", "example.com")


LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
NAMES = st.builds(
    lambda wildcard, labels, last: f"{'*.' if wildcard else ''}{'.'.join(labels)}.{last}",
    st.booleans(),
    st.lists(LABELS, min_size=1, max_size=5),
    st.sampled_from(["com", "Example", "test", "xn--p1ai"]),
)
ADDRESSES = st.ip_addresses().map(str)


@given(NAMES | ADDRESSES)
def test_what_was_parsed_parses_to_itself(text: str) -> None:
    once = parse_identifier(text)

    assert parse_identifier(str(once)) == once


@given(st.text())
def test_any_text_is_a_name_or_a_refusal(text: str) -> None:
    try:
        found = parse_identifier(text)
    except InvalidIdentifier:
        return
    assert parse_identifier(str(found)) == found
    assert str(found).isascii()


@given(st.text(alphabet="äöü日本éßΣς.-*aA1", min_size=1, max_size=30))
def test_an_internationalised_name_is_idempotent_too(text: str) -> None:
    try:
        found = parse_identifier(text)
    except InvalidIdentifier:
        return
    assert parse_identifier(str(found)) == found
    assert parse_identifier(display_name(found)) == found


@given(NAMES)
def test_case_and_a_final_dot_make_no_difference(text: str) -> None:
    assert parse_identifier(f"{text.upper()}.") == parse_identifier(text)


@given(st.ip_addresses())
def test_all_spellings_of_an_address_are_equal(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert parse_identifier(address.exploded) == parse_identifier(address.compressed)


# Names of certificates.


@pytest.mark.parametrize(
    "text", ["example.com", "example.com-wildcard", "_x", "A.b_c-1", "a" * 200, "2001-0db8"]
)
def test_a_safe_name_of_a_certificate_is_taken_as_it_is(text: str) -> None:
    assert certificate_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-rf",
        "a/b",
        "../a",
        "a..b",
        "a\\b",
        "a b",
        "a\n",
        "a\0",
        "b ücher",
        "*.example.com",
        "a:b",
        "a~",
        "a" * 201,
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        certificate_name(text)

    assert caught.value.code == "usage.name"
    assert repr(text) in caught.value.message
    assert caught.value.hint is not None


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=250))
def test_what_passes_for_a_name_is_one_file_name(text: str) -> None:
    try:
        name = certificate_name(text)
    except UsageError:
        return
    assert "/" not in name
    assert ".." not in name
    assert name[0] not in ".-"
    assert len(f"{name}.toml".encode()) <= 255
    assert name.isprintable()


@pytest.mark.parametrize(
    ("first", "taken", "name"),
    [
        ("example.com", [], "example.com"),
        ("*.example.com", [], "example.com"),
        ("*.example.com", ["example.com"], "example.com-wildcard"),
        ("example.com", ["example.com"], "example.com"),
        ("bücher.example", [], "xn--bcher-kva.example"),
        ("192.0.2.1", [], "192.0.2.1"),
        ("2001:db8::1", [], "2001-0db8-0000-0000-0000-0000-0000-0001"),
        ("::", [], "0000-0000-0000-0000-0000-0000-0000-0000"),
        (LONGEST, [], LONGEST[:190]),
    ],
)
def test_a_new_certificate_is_named_after_its_first_name(
    first: str, taken: list[str], name: str
) -> None:
    identifiers = parse_identifiers([first, "second.example"])

    assert default_certificate_name(identifiers, taken) == name


@given(NAMES | ADDRESSES)
def test_every_identifier_gives_a_safe_name(text: str) -> None:
    name = default_certificate_name((parse_identifier(text),), [])

    assert certificate_name(name) == name


# Other spellings.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("example.com", "example.com"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("*.xn--bcher-kva.example", "*.bücher.example"),
        ("xn--n3h.xn--bcher-kva.example", "☃.bücher.example"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_name_is_shown_as_people_write_it(text: str, shown: str) -> None:
    assert display_name(parse_identifier(text)) == shown


@pytest.mark.parametrize(
    ("text", "reverse"),
    [
        ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
        (
            "2001:db8::1",
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        ),
    ],
)
def test_the_reverse_name_of_an_address(text: str, reverse: str) -> None:
    assert reverse_name(parse_identifier(text)) == reverse


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("☃.example", "xn--n3h.example"),
        ("BÜCHER.☃.example", "xn--bcher-kva.xn--n3h.example"),
        ("*.☃.example", "*.xn--n3h.example"),
        ("a\u202eb.example", "a\u202eb.example"),
    ],
)
def test_a_name_with_emoji_is_found_as_people_write_it(typed: str, stored: str) -> None:
    assert stored_name(typed) == stored
