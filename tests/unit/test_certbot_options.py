"""What certbot's flags mean as settings of certctl."""

from itertools import count
from typing import Any

import pytest

from certctl.model.errors import UsageError
from certctl.rules.certbot_arguments import parse
from certctl.rules.certbot_credentials import of_file
from certctl.rules.certbot_options import (
    Plugins,
    copies,
    plugins,
    reason,
    settings,
    validation,
)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("certonly", {}),
        ("certonly --server https://ca.example/dir", {"ca": "https://ca.example/dir"}),
        ("certonly --staging", {"ca": "letsencrypt-staging"}),
        ("certonly -m a@b.example,c@d.example", {"account.email": ("a@b.example", "c@d.example")}),
        ("certonly --email=", {}),
        ("certonly --key-type rsa", {"key_type": "rsa-2048"}),
        ("certonly --key-type rsa --rsa-key-size 4096", {"key_type": "rsa-4096"}),
        ("certonly --rsa-key-size 4096", {}),
        ("certonly --key-type ecdsa", {"key_type": "ecdsa-p256"}),
        ("certonly --elliptic-curve SECP384R1", {"key_type": "ecdsa-p384"}),
        ("certonly --reuse-key", {"reuse_key": True}),
        ("certonly --no-reuse-key", {"reuse_key": False}),
        ("certonly --new-key --reuse-key", {"reuse_key": False}),
        ("certonly --no-autorenew", {"autorenew": False}),
        ("certonly --preferred-profile p --required-profile r", {"required_profile": "r"}),
        ("certonly --issuance-timeout 300", {"order_timeout": 300.0}),
        ("renew --renew-hook x", {"deploy.deploy_hook": "x"}),
        ("renew --deploy-hook=", {"deploy.deploy_hook": ""}),
        ("certonly --preferred-chain= --eab-kid= --account=", {}),
        (
            "certonly --eab-kid k --eab-hmac-key s --agree-tos",
            {
                "account.eab_kid": "k",
                "account.eab_hmac_key": "s",
                "account.agree_tos": True,
            },
        ),
    ],
)
def test_flags_are_settings(line: str, found: dict[str, Any]) -> None:
    assert settings(parse(line.split())) == found


@pytest.mark.parametrize(
    "line",
    [
        "--key-type rsa --rsa-key-size 8192",
        "--elliptic-curve secp521r1",
        "--key-type dsa",
        "--eab-hmac-alg HS512",
        "--https-port 8443",
        "--server https://ca.example --staging",
    ],
)
def test_a_value_that_cannot_be_honoured_is_an_error(line: str) -> None:
    with pytest.raises(UsageError):
        settings(parse(["certonly", *line.split()]))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", Plugins()),
        ("--nginx", Plugins("nginx", "nginx")),
        ("--apache", Plugins("apache", "apache")),
        ("-a standalone", Plugins("standalone")),
        ("-a webroot -i nginx", Plugins("webroot", "nginx")),
        ("--webroot -i nginx", Plugins("webroot", "nginx")),
        ("--dns-cloudflare --nginx", Plugins("dns-cloudflare", "nginx")),
        ("-a certbot-dns-rfc2136:dns-rfc2136", Plugins("dns-rfc2136")),
        ("--configurator nginx", Plugins("nginx", "nginx")),
        ("--standalone -a webroot", Plugins("standalone")),
    ],
)
def test_plugins_are_named_in_several_ways(line: str, found: Plugins) -> None:
    assert plugins(parse(["run", *line.split()])) == found


@pytest.mark.parametrize(
    "line", ["--standalone --webroot", "-a dns-hetzner", "-i haproxy", "--nginx --apache"]
)
def test_plugins_that_cannot_be_used_are_errors(line: str) -> None:
    with pytest.raises(UsageError):
        plugins(parse(["certonly", *line.split()]))


HTTP_HOOK = {"challenge.method": "http-hook", "challenge.http_hook_protocol": "certbot"}
DNS_HOOK = {
    "challenge.method": "dns",
    "challenge.dns_provider": "exec",
    "dns.exec.protocol": "certbot",
}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "--standalone --http-01-port 8888 --http-01-address ::1",
            {
                "challenge.method": "standalone",
                "challenge.http_port": 8888,
                "challenge.http_address": "::1",
            },
        ),
        ("--webroot -w /a", {"challenge.method": "webroot", "challenge.webroots": ("/a",)}),
        (
            "--webroot -w /a -d a -w /b -d b",
            {"challenge.method": "webroot", "challenge.webroots": ("a=/a", "b=/b")},
        ),
        (
            "--webroot -w /a -d a -w /a -d b",
            {"challenge.method": "webroot", "challenge.webroots": ("/a",)},
        ),
        ("--manual --manual-auth-hook A", {**HTTP_HOOK, "challenge.http_hook": "A"}),
        (
            "--manual --manual-auth-hook A --manual-cleanup-hook C --preferred-challenges http-01",
            {**HTTP_HOOK, "challenge.http_hook": "A", "challenge.http_cleanup_hook": "C"},
        ),
        (
            "--manual --manual-auth-hook A --preferred-challenges dns",
            {**DNS_HOOK, "dns.exec.hook": "A"},
        ),
        ("--manual --manual-auth-hook A -d *.a", {**DNS_HOOK, "dns.exec.hook": "A"}),
        (
            "--manual --preferred-challenges dns",
            {"challenge.method": "dns", "challenge.dns_provider": "manual"},
        ),
        (
            "--dns-cloudflare --dns-cloudflare-credentials c.ini",
            {"challenge.method": "dns", "challenge.dns_credentials": "./c.ini"},
        ),
        ("--dns-route53", {"challenge.method": "dns", "challenge.dns_provider": "route53"}),
        (
            "--dns-rfc2136 --dns-rfc2136-credentials /c.ini --dns-rfc2136-propagation-seconds 600",
            {
                "challenge.method": "dns",
                "challenge.dns_credentials": "/c.ini",
                "challenge.dns_propagation_timeout": 600.0,
            },
        ),
    ],
)
def test_a_plugin_says_how_names_are_validated(line: str, found: dict[str, Any]) -> None:
    given = parse(["certonly", *line.split()])

    assert validation(given, plugins(given).authenticator or "", given.names or ("a",)) == found


@pytest.mark.parametrize(
    "line",
    [
        "--webroot",
        "--manual",
        "--dns-cloudflare",
        "--standalone --preferred-challenges dns",
        "--dns-route53 --preferred-challenges http",
        "--standalone --preferred-challenges carrier-pigeon",
        '--webroot --webroot-map {"b":"/b"}',
    ],
)
def test_a_plugin_without_what_it_needs_is_an_error(line: str) -> None:
    given = parse(["certonly", *line.split()])

    with pytest.raises(UsageError):
        validation(given, plugins(given).authenticator or "", ("a",))


def test_reasons_are_those_of_certbot() -> None:
    assert reason(parse(["revoke", "--reason", "keycompromise"])) == "keyCompromise"
    assert reason(parse(["revoke"])) == "unspecified"
    with pytest.raises(UsageError):
        reason(parse(["revoke", "--reason", "boredom"]))


def test_a_signing_request_writes_files_where_certbot_does() -> None:
    given = parse(["certonly", "--csr", "f", "--cert-path", "/srv/c.pem"])

    numbers = count()

    assert copies(given, lambda name: f"000{next(numbers)}_{name}") == (
        "cert:/srv/c.pem",
        "chain:0000_chain.pem",
        "fullchain:0001_chain.pem",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dns_cloudflare_api_token = t", ("cloudflare", {"auth_token": "t"})),
        (
            "# mine\ndns_cloudflare_email = a@b.example\ndns_cloudflare_api_key = 'k'  # key\n",
            ("cloudflare", {"auth_username": "a@b.example", "auth_token": "k"}),
        ),
        ('\ufeffdns_digitalocean_token="t#1"\r\n', ("digitalocean", {"auth_token": "t#1"})),
        ("dns_linode_key = k\ndns_linode_version = 4", ("linode4", {"auth_token": "k"})),
        (
            "certbot_dns_rfc2136:dns_rfc2136_server = 192.0.2.1\n",
            ("rfc2136", {"server": "192.0.2.1"}),
        ),
        (
            (
                "dns_rfc2136_server = 2001:db8::1\ndns_rfc2136_port = 5353\ndns_rfc2136_name = k.\n"
                "dns_rfc2136_secret = czE=\ndns_rfc2136_algorithm = HMAC-SHA512\n"
            ),
            (
                "rfc2136",
                {
                    "server": "[2001:db8::1]:5353",
                    "key_name": "k.",
                    "secret": "czE=",
                    "key_algorithm": "hmac-sha512",
                },
            ),
        ),
        (
            '{"client_email": "a@b.example", "private_key": "k", "project_id": "p"}',
            (
                "googleclouddns",
                {
                    "auth_service_account_info": "base64::eyJjbGllbnRfZW1haWwiOiAiYUBiLmV4YW1wbGUi"
                    "LCAicHJpdmF0ZV9rZXkiOiAiayIsICJwcm9qZWN0X2lkIjogInAifQ=="
                },
            ),
        ),
        ('{"client_email": "a@b.example", "private_key": "k"}', None),
        ('{"client_email": ', None),
        ("dns_hetzner_api_token = t", None),
        ("provider = 'cloudflare'", None),
        ("", None),
    ],
)
def test_credentials_of_plugins_are_those_of_providers(text: str, found: object) -> None:
    assert of_file(text) == found
