"""URLs that are sent as they are: only those in which `requests` would change nothing."""

import pytest
from requests import PreparedRequest

from certctl.ca.session import is_plain

PLAIN = [
    "https://ca.example/directory",
    "https://ca.example:8443/a/b_c-d/",
    "http://127.0.0.1:14000/dir",
    "https://ca.example/",
    "https://ca.example/renewal-info/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
    "https://ca.example/v1.2/order/3",
]
OTHERS = [
    "https://ca.example",
    "https://ca.example/a/../b",
    "https://ca.example/./b",
    "https://ca.example/.well-known/acme",
    "https://ca.example/a%2Fb",
    "https://ca.example/a b",
    "https://ca.example/a?b=c",
    "https://ca.example/a#b",
    "https://CA.example/a",
    "https://user:secret@ca.example/a",
    "https://b\u00fccher.example/a",
    "https://[::1]/a",
    "ftp://ca.example/a",
    "https://ca.example/" + 5_000 * "a" + "!",
    "https://ca.example/" + 5_000 * "a.b/" + "!",
    "https://" + 5_000 * "a." + "!",
]


@pytest.mark.parametrize("url", PLAIN)
def test_requests_would_change_nothing_in_a_plain_url(url: str) -> None:
    prepared = PreparedRequest()
    prepared.prepare_url(url, None)

    assert (is_plain(url), prepared.url) == (True, url)


@pytest.mark.parametrize("url", OTHERS, ids=lambda url: url[:40])
def test_any_other_url_is_prepared(url: str) -> None:
    assert not is_plain(url)
