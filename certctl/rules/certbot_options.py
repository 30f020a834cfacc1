"""What a command line of certbot means as settings of certctl."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value
from certctl.rules.certbot_arguments import Arguments
from certctl.rules.certbot_flags import DNS_PLUGINS, FLAGS
from certctl.rules.option import Option
from certctl.rules.settings import check

WEB_SERVERS = ("nginx", "apache")
"""The programs whose configuration `certctl secure` changes."""

_WAYS = ("standalone", "webroot", "manual", *WEB_SERVERS, *(f"dns-{each}" for each in DNS_PLUGINS))
_PROVIDERS = MappingProxyType({"google": "googleclouddns", "linode": "linode4"})
_LONGEST_LOOK = 120
_MEANT_EMPTY = frozenset({"ca", "deploy.pre_hook", "deploy.post_hook", "deploy.deploy_hook"})
"""The settings whose empty value means something: no hook, or a CA that is refused."""

_OTHER_FLAGS = MappingProxyType(
    {
        "account.email": "--email",
        "challenge.http_address": "--http-01-address",
        "challenge.http_cleanup_hook": "--manual-cleanup-hook",
        "challenge.http_hook": "--manual-auth-hook",
        "challenge.http_port": "--http-01-port",
        "challenge.webroots": "--webroot-path",
        "dns.exec.cleanup_hook": "--manual-cleanup-hook",
        "dns.exec.hook": "--manual-auth-hook",
        "order_timeout": "--issuance-timeout",
    }
)
"""The flags of the settings that are set by more than the table says."""

_CODE = "usage.certbot"
_CURVES = MappingProxyType(
    {
        **dict.fromkeys(("secp256r1", "prime256v1", "p-256"), "ecdsa-p256"),
        **dict.fromkeys(("secp384r1", "p-384"), "ecdsa-p384"),
    }
)
_REASONS = MappingProxyType(
    {
        each.lower(): each
        for each in (
            *("unspecified", "keyCompromise", "affiliationChanged"),
            *("superseded", "cessationOfOperation"),
        )
    }
)


@dataclass(frozen=True)
class Plugins:
    """How names are validated, and which web server is configured; None where nothing was said."""

    authenticator: str | None = None
    installer: str | None = None


def plugins(given: Arguments) -> Plugins:
    """Return the plug-ins that the flags name.

    Raises `UsageError` for one that has no equal here, or for two of a kind.
    """
    switches = [each for each in _WAYS if given.has(each.replace("-", "_"))]
    configurator = given.text("configurator")
    servers = [each for each in switches if each in WEB_SERVERS]
    named = [each for each in (given.text("authenticator"), configurator) if each]
    others = [each for each in switches if each not in WEB_SERVERS]
    ways = list(dict.fromkeys(map(_known, others or (servers if not named else []) or named)))
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} cannot be combined", code=_CODE)
    installers = [each for each in (given.text("installer"), configurator, *servers) if each]
    installers = [each for each in dict.fromkeys(installers) if each != "null"]
    for each in installers:
        if each not in WEB_SERVERS:
            raise UsageError(
                f"certctl has no equal of certbot's installer {each}",
                hint="Give nginx or apache, or use certonly with --deploy-hook COMMAND.",
                code=_CODE,
            )
    if len(installers) > 1:
        raise UsageError(f"{' and '.join(installers)} cannot be combined", code=_CODE)
    return Plugins(ways[0] if ways else None, installers[0] if installers else None)


def _known(name: str) -> str:
    """Return the name of a plug-in. Raises `UsageError` for one that has no equal."""
    short = name.rpartition(":")[2]
    if short not in _WAYS:
        raise UsageError(
            f"certctl has no equal of certbot's plug-in {name}",
            hint="List certctl's DNS providers: certctl dns list",
            code=_CODE,
        )
    return short


def settings(given: Arguments) -> dict[str, Value]:
    """Return the settings that the flags mean, by key, except how names are validated.

    Raises `UsageError` for a value that cannot be honoured.
    """
    found: dict[str, Value] = {}
    for flag in FLAGS:
        if flag.key is not None and flag.place in given.values:
            value = given.values[flag.place]
            if value != "" or flag.key in _MEANT_EMPTY:  # as of a variable that is not set
                found[flag.key] = value
    found |= _ca(given) | _key(given)
    emails = tuple(each.strip() for each in (given.text("email") or "").split(",") if each.strip())
    if emails:
        found["account.email"] = emails
    if "required_profile" in found:
        found.pop("profile", None)
    timeout = given.values.get("issuance_timeout")
    if timeout is not None:
        found["order_timeout"] = timeout
    port = given.values.get("https_port")
    if port not in (None, 443):
        raise _refused("--https-port", "certctl serves HTTPS at port 443")
    return found


def checked(found: Mapping[str, Value], table: Mapping[str, Option]) -> dict[str, Value]:
    """Return settings in their normal form. Raises `UsageError` for a value that certctl does not
    take, which names the flag: saved with a certificate, it could not be read again.
    """
    flags = {each.key: each.names[0] for each in FLAGS if each.key} | _OTHER_FLAGS
    usable: dict[str, Value] = {}
    for key, value in found.items():
        try:
            usable[key] = check(table[key], value) if key in table else value
        except ConfigurationError as error:
            why = error.message.removeprefix(f"{key}: ")
            raise UsageError(
                f"{flags.get(key, key)}: {why}", hint=error.hint, code=_CODE
            ) from error
    return usable


def _ca(given: Arguments) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if given.has("staging"):
        if given.text("server") is not None:
            raise UsageError("--server and --staging cannot be combined", code=_CODE)
        found["ca"] = "letsencrypt-staging"
    key = given.text("eab_hmac_key")
    if key is not None:
        found["account.eab_hmac_key"] = key
    if (given.text("eab_hmac_alg") or "HS256") != "HS256":
        raise _refused("--eab-hmac-alg", "certctl binds accounts with HS256")
    return found


def _key(given: Arguments) -> dict[str, Value]:
    kind, size, curve = (
        given.values.get(each) for each in ("key_type", "rsa_key_size", "elliptic_curve")
    )
    found: dict[str, Value] = {}
    if kind == "rsa":
        if size not in (None, 2048, 3072, 4096):
            raise _refused(f"--rsa-key-size {size}", "keys have 2048, 3072 or 4096 bits")
        found["key_type"] = f"rsa-{size or 2048}"
    elif kind is not None or curve is not None:
        wanted = curve or "secp256r1"
        if wanted not in _CURVES:
            raise _refused(f"--elliptic-curve {curve}", "certctl makes secp256r1 and secp384r1")
        found["key_type"] = _CURVES[wanted]
    reuse = given.switch("reuse_key")
    if given.has("new_key"):
        found["reuse_key"] = False
    elif reuse is not None:
        found["reuse_key"] = reuse
    return found


def validation(given: Arguments, way: str, names: tuple[str, ...]) -> dict[str, Value]:
    """Return the settings for the plug-in `way`, which is not that of a web server, for `names`.

    Raises `UsageError` if something that it needs was not given.
    """
    challenges = _challenges(given)
    if way == "standalone":
        _require(challenges, "http-01", way)
        return _standalone(given)
    if way == "webroot":
        _require(challenges, "http-01", way)
        return _webroot(given, names)
    if way == "manual":
        return _manual(given, challenges, names)
    _require(challenges, "dns-01", way)
    return _dns(given, way.removeprefix("dns-"))


def _challenges(given: Arguments) -> list[str]:
    wanted = (given.text("preferred_challenges") or "").lower().split(",")
    found = [each.strip().removesuffix("-01") for each in wanted if each.strip()]
    for each in found:
        if each not in ("http", "dns", "tls-sni", "tls-alpn"):
            raise UsageError(f"--preferred-challenges: there is no challenge {each}", code=_CODE)
    return [f"{each}-01" for each in found]


def _require(challenges: list[str], needed: str, way: str) -> None:
    if challenges and needed not in challenges:
        raise UsageError(
            f"--{way} answers {needed}, which is not among the preferred challenges",
            hint=f"Leave out --preferred-challenges, or add {needed.removesuffix('-01')}.",
            code=_CODE,
        )


def _standalone(given: Arguments) -> dict[str, Value]:
    found: dict[str, Value] = {"challenge.method": "standalone"}
    port, address = given.values.get("http_01_port"), given.text("http_01_address")
    if port is not None:
        found["challenge.http_port"] = int(port)
    if address:
        found["challenge.http_address"] = address
    return found


def _webroot(given: Arguments, names: tuple[str, ...]) -> dict[str, Value]:
    if "" in (given.webroot, *given.webroots.values()) or not (given.webroot or given.webroots):
        raise UsageError(
            "--webroot needs the directory that the web server serves",
            hint="Give it with -w DIR.",
            code="usage.certbot_webroot",
        )
    own = {each: given.webroots.get(each, given.webroot) for each in names}
    missing = [name for name, directory in own.items() if directory is None]
    if missing:
        raise UsageError(
            f"--webroot-map has no directory for {', '.join(missing)}",
            hint="Add it there, or give one for all others with -w DIR.",
            code=_CODE,
        )
    directories = dict.fromkeys(each for each in own.values() if each is not None)
    if not directories:
        directories = {str(given.webroot): None}
    if len(directories) == 1:
        return {"challenge.method": "webroot", "challenge.webroots": tuple(directories)}
    each = tuple(f"{name}={directory}" for name, directory in own.items())
    return {"challenge.method": "webroot", "challenge.webroots": each}


def _manual(given: Arguments, challenges: list[str], names: tuple[str, ...]) -> dict[str, Value]:
    hook, cleanup = given.text("manual_auth_hook"), given.text("manual_cleanup_hook")
    wildcard = any(each.startswith("*.") for each in names)
    by_dns = challenges[:1] == ["dns-01"] or wildcard
    if hook is None:
        if not by_dns:
            raise UsageError(
                "certctl cannot have a person answer HTTP challenges by hand",
                hint="Use --preferred-challenges dns, --manual-auth-hook COMMAND, or --webroot.",
                code=_CODE,
            )
        return {"challenge.method": "dns", "challenge.dns_provider": "manual"}
    prefix = "dns.exec." if by_dns else "challenge.http_"
    found: dict[str, Value] = {f"{prefix}hook": hook}
    if by_dns:
        found |= {"challenge.method": "dns", "challenge.dns_provider": "exec"}
        found["dns.exec.protocol"] = "certbot"
    else:
        found |= {"challenge.method": "http-hook", "challenge.http_hook_protocol": "certbot"}
    if cleanup is not None:
        found[f"{prefix}cleanup_hook"] = cleanup
    return found


def _dns(given: Arguments, plugin: str) -> dict[str, Value]:
    found: dict[str, Value] = {"challenge.method": "dns"}
    prefix = f"dns_{plugin}"
    file = given.text(f"{prefix}_credentials")
    if file is not None:
        found["challenge.dns_credentials"] = file if "/" in file else f"./{file}"
    elif plugin in ("route53", "google"):
        found["challenge.dns_provider"] = _PROVIDERS.get(plugin, plugin)
    else:
        raise UsageError(
            f"--dns-{plugin} needs its credentials",
            hint=f"Give the file with --dns-{plugin}-credentials FILE.",
            code=_CODE,
        )
    seconds = given.values.get(f"{prefix}_propagation_seconds")
    if seconds is not None and seconds > _LONGEST_LOOK:
        found["challenge.dns_propagation_timeout"] = seconds
    return found


def reason(given: Arguments) -> str:
    """Return the reason for a revocation."""
    return _REASONS[given.text("reason") or "unspecified"]


def copies(given: Arguments, free: Callable[[str], str]) -> tuple[str, ...]:
    """Return the copies that `--csr` asks for; `free` returns a path that nothing is at, another
    one each time.
    """
    wanted: Mapping[str, tuple[str, str]] = {
        "cert": ("cert_path", "cert.pem"),
        "chain": ("chain_path", "chain.pem"),
        "fullchain": ("fullchain_path", "chain.pem"),  # certbot's own default
    }
    return tuple(
        f"{kind}:{given.text(place) or free(name)}" for kind, (place, name) in wanted.items()
    )


def _refused(flag: str, why: str) -> UsageError:
    return UsageError(f"certctl cannot honour {flag}: {why}", code=_CODE)
