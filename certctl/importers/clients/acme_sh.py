"""acme.sh: `~/.acme.sh` with a directory for each certificate (RSA) or `NAME_ecc` (ECDSA).

Its configuration is shell assignments with quoted values. They are read by a parser here: nothing
is executed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from certctl.importers.accounts import read_account, read_json
from certctl.importers.schedules import flag_values, path_of, words_of
from certctl.importers.system import (
    WAY,
    Draft,
    ImportSystem,
    Pair,
    current_ca,
    port_of,
    read_pair,
)
from certctl.importers.tree import Tree, Unreadable
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundClient,
    FoundFiles,
    StopRenewal,
)
from certctl.model.text import quoted
from certctl.model.urls import url_parts
from certctl.model.values import Value

NAME = "acme.sh"
HOMES = ("/root/.acme.sh", "/etc/acme.sh", "/etc/acme", "/acme.sh")
WORDS = ("acme.sh",)
_DAMAGED = "\N{REPLACEMENT CHARACTER}"
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)\Z")
_BASE64 = re.compile(r"__ACME_BASE64__START_(.*)__ACME_BASE64__END_\Z", re.DOTALL)
_COPIES = (
    ("Le_RealCertPath", "cert"),
    ("Le_RealKeyPath", "privkey"),
    ("Le_RealCACertPath", "chain"),
    ("Le_RealFullChainPath", "fullchain"),
)
_PROVIDERS: Mapping[str, str] = {
    "dns_cf": "cloudflare",
    "dns_dgon": "digitalocean",
    "dns_linode_v4": "linode4",
    "dns_ovh": "ovh",
    "dns_hetzner": "hetzner",
    "dns_gandi_livedns": "gandi",
    "dns_aws": "route53",
    "dns_nsupdate": "rfc2136",
}
"""certctl's DNS provider for acme.sh's most used scripts."""

_CA_NAMES: Mapping[str, str] = {
    "letsencrypt": "acme-v02.api.letsencrypt.org",
    "letsencrypt_test": "acme-staging-v02.api.letsencrypt.org",
    "zerossl": "acme.zerossl.com",
    "sslcom": "acme.ssl.com",
    "google": "dv.acme-v02.api.pki.goog",
    "googletest": "dv.acme-v02.test-api.pki.goog",
}
"""The hosts of the CAs that acme.sh knows by a name."""


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes at the usual places, of users, and those that cron lines name."""
    tree = system.tree
    users = [f"/home/{each}/.acme.sh" for each in tree.directories("/home")]
    named = [
        path_of(value, each.environment)
        for each in system.commands(NAME)
        for value in flag_values(words_of(each.command), "--home", "--config-home")
    ]
    places = dict.fromkeys([*HOMES, *users, *named])
    return [each for each in places if each.startswith("/") and is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that acme.sh has used."""
    return "account.conf" in system.tree.files(path) or system.tree.is_directory(f"{path}/ca")


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what acme.sh has in a home. Raises nothing for damaged files."""
    tree = system.tree
    problems: list[str] = []
    settings = _settings(tree, f"{home}/account.conf", home)
    ca_places = dict.fromkeys([_place(tree, settings, "CA_HOME", f"{home}/ca"), f"{home}/ca"])
    accounts = tuple(one for place in ca_places for one in _accounts(tree, place, problems))
    places = dict.fromkeys([home, _place(tree, settings, "CERT_HOME", home)])
    found = [
        replace(certificate, home=home)
        for place in places
        for directory in tree.directories(place)
        for certificate in _certificates(system, place, directory, settings, accounts, problems)
    ]
    secrets = sorted(each for each in settings if each.startswith("SAVED_"))
    notes = []
    if secrets:
        notes.append(f"{home}/account.conf has DNS credentials in plain text: {', '.join(secrets)}")
    if settings.get("NOTIFY_HOOK"):
        notes.append(f"its notification hook {settings['NOTIFY_HOOK']} is not moved")
    return FoundClient(NAME, home, None, accounts, tuple(found), (), tuple(problems), tuple(notes))


def _place(tree: Tree, settings: Mapping[str, str], key: str, usual: str) -> str:
    """Return a directory that the configuration may have moved elsewhere."""
    moved = settings.get(key, "").rstrip("/")
    return moved if moved.startswith("/") and tree.is_directory(moved) else usual


def assignments(text: str) -> dict[str, str]:
    """Return the assignments in a configuration file; a line that is none is left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match is not None:
            found[match[1]] = _decoded(_unquoted(match[2]))
    return found


def _unquoted(text: str) -> str:
    r"""Return a value without its quotes; a quote inside is written as `'\''`."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("'\\''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def _decoded(text: str) -> str:
    match = _BASE64.match(text)
    if match is None:
        return text
    try:
        return base64.b64decode(match[1], validate=True).decode("utf-8", errors="replace")
    except binascii.Error:
        return _DAMAGED


def _settings(tree: Tree, path: str, home: str) -> dict[str, str]:
    try:
        return assignments(tree.text(path, home))
    except Unreadable:
        return {}


def _certificates(
    system: ImportSystem,
    home: str,
    directory: str,
    settings: Mapping[str, str],
    accounts: Sequence[FoundAccount],
    problems: list[str],
) -> Iterator[FoundCertificate]:
    tree, path = system.tree, f"{home}/{directory}"
    domain = directory.removesuffix("_ecc")
    names = tree.files(path)
    removed = f"{domain}.conf" not in names and f"{domain}.conf.removed" in names
    file = f"{path}/{domain}.conf" + (".removed" if removed else "")
    if f"{domain}.conf" not in names and not removed:
        return
    try:
        conf = assignments(tree.text(file, home))
    except Unreadable as error:
        problems.append(str(error))
        return
    if not conf.get("Le_Domain"):
        problems.append(f"{file} is damaged: it names no domain")
        return
    both = directory.endswith("_ecc") and tree.is_directory(f"{home}/{domain}")
    draft = _draft(tree, home, path, domain, f"{domain}-ecc" if both else domain, conf, file)
    if removed:
        draft.why = "acme.sh --remove was run for it, so acme.sh does not renew it"
        draft.by_name = True
    _ca(system, draft, conf, settings, accounts)
    _validation(draft, conf, settings)
    _deployment(draft, conf)
    _options(draft, conf)
    if {f"{domain}.key.revoked", f"{domain}.csr.revoked"} & set(names):
        draft.why = (
            "acme.sh revoked it; get a new one instead: certctl issue "
            f"{' '.join(draft.names_wanted)}"
        )
    yield draft.finished()


def _draft(
    tree: Tree, home: str, path: str, domain: str, name: str, conf: Mapping[str, str], file: str
) -> Draft:
    names = tree.files(path)
    key = f"{path}/{domain}.key" if f"{domain}.key" in names else None
    files = FoundFiles(f"{path}/fullchain.cer", key, f"{path}/{domain}.cer", f"{path}/ca.cer")
    pair = read_pair(tree, files, home)
    if "fullchain.cer" not in names and f"{domain}.cer" not in names:
        pair = Pair(why="acme.sh has never got a certificate for it")
    draft = Draft(NAME, name, home, files, pair, conf=file)
    if not file.endswith(".removed"):
        draft.stop = StopRenewal(file, aside=f"{file}.removed")
    alternatives = conf.get("Le_Alt", "")
    draft.names_wanted = (
        conf["Le_Domain"],
        *(() if alternatives in ("", "no") else [each for each in alternatives.split(",") if each]),
    )
    if key is None and pair.material is not None:
        try:
            draft.csr = tree.read(f"{path}/{domain}.csr", home)
            draft.notes.append("it was issued for a signing request, which is kept for renewals")
        except Unreadable:
            draft.ask(
                "it has no private key here: it was issued for a signing request",
                "certctl issue --csr FILE, in place of the import",
            )
    return draft


def _ca(
    system: ImportSystem,
    draft: Draft,
    conf: Mapping[str, str],
    settings: Mapping[str, str],
    accounts: Sequence[FoundAccount],
) -> None:
    stated = conf.get("Le_API") or settings.get("DEFAULT_ACME_SERVER") or None
    draft.ca = current_ca(system.known_cas.get(_CA_NAMES.get(stated or "", ""), stated))
    if draft.ca is None:
        draft.ask("its CA is not recorded", "--ca CA")
        return
    account = next((each for each in accounts if each.ca == draft.ca), None)
    if account is None or account.problem is not None:
        draft.ask(
            "its account is not here or cannot be used: a new one must be registered",
            "--agree-tos",
        )
    else:
        draft.account_url, draft.account_key_file = account.url, account.key_file


def _validation(draft: Draft, conf: Mapping[str, str], settings: Mapping[str, str]) -> None:
    ways = [each for each in conf.get("Le_Webroot", "").split(",") if each]
    names = draft.names_wanted
    each_way = {name: ways[min(place, len(ways) - 1)] for place, name in enumerate(names) if ways}
    kinds = {_kind(way) for way in each_way.values()}
    if not each_way:
        draft.ask("how its names are validated is not recorded", WAY)
    elif kinds == {"/"}:
        draft.method = "webroot"
        draft.options["challenge.method"] = "webroot"
        different = set(each_way.values())
        draft.options["challenge.webroots"] = (
            (different.pop(),)
            if len(different) == 1
            else tuple(f"{name}={way}" for name, way in each_way.items())
        )
    elif kinds == {"no"}:
        draft.method = "standalone"
        draft.options["challenge.method"] = "standalone"
        _standalone_options(draft, conf, "http")
    elif kinds == {"alpn"}:
        draft.method = "tls-alpn"
        draft.options["challenge.method"] = "tls-alpn"
        _standalone_options(draft, conf, "tls_alpn")
    elif len(kinds) > 1:
        draft.ask(f"its names are validated in several ways ({', '.join(sorted(kinds))})", WAY)
    else:
        _other_way(draft, kinds.pop(), settings)


def _kind(way: str) -> str:
    """Return a way of validation without its parameters; `/` for a directory."""
    kind = way.partition(":")[0]
    return "/" if "/" in kind else kind


def _standalone_options(draft: Draft, conf: Mapping[str, str], prefix: str) -> None:
    port = conf.get("Le_HTTPPort" if prefix == "http" else "Le_TLSPort", "")
    usual = "80" if prefix == "http" else "443"
    if port not in ("", usual):
        draft.options[f"challenge.{prefix}_port"] = port_of(port)
    address = conf.get("Le_LocalAddress", "").strip(",")
    if address:
        draft.options[f"challenge.{prefix}_address"] = address


def _other_way(draft: Draft, way: str, settings: Mapping[str, str]) -> None:
    if way == "dns":
        draft.method = None
        draft.ask(
            "a person created its DNS records by hand; certctl can ask too, but not when cron runs"
            " it",
            "--dns manual, or another way",
        )
    elif way in ("nginx", "apache"):
        draft.ask(
            f"acme.sh changed the configuration of {way} to validate its names; certctl writes a"
            " file into the directory that serves them",
            "--webroot DIR, or --tls-alpn",
        )
    else:
        provider = _PROVIDERS.get(way)
        saved = ", ".join(sorted(each for each in settings if each.startswith("SAVED_")))
        draft.method = f"dns {way.removeprefix('dns_')}"
        draft.ask(
            f"acme.sh's script {quoted(way)} works only with acme.sh"
            + (f"; its credentials are in account.conf ({saved})" if saved else ""),
            f"--dns {provider or 'PROVIDER'} with its credentials (certctl dns show"
            f" {provider or 'PROVIDER'})",
        )


def _deployment(draft: Draft, conf: Mapping[str, str]) -> None:
    for key, option in (
        ("Le_PreHook", "deploy.pre_hook"),
        ("Le_PostHook", "deploy.post_hook"),
        ("Le_RenewHook", "deploy.deploy_hook"),
        ("Le_ReloadCmd", "deploy.reload"),
    ):
        if conf.get(key):
            draft.options[option] = conf[key]
    copies = tuple(f"{form}:{conf[key]}" for key, form in _COPIES if conf.get(key))
    if copies:
        draft.options["deploy.copy"] = copies
    hooks = [each for each in conf.get("Le_DeployHook", "").split(",") if each]
    for hook in hooks:
        directory = conf.get("Le_Deploy_haproxy_pem_path")
        if hook == "haproxy" and directory and directory.startswith("/"):
            _haproxy(draft, directory, conf)
        else:
            draft.ask(
                f"acme.sh's deploy hook {quoted(hook)} works only with acme.sh",
                "--deploy PROGRAM or --deploy-hook COMMAND",
            )


def _haproxy(draft: Draft, directory: str, conf: Mapping[str, str]) -> None:
    """Write the file that acme.sh's hook wrote, and reload as it did."""
    file = conf.get("Le_Deploy_haproxy_pem_name") or f"{conf['Le_Domain']}.pem"
    before = draft.options.get("deploy.copy", ())
    draft.options["deploy.copy"] = (
        *(before if isinstance(before, tuple) else ()),
        f"combined:{directory}/{file}",
    )
    draft.options["deploy.reload"] = (
        conf.get("Le_Deploy_haproxy_reload") or "systemctl reload haproxy"
    )


def _options(draft: Draft, conf: Mapping[str, str]) -> None:
    if draft.csr is None and conf.get("Le_ForceNewDomainKey", "") in ("", "0"):
        draft.options["reuse_key"] = True
    values: Mapping[str, Value] = {
        "preferred_chain": conf.get("Le_Preferred_Chain"),
        "profile": conf.get("Le_Certificate_Profile"),
    }
    draft.options |= {key: value for key, value in values.items() if value}
    if conf.get("Le_ChallengeAlias", "").strip(","):
        draft.notes.append("its challenge alias is followed through the CNAME record")
    if conf.get("Le_RenewalDays"):
        draft.notes.append(
            f"acme.sh renewed it every {conf['Le_RenewalDays']} days; certctl follows the CA's"
            " renewal window, or else renews when a third of its lifetime is left"
        )


def _accounts(tree: Tree, home: str, problems: list[str]) -> Iterator[FoundAccount]:
    for directory in _directories(tree, home, 0):
        conf = _settings(tree, f"{directory}/ca.conf", home)
        contact: object = ()
        try:
            contact = read_json(tree, f"{directory}/account.json", home).get("contact", ())
        except Unreadable as error:
            problems.append(str(error))
        place = directory.removeprefix(f"{home}/")
        account = read_account(
            tree,
            home,
            client=NAME,
            id=place,
            key_file=f"{directory}/account.key",
            ca=_directory_url(place, conf.get("ACCOUNT_URL", "")),
            url=conf.get("ACCOUNT_URL") or None,
            contact=contact,
        )
        if account.problem is not None:
            problems.append(account.problem)
        yield account


def _directory_url(place: str, account_url: str) -> str:
    """Return the directory URL of the CA whose accounts are in a directory: acme.sh leaves out the
    port, which the account's URL has.
    """
    host, slash, path = place.partition("/")
    parts = url_parts(account_url)
    return f"https://{parts.netloc if parts.hostname == host else host}{slash}{path}"


def _directories(tree: Tree, path: str, depth: int) -> Iterator[str]:
    if "account.key" in tree.files(path):
        yield path
    elif depth <= 6:
        for name in tree.directories(path):
            yield from _directories(tree, f"{path}/{name}", depth + 1)
