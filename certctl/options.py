"""One table of every setting: flags, `certctl.toml`, environment variables and documentation
derive from it.

An `Option` says what a setting is; `Settings` holds the values that were given and where each came
from. This module parses and checks values; reading the file, the environment and the command line
belongs to `certctl.config`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum

from certctl.copies import canonical_copy, canonical_key_mode
from certctl.credentials import EMPTY, DnsCredentials
from certctl.errors import CertctlError, ConfigurationError
from certctl.hook_protocols import FOR_FILES
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


class Source(StrEnum):
    """Where a value came from, the weakest first."""

    FILE = "certctl.toml"
    ENVIRONMENT = "environment"
    SPEC = "spec"
    FLAG = "flag"


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
        "The folder that holds everything: /etc/certctl for root, ~/.config/certctl otherwise.",
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
        "Prove control by HTTP-01 through a running web server's folder: DIR, or NAME=DIR "
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
        choices=tuple(each.value for each in FOR_FILES),
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


class OptionTable(Mapping[str, Option]):
    """Options by key. Those that `more` returns are asked for only once another key is looked up.

    Most commands need none of the options of plug-ins, and finding plug-ins takes time.
    """

    def __init__(
        self,
        known: Iterable[Option] = OPTIONS,
        more: Callable[[], Iterable[Option]] = tuple,
    ) -> None:
        self._known = {option.key: option for option in known}
        self._more: Callable[[], Iterable[Option]] | None = more

    def __getitem__(self, key: str) -> Option:
        return self._known[key] if key in self._known else self._complete()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._complete())

    def __len__(self) -> int:
        return len(self._complete())

    def of_variable(self, variable: str) -> Option | None:
        """Return the option that an environment variable sets; None where there is none."""
        known = _of_variable(self._known, variable)
        return known if known is not None else _of_variable(self._complete(), variable)

    def _complete(self) -> dict[str, Option]:
        if self._more is not None:
            self._known |= {option.key: option for option in self._more()}
            self._more = None
        return self._known


def _of_variable(options: Mapping[str, Option], variable: str) -> Option | None:
    return next((each for each in options.values() if each.environment == variable), None)


@dataclass(frozen=True)
class Settings:
    """The values that were given, over the table's defaults; `sources`: where each came from.

    `dns` has what no single value holds: credentials by name, and by zone.
    """

    values: Mapping[str, Value] = field(default_factory=dict, repr=False)
    sources: Mapping[str, Source] = field(default_factory=dict)
    table: Mapping[str, Option] = field(default_factory=OptionTable, repr=False)
    dns: DnsCredentials = field(default=EMPTY, repr=False)

    def value(self, key: str) -> Value:
        """Return the value in force; the default where none was given. Raises KeyError for an
        unknown key.
        """
        return self.values.get(key, self.table[key].default)

    def text(self, key: str) -> str | None:
        """Return a text or path option."""
        value = self.value(key)
        return None if value is None else str(value)

    def required_text(self, key: str) -> str:
        """Return a text option that has a default."""
        return str(self.value(key))

    def integer(self, key: str) -> int:
        """Return an integer option."""
        return int(self._number(key))

    def seconds(self, key: str) -> float:
        """Return a duration in seconds."""
        return float(self._number(key))

    def _number(self, key: str) -> int | float:
        value = self.value(key)
        if not isinstance(value, int | float):
            raise TypeError(f"{key} is no number")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean option."""
        return self.value(key) is True

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list option."""
        value = self.value(key)
        return value if isinstance(value, tuple) else ()

    def given(self, *sources: Source) -> dict[str, Value]:
        """Return the values that came from `sources`."""
        return {
            key: value for key, value in self.values.items() if self.sources.get(key) in sources
        }

    def over(self, values: Mapping[str, Value], source: Source) -> Settings:
        """Return these settings with `values` laid over them."""
        return replace(
            self,
            values={**self.values, **values},
            sources={**self.sources, **dict.fromkeys(values, source)},
        )

    def spec_digest(self) -> str:
        """Return a digest of what a spec without own choices would inherit; changes when the
        defaults change.
        """
        inherited = {
            key: value for key, value in self.given(Source.FILE).items() if self.table[key].in_spec
        }
        return hashlib.sha256(json.dumps(inherited, sort_keys=True).encode()).hexdigest()[:16]


def parse(option: Option, text: str) -> Value:
    """Return the value that `text` (from the environment or the command line) means for `option`.

    Raises `ConfigurationError` naming the option and what it takes.
    """
    match option.kind:
        case Kind.BOOLEAN:
            if text.lower() in {"1", "true", "yes", "on"}:
                return True
            if text.lower() in {"0", "false", "no", "off", ""}:
                return False
            raise _wrong(option, text)
        case Kind.TEXTS:
            return check(option, [part.strip() for part in text.split(",") if part.strip()])
        case Kind.INTEGER:
            return check(option, _number(option, text))
        case Kind.SECONDS:
            return check(option, _seconds(option, text))
        case _:
            return check(option, text)


def check(option: Option, value: object) -> Value:
    """Return `value` (from a TOML file) as `option` wants it; raises `ConfigurationError`."""
    if option.canonical is not None:
        return _canonical(option, option.canonical, value)
    return _of_kind(option, value)


def _of_kind(option: Option, value: object) -> Value:
    match option.kind, value:
        case Kind.BOOLEAN, bool():
            return value
        case Kind.TEXTS, str():
            return (value,)
        case Kind.TEXTS, list() | tuple() if all(isinstance(each, str) for each in value):
            return tuple(value)
        case Kind.INTEGER, int() if _within(option, value):
            return value
        case Kind.SECONDS, int() | float() if _within(option, value):
            return float(value)
        case Kind.SECONDS, str():
            return check(option, _seconds(option, value))
        case Kind.CHOICE, str() if value.lower() in option.choices:
            return value.lower()  # CAs' documents write ES256 and RSA-2048
        case Kind.TEXT | Kind.PATH, str() if "\0" not in value and "\n" not in value:
            return value
    raise _wrong(option, value)


def _canonical(option: Option, canonical: Callable[[object], str], value: object) -> Value:
    """Return `value` as the option keeps it; an empty text among several is none of them."""
    try:
        if option.kind is not Kind.TEXTS:
            return canonical(value)
        several = value if isinstance(value, list | tuple) else (value,)
        return tuple(dict.fromkeys(canonical(each) for each in several if each != ""))
    except CertctlError as error:
        raise ConfigurationError(
            f"{option.key}: {error.message}", hint=error.hint, code="configuration.value"
        ) from error


def _within(option: Option, value: float) -> bool:
    return not isinstance(value, bool) and option.minimum <= value <= option.maximum


def unknown(key: str, known: Iterable[str], where: str) -> ConfigurationError:
    """Return the error for a key that no option has, with the nearest that exists."""
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"Did you mean {near[0]}?" if near else "docs/configuration.md has all settings."
    return ConfigurationError(
        f"{where}: there is no setting {key!r}", hint=hint, code="configuration.unknown_key"
    )


def flatten(document: Mapping[str, object], options: Mapping[str, Option]) -> dict[str, object]:
    """Return a TOML document's leaves by dotted key; a table that is itself an option's value
    stays whole.
    """
    leaves: dict[str, object] = {}

    def walk(prefix: str, node: Mapping[str, object]) -> None:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if isinstance(value, Mapping) and key not in options:
                walk(f"{key}.", value)
            else:
                leaves[key] = value

    walk("", document)
    return leaves


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)\Z")
_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float | None:
    """Return the seconds that `text` (90, 90s, 5m, 2h or 1d) means; None where it means none."""
    found = _DURATION.match(text.strip())
    return None if found is None else float(found[1]) * _UNIT[found[2]]


def _seconds(option: Option, text: str) -> float:
    found = duration(text)
    if found is None:
        raise _wrong(option, text)
    return found


def _number(option: Option, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _wrong(option, text) from None


def _wrong(option: Option, value: object) -> ConfigurationError:
    shown = "that value" if option.secret else repr(value)
    wanted = {
        Kind.BOOLEAN: "true or false",
        Kind.INTEGER: f"a whole number from {option.minimum:.0f} to {option.maximum:.0f}",
        Kind.SECONDS: f"a duration of at least {option.minimum:g} s and at most "
        f"{option.maximum // 86400:.0f} d, such as 90, 5m, 2h or 1d",
        Kind.CHOICE: "one of " + ", ".join(option.choices),
        Kind.TEXTS: "a list of texts",
    }.get(option.kind, "a line of text")
    return ConfigurationError(f"{option.key}: {shown} is not {wanted}", code="configuration.value")
