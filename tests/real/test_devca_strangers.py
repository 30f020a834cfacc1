"""The development CA, tried by clients that nobody here wrote: certbot, lego, dehydrated, uacme.

Each makes an account, issues by HTTP-01 and by DNS-01, renews, and revokes, as its users would.
That dehydrated issues by HTTP-01 is in `test_hooks_of_others`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.lab.programs import program, require
from tests.real.driver import openssl
from tests.real.strangers import CERTBOT_ISSUE, TRUST, Lab, certbot, lego, opened_lab

CERTBOT_HOOK = """
name = "_acme-challenge." + os.environ["CERTBOT_DOMAIN"].removeprefix("*.")
dns(sys.argv[1], name, os.environ["CERTBOT_VALIDATION"])
"""

DEHYDRATED_HOOK = """
methods = {"deploy_challenge": "POST", "clean_challenge": "DELETE"}
if sys.argv[1] in methods:
    domain, _, value = sys.argv[2:5]
    dns(methods[sys.argv[1]], "_acme-challenge." + domain, value)
"""

UACME_HOOK = """
method, kind, domain, token, answer = sys.argv[1:6]
if kind == "dns-01":
    dns("POST" if method == "begin" else "DELETE", "_acme-challenge." + domain, answer)
elif kind == "http-01":
    path = Path(os.environ["WEBROOT"], ".well-known", "acme-challenge", token)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(answer)
else:
    sys.exit(1)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with opened_lab(tmp_path) as lab:
        yield lab


def test_certbot_issues_by_http_renews_and_revokes(lab: Lab) -> None:
    standalone = ("--standalone", "--http-01-port", str(lab.http_port))
    address = ("--http-01-address", "127.0.0.1")
    chain = lab.directory / "config/live/a.example/fullchain.pem"

    certbot(lab, *CERTBOT_ISSUE, *standalone, *address, "-d", "a.example,b.example")
    first = lab.check(chain, "a.example", "b.example")
    certbot(lab, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    second = lab.check(chain, "a.example", "b.example")
    certbot(lab, "revoke", "--cert-name", "a.example", "--reason", "superseded")

    assert first != second
    assert lab.revoked() == {second}


def test_certbot_takes_a_wildcard_by_dns_with_a_profile_and_an_rsa_key(lab: Lab) -> None:
    hook = lab.hook(CERTBOT_HOOK)
    hooks = ("--manual-auth-hook", f"{hook} POST", "--manual-cleanup-hook", f"{hook} DELETE")

    certbot(
        *(lab, *CERTBOT_ISSUE, "--manual", "--preferred-challenges", "dns", *hooks),
        *("--key-type", "rsa", "--preferred-profile", "tlsserver"),
        *("-d", "*.a.example", "-d", "a.example"),
    )

    chain = lab.directory / "config/live/a.example/fullchain.pem"
    lab.check(chain, "*.a.example", "a.example")
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    assert leaf.subject.rfc4514_string() == ""
    assert lab.ca.zone.all_values() == {}


def test_certbot_chooses_the_chain_to_the_rsa_root(lab: Lab) -> None:
    subject = x509.load_pem_x509_certificate(lab.ca.rsa_root_pem).subject
    (common_name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    root = lab.directory / "rsa-root.pem"
    root.write_bytes(lab.ca.rsa_root_pem)

    certbot(
        *(lab, *CERTBOT_ISSUE, "--standalone", "--http-01-port", str(lab.http_port)),
        *("--http-01-address", "127.0.0.1", "-d", "a.example"),
        *("--preferred-chain", str(common_name.value)),
    )

    chain = lab.directory / "config/live/a.example/fullchain.pem"
    assert openssl("verify", "-CAfile", root, "-untrusted", chain, chain).endswith("OK\n")


def test_certbot_updates_and_deactivates_its_account(lab: Lab) -> None:
    certbot(lab, "register", "--agree-tos", "--email", "a@example.com", "--no-eff-email")
    certbot(lab, "update_account", "--email", "b@example.com", "--no-eff-email")
    shown = certbot(lab, "show_account")
    certbot(lab, "unregister")

    assert "b@example.com" in shown


def test_lego_issues_by_http_renews_and_revokes(lab: Lab) -> None:
    http = ("--http", "--http.port", f"127.0.0.1:{lab.http_port}")
    chain = lab.directory / "lego/certificates/a.example.crt"
    domains = ("--domains", "a.example", "--domains", "b.example")

    lego(lab, *http, *domains, "run")
    first = lab.check(chain, "a.example", "b.example")
    lego(lab, *http, *domains, "renew", "--days", "365", "--no-random-sleep")
    second = lab.check(chain, "a.example", "b.example")
    lego(lab, "--domains", "a.example", "revoke", "--reason", "4")

    assert first != second
    assert lab.revoked() == {second}


def test_lego_issues_by_dns_with_updates_of_the_built_in_zone(lab: Lab) -> None:
    lego(
        *(lab, "--dns", "rfc2136", "--dns.resolvers", lab.dns, "--dns.disable-cp"),
        *("--domains", "*.a.example", "--domains", "a.example", "run"),
        RFC2136_NAMESERVER=lab.dns,
        RFC2136_SEQUENCE_INTERVAL="1",
        RFC2136_POLLING_INTERVAL="1",
        RFC2136_PROPAGATION_TIMEOUT="5",
    )

    chain = lab.directory / "lego/certificates/_.a.example.crt"
    lab.check(chain, "*.a.example", "a.example")
    assert lab.ca.zone.all_values() == {}


def test_lego_issues_by_tls_alpn(lab: Lab) -> None:
    port = lab.ca.settings.tls_alpn_port

    lego(lab, "--tls", "--tls.port", f"127.0.0.1:{port}", "--domains", "a.example", "run")

    lab.check(lab.directory / "lego/certificates/a.example.crt", "a.example")


def test_lego_binds_its_account_to_an_external_one(lab: Lab) -> None:
    lab.ca.settings.eab_keys = {"kid-1": b"a secret of thirty-two bytes ...."}
    key = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyAuLi4u"

    lego(
        *(lab, "--http", "--http.port", f"127.0.0.1:{lab.http_port}"),
        *("--eab", "--kid", "kid-1", "--hmac", key, "--domains", "a.example", "run"),
    )

    lab.check(lab.directory / "lego/certificates/a.example.crt", "a.example")


def test_dehydrated_issues_renews_and_revokes(lab: Lab) -> None:
    require("dehydrated", "curl")
    (lab.directory / "config").write_text(
        f'CA="{lab.ca.directory_url}"\nBASEDIR="{lab.directory}"\n'
        f'CURL_OPTS="--cacert {lab.ca.tls_ca_bundle}"\n'
        f'CHALLENGETYPE="dns-01"\nCONTACT_EMAIL="admin@example.com"\n'
        f'HOOK="{lab.hook(DEHYDRATED_HOOK)}"\n'
    )
    call = (program("dehydrated"), "--config", lab.directory / "config")
    chain = lab.directory / "certs/a.example/fullchain.pem"
    domains = ("--domain", "a.example", "--domain", "b.example")
    lab.run(*call, "--register", "--accept-terms")
    lab.run(*call, "--cron", *domains)
    first = lab.check(chain, "a.example", "b.example")
    lab.run(*call, "--cron", "--force", *domains)
    second = lab.check(chain, "a.example", "b.example")
    lab.run(*call, "--revoke", lab.directory / "certs/a.example/cert.pem")

    assert first != second
    assert lab.revoked() == {second}


@pytest.mark.parametrize("challenge", ["http-01", "dns-01"])
def test_uacme_issues_renews_and_revokes(lab: Lab, challenge: str) -> None:
    require("uacme", "unshare")
    hook = lab.hook(UACME_HOOK.replace("else:", f"if kind != {challenge!r}:"))
    call = (program("uacme"), "-v", "-y", "-c", lab.directory / "uacme", "-a", lab.ca.directory_url)
    chain = lab.directory / "uacme/a.example/cert.pem"
    # it trusts the system's roots alone: so a system of its own, in which the CA's is the only one
    trusting = ("unshare", "--map-root-user", "--mount", "sh", "-c", TRUST, lab.ca.tls_ca_bundle)
    try:
        lab.run(*trusting, "true")
    except AssertionError as error:
        pytest.skip(f"no mount namespaces here: {error}")

    def uacme(*arguments: str | Path) -> None:
        lab.run(*trusting, *call, *arguments)

    with lab.web():
        uacme("new", "admin@example.com")
        uacme("-h", hook, "issue", "a.example", "b.example")
        first = lab.check(chain, "a.example", "b.example")
        uacme("-f", "-h", hook, "issue", "a.example", "b.example")
        second = lab.check(chain, "a.example", "b.example")
        uacme("revoke", chain)

    assert first != second
    assert lab.revoked() == {second}


def test_the_log_tells_what_a_client_asked(lab: Lab) -> None:
    certbot(lab, "register", "--agree-tos", "--email", "a@example.com", "--no-eff-email")

    counts = lab.counts()
    assert (counts["directory"], counts["new-account"]) == (1, 1)
