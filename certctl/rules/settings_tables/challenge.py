"""Domain validation."""

from __future__ import annotations

from collections.abc import Mapping

from certctl.model.ca import ChallengeType
from certctl.model.errors import ConfigurationError
from certctl.rules.hook_protocols import HTTP_PROTOCOLS
from certctl.rules.option import PLUGIN_NAME, Kind, Option

METHODS: Mapping[str, str] = {
    "standalone": "http01_standalone",
    "webroot": "http01_webroot",
    "stateless": "http01_stateless",
    "http-hook": "http01_hook",
    "dns": "dns01",
    "tls-alpn": "tls_alpn01",
    "dns-persist": "dns_persist01",
}
"""The challenge methods of certctl itself, each with its module in `certctl.challenges`; plug-ins
add others.
"""

BY_IDENTIFIER = "dns+standalone"
"""DNS-01 for names and HTTP-01 for addresses. Only the development CA has both without settings, so
that it cannot be chosen.
"""


def _method(value: object) -> str:
    """Return `value` if it can be the name of a challenge method, which need not exist."""
    if not isinstance(value, str) or not PLUGIN_NAME.match(value):
        raise ConfigurationError(
            f"{value!r} is not a valid challenge method",
            hint=f"Give one of {', '.join(METHODS)}, or the name of a plug-in.",
        )
    return value


CHALLENGE_OPTIONS: tuple[Option, ...] = (
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
        only_for="standalone",
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
        only_for="standalone",
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
        only_for="tls-alpn",
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
        only_for="tls-alpn",
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
        only_for="webroot",
        implies="webroot",
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
        only_for="webroot",
        implies="webroot",
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
        only_for="http-hook",
        implies="http-hook",
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
        only_for="http-hook",
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
        only_for="http-hook",
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
        implies="dns",
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
        implies="dns",
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
)
