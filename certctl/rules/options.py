"""The table of all settings, from which flags, `certctl.toml` keys, environment variables and
documentation are derived.

`certctl.rules.settings` parses, checks and holds their values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from certctl.model.ca import AccountKeyType, ChallengeType
from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import common_name
from certctl.model.spec import KeyType, OnFailure
from certctl.model.urls import canonical_proxy
from certctl.model.values import Value
from certctl.rules.copies import canonical_copy, canonical_key_mode
from certctl.rules.hook_protocols import HTTP_PROTOCOLS
from certctl.rules.service_address import canonical_service


class Kind(Enum):
    """The type of an option's value; `SECONDS` also accepts 90s, 5m, 2h and 1d."""

    TEXT = "TEXT"
    INTEGER = "N"
    SECONDS = "SECONDS"
    BOOLEAN = "true|false"
    TEXTS = "TEXT..."
    PATH = "FILE"
    CHOICE = "CHOICE"


@dataclass(frozen=True)
class Option:
    """One setting.

    `in_spec`: it can be set per certificate. `in_file`: it can be set in `certctl.toml`.
    `canonical` checks a value (of a list, each element) and returns its normal form.
    `brief`: one line for the short help of commands with many options, which lists only the options
    that have one.
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
    brief: str = ""

    @property
    def environment(self) -> str:
        """The environment variable that sets it, or an empty string; lists are comma-separated."""
        if self.variable is not None:
            return self.variable
        return "CERTCTL_" + self.key.replace(".", "_").upper()


METHODS = ("standalone", "webroot", "stateless", "http-hook", "dns", "tls-alpn", "dns-persist")
"""The challenge methods of certctl itself; plug-ins add others."""

_PLUGIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")


def _target(value: object) -> str:
    """Return `value` if it can be the name of a deploy target, which need not exist."""
    if not isinstance(value, str) or not _PLUGIN.match(value):
        raise ConfigurationError(
            f"{value!r} is not a valid deploy target",
            hint="Give the name of a program, such as nginx or haproxy. To run a command instead,"
            " use --reload.",
        )
    return value


def _method(value: object) -> str:
    """Return `value` if it can be the name of a challenge method, which need not exist."""
    if not isinstance(value, str) or not _PLUGIN.match(value):
        raise ConfigurationError(
            f"{value!r} is not a valid challenge method",
            hint=f"Give one of {', '.join(METHODS)}, or the name of a plug-in.",
        )
    return value


OPTIONS: tuple[Option, ...] = (
    Option(
        "home",
        Kind.PATH,
        None,
        "Home directory of certctl, with its settings, certificates and keys. Default: "
        "/etc/certctl for root, ~/.config/certctl for other users.",
        flag="--home",
        metavar="DIR",
        in_file=False,
    ),
    Option(
        "ca",
        Kind.TEXT,
        "letsencrypt",
        "Certificate authority: letsencrypt, letsencrypt-staging, zerossl, google, sslcom, "
        "actalis, the URL of an ACME directory, or dev for the built-in development CA.",
        brief="Name or directory URL of the CA.",
        flag="--ca",
        metavar="NAME|URL",
        in_spec=True,
    ),
    Option(
        "ca_bundle",
        Kind.PATH,
        None,
        "PEM file of root certificates to trust when connecting to the CA, for a private CA. "
        "Default: the public ones and those that this system trusts.",
        flag="--ca-bundle",
        in_spec=True,
    ),
    Option(
        "account.id",
        Kind.TEXT,
        None,
        "Account to use if this machine has several at the CA; `certctl account show` lists them.",
        flag="--account",
        metavar="ID",
        in_spec=True,
        variable="CERTCTL_ACCOUNT",
    ),
    Option(
        "account.email",
        Kind.TEXTS,
        (),
        "Contact email address of the account. Can be repeated.",
        brief="Contact address of a new account.",
        flag="--email",
        metavar="ADDRESS",
        variable="CERTCTL_EMAIL",
    ),
    Option(
        "account.agree_tos",
        Kind.BOOLEAN,
        False,
        "Agree to the terms of service of the CA.",
        brief="Agree to the CA's terms of service.",
        flag="--agree-tos",
        variable="CERTCTL_AGREE_TOS",
    ),
    Option(
        "account.key_type",
        Kind.CHOICE,
        AccountKeyType.ES256.value,
        "Key type for a new account, or for its new key.",
        flag="--account-key-type",
        choices=tuple(each.value for each in AccountKeyType),
    ),
    Option(
        "account.eab_kid",
        Kind.TEXT,
        None,
        "Key identifier for external account binding (EAB), issued by the CA.",
        flag="--eab-kid",
        metavar="KID",
        variable="CERTCTL_EAB_KID",
    ),
    Option(
        "account.eab_hmac_key",
        Kind.TEXT,
        None,
        "HMAC key for external account binding (EAB), in base64url.",
        secret=True,
        in_file=False,
        variable="CERTCTL_EAB_HMAC_KEY",
    ),
    Option(
        "account.eab_hmac_key_file",
        Kind.PATH,
        None,
        "File with the HMAC key for external account binding (EAB). Other users must not be able "
        "to read it.",
        flag="--eab-hmac-key-file",
        variable="CERTCTL_EAB_HMAC_KEY_FILE",
    ),
    Option(
        "key_type",
        Kind.CHOICE,
        KeyType.ECDSA_P256.value,
        "Key type for the certificate.",
        brief="Key type, such as rsa-2048.",
        flag="--key-type",
        metavar="TYPE",
        choices=tuple(each.value for each in KeyType),
        in_spec=True,
    ),
    Option(
        "reuse_key",
        Kind.BOOLEAN,
        False,
        "Keep the same private key when the certificate is renewed, or generate a new one.",
        brief="Keep the private key on renewal.",
        flag="--reuse-key/--new-key",
        in_spec=True,
    ),
    Option(
        "profile",
        Kind.TEXT,
        None,
        "Certificate profile to request if the CA offers it; otherwise use the CA's default.",
        flag="--profile",
        metavar="NAME",
        in_spec=True,
    ),
    Option(
        "required_profile",
        Kind.TEXT,
        None,
        "Certificate profile to request; fail if the CA does not offer it.",
        flag="--required-profile",
        metavar="NAME",
        in_spec=True,
    ),
    Option(
        "preferred_chain",
        Kind.TEXT,
        None,
        "If the CA offers several chains, use the one whose topmost issuer has this common name.",
        flag="--preferred-chain",
        metavar="CN",
        in_spec=True,
    ),
    Option(
        "common_name",
        Kind.TEXT,
        None,
        "Name for the subject of the certificate, for a CA that insists on a common name: one of "
        "the names, of at most 64 characters. Empty for none.",
        flag="--common-name",
        metavar="NAME",
        in_spec=True,
        in_file=False,
        variable="",
        canonical=common_name,
    ),
    Option(
        "csr",
        Kind.TEXT,
        None,
        "SHA-256 of the certificate signing request stored next to this file. Set by --csr.",
        in_spec=True,
        in_file=False,
        variable="",
    ),
    Option(
        "autorenew",
        Kind.BOOLEAN,
        True,
        "Renew the certificate automatically when it is due.",
        flag="--autorenew/--no-autorenew",
        in_spec=True,
    ),
    Option(
        "allow_subset",
        Kind.BOOLEAN,
        False,
        "If some names fail validation, issue the certificate for the others. The failed names "
        "are tried again later.",
        flag="--allow-subset/--all-names",
        in_spec=True,
    ),
    Option(
        "key_group",
        Kind.TEXT,
        None,
        "Unix group that can read the private key.",
        flag="--key-group",
        metavar="GROUP",
        in_spec=True,
    ),
    Option(
        "key_mode",
        Kind.TEXT,
        None,
        "File mode of the private key: 0600, or 0640 (the default with --key-group).",
        flag="--key-mode",
        metavar="MODE",
        in_spec=True,
        canonical=canonical_key_mode,
    ),
    Option(
        "challenge.method",
        Kind.TEXT,
        "standalone",
        "Method used to validate domain names: standalone, webroot, http-hook, dns, tls-alpn, "
        "dns-persist, or that of a plug-in. Most methods also have a flag of their own.",
        flag="--challenge",
        metavar="METHOD",
        in_spec=True,
        canonical=_method,
    ),
    Option(
        "challenge.http_address",
        Kind.TEXT,
        None,
        "Address on which the standalone HTTP-01 server listens. Default: all IPv4 and IPv6 "
        "addresses.",
        flag="--http-address",
        metavar="ADDRESS",
        in_spec=True,
        variable="CERTCTL_HTTP_ADDRESS",
    ),
    Option(
        "challenge.http_port",
        Kind.INTEGER,
        80,
        "Port on which the standalone HTTP-01 server listens. The CA always connects to port 80.",
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
        "Address on which the TLS-ALPN-01 server listens. Default: all IPv4 and IPv6 addresses.",
        flag="--tls-alpn-address",
        metavar="ADDRESS",
        in_spec=True,
        variable="CERTCTL_TLS_ALPN_ADDRESS",
    ),
    Option(
        "challenge.tls_alpn_port",
        Kind.INTEGER,
        443,
        "Port on which the TLS-ALPN-01 server listens. The CA always connects to port 443.",
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
        "Validate with HTTP-01 by placing files in the document root of a running web server. "
        "Give DIR for all names, or NAME=DIR for one name. Can be repeated.",
        brief="Use HTTP-01 with a web server's directory.",
        flag="--webroot",
        metavar="[NAME=]DIR",
        in_spec=True,
        variable="CERTCTL_WEBROOT",
    ),
    Option(
        "challenge.directory",
        Kind.PATH,
        None,
        "Validate with HTTP-01 by placing files in a directory that the web server serves as "
        "/.well-known/acme-challenge/ itself, as with an alias in nginx, and not in a document "
        "root.",
        flag="--challenge-directory",
        metavar="DIR",
        in_spec=True,
        variable="CERTCTL_CHALLENGE_DIRECTORY",
    ),
    Option(
        "challenge.http_hook",
        Kind.TEXT,
        None,
        "Validate with HTTP-01 through a command that publishes the challenge file: run with "
        "`present` or `cleanup` as its last argument, CERTCTL_HTTP_TOKEN and CERTCTL_HTTP_ANSWER.",
        flag="--http-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_HTTP_HOOK",
    ),
    Option(
        "challenge.http_cleanup_hook",
        Kind.TEXT,
        None,
        "Separate command that removes the challenge file. Neither command then gets an argument, "
        "as with certbot's --manual-auth-hook and --manual-cleanup-hook.",
        flag="--http-cleanup-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_HTTP_CLEANUP_HOOK",
    ),
    Option(
        "challenge.http_hook_protocol",
        Kind.CHOICE,
        None,
        "Calling convention of the hook, for scripts written for another ACME client. Default: "
        "certctl, or certbot with --http-cleanup-hook.",
        flag="--http-hook-protocol",
        choices=tuple(each.value for each in HTTP_PROTOCOLS),
        in_spec=True,
        variable="CERTCTL_HTTP_HOOK_PROTOCOL",
    ),
    Option(
        "challenge.dns_provider",
        Kind.TEXT,
        None,
        "Validate with DNS-01, using this DNS provider (`certctl dns list` shows all). `auto` "
        "uses the provider configured for each zone in [dns.zones].",
        brief="Use DNS-01 (providers: certctl dns list).",
        flag="--dns",
        metavar="PROVIDER",
        in_spec=True,
        variable="CERTCTL_DNS",
    ),
    Option(
        "challenge.dns_challenge",
        Kind.CHOICE,
        ChallengeType.DNS_01.value,
        "DNS challenge to use: dns-01 (dns-account-01 if the CA offers only that), or the draft "
        "dns-account-01, whose record name is specific to the account.",
        flag="--dns-challenge",
        choices=(ChallengeType.DNS_01.value, ChallengeType.DNS_ACCOUNT_01.value),
        in_spec=True,
        variable="CERTCTL_DNS_CHALLENGE",
    ),
    Option(
        "challenge.dns_credentials",
        Kind.TEXT,
        None,
        "Validate with DNS-01, using these credentials: a NAME from [dns.credentials.NAME] in "
        "certctl.toml or from credentials/NAME.toml, or the path of such a file.",
        brief="Use DNS-01 with these credentials.",
        flag="--dns-credentials",
        metavar="NAME|FILE",
        in_spec=True,
        variable="CERTCTL_DNS_CREDENTIALS",
    ),
    Option(
        "challenge.dns_options",
        Kind.TEXTS,
        (),
        "Option for the DNS provider (see `certctl dns show PROVIDER`). Give a secret as "
        "KEY_file=FILE or KEY_command=COMMAND. Can be repeated.",
        flag="--dns-option",
        metavar="KEY=VALUE",
        in_spec=True,
        variable="CERTCTL_DNS_OPTIONS",
    ),
    Option(
        "challenge.dns_resolver",
        Kind.TEXT,
        None,
        "Recursive DNS resolver used to find zones and name servers. Default: that of the system.",
        flag="--dns-resolver",
        metavar="ADDRESS[:PORT]",
        in_spec=True,
        variable="CERTCTL_DNS_RESOLVER",
    ),
    Option(
        "challenge.dns_follow_cname",
        Kind.BOOLEAN,
        True,
        "Write the TXT record at the target of a CNAME. One that comes from a wildcard is never "
        "followed.",
        flag="--dns-follow-cname/--dns-no-follow-cname",
        in_spec=True,
        variable="CERTCTL_DNS_FOLLOW_CNAME",
    ),
    Option(
        "challenge.dns_skip_propagation",
        Kind.BOOLEAN,
        False,
        "Start validation without checking first that the authoritative servers have the records.",
        flag="--dns-skip-propagation/--dns-check-propagation",
        in_spec=True,
        variable="CERTCTL_DNS_SKIP_PROPAGATION",
    ),
    Option(
        "challenge.dns_propagation_timeout",
        Kind.SECONDS,
        120.0,
        "How long to wait for the records to appear on the authoritative servers.",
        flag="--dns-propagation-timeout",
        in_spec=True,
        variable="CERTCTL_DNS_PROPAGATION_TIMEOUT",
    ),
    Option(
        "challenge.dns_propagation_quorum",
        Kind.TEXT,
        "all",
        "How many authoritative servers of a zone must have the records: all, a number, or a "
        "percentage such as 60%.",
        flag="--dns-propagation-quorum",
        metavar="all|N|N%",
        in_spec=True,
        variable="CERTCTL_DNS_PROPAGATION_QUORUM",
    ),
    Option(
        "challenge.dns_public_resolvers",
        Kind.TEXTS,
        (),
        "Recursive resolver that must also return the records before validation starts. Can be "
        "repeated.",
        flag="--dns-public-resolver",
        metavar="ADDRESS[:PORT]",
        in_spec=True,
        variable="CERTCTL_DNS_PUBLIC_RESOLVERS",
    ),
    Option(
        "deploy.pre_hook",
        Kind.TEXT,
        None,
        "Command to run before certificates are ordered, once per run.",
        flag="--pre-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_PRE_HOOK",
    ),
    Option(
        "deploy.deploy_hook",
        Kind.TEXT,
        None,
        "Command to run after the certificate was issued or renewed, once for each new version.",
        brief="Command to run for each new version.",
        flag="--deploy-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DEPLOY_HOOK",
    ),
    Option(
        "deploy.post_hook",
        Kind.TEXT,
        None,
        "Command to run after certificates were ordered, once per run, even if an order failed.",
        flag="--post-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_POST_HOOK",
    ),
    Option(
        "deploy.reload",
        Kind.TEXT,
        None,
        "Command that reloads the service using the certificate. Run once per run, even if "
        "several certificates share it.",
        brief="Command that reloads the service.",
        flag="--reload",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_RELOAD",
    ),
    Option(
        "deploy.targets",
        Kind.TEXTS,
        (),
        "Program to deploy to: nginx, apache, haproxy, caddy, traefik, stunnel, postfix or "
        "dovecot. Its configuration is tested before it is reloaded. Can be repeated.",
        brief="Deploy to a server such as nginx or haproxy.",
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
        "Also write the certificate to this file. FORMAT is fullchain, cert, chain, privkey, "
        "combined, pkcs12 or der; append ,owner= ,group= ,mode= or ,password_file= if needed.",
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
        "Check after a deploy that this service serves the certificate, on all its IP addresses "
        "and for all names. Append /starttls=smtp, imap, pop3 or ldap if needed. Can be repeated.",
        brief="Check that this server serves the certificate.",
        flag="--verify",
        metavar="HOST[:PORT]",
        in_spec=True,
        variable="CERTCTL_VERIFY",
        canonical=canonical_service,
    ),
    Option(
        "deploy.probe",
        Kind.BOOLEAN,
        True,
        "Check after a deploy that the new certificate is being served, by the services of "
        "--verify or else where the deploy targets listen.",
        flag="--probe/--no-verify",
        in_spec=True,
        variable="CERTCTL_PROBE",
    ),
    Option(
        "deploy.verify_timeout",
        Kind.SECONDS,
        30.0,
        "How long to wait after a deploy for the new certificate to be served.",
        flag="--verify-timeout",
        in_spec=True,
        variable="CERTCTL_VERIFY_TIMEOUT",
    ),
    Option(
        "deploy.on_failure",
        Kind.CHOICE,
        OnFailure.KEEP.value,
        "What to do if a configuration test, a reload or the live check fails: keep the new "
        "version live, or roll back to the previous one if that works better.",
        brief="Action if a deployment fails.",
        flag="--on-failure",
        choices=tuple(each.value for each in OnFailure),
        in_spec=True,
        variable="CERTCTL_ON_FAILURE",
    ),
    Option(
        "deploy.hook_timeout",
        Kind.SECONDS,
        300.0,
        "How long a hook or a reload command may run before it is killed.",
        flag="--hook-timeout",
        in_spec=True,
        variable="CERTCTL_HOOK_TIMEOUT",
        minimum=1,
    ),
    Option(
        "lock_timeout",
        Kind.SECONDS,
        60.0,
        "How long to wait for another certctl process that is working on the same certificate.",
        brief="How long to wait for a lock.",
        flag="--lock-timeout",
    ),
    Option(
        "order_timeout",
        Kind.SECONDS,
        600.0,
        "How long an order may take, from the first request to the downloaded certificate.",
        brief="How long an order may take.",
        flag="--order-timeout",
        minimum=1,
    ),
    Option(
        "proxy",
        Kind.TEXT,
        None,
        "Proxy for requests to CAs, to the DNS providers acme-dns and httpreq, and for the "
        "heartbeat; `direct` for none. This machine, and the hosts in the variable no_proxy, are "
        "reached directly. Default: the variables https_proxy, http_proxy and all_proxy.",
        metavar="URL",
        canonical=canonical_proxy,
    ),
    Option(
        "proxy_credentials_file",
        Kind.PATH,
        None,
        "File with USER:PASSWORD for the proxy. Other users must not be able to read it.",
    ),
    Option(
        "jobs",
        Kind.INTEGER,
        8,
        "Number of certificates to order in parallel, not counting those waiting for DNS.",
        flag="--jobs",
        minimum=1,
        maximum=64,
    ),
    Option(
        "random_delay",
        Kind.SECONDS,
        0.0,
        "Wait a random time, up to this, before a `renew` that does not run on a terminal.",
        flag="--random-delay",
    ),
    Option(
        "log_file",
        Kind.PATH,
        None,
        "Append a log of all events to this file; - is standard error.",
        flag="--log-file",
    ),
    Option(
        "on_failure_hook",
        Kind.TEXT,
        None,
        "Command to run after a scheduled `renew` (one without a terminal) that failed.",
    ),
    Option(
        "heartbeat",
        Kind.TEXT,
        None,
        "URL to request after each scheduled `renew` that succeeded, for a monitoring service.",
        metavar="URL",
    ),
    Option(
        "heartbeat_method",
        Kind.CHOICE,
        "get",
        "HTTP method of the heartbeat request.",
        choices=("get", "post"),
    ),
    Option(
        "heartbeat_ca_bundle",
        Kind.PATH,
        None,
        "PEM file of root certificates to trust for the heartbeat. Default: the public ones and "
        "those that this system trusts.",
    ),
    Option(
        "alert_urls_file",
        Kind.PATH,
        None,
        "File with Apprise URLs, one per line, that are notified of failures by chat or mail. "
        "Other users must not be able to read it.",
    ),
    Option(
        "keep_versions",
        Kind.INTEGER,
        5,
        "Number of versions of a certificate to keep in the archive.",
        minimum=2,
    ),
)
