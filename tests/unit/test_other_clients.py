"""A certificate that a web server no longer uses may still be renewed by another client."""

import pytest

from certctl.rules.other_clients import renewal_note


@pytest.mark.parametrize(
    ("path", "begin", "end"),
    [
        (
            "/etc/letsencrypt/live/a.example/fullchain.pem",
            "certbot renews ",
            "remove it there: certbot delete --cert-name a.example",
        ),
        ("/home/u/.acme.sh/a.example/fullchain.cer", "acme.sh may renew ", "remove it there"),
        ("/var/lib/dehydrated/certs/a/fullchain.pem", "dehydrated may renew ", "remove it there"),
        ("/srv/.lego/certificates/a.example.crt", "lego may renew ", "remove it there"),
    ],
)
def test_the_note_names_the_client_by_the_path(path: str, begin: str, end: str) -> None:
    note = renewal_note(path)

    assert note is not None
    assert (note.startswith(begin + path), note.endswith(end)) == (True, True)


@pytest.mark.parametrize(
    "path", ["/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/legolas.pem", "lego", ""]
)
def test_a_path_that_is_of_no_client_has_none(path: str) -> None:
    assert renewal_note(path) is None
