"""The table of known CAs, and what is read into a directory URL."""

import pytest

from certctl.ca.directories import KNOWN_CAS, KnownCa, ca_kind, directory_url, label, staging_url
from certctl.errors import ExitStatus, UsageError

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


def test_an_unknown_ca_is_called_by_its_host() -> None:
    assert label("https://127.0.0.1:14000/dir") == "127.0.0.1:14000"
