"""URLs that users give: which proxies are valid, and that no password is shown."""

import pytest

from certctl.model.errors import ConfigurationError, ExitStatus
from certctl.model.urls import canonical_proxy, environment_proxy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("https://proxy.example/", "https://proxy.example:443"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        (" HTTP://Proxy.Example ", "http://proxy.example:80"),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
        ("direct", "direct"),
    ],
)
def test_a_proxy_has_one_form(text: str, expected: str) -> None:
    assert canonical_proxy(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http://:3128",
        "ftp://proxy.example:21",
        "http://proxy.example:0",
        "http://proxy.example:99999",
        "http://proxy.example:x",
        "http://proxy.example/path",
        "http://proxy.example?x",
        "http://proxy example",
        "http://[::1",
        "http://proxy.example\x1b[2J",
        3128,
    ],
)
def test_what_is_not_the_url_of_a_proxy_is_named_as_such(text: object) -> None:
    with pytest.raises(ConfigurationError, match="is not the URL of an http or https proxy") as no:
        canonical_proxy(text)
    assert (no.value.code, no.value.exit_status) == ("configuration.proxy", ExitStatus.USAGE)


def test_a_socks_proxy_is_named_as_such() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        canonical_proxy("socks5://proxy.example:1080")
    assert refusal.value.hint == "certctl has no support for SOCKS proxies."


@pytest.mark.parametrize(
    "text",
    [
        "http://user:secret@proxy.example:3128",
        "user:secret@proxy.example",
        "http://user:sec/secret@proxy.example",
        "http://secret@proxy.example",
    ],
)
def test_a_password_in_the_setting_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        canonical_proxy(text)

    shown = f"{refusal.value.message} {refusal.value.hint}"
    assert "proxy_credentials_file" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:pa%40ss@proxy.example:3128/", "http://user:pa%40ss@proxy.example:3128"),
        ("user:pass@proxy.example", "http://user:pass@proxy.example:80"),
        ("http://proxy.example:3128", "http://proxy.example:3128"),
    ],
)
def test_a_proxy_of_the_environment_may_have_a_password(text: str, expected: str) -> None:
    assert environment_proxy(text, "https_proxy") == expected


@pytest.mark.parametrize("text", ["http://user:secret@", "user:secret@h:x", "ftp://secret@h"])
def test_a_wrong_proxy_of_the_environment_is_named_by_its_variable_without_its_password(
    text: str,
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        environment_proxy(text, "https_proxy")

    assert refusal.value.message.startswith("the environment variable https_proxy: ")
    assert "secret" not in refusal.value.message
