"""How people write where a certificate is served, and what is no way to write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import UsageError
from certctl.model.spec import ServiceAddress
from certctl.rules.service_address import (
    STARTTLS_PORTS,
    format_service,
    looks_like_service,
    parse_service,
)


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("example.com", ServiceAddress("example.com", 443)),
        ("Example.COM.", ServiceAddress("example.com", 443)),
        ("example.com:8443", ServiceAddress("example.com", 8443)),
        ("bücher.example", ServiceAddress("xn--bcher-kva.example", 443)),
        ("192.0.2.1:8443", ServiceAddress("192.0.2.1", 8443)),
        ("2001:DB8::1", ServiceAddress("2001:db8::1", 443)),
        ("[2001:db8::1]", ServiceAddress("2001:db8::1", 443)),
        ("[2001:db8::1]:8443", ServiceAddress("2001:db8::1", 8443)),
        ("localhost", ServiceAddress(None, 443)),
        ("localhost:8443", ServiceAddress(None, 8443)),
        (":8443", ServiceAddress(None, 8443)),
        ("mail", ServiceAddress("mail", 443)),
        ("mail.example.com/starttls=smtp", ServiceAddress("mail.example.com", 25, "smtp")),
        ("mail.example.com:587/starttls=smtp", ServiceAddress("mail.example.com", 587, "smtp")),
        ("localhost/starttls=imap", ServiceAddress(None, 143, "imap")),
        ("[::1]:1110/STARTTLS=POP3", ServiceAddress("::1", 1110, "pop3")),
        ("ldap.example.com/starttls=ldap", ServiceAddress("ldap.example.com", 389, "ldap")),
    ],
)
def test_a_service_is_a_host_a_port_and_a_protocol(text: str, service: ServiceAddress) -> None:
    assert parse_service(text) == service


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the host is missing"),
        ("example.com:0", "0 is not a valid port"),
        ("example.com:65536", "65536 is not a valid port"),
        ("example.com:https", "it is not HOST or HOST:PORT"),
        ("https://example.com", "it is a URL, not a host"),
        ("example.com/starttls", "'starttls' is not starttls= and"),
        ("example.com/starttls=gopher", "'starttls=gopher' is not starttls= and"),
        ("example.com/smtp", "'smtp' is not starttls= and"),
        ("*.example.com", "a wildcard cannot be a host"),
        ("exa mple.com", "not a valid domain name"),
        ("[::1", "it is not HOST or HOST:PORT"),
        ("fe80::1%eth0", "cannot have a zone index"),
    ],
)
def test_an_invalid_service_is_rejected_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_service(text)

    assert reason in refused.value.message
    assert refused.value.code == "usage.service"
    assert "starttls" in (refused.value.hint or "")


@given(
    host=st.sampled_from([None, "example.com", "mail", "192.0.2.1", "2001:db8::1"]),
    port=st.integers(1, 65535),
    starttls=st.sampled_from([None, *STARTTLS_PORTS]),
)
def test_what_is_written_is_read_back(host: str | None, port: int, starttls: str | None) -> None:
    service = ServiceAddress(host, port, starttls)

    assert parse_service(format_service(service)) == service


@pytest.mark.parametrize(
    ("service", "text"),
    [
        (ServiceAddress(None, 443), "localhost"),
        (ServiceAddress("::1", 443), "[::1]"),
        (ServiceAddress("example.com", 25, "smtp"), "example.com/starttls=smtp"),
        (ServiceAddress("example.com", 587, "smtp"), "example.com:587/starttls=smtp"),
    ],
)
def test_the_default_port_is_omitted(service: ServiceAddress, text: str) -> None:
    assert format_service(service) == text


def test_a_name_alone_may_be_a_certificate_and_a_port_makes_it_a_service() -> None:
    texts = ["example.com", "example.com:443", "[::1]", "example.com/starttls=smtp"]

    assert [looks_like_service(each) for each in texts] == [False, True, True, True]
