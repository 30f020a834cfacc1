"""What `certctl snippet` prints, as text; that real servers take it is in tests/real."""

from dataclasses import replace

import pytest

from certctl.model.errors import UsageError
from certctl.rules.snippets import SERVERS, Files, Forwarded, Stateless, Webroot, snippet

yaml = pytest.importorskip("yaml")

LIVE = "/etc/certctl/live"
OWN = f"{LIVE}/a.example"
FILES = Files(f"{OWN}/fullchain.pem", f"{OWN}/privkey.pem", f"{OWN}/combined.pem", LIVE)


@pytest.mark.parametrize(
    ("server", "lines"),
    [
        ("nginx", [f"ssl_certificate     {OWN}/fullchain.pem;", f"{OWN}/rsa/privkey.pem;"]),
        ("apache", [f"SSLCertificateFile    {OWN}/fullchain.pem", f"{OWN}/rsa/privkey.pem"]),
        ("haproxy", [f"ssl crt {OWN}/combined.pem crt {OWN}/rsa/combined.pem alpn"]),
        ("caddy", [f"tls {OWN}/fullchain.pem {OWN}/privkey.pem"]),
    ],
)
def test_of_two_certificates_a_server_is_given_all_that_it_can_serve(
    server: str, lines: list[str]
) -> None:
    second = (f"{OWN}/rsa/fullchain.pem", f"{OWN}/rsa/privkey.pem")

    (part,) = snippet(server, ["a.example"], replace(FILES, second=second), None)

    assert [each for each in lines if each not in part.text] == []
    assert ("/rsa/" in part.text) is (server != "caddy")


@pytest.mark.parametrize("server", ["traefik", "envoy"])
def test_what_is_yaml_can_be_read_as_yaml(server: str) -> None:
    parts = snippet(server, ["a.example"], FILES, Forwarded(9000))

    texts = [str(yaml.safe_load(each.text)) for each in parts]

    assert any("9000" in each for each in texts)
    assert any(f"{OWN}/fullchain.pem" in each for each in texts)


def test_the_router_of_traefik_is_above_others_and_below_its_own() -> None:
    text = snippet("traefik", ["a.example"], FILES, Forwarded(9000))[0].text

    priority = yaml.safe_load(text)["http"]["routers"]["certctl"]["priority"]

    # Traefik takes no more than the largest integer of the machine, less 1000, from a user.
    assert priority == 2**31 - 1 - 1000


@pytest.mark.parametrize("server", SERVERS)
def test_a_certificate_without_http_challenges_needs_only_the_lines_for_tls(server: str) -> None:
    parts = snippet(server, ["a.example"], FILES, None)

    assert {each.purpose for each in parts} == {"tls"}
    assert all(each.text.endswith("\n") and each.where.endswith(":") for each in parts)


@pytest.mark.parametrize(
    ("server", "answer"),
    [
        ("haproxy", Webroot("/srv")),
        ("traefik", Webroot("/srv")),
        ("envoy", Webroot("/srv")),
        ("traefik", Stateless("x")),
        ("envoy", Stateless("x")),
        ("lighttpd", Stateless("x")),
    ],
)
def test_what_a_server_cannot_do_is_refused_with_what_it_can(
    server: str, answer: Webroot | Stateless
) -> None:
    with pytest.raises(UsageError) as refused:
        snippet(server, ["a.example"], FILES, answer)

    assert f"certctl snippet {server} NAME --http-port" in str(refused.value.hint)


@pytest.mark.parametrize("directory", ["/srv/a b", "/srv/a;b", '/srv/"', "/srv/$x", "/srv/a{b"])
def test_a_path_that_would_mean_something_else_is_refused(directory: str) -> None:
    with pytest.raises(UsageError, match="mean something in the configuration of nginx"):
        snippet("nginx", ["a.example"], FILES, Webroot(directory))
