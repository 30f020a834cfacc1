"""The tables of credentials and zones: what they mean, and that no secret stands in the open."""

import tomllib

import pytest
import requests

from certctl.dns.api_errors import ProviderError, redacted
from certctl.model.errors import ConfigurationError, UsageError
from certctl.rules.credentials import (
    DnsCredentials,
    is_secret,
    read_options,
    read_tables,
    without_tables,
)

WHERE = "certctl.toml"


def tables(text: str) -> DnsCredentials:
    return read_tables(tomllib.loads(text), WHERE, "/home/of/certctl")


def test_a_profile_has_its_provider_and_the_options_as_they_stand() -> None:
    found = tables("""
        [dns.credentials.work]
        provider = "cloudflare"
        zone_id = "abc"
        ttl = 120
        auth_token_file = "secrets/cloudflare"
    """)

    profile = found.profiles["work"]
    assert (profile.name, profile.provider, profile.private) == ("work", "cloudflare", False)
    assert profile.values == {
        "zone_id": "abc",
        "ttl": 120,
        "auth_token_file": "/home/of/certctl/secrets/cloudflare",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[dns.credentials.work]\nzone_id = "a"', "the provider is missing"),
        ('[dns.credentials.work]\nprovider = "x"\nzone_id = ["a"]', "zone_id must be a string"),
        ('[dns.credentials."a b"]\nprovider = "x"', "the name may contain only letters"),
        ('[dns]\ncredentials = "work"', "dns.credentials must be a table"),
        ('[dns]\ncredentials.work = "x"', "dns.credentials.work must be a table"),
        ('[dns]\nzones = "work"', "dns.zones must be a table"),
        ('[dns.zones]\nexample.com = "work"', "the value of 'example'"),
        ('[dns.credentials.a]\nfile = "a.toml"\nprovider = "x"', "cannot be combined"),
    ],
)
def test_an_invalid_table_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tables(text)

    assert WHERE in caught.value.message
    assert said in caught.value.message


@pytest.mark.parametrize("key", ["auth_token", "api_key", "auth_api_password", "secret"])
def test_a_secret_in_the_file_that_others_can_read_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tables(f'[dns.credentials.work]\nprovider = "x"\n{key} = "hunter2"')

    assert caught.value.code == "configuration.secret"
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
    assert f"{key}_file" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("option", "secret"),
    [
        ("auth_token", True),
        ("auth_access_secret", True),
        ("auth_service_account_info", True),
        ("dnssec", False),
        ("auth_username", False),
        ("auth_key_id", False),
        ("key_name", False),
        ("key_algorithm", False),
        ("auth_token_file", False),
        ("auth_token_command", False),
        ("zone_id", False),
    ],
)
def test_a_secret_is_known_by_the_words_of_its_name(option: str, secret: bool) -> None:
    assert is_secret(option) is secret


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("_acme-challenge.example.com", "main"),
        ("_acme-challenge.lab.example.com", "lab"),
        ("_acme-challenge.a.lab.example.com", "lab"),
        ("_acme-challenge.notexample.com", None),
        ("_acme-challenge.example.org", "upper"),
    ],
)
def test_the_longest_zone_that_a_name_lies_in_counts(name: str, profile: str | None) -> None:
    found = tables("""
        [dns.zones]
        "example.com" = "main"
        "lab.example.com" = "lab"
        "Example.ORG." = "upper"
    """)

    assert found.of_zone(name) == profile


def test_the_root_stands_for_every_zone_that_is_not_named() -> None:
    found = tables('[dns.zones]\n"." = "rest"\n"example.com" = "main"')

    assert found.of_zone("a.example.net") == "rest"
    assert found.of_zone("a.example.com") == "main"


def test_the_settings_beside_the_tables_stay() -> None:
    document = {"ca": "x", "dns": {"exec": {"hook": "h"}, "zones": {}, "credentials": {}}}

    assert without_tables(document) == {"ca": "x", "dns": {"exec": {"hook": "h"}}}
    assert without_tables({"dns": {"zones": {}}}) == {}


def test_options_of_the_command_line_are_pairs_and_no_secrets() -> None:
    assert read_options(["zone_id=a=b", "ttl=60"], "x").values == {"zone_id": "a=b", "ttl": "60"}
    with pytest.raises(UsageError, match="'zone_id' is not of the form KEY=VALUE"):
        read_options(["zone_id"], "x")
    with pytest.raises(ConfigurationError) as caught:
        read_options(["auth_token=hunter2"], "x")
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


# Refusals.


def test_no_secret_and_no_query_of_an_address_is_left_in_a_refusal() -> None:
    said = "401 for url: https://u:pw@api.test/v1/?key=hunter2&x=1 with hunter2\n\x1b[1mbold"

    assert redacted(said, ["hunter2"]) == (
        "401 for url: https://***@api.test/v1/?*** with *** [1mbold"
    )
    assert len(redacted("x" * 1000, [])) < 320


class Answer:
    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status_code, self.headers = status, headers or {}
        self.reason, self.text = "Why", '{"token": "hunter2"}'


class HttpError(OSError):
    def __init__(self, answer: Answer) -> None:
        super().__init__("hunter2")
        self.response = answer


@pytest.mark.parametrize(
    ("error", "code", "later"),
    [
        (HttpError(Answer(401)), "challenge.dns.credentials", False),
        (HttpError(Answer(403)), "challenge.dns.credentials", False),
        (HttpError(Answer(404)), "challenge.dns.provider", False),
        (HttpError(Answer(429)), "challenge.dns.rate_limited", True),
        (HttpError(Answer(503)), "challenge.dns.unavailable", True),
        (ConnectionError("hunter2"), "challenge.dns.unavailable", True),
        (ValueError("hunter2"), "challenge.dns.provider", False),
        (type("AuthenticationError", (Exception,), {})(), "challenge.dns.credentials", False),
    ],
)
def test_what_an_api_says_becomes_a_code_and_keeps_its_secret(
    error: Exception, code: str, later: bool
) -> None:
    failure = ProviderError.from_exception(error, "cloudflare", "example.com", ["hunter2"])

    assert (failure.code, failure.retryable) == (code, later)
    assert "hunter2" not in failure.message
    assert "cloudflare could not change example.com" in failure.message


def test_a_host_that_cannot_be_reached_is_named_without_the_internals_of_the_library() -> None:
    session = requests.Session()
    session.trust_env = False
    with session, pytest.raises(requests.ConnectionError) as caught:
        session.get("http://127.0.0.1:1/zones?page=1", timeout=5)

    failure = ProviderError.from_exception(caught.value, "cloudflare", "example.com", [])

    assert failure.message.partition(": [")[0] == (
        "the DNS provider cloudflare could not change example.com: ConnectionError: "
        "Failed to establish a new connection"
    )


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("-1", None), ("", None)]
)
def test_the_time_that_an_api_names_is_kept(said: str, seconds: float | None) -> None:
    failure = ProviderError.from_exception(
        HttpError(Answer(429, {"Retry-After": said})), "p", "z", []
    )

    assert failure.retry_after == seconds
