"""Every flag of certbot, and what it means to `certctl-certbot`: one table, from which the parser,
the help and docs/from-certbot.md are derived.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from types import MappingProxyType

from certctl.model.lazy_dataclass import dataclass

CERTBOT_VERSION = "5.8.0"
"""The version of certbot whose flags these are; older ones have no others, except where said."""


class Kind(Enum):
    """What becomes of a flag."""

    MEANS = "works"
    SWALLOWED = "ignored"
    REFUSED = "refused"


class Takes(Enum):
    """What follows a flag."""

    NOTHING = 0
    VALUE = 1
    VALUES = 2
    COUNT = 3
    NUMBER = 4


@dataclass(frozen=True)
class Flag:
    """A flag with its other spellings, the first being the one that is shown.

    `text` is what it means here, or why it is ignored or refused. `key` is the setting of certctl
    that it sets, if it sets just one. `dest` is where its value is kept; flags that exclude each
    other share one, and `value` is then what a flag without an argument stands for. `choices` are
    the values that it can have, in lower case.
    """

    names: tuple[str, ...]
    takes: Takes
    kind: Kind
    text: str
    key: str | None = None
    dest: str = ""
    value: bool = True
    metavar: str = ""
    choices: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The attribute of the parsed arguments."""
        long = next(each for each in self.names if each.startswith("--"))
        return self.dest or long[2:].replace("-", "_")


SUBCOMMANDS = MappingProxyType(
    {
        "run": "the default: obtain a certificate for the web server, `certctl secure`",
        "certonly": "obtain a certificate: `certctl issue`",
        "renew": "renew what is due: `certctl renew`",
        "certificates": "list certificates: `certctl list`",
        "delete": "delete a certificate: `certctl delete`",
        "revoke": "revoke a certificate: `certctl revoke`",
        "reconfigure": "try new options of a certificate and save them: `certctl edit`",
        "register": "register an account: `certctl register`",
        "update_account": "change its email address: `certctl account update`",
        "show_account": "show it: `certctl account show`",
        "unregister": "deactivate it: `certctl account deactivate`",
        "install": "have the web server use a certificate: `certctl secure`",
        "enhance": "add a redirect or HSTS: `certctl secure`",
        "rollback": "undo the changes of a web server's configuration: `certctl secure --undo`",
        "plugins": "list how names can be validated: `certctl dns list`",
        "update_symlinks": "make the links in `live/` again",
        "config_changes": "nothing, as in certbot, which dropped it",
        "help": "this help",
    }
)
"""certbot's subcommands, with what they do here."""

OTHER_VERBS = MappingProxyType({"auth": "certonly", "everything": "run", "certificate": ""})
"""Old names of subcommands."""


def _flag(
    *names: str, takes: Takes = Takes.VALUE, kind: Kind = Kind.MEANS, text: str, **more: object
) -> Flag:
    return Flag(names, takes, kind, text, **more)  # type: ignore[arg-type]  # checked by the tests


def _switch(*names: str, text: str, **more: object) -> Flag:
    return _flag(*names, takes=Takes.NOTHING, text=text, **more)  # type: ignore[arg-type]


def _swallowed(*names: str, text: str, takes: Takes = Takes.NOTHING) -> Flag:
    return _flag(*names, takes=takes, kind=Kind.SWALLOWED, text=text)


def _refused(*names: str, text: str, takes: Takes = Takes.NOTHING) -> Flag:
    return _flag(*names, takes=takes, kind=Kind.REFUSED, text=text)


_GENERAL = (
    _switch("-h", "--help", text="shows the flags; a topic may follow"),
    _switch("--version", text="shows the version of certbot whose flags these are, and certctl's"),
    _flag("-c", "--config", text="a file like `cli.ini`, read too", dest="config"),
    _flag("-v", "--verbose", takes=Takes.COUNT, text="shows the requests to the CA from `-vv` on"),
    _switch("-q", "--quiet", text="prints errors only, and asks nothing"),
    _switch("-n", "--non-interactive", "--noninteractive", text="asks nothing"),
    _switch("--force-interactive", text="asks also without a terminal"),
    _switch("--debug", text="shows tracebacks"),
    _flag("--home", text="`certctl`'s home directory; not a flag of certbot", metavar="DIR"),
    _flag("--config-dir", text="where the links `live/NAME/*.pem` are made", metavar="DIR"),
    _swallowed("--work-dir", takes=Takes.VALUE, text="everything is in certctl's home directory"),
    _flag("--logs-dir", text="`--log-file DIR/letsencrypt.log`; without it, no log is written"),
    _swallowed("--max-log-backups", takes=Takes.VALUE, text="left to logrotate"),
    _swallowed("--strict-permissions", text="always so"),
    _swallowed(
        "--user-agent", "--user-agent-comment", takes=Takes.VALUE, text="certctl says its own"
    ),
    _swallowed("-t", "--text", text="there is nothing else"),
    _swallowed("--verbose-level", takes=Takes.VALUE, text="see `-v`"),
    _swallowed("--preconfigured-renewal", text="says how certbot was packaged"),
    _swallowed(
        *("--no-self-upgrade", "--os-packages-only", "--no-bootstrap", "--no-permissions-check"),
        "--manual-public-ip-logging-ok",
        text="of old versions, and without effect in certbot too",
    ),
    _swallowed(
        *("--tls-sni-01-port", "--tls-sni-01-address"),
        takes=Takes.VALUE,
        text="of old versions, and without effect in certbot too",
    ),
)

_NAMES = (
    _flag("-d", "--domains", "--domain", takes=Takes.VALUES, text="names; commas separate them"),
    _flag("--ip-address", takes=Takes.VALUES, text="IP addresses", dest="ip_addresses"),
    _flag("--cert-name", text="the certificate: `--name NAME`, or NAME", metavar="NAME"),
    _flag("--csr", text="`--csr FILE`; it is used for renewals too", metavar="FILE"),
    _flag(
        "--cert-path",
        text="with `--csr`, `--copy cert:PATH`; with `revoke`, the certificate; ignored elsewhere",
    ),
    _flag("--fullchain-path", text="with `--csr`, `--copy fullchain:PATH`; ignored elsewhere"),
    _flag("--chain-path", text="with `--csr`, `--copy chain:PATH`; ignored elsewhere"),
    _flag("--key-path", text="with `revoke`, the certificate's key; ignored elsewhere"),
    _switch("--expand", text="adds names to the certificate that has a part of them"),
    _switch("--renew-with-new-domains", text="lets `--cert-name` have other names"),
    _switch("--duplicate", text="obtains a second certificate, `NAME-0001`"),
    _switch("--allow-subset-of-names", text="`--allow-subset`", key="allow_subset"),
    _switch(
        *("--keep-until-expiring", "--keep", "--reinstall"),
        text="the default: nothing is ordered that is not due",
        dest="keep",
    ),
    _switch(
        *("--force-renewal", "--renew-by-default"),
        text="`--force`; implies `--expand`",
        dest="force",
    ),
    _switch("--break-my-certs", text="`--force`: a public certificate may be replaced by another"),
    _switch("--dry-run", text="`--dry-run`"),
    _refused("--run-deploy-hooks", text="run them with `certctl deploy NAME`"),
    _refused("--debug-challenges", text="certctl pauses only for `--manual`"),
    _switch("--no-autorenew", text="`--no-autorenew`", key="autorenew", value=False),
)

_CA = (
    _flag("--server", text="`--ca URL`", key="ca", metavar="URL"),
    _switch("--test-cert", "--staging", text="`--ca letsencrypt-staging`", dest="staging"),
    _refused(
        "--no-verify-ssl",
        text="trust the CA's own root instead, with REQUESTS_CA_BUNDLE or CERTCTL_CA_BUNDLE",
    ),
    _flag("-m", "--email", text="`--email`; commas separate several", dest="email"),
    _switch("--register-unsafely-without-email", text="no email address is asked for"),
    _switch("--agree-tos", text="`--agree-tos`", key="account.agree_tos"),
    _swallowed("--eff-email", "--no-eff-email", text="nobody but the CA gets the address"),
    _flag("--eab-kid", text="`--eab-kid`", key="account.eab_kid"),
    _flag(
        "--eab-hmac-key",
        text="the key, with a warning: other users can see it. Better: CERTCTL_EAB_HMAC_KEY_FILE",
    ),
    _flag("--eab-hmac-alg", text="HS256 only; any other one is refused"),
    _flag("--account", text="`--account ID`, an ID of `certctl account show`", key="account.id"),
    _flag("--issuance-timeout", takes=Takes.NUMBER, text="`--order-timeout`", metavar="SECONDS"),
)

_KEYS = (
    _flag(
        "--key-type",
        text="`rsa` or `ecdsa`: `--key-type`; to change that of a certificate, add `--cert-name`",
        choices=("rsa", "ecdsa"),
    ),
    _flag("--rsa-key-size", takes=Takes.NUMBER, text="2048, 3072 or 4096; 8192 is refused"),
    _flag(
        "--elliptic-curve",
        text="secp256r1 or secp384r1; secp521r1 is refused",
        choices=("secp256r1", "prime256v1", "p-256", "secp384r1", "p-384", "secp521r1"),
    ),
    _switch("--reuse-key", text="`--reuse-key`", dest="reuse_key"),
    _switch("--no-reuse-key", text="`--new-key`", dest="reuse_key", value=False),
    _switch("--new-key", text="a new key now, whatever `--reuse-key` says for later"),
    _refused("--must-staple", text="certctl cannot ask for it, and CAs have ended OCSP"),
    _flag("--preferred-profile", text="`--profile`", key="profile"),
    _flag("--required-profile", text="`--required-profile`", key="required_profile"),
    _flag("--preferred-chain", text="`--preferred-chain`", key="preferred_chain"),
)

_VALIDATION = (
    _flag(
        "-a",
        "--authenticator",
        text="how names are validated: webroot, nginx …",
        dest="authenticator",
    ),
    _flag("-i", "--installer", text="nginx or apache: `certctl secure`", dest="installer"),
    _flag("--configurator", text="both"),
    _switch("--standalone", text="`--standalone`"),
    _switch("--webroot", text="`--webroot`"),
    _switch("--manual", text="`--http-hook` or `--dns exec`; by hand for DNS: `--dns manual`"),
    _switch("--nginx", text="`certctl secure`; with `certonly`, only its lines for challenges"),
    _switch("--apache", text="`certctl secure`; with `certonly`, only its lines for challenges"),
    _flag("-w", "--webroot-path", takes=Takes.VALUES, text="for the names after it, as in certbot"),
    _flag("--webroot-map", takes=Takes.VALUES, text="a JSON object of names and directories"),
    _flag("--preferred-challenges", text="http or dns, where the method does not say it"),
    _flag("--http-01-port", takes=Takes.NUMBER, text="`--http-port`, with `--standalone`"),
    _flag("--http-01-address", text="`--http-address`, with `--standalone`"),
    _flag("--manual-auth-hook", text="`--dns-hook` or `--http-hook`, as for certbot"),
    _flag("--manual-cleanup-hook", text="`--dns-cleanup-hook` or `--http-cleanup-hook`"),
)

_HOOKS = (
    _flag("--pre-hook", text="`--pre-hook`", key="deploy.pre_hook"),
    _flag("--post-hook", text="`--post-hook`", key="deploy.post_hook"),
    _flag("--deploy-hook", "--renew-hook", text="`--deploy-hook`", key="deploy.deploy_hook"),
    _swallowed("--disable-hook-validation", text="a hook that is missing is an error when it runs"),
    _switch("--no-directory-hooks", text="leaves the executables of `renewal-hooks/` alone"),
    _swallowed("--disable-renew-updates", text="renewals never change the web server"),
    _swallowed("--no-random-sleep-on-renew", text="the default; see the setting `random_delay`"),
)

_SERVERS = (
    _switch("--redirect", text="`--redirect`", dest="redirect"),
    _switch("--no-redirect", text="`--no-redirect`", dest="redirect", value=False),
    _switch("--hsts", text="`--hsts`", dest="hsts"),
    _switch("--no-hsts", text="`--no-hsts`", dest="hsts", value=False),
    _swallowed("--uir", "--no-uir", text="certctl adds no Content-Security-Policy; warned of"),
    _swallowed("--staple-ocsp", "--no-staple-ocsp", text="CAs have ended OCSP; warned of"),
    _swallowed("--auto-hsts", text="HSTS is set at once, with `--hsts`; warned of"),
    _flag("--https-port", takes=Takes.NUMBER, text="443 only; any other port is refused"),
    _swallowed(
        *("--nginx-server-root", "--nginx-ctl", "--nginx-sleep-seconds"),
        takes=Takes.VALUE,
        text="certctl finds the nginx that runs, and waits until it has reloaded",
    ),
    _swallowed(
        *("--apache-enmod", "--apache-dismod", "--apache-le-vhost-ext", "--apache-server-root"),
        *("--apache-vhost-root", "--apache-logs-root", "--apache-challenge-location"),
        *("--apache-handle-modules", "--apache-handle-sites", "--apache-ctl", "--apache-bin"),
        takes=Takes.VALUE,
        text="certctl finds the Apache that runs",
    ),
    _flag("--checkpoints", takes=Takes.NUMBER, text="`rollback` undoes all for one certificate"),
)

_REVOCATION = (
    _flag(
        "--reason",
        text="`--reason`",
        choices=(
            *("unspecified", "keycompromise", "affiliationchanged", "superseded"),
            "cessationofoperation",
        ),
    ),
    _switch(
        "--delete-after-revoke", text="`--delete`, the default off a terminal", dest="delete_after"
    ),
    _switch(
        "--no-delete-after-revoke",
        text="`--stop`: the files stay, and its renewal is turned off",
        dest="delete_after",
        value=False,
    ),
    _swallowed("--init", "--prepare", "--authenticators", "--installers", text="all are listed"),
)

DNS_PLUGINS = (
    *("cloudflare", "digitalocean", "dnsimple", "dnsmadeeasy", "gehirn", "google", "linode"),
    *("luadns", "nsone", "ovh", "rfc2136", "route53", "sakuracloud"),
)
"""certbot's own DNS plug-ins."""


def _dns(plugin: str) -> Iterator[Flag]:
    provider = "`--dns rfc2136`" if plugin == "rfc2136" else f"DNS-01 with {plugin}, by Lexicon"
    yield _switch(f"--dns-{plugin}", text=provider)
    if plugin != "route53":
        yield _flag(
            f"--dns-{plugin}-credentials",
            text="`--dns-credentials FILE`; only its owner may be able to read it",
            metavar="FILE",
        )
    yield _flag(
        f"--dns-{plugin}-propagation-seconds",
        takes=Takes.NUMBER,
        text="at most so long, if over 120: certctl looks whether the records are there",
    )


FLAGS: tuple[Flag, ...] = (
    *_GENERAL,
    *_NAMES,
    *_CA,
    *_KEYS,
    *_VALIDATION,
    *(each for plugin in DNS_PLUGINS for each in _dns(plugin)),
    _refused("--dns-google-project", takes=Takes.VALUE, text="the zone's is found by its name"),
    *_HOOKS,
    *_SERVERS,
    *_REVOCATION,
)
"""Every flag, in the order of the documentation."""

WARNED = frozenset({"--uir", "--staple-ocsp", "--auto-hsts"})
"""Flags that are ignored although something was wanted with them: certctl says so."""
