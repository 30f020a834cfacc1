"""Which blocks of commands in the documents a test runs as they are printed, and why not others.

A block is found by a text in it. `tests/real/test_document_blocks.py` runs the first kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Runs:
    """A block that is run as a script, and ends with status 0. `issued`: there is a certificate for
    example.com already. `before` is a script that prepares what the text around the block speaks
    of, and each of `between` one that is run before the line that starts with its key. Lines that
    are `alternatives` are run from the same state each. `words` are what a reader puts in the place
    of placeholders.
    """

    text: str
    issued: bool = False
    before: str = ""
    between: Mapping[str, str] = field(default_factory=dict)
    alternatives: bool = False
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere:
    """A block that is not run here, and why."""

    text: str
    why: str


Row = Runs | Elsewhere

_INSTALLS = "installs on this machine; make installs does that in fresh roots and environments"
_NGINX = "a part of nginx's configuration"
_APACHE = "a part of Apache's configuration"
_HAPROXY = "a part of HAProxy's configuration"
_CRON = "a line of cron's file, whose command is parsed"
_SECURE = "asks, and changes a web server; tests/real/test_secure_nginx.py and _apache.py run it"
_RECORD = "records of a zone"
_TSIG = "install -D -m 600 /srv/tsig.key /etc/certctl/tsig.key"
_CREDENTIALS = (
    f"{_TSIG}; install -d -m 700 /etc/certctl/credentials;"
    " install -m 600 /srv/work.toml /etc/certctl/credentials/work.toml"
)
_JSON = '{"certificate": {"example.com": {"challenge": {"webroots": ["/var/www/html"]}}}}'
_TOML = (
    r'[group.nginx]\nchallenge.webroots = ["/var/www/html"]\n'
    r'[certificate."example.com"]\nextends = "nginx"\n'
)

BLOCKS: Mapping[str, tuple[Row, ...]] = {
    "CONTRIBUTING.md": (Elsewhere("make check", "runs all tests, this one too"),),
    "README.md": (
        Elsewhere("certctl secure example.com", _INSTALLS),
        Runs("$ certctl list"),
        Elsewhere("make demo ", "runs all tests; tests/integration/test_demo.py runs the demo"),
        Elsewhere("# Debian and Ubuntu: with timer", _INSTALLS),
        Runs("certctl doctor example.com --webroot"),
        Runs("certctl edit example.com --deploy nginx", issued=True),
        Runs(
            "# HTTP-01 with certctl's own server",
            before=_TSIG,
            between={"certctl issue example.com www.example.com --agree": "systemctl stop nginx"},
            alternatives=True,
        ),
        Runs(
            "--reload 'systemctl reload nginx'",
            before="certctl issue example.com www.example.com --webroot /var/www/html",
        ),
        Elsewhere("--eab-kid KID", "needs an account at ZeroSSL"),
        Elsewhere("certctl renew --random-delay 20m", _CRON),
        Runs("certctl renew --force NAME", issued=True, words={"NAME": "example.com"}),
        Elsewhere("bind :443 ssl crt", "parts of the configurations of Apache and HAProxy"),
        Elsewhere("my-dns-tool", "an example of a hook, for a program that does not exist"),
    ),
    "docs/apply.md": (
        Elsewhere(
            "certctl plan certificates.toml",
            "plan ends with 7, and apply asks; tests/integration/test_apply.py runs both",
        ),
        Runs("certctl apply - --yes", before=f"printf '%s' '{_JSON}' > certificates.json"),
        Runs("certctl plan --until 30d", issued=True),
        Runs(
            "certctl list --where group=nginx",
            before=f"printf '%b' '{_TOML}' > certificates.toml;"
            " certctl apply certificates.toml --yes",
        ),
    ),
    "docs/challenges.md": (
        Runs("certctl snippet haproxy example.com --http-port 8402", issued=True),
        Runs("--http-address 127.0.0.1"),
        Elsewhere(
            "certctl issue example.com --stateless",
            "the lines that the first command prints have to be added by hand before the second;"
            " tests/real/test_snippets.py does that",
        ),
        Runs("systemctl start nginx"),
        Elsewhere(
            "--tls-alpn-port 8443",
            "needs the configuration below it; tests/real/test_tls_alpn.py runs that",
        ),
        Elsewhere("frontend https", _HAPROXY),
        Elsewhere("stream {", _NGINX),
        Elsewhere(
            "--dns PROVIDER", "a CA of the draft; tests/integration/test_stateless.py has one"
        ),
        Elsewhere("_validation-persist", "what a command prints"),
        Elsewhere("certctl dns persist NAME\n", "a CA of the draft"),
    ),
    "docs/containers.md": (
        Elsewhere("docker load", "needs Docker, and the image that make installs builds"),
        Elsewhere("docker compose exec", "needs Docker"),
    ),
    "docs/deploy.md": (
        Runs("certctl issue example.com --webroot /var/www/html\n", issued=True),
        Elsewhere("server {", _NGINX),
        Elsewhere("# nginx\n", "parts of the configurations of five servers"),
        Elsewhere("SSLCertificateFile", _APACHE),
        Elsewhere("bind :443 ssl crt", "a line of HAProxy's configuration comes first"),
        Elsewhere(
            "--deploy haproxy --haproxy-certificates /etc/haproxy/certificates\n",
            "needs HAProxy's configuration; tests/real/test_targets.py runs it",
        ),
        Elsewhere("--haproxy-socket", "needs HAProxy; tests/real/test_targets.py runs it"),
        Elsewhere("tls /etc/certctl/live", "a part of Caddy's configuration"),
        Elsewhere("[providers.file]", "a part of Traefik's configuration"),
        Elsewhere("cert = /etc", "a part of stunnel's configuration"),
        Elsewhere("smtpd_tls_chain_files", "a part of Postfix's configuration"),
        Elsewhere("ssl_cert = <", "a part of Dovecot's configuration"),
        Runs("--copy combined:/etc/ssl/private/example.pem", issued=True),
        Runs("--key-group ssl-cert", issued=True),
        Runs("--format pkcs12", issued=True, before="umask 077; printf secret > p12-password"),
        Elsewhere("--deploy postfix", "needs Postfix; tests/real/test_targets.py runs it"),
        Runs("--on-failure rollback", issued=True),
        Runs("certctl issue example.com --key-type ecdsa-p256 --key-type rsa-2048", issued=True),
    ),
    "docs/dev-ca.md": (
        Runs("certctl dev-ca root > root.pem"),
        Elsewhere("uvicorn application:app", "tests/real/test_dev_ca_trust.py runs it"),
        Elsewhere("dev-ca serve --listen", "runs until Ctrl-C; test_devca_command.py stops it"),
        Elsewhere("manage/faults", "tests/integration/test_devca_page.py runs it"),
    ),
    "docs/dns.md": (
        Runs("certctl dns test example.com --dns-credentials work", before=_CREDENTIALS),
        Runs(
            "--rfc2136-server 192.0.2.53\n",
            before=f"{_CREDENTIALS}; certctl issue example.com --dns-credentials work",
            words={"192.0.2.53": "127.0.0.1 --rfc2136-key-file /etc/certctl/tsig.key"},
        ),
        Elsewhere("pip install dns-lexicon", _INSTALLS),
        Elsewhere("--dns acme-dns", "needs an acme-dns; tests/real/test_record_services.py has it"),
        Elsewhere("CNAME", _RECORD),
    ),
    "docs/doctor.md": (
        Runs(
            "certctl doctor example.com ",
            issued=True,
            before=_TSIG,
            words={"192.0.2.53": "127.0.0.1 --rfc2136-key-file /etc/certctl/tsig.key"},
        ),
    ),
    "docs/formats.md": (Elsewhere("certctl.toml   ", "a list of files"),),
    "docs/from-certbot.md": (Runs("/usr/local/bin/certbot"),),
    "docs/hooks.md": (
        Runs("--reload 'nginx -t && systemctl reload nginx'", issued=True),
        Elsewhere("umask 077", "an example of a hook for HAProxy"),
        Runs(
            "haproxy -c -q -f",
            issued=True,
            before="cp /srv/haproxy.cfg /etc/haproxy/haproxy.cfg",
        ),
        Runs("systemctl stop lighttpd"),
        Elsewhere("mail -s certctl root", "an example of a hook that sends mail"),
        Elsewhere(
            "--dns-hook-protocol dehydrated",
            "needs hooks of other clients; tests/real/test_hooks_of_others.py has them",
        ),
        Elsewhere("deploy_cert", "a part of a command line"),
    ),
    "docs/import.md": (
        Elsewhere("certctl import --finish", "needs another client; tests/real/test_import.py"),
    ),
    "docs/install.md": (
        Elsewhere("make deb", _INSTALLS),
        Elsewhere("pipx install .\nuv", _INSTALLS),
        Elsewhere("PIPX_HOME", _INSTALLS),
        Elsewhere("python3 -m venv", _INSTALLS),
        Elsewhere("share/man/man1/*", _INSTALLS),
        Elsewhere("make image", _INSTALLS),
        Runs('eval "$(certctl completion bash)"'),
        Runs("certctl completion fish", before="mkdir -p ~/.config/fish/completions"),
        Runs("certctl schedule install"),
    ),
    "docs/monitoring.md": (
        Runs("CERTCTL OK - 2 certificates", issued=True, before="certctl schedule external"),
        Elsewhere("mail.example.com:587", "connects to a mail server; test_check.py has one"),
        Elsewhere("NOPASSWD", "a line of sudo's configuration"),
        Elsewhere("certctl metrics --out", _CRON),
    ),
    "docs/propagation.md": (Runs("certctl dns cleanup --drop"),),
    "docs/schedule.md": (
        Runs("$ certctl schedule install"),
        Runs("certctl schedule external"),
        Runs("--deploy-window 'Mon-Fri", issued=True),
        Elsewhere("RestrictNamespaces=no", "a part of a unit of systemd"),
    ),
    "docs/several-cas.md": (Elsewhere("--eab-kid KID", "needs an account at ZeroSSL"),),
    "docs/secure.md": (
        Elsewhere("certctl secure example.com www.example.com", _SECURE),
        Elsewhere("ssl_certificate_key", _NGINX),
        Elsewhere("<VirtualHost", _APACHE),
        Elsewhere("certctl secure --undo", _SECURE),
    ),
    "docs/testing.md": (Elsewhere("certctl_ca_lifetime", "a line of pytest's configuration"),),
    "docs/verify.md": (
        Elsewhere(
            "mail.example.com:587/starttls=smtp",
            "connects to servers of others; tests/real/test_verify.py has them",
        ),
    ),
}


def entries_of(document: str, block: str) -> list[Row]:
    """Return the rows that are about a block: those with its beginning, else with a text in it."""
    rows = BLOCKS.get(document, ())
    begin = [each for each in rows if block.startswith(each.text)]
    return begin or [each for each in rows if each.text in block]
