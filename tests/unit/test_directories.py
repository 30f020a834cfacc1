"""The table of known CAs, and what is read into a directory URL."""

import pytest

from certctl.ca.directories import (
    KNOWN_CAS,
    KnownCa,
    ca_kind,
    directory_url,
    label,
    label_with_kind,
    staging_url,
)
from certctl.model.errors import ExitStatus, UsageError

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
PRODUCTION = "https://acme-v02.api.letsencrypt.org/directory"


@pytest.mark.parametrize("known", KNOWN_CAS, ids=lambda known: known.name)
def test_each_known_ca_is_found_by_its_name_and_by_its_url(known: KnownCa) -> None:
    assert directory_url(known.name) == known.url
    assert directory_url(known.name.upper()) == known.url
    assert label(known.url) == known.name


def test_a_url_is_its_own_directory_url() -> None:
    assert directory_url(" HTTPS://CA.Example:14000/Dir?x=1 ") == "https://ca.example:14000/Dir?x=1"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8:80", "[::1]:8080"])
def test_http_is_taken_for_this_machine(host: str) -> None:
    assert directory_url(f"http://{host}/dir") == f"http://{host}/dir"


@pytest.mark.parametrize(
    "host", ["ca.example", "192.0.2.1", "localhost.example", "127.0.0.1.nip.io"]
)
def test_http_is_refused_for_any_other_machine(host: str) -> None:
    with pytest.raises(UsageError) as refusal:
        directory_url(f"http://{host}/dir")
    assert refusal.value.hint == f"Use https://{host}/dir instead."
    assert refusal.value.exit_status == ExitStatus.USAGE


@pytest.mark.parametrize(
    "text",
    [
        "https://",
        "https:///dir",
        "ftp://ca.example/dir",
        "https://user:secret@ca.example/dir",
        "https://ca.example/dir#top",
        "https://ca.example/a dir",
        "https://ca.example:99999/dir",
        "https://[::1/dir",
        "https://ca.example/\x1b[2J",
    ],
)
def test_an_invalid_directory_url_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of an ACME directory"):
        directory_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:secret@ca.example/dir",
        "https://user:sec/secret@ca.example/dir",
        "https://user:sec#secret@ca.example/dir",
        "https://user:sec@secret@ca.example/dir",
        "https://secret@ca.example/dir",
        "http://user:secret@ca.example/dir",
        "user:secret@ca.example/dir",
    ],
)
def test_a_password_in_a_directory_url_is_refused_and_never_echoed(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        directory_url(text)

    shown = f"{refusal.value.message} {refusal.value.hint}"
    assert "ca.example/dir" in shown
    assert "secret" not in shown


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="there is no CA named 'letsencript'") as refusal:
        directory_url("letsencript")
    assert refusal.value.hint is not None
    assert refusal.value.hint.startswith("Did you mean letsencrypt?")


def test_the_hint_for_an_unknown_name_lists_all_names() -> None:
    with pytest.raises(UsageError) as refusal:
        directory_url("xyzzy")
    assert refusal.value.hint is not None
    assert refusal.value.hint.startswith("Known CAs: letsencrypt,")


def test_staging_is_known_where_there_is_one() -> None:
    assert staging_url(PRODUCTION) == STAGING
    assert staging_url(STAGING) == STAGING
    assert staging_url(directory_url("google")) == (
        "https://dv.acme-v02.test-api.pki.goog/directory"
    )
    assert staging_url(directory_url("zerossl")) is None
    assert staging_url("https://ca.example/dir") is None


def test_the_kind_of_a_ca_follows_the_table() -> None:
    assert ca_kind(PRODUCTION) == "public"
    assert ca_kind(STAGING) == "staging"
    assert ca_kind("https://dv.acme-v02.test-api.pki.goog/directory") == "staging"
    assert ca_kind("https://ca.example/dir") == "private"


@pytest.mark.parametrize(
    ("label", "public", "expected"),
    [
        ("letsencrypt", True, "letsencrypt"),
        ("letsencrypt-staging", False, "letsencrypt-staging"),
        ("dv.acme-v02.test-api.pki.goog", False, "dv.acme-v02.test-api.pki.goog (staging)"),
        ("ca.example", False, "ca.example (private)"),
        ("dev", False, "dev (private)"),
        ("", False, ""),
    ],
)
def test_a_table_says_staging_or_private_of_a_ca_that_browsers_do_not_trust(
    label: str, public: bool, expected: str
) -> None:
    assert label_with_kind(label, public=public) == expected


def test_an_unknown_ca_is_called_by_its_host() -> None:
    assert label("https://127.0.0.1:14000/dir") == "127.0.0.1:14000"
