"""One table of every setting: flags, `certctl.toml`, environment variables and documentation
derive from it.

What a value may look like, and what was given, is for `certctl.settings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from certctl.copies import canonical_copy, canonical_key_mode
from certctl.errors import ConfigurationError
from certctl.hook_protocols import HTTP_PROTOCOLS
from certctl.models import AccountKeyType, ChallengeType, KeyType, OnFailure, Value
from certctl.service_address import canonical_service


class Kind(Enum):
    """What kind of value an option holds; `SECONDS` also takes 90s, 5m, 2h and 1d."""

    TEXT = "TEXT"
    INTEGER = "N"
    SECONDS = "SECONDS"
    BOOLEAN = "true|false"
    TEXTS = "TEXT..."
    PATH = "FILE"
    CHOICE = "CHOICE"


@dataclass(frozen=True)
class Option:
    """One setting. `in_spec`: a certificate can have its own; `in_file`: it may stand in
    `certctl.toml`. `canonical` checks a text, or each of several, and returns it as it is kept.
    """

    key: str
    kind: Kind
    default: Value
    doc: str
    flag: str | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    secret: bool = False
    in_spec: bool = False
    in_file: bool = True
    variable: str | None = None
    minimum: float = 0
    maximum: float = 1e9
    canonical: Callable[[object], str] | None = None

    @property
    def environment(self) -> str:
        """The environment variable that sets it, if any; lists are split at commas."""
        if self.variable is not None:
            return self.variable
        return "CERTCTL_" + self.key.replace(".", "_").upper()


_TARGET = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")


def _target(value: object) -> str:
    """Return the name of a deploy target; whether there is such a one is not known here."""
    if not isinstance(value, str) or not _TARGET.match(value):
        raise ConfigurationError(
            f"{value!r} is no name of a deploy target",
            hint="Such as nginx, or haproxy; a command is given with --reload.",
        )
    return value


OPTIONS: tuple[Option, ...] = (
    Option(
        "home",
        Kind.PATH,
        None,
        "The directory that holds everything: /etc/certctl for root, ~/.config/certctl otherwise.",
        flag="--home",
        metavar="DIR",
        in_file=False,
    ),
    Option(
        "ca",
        Kind.TEXT,
        "letsencrypt",
        "The CA: letsencrypt, letsencrypt-staging, zerossl, google, sslcom, actalis, a directory "
        "URL, or dev for one inside certctl.",
        flag="--ca",
        metavar="NAME|URL",
        in_spec=True,
    ),
    Option(
        "ca_bundle",
        Kind.PATH,
        None,
        "PEM file of the roots to trust when talking to the CA; for a private CA.",
        flag="--ca-bundle",
        in_spec=True,
    ),
    Option(
        "account.id",
        Kind.TEXT,
        None,
        "Which account to use where a CA has several here (see `certctl account show`).",
        flag="--account",
        metavar="ID",
        in_spec=True,
        variable="CERTCTL_ACCOUNT",
    ),
    Option(
        "account.email",
        Kind.TEXTS,
        (),
        "Contact address for a new account; may be given several times.",
        flag="--email",
        metavar="ADDRESS",
        variable="CERTCTL_EMAIL",
    ),
    Option(
        "account.agree_tos",
        Kind.BOOLEAN,
        False,
        "Agree to the CA's terms of service.",
        flag="--agree-tos",
        variable="CERTCTL_AGREE_TOS",
    ),
    Option(
        "account.key_type",
        Kind.CHOICE,
        AccountKeyType.ES256.value,
        "Key of a new account.",
        flag="--account-key-type",
        choices=tuple(each.value for each in AccountKeyType),
    ),
    Option(
        "account.eab_kid",
        Kind.TEXT,
        None,
        "Key identifier of an external account binding, as the CA gave it.",
        flag="--eab-kid",
        metavar="KID",
        variable="CERTCTL_EAB_KID",
    ),
    Option(
        "account.eab_hmac_key",
        Kind.TEXT,
        None,
        "HMAC key (base64url) of an external account binding.",
        secret=True,
        in_file=False,
        variable="CERTCTL_EAB_HMAC_KEY",
    ),
    Option(
        "account.eab_hmac_key_file",
        Kind.PATH,
        None,
        "File that holds the HMAC key of an external account binding; others must not be "
        "able to read it.",
        flag="--eab-hmac-key-file",
        variable="CERTCTL_EAB_HMAC_KEY_FILE",
    ),
    Option(
        "key_type",
        Kind.CHOICE,
        KeyType.ECDSA_P256.value,
        "Key of the certificate.",
        flag="--key-type",
        choices=tuple(each.value for each in KeyType),
        in_spec=True,
    ),
    Option(
        "reuse_key",
        Kind.BOOLEAN,
        False,
        "Keep the private key when the certificate is renewed.",
        flag="--reuse-key/--new-key",
        in_spec=True,
    ),
    Option(
        "profile",
        Kind.TEXT,
        None,
        "The CA's certificate profile to prefer; the CA's default where it is not offered.",
        flag="--profile",
        metavar="NAME",
        in_spec=True,
    ),
    Option(
        "required_profile",
        Kind.TEXT,
        None,
        "The CA's certificate profile to insist on.",
        flag="--required-profile",
        metavar="NAME",
        in_spec=True,
    ),
    Option(
        "preferred_chain",
        Kind.TEXT,
        None,
        "Prefer the chain whose topmost issuer has this common name.",
        flag="--preferred-chain",
        metavar="CN",
        in_spec=True,
    ),
    Option(
        "csr",
        Kind.TEXT,
        None,
        "SHA-256 of the certificate signing request that lies beside this file (set by --csr).",
        in_spec=True,
        in_file=False,
        variable="",
    ),
    Option(
        "autorenew",
        Kind.BOOLEAN,
        True,
        "Whether `renew` renews the certificate when it is due.",
        in_spec=True,
    ),
    Option(
        "allow_subset",
        Kind.BOOLEAN,
        False,
        "Issue for the names whose control could be proved; the others stay wanted, and are tried "
        "again.",
        flag="--allow-subset/--all-names",
        in_spec=True,
    ),
    Option(
        "key_group",
        Kind.TEXT,
        None,
        "Unix group that may read the private keys.",
        flag="--key-group",
        metavar="GROUP",
        in_spec=True,
    ),
    Option(
        "key_mode",
        Kind.TEXT,
        None,
        "Permissions of the private keys: 0600, or 0640, which a key group has by default.",
        flag="--key-mode",
        metavar="MODE",
        in_spec=True,
        canonical=canonical_key_mode,
    ),
    Option(
        "challenge.method",
        Kind.CHOICE,
        "standalone",
        "How control of the names is proved.",
        choices=("standalone", "webroot", "http-hook", "dns", "tls-alpn", "dns-persist"),
        in_spec=True,
    ),
    Option(
        "challenge.http_address",
        Kind.TEXT,
        None,
        "Address that the stand-alone HTTP-01 server listens at; all addresses, IPv4 and "
        "IPv6, by default.",
        flag="--http-address",
        metavar="ADDRESS",
        in_spec=True,
        variable="CERTCTL_HTTP_ADDRESS",
    ),
    Option(
        "challenge.http_port",
        Kind.INTEGER,
        80,
        "Port that the stand-alone HTTP-01 server listens at; the CA always asks at port 80.",
        flag="--http-port",
        metavar="PORT",
        minimum=1,
        maximum=65535,
        in_spec=True,
        variable="CERTCTL_HTTP_PORT",
    ),
    Option(
        "challenge.tls_alpn_address",
        Kind.TEXT,
        None,
        "Address that the TLS-ALPN-01 server listens at; all addresses, IPv4 and IPv6, by default.",
        flag="--tls-alpn-address",
        metavar="ADDRESS",
        in_spec=True,
        variable="CERTCTL_TLS_ALPN_ADDRESS",
    ),
    Option(
        "challenge.tls_alpn_port",
        Kind.INTEGER,
        443,
        "Port that the TLS-ALPN-01 server listens at; the CA always asks at port 443.",
        flag="--tls-alpn-port",
        metavar="PORT",
        minimum=1,
        maximum=65535,
        in_spec=True,
        variable="CERTCTL_TLS_ALPN_PORT",
    ),
    Option(
        "challenge.webroots",
        Kind.TEXTS,
        (),
        "Prove control by HTTP-01 through a running web server's directory: DIR, or NAME=DIR "
        "for one name.",
        flag="--webroot",
        metavar="[NAME=]DIR",
        in_spec=True,
        variable="CERTCTL_WEBROOT",
    ),
    Option(
        "challenge.http_hook",
        Kind.TEXT,
        None,
        "Prove control by HTTP-01 with a command that puts the answer where a web server shows it: "
        "run with `present` or `cleanup` as its last argument, and CERTCTL_HTTP_TOKEN and "
        "CERTCTL_HTTP_ANSWER.",
        flag="--http-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_HTTP_HOOK",
    ),
    Option(
        "challenge.http_cleanup_hook",
        Kind.TEXT,
        None,
        "Command that removes answers; --http-hook then only places them, and neither gets an "
        "argument, as with certbot's --manual-auth-hook and --manual-cleanup-hook.",
        flag="--http-cleanup-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_HTTP_CLEANUP_HOOK",
    ),
    Option(
        "challenge.http_hook_protocol",
        Kind.CHOICE,
        None,
        "Whose hook it is, and so how it is called: certctl's own, or that of another client, "
        "unchanged; certctl's by default, certbot's with --http-cleanup-hook.",
        flag="--http-hook-protocol",
        choices=tuple(each.value for each in HTTP_PROTOCOLS),
        in_spec=True,
        variable="CERTCTL_HTTP_HOOK_PROTOCOL",
    ),
    Option(
        "challenge.dns_provider",
        Kind.TEXT,
        None,
        "Prove control by DNS-01, with the records written by this provider (see `certctl dns "
        "list`), or by that of each zone in [dns.zones]: auto.",
        flag="--dns",
        metavar="PROVIDER",
        in_spec=True,
        variable="CERTCTL_DNS",
    ),
    Option(
        "challenge.dns_challenge",
        Kind.CHOICE,
        ChallengeType.DNS_01.value,
        "Which record proves control: that of dns-01 (of dns-account-01 where the CA offers that "
        "only), or that of dns-account-01, which is the account's own; a draft.",
        flag="--dns-challenge",
        choices=(ChallengeType.DNS_01.value, ChallengeType.DNS_ACCOUNT_01.value),
        in_spec=True,
        variable="CERTCTL_DNS_CHALLENGE",
    ),
    Option(
        "challenge.dns_credentials",
        Kind.TEXT,
        None,
        "Prove control by DNS-01 with these credentials: NAME of [dns.credentials.NAME] in "
        "certctl.toml or of credentials/NAME.toml, or the path of such a file.",
        flag="--dns-credentials",
        metavar="NAME|FILE",
        in_spec=True,
        variable="CERTCTL_DNS_CREDENTIALS",
    ),
    Option(
        "challenge.dns_options",
        Kind.TEXTS,
        (),
        "An option of the DNS provider (see `certctl dns show`); a secret as KEY_file=FILE or "
        "KEY_command=COMMAND. May be given several times.",
        flag="--dns-option",
        metavar="KEY=VALUE",
        in_spec=True,
        variable="CERTCTL_DNS_OPTIONS",
    ),
    Option(
        "challenge.dns_resolver",
        Kind.TEXT,
        None,
        "Recursive resolver to find zones with, as ADDRESS or ADDRESS:PORT; the system's by "
        "default.",
        flag="--dns-resolver",
        metavar="ADDRESS[:PORT]",
        in_spec=True,
        variable="CERTCTL_DNS_RESOLVER",
    ),
    Option(
        "challenge.dns_skip_propagation",
        Kind.BOOLEAN,
        False,
        "Do not ask the authoritative servers whether they have the records before the CA is "
        "told to look.",
        flag="--dns-skip-propagation/--dns-check-propagation",
        in_spec=True,
        variable="CERTCTL_DNS_SKIP_PROPAGATION",
    ),
    Option(
        "challenge.dns_propagation_timeout",
        Kind.SECONDS,
        120.0,
        "How long to wait for the authoritative servers.",
        flag="--dns-propagation-timeout",
        in_spec=True,
        variable="CERTCTL_DNS_PROPAGATION_TIMEOUT",
    ),
    Option(
        "challenge.dns_propagation_quorum",
        Kind.TEXT,
        "all",
        "How many authoritative servers of a zone must have the records: all, a number, or a "
        "share such as 60%.",
        flag="--dns-propagation-quorum",
        metavar="all|N|N%",
        in_spec=True,
        variable="CERTCTL_DNS_PROPAGATION_QUORUM",
    ),
    Option(
        "challenge.dns_public_resolvers",
        Kind.TEXTS,
        (),
        "Recursive resolver that must show the records too, once the authoritative servers have "
        "them; may be given several times.",
        flag="--dns-public-resolver",
        metavar="ADDRESS[:PORT]",
        in_spec=True,
        variable="CERTCTL_DNS_PUBLIC_RESOLVERS",
    ),
    Option(
        "deploy.pre_hook",
        Kind.TEXT,
        None,
        "Command to run before a run that has something to order.",
        flag="--pre-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_PRE_HOOK",
    ),
    Option(
        "deploy.deploy_hook",
        Kind.TEXT,
        None,
        "Command to run once for each new version of this certificate.",
        flag="--deploy-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DEPLOY_HOOK",
    ),
    Option(
        "deploy.post_hook",
        Kind.TEXT,
        None,
        "Command to run after a run that had something to order.",
        flag="--post-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_POST_HOOK",
    ),
    Option(
        "deploy.reload",
        Kind.TEXT,
        None,
        "Command that makes a service read its certificates again; run once a run, however "
        "many asked for it.",
        flag="--reload",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_RELOAD",
    ),
    Option(
        "deploy.targets",
        Kind.TEXTS,
        (),
        "Deploy to this program, whose configuration is tested before it is reloaded: nginx, "
        "apache, haproxy, caddy, traefik, stunnel, postfix, dovecot.",
        flag="--deploy",
        metavar="TARGET",
        in_spec=True,
        variable="CERTCTL_DEPLOY",
        canonical=_target,
    ),
    Option(
        "deploy.copy",
        Kind.TEXTS,
        (),
        "Also write it to this file: fullchain, cert, chain, privkey, combined, pkcs12 or der, a "
        "colon and the path, then ,owner= ,group= ,mode= or ,password_file= where they are wanted.",
        flag="--copy",
        metavar="FORMAT:PATH",
        in_spec=True,
        in_file=False,
        variable="",
        canonical=canonical_copy,
    ),
    Option(
        "deploy.verify",
        Kind.TEXTS,
        (),
        "Where the certificate must be seen after a deploy, at every address and for every name; "
        "after /starttls= one of smtp, imap, pop3, ldap.",
        flag="--verify",
        metavar="HOST[:PORT][/starttls=PROTOCOL]",
        in_spec=True,
        variable="CERTCTL_VERIFY",
        canonical=canonical_service,
    ),
    Option(
        "deploy.probe",
        Kind.BOOLEAN,
        True,
        "Look on the wire after a deploy: where --verify says, else where the targets listen.",
        flag="--probe/--no-verify",
        in_spec=True,
        variable="CERTCTL_PROBE",
    ),
    Option(
        "deploy.verify_timeout",
        Kind.SECONDS,
        30.0,
        "How long the certificate is looked for after a deploy.",
        flag="--verify-timeout",
        in_spec=True,
        variable="CERTCTL_VERIFY_TIMEOUT",
    ),
    Option(
        "deploy.on_failure",
        Kind.CHOICE,
        OnFailure.KEEP.value,
        "What to do where a configuration test, a reload or the look on the wire fails: keep the "
        "new version live, or put the one before back if it fares better.",
        flag="--on-failure",
        choices=tuple(each.value for each in OnFailure),
        in_spec=True,
        variable="CERTCTL_ON_FAILURE",
    ),
    Option(
        "deploy.hook_timeout",
        Kind.SECONDS,
        300.0,
        "How long a hook or a reload may take before it is killed.",
        flag="--hook-timeout",
        in_spec=True,
        variable="CERTCTL_HOOK_TIMEOUT",
        minimum=1,
    ),
    Option(
        "lock_timeout",
        Kind.SECONDS,
        60.0,
        "How long to wait for another certctl that works on the same certificate.",
        flag="--lock-timeout",
    ),
    Option(
        "order_timeout",
        Kind.SECONDS,
        600.0,
        "How long one order may take, from its first request to the certificate.",
        flag="--order-timeout",
        minimum=1,
    ),
    Option(
        "jobs",
        Kind.INTEGER,
        8,
        "How many certificates are ordered at the same time; those that wait for the DNS are not "
        "counted.",
        flag="--jobs",
        minimum=1,
        maximum=64,
    ),
    Option(
        "random_delay",
        Kind.SECONDS,
        0.0,
        "Wait a random time up to this before a renewal run that is not on a terminal.",
        flag="--random-delay",
    ),
    Option(
        "log_file",
        Kind.PATH,
        None,
        "Append what happens to this file.",
        flag="--log-file",
    ),
    Option(
        "on_failure_hook",
        Kind.TEXT,
        None,
        "Command to run after a run of `renew` that nobody watched and that failed.",
    ),
    Option(
        "heartbeat",
        Kind.TEXT,
        None,
        "URL to ask for after each run of `renew` that nobody watched and that went well.",
        metavar="URL",
    ),
    Option(
        "heartbeat_method",
        Kind.CHOICE,
        "get",
        "Method of that request.",
        choices=("get", "post"),
    ),
    Option(
        "heartbeat_ca_bundle",
        Kind.PATH,
        None,
        "PEM file of the roots to trust for that request; the public ones by default.",
    ),
    Option(
        "alert_urls_file",
        Kind.PATH,
        None,
        "File with URLs of Apprise, one a line, to tell of failures by chat or mail; others must "
        "not be able to read it.",
    ),
    Option(
        "keep_versions",
        Kind.INTEGER,
        5,
        "How many versions of a certificate stay in the archive.",
        minimum=2,
    ),
)
