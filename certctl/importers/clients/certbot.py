"""certbot, and what writes its files: `/etc/letsencrypt` with `renewal/NAME.conf`, `live`,
`archive` and `accounts`, as certbot 0.1 to 5.8 write them.

What counts is the files that programs read: names, key type and chain come from them, everything
else from the renewal configuration, which is read with the library that certbot writes it with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from certctl.importers.accounts import read_account, read_json, text_at
from certctl.importers.system import WAY, Draft, ImportSystem, read_pair
from certctl.importers.tree import Tree, Unreadable
from certctl.model.certificate import Material
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundClient,
    FoundFiles,
    FoundHook,
    StopRenewal,
)
from certctl.model.text import printable, quoted

NAME = "certbot"
HOMES = ("/etc/letsencrypt", "/usr/local/etc/letsencrypt")
WORDS = ("certbot", "certbot-auto", "letsencrypt", "letsencrypt-auto")
KINDS = ("cert", "privkey", "chain", "fullchain")
_MAX_DEPTH = 8
_VERSION_LINE = re.compile(r"^version\s*=\s*([0-9][0-9.]{0,20})", re.MULTILINE)
_KEEP = ("options-ssl-nginx.conf", "options-ssl-apache.conf", "ssl-dhparams.pem")
_KNOWN_VERSION = 5

_PLUGINS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "cloudflare": (
        "cloudflare",
        {"api_token": "auth_token", "email": "auth_username", "api_key": "auth_token"},
    ),
    "digitalocean": ("digitalocean", {"token": "auth_token"}),
    "linode": ("linode4", {"key": "auth_token"}),
    "ovh": (
        "ovh",
        {
            "endpoint": "auth_entrypoint",
            "application_key": "auth_application_key",
            "application_secret": "auth_application_secret",
            "consumer_key": "auth_consumer_key",
        },
    ),
}
"""certctl's DNS provider for each of certbot's plug-ins, with the names of its credentials."""


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes of certbot at its usual places."""
    return [each for each in HOMES if is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that certbot has used."""
    tree = system.tree
    return any(tree.is_directory(f"{path}/{each}") for each in ("renewal", "accounts", "live"))


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what certbot has in a home. Raises nothing for damaged files."""
    tree = system.tree
    problems: list[str] = []
    accounts = tuple(_accounts(tree, home, problems))
    found: list[FoundCertificate] = []
    confs = [each for each in tree.files(f"{home}/renewal") if each.endswith(".conf")]
    for each in confs:
        name = each.removesuffix(".conf")
        found.append(_certificate(tree, home, name, accounts))
    known = {each.removesuffix(".conf") for each in confs}
    found += [
        _without_conf(tree, home, each)
        for each in tree.directories(f"{home}/live")
        if each not in known and tree.files(f"{home}/live/{each}")
    ]
    versions = [_version(tree, home, each) for each in confs]
    newest = max((each for each in versions if each), key=_version_key, default=None)
    notes = []
    if tree.files(f"{home}/keys"):
        notes.append(f"{home}/keys has copies of private keys, which nothing reads")
    if tree.exists(f"{home}/cli.ini"):
        notes.append(
            f"{home}/cli.ini has defaults for later runs of certbot; what each certificate was"
            " issued with is in its own configuration"
        )
    return FoundClient(
        NAME,
        home,
        newest,
        accounts,
        tuple(sorted(found, key=lambda one: one.name)),
        tuple(_hooks(tree, home)),
        tuple(problems),
        tuple(notes),
        tuple(f"{home}/{each}" for each in _KEEP if tree.exists(f"{home}/{each}")),
    )


def history(system: ImportSystem, found: FoundCertificate) -> Sequence[Material]:
    """Return the older versions in the archive whose key and certificate belong together, the
    oldest first.
    """
    if found.archive is None or found.material is None:
        return ()
    older: list[Material] = []
    for number in archive_numbers(system.tree, found.archive, found.home):
        files = FoundFiles(
            *(f"{found.archive}/{kind}{number}.pem" for kind in ("fullchain", "privkey"))
        )
        pair = read_pair(system.tree, files, found.home)
        usable = pair.why is None and pair.material is not None
        if usable and pair.material is not None and pair.material.cert != found.material.cert:
            older.append(pair.material)
    return older


def archive_numbers(tree: Tree, archive: str, home: str) -> list[int]:
    """Return the numbers of the versions in an archive directory, ascending."""
    numbers = (
        re.fullmatch(r"fullchain([1-9][0-9]{0,8})\.pem", each) for each in tree.files(archive, home)
    )
    return sorted(int(each[1]) for each in numbers if each)


def _certificate(
    tree: Tree, home: str, name: str, accounts: Sequence[FoundAccount]
) -> FoundCertificate:
    conf = f"{home}/renewal/{name}.conf"
    try:
        document = _parsed(tree, conf, home)
    except Unreadable as error:
        return _broken(tree, home, name, f"its renewal configuration is damaged ({error})")
    parameters = document.get("renewalparams")
    if not isinstance(parameters, Mapping):
        return _broken(
            tree, home, name, "its renewal configuration has no [renewalparams] and cannot be used"
        )
    files, moved = _files(tree, home, name, document)
    archive = _archive(tree, home, name, document)
    draft = Draft(NAME, name, home, files, read_pair(tree, files, home), conf=conf, archive=archive)
    _hand_over(draft)
    if moved is not None:
        draft.notes.append(moved)
    account = _text(parameters.get("account"))
    draft.ca = _text(parameters.get("server")) or next(
        (each.ca for each in accounts if each.id == account), None
    )
    if draft.ca is None:
        draft.ask("its renewal configuration names no CA", "--ca CA")
    else:
        _account(draft, account, accounts)
    _validation(tree, draft, parameters)
    _options(draft, document, parameters)
    _own_files(tree, home, name, draft)
    _say_version(draft, _text(document.get("version")))
    return draft.finished()


def _broken(tree: Tree, home: str, name: str, message: str) -> FoundCertificate:
    files, _ = _files(tree, home, name, {})
    draft = Draft(
        NAME,
        name,
        home,
        files,
        read_pair(tree, files, home),
        conf=f"{home}/renewal/{name}.conf",
        archive=_archive(tree, home, name, {}),
    )
    _hand_over(draft)
    draft.ask(f"{message}: only its certificate can be read", WAY)
    draft.ask("its CA is not known", "--ca CA")
    return draft.finished()


def _without_conf(tree: Tree, home: str, name: str) -> FoundCertificate:
    files, _ = _files(tree, home, name, {})
    draft = Draft(
        NAME,
        name,
        home,
        files,
        read_pair(tree, files, home),
        archive=_archive(tree, home, name, {}),
    )
    draft.lock = f"{home}/.certbot.lock"
    draft.by_name = True
    draft.why = (
        "it has no renewal configuration, so certbot does not renew it; to import it all the same,"
        " name it, with --ca CA and how its names are validated"
    )
    draft.ask("how its names are validated is recorded nowhere", WAY)
    draft.ask("its CA is not known", "--ca CA")
    return draft.finished()


def _hand_over(draft: Draft) -> None:
    """Say how certbot is kept from renewing it: certbot reads only files that end in .conf."""
    if draft.conf is not None:
        draft.stop = StopRenewal(draft.conf, aside=f"{draft.conf}.imported")
    draft.lock = f"{draft.home}/.certbot.lock"


def _parsed(tree: Tree, path: str, home: str) -> Mapping[str, object]:
    """Return a file in certbot's format, without interpolation. Raises `Unreadable`."""
    from configobj import ConfigObj, ConfigObjError  # noqa: PLC0415 - only an import needs it

    lines = tree.text(path, home).splitlines()
    try:
        document: Mapping[str, object] = ConfigObj(lines, interpolation=False)
    except (ConfigObjError, UnicodeError, RecursionError) as error:
        raise Unreadable(f"{path}: {printable(str(error))}") from error
    return document


def _version(tree: Tree, home: str, file: str) -> str | None:
    try:
        found = re.search(_VERSION_LINE, tree.text(f"{home}/renewal/{file}", home))
    except Unreadable:
        return None
    return found[1] if found else None


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split(".") if each)


def _say_version(draft: Draft, version: str | None) -> None:
    major = (version or "0").partition(".")[0]
    if major.isdigit() and int(major) > _KNOWN_VERSION:
        draft.notes.append(
            f"its configuration was written by certbot {version}, which is newer than what certctl"
            " knows: settings that it does not know are left out"
        )


def _files(
    tree: Tree, home: str, name: str, document: Mapping[str, object]
) -> tuple[FoundFiles, str | None]:
    """Return the files that programs read, and a note if the configuration names other ones, as
    after the whole home was moved.
    """
    usual = {kind: f"{home}/live/{name}/{kind}.pem" for kind in KINDS}
    moved = None
    for kind in KINDS:
        stated = _text(document.get(kind))
        if stated is None or stated == usual[kind]:
            continue
        if _is_below(stated, home) or not tree.exists(usual[kind]):
            usual[kind] = stated
        else:
            moved = (
                f"its configuration names {stated}, outside {home}: the home was moved, so certbot"
                " itself cannot renew it"
            )
    return FoundFiles(usual["fullchain"], usual["privkey"], usual["cert"], usual["chain"]), moved


def _archive(tree: Tree, home: str, name: str, document: Mapping[str, object]) -> str | None:
    stated = _text(document.get("archive_dir"))
    for each in (stated, f"{home}/archive/{name}"):
        if each is not None and _is_below(each, home) and tree.is_directory(each):
            return each
    return None


def _is_below(path: str, home: str) -> bool:
    return PurePosixPath(path).is_relative_to(home)


def _account(draft: Draft, wanted: str | None, accounts: Sequence[FoundAccount]) -> None:
    for each in accounts:
        if each.id == wanted and each.ca == draft.ca:
            draft.account_url = each.url
            draft.account_key_file = each.key_file
            if each.problem is not None:
                draft.ask(f"its account cannot be used: {each.problem}", "--agree-tos")
            return
    others = [each for each in accounts if each.ca == draft.ca and each.problem is None]
    if others:
        draft.account_candidates = tuple(each.url for each in others if each.url)
        draft.ask(
            f"its account ({wanted}) is not here; there is another one of this CA",
            f"--account {others[0].url}, or --agree-tos to register a new one",
        )
    else:
        draft.ask(
            "its account is not here: a new one must be registered, under the CA's terms",
            "--agree-tos",
        )


def _validation(tree: Tree, draft: Draft, parameters: Mapping[str, object]) -> None:
    authenticator = _text(parameters.get("authenticator"))
    plugin = (authenticator or "").rpartition(":")[2]
    match plugin:
        case "webroot":
            _webroot(draft, parameters)
        case "standalone":
            _standalone(draft, parameters)
        case "manual":
            _manual(draft, parameters)
        case "nginx" | "apache":
            draft.method = None
            draft.options.setdefault("deploy.targets", (plugin,))
            draft.ask(
                f"certbot changed the configuration of {plugin} to validate its names; certctl"
                " writes a file into the directory that serves them",
                "--webroot DIR, or --tls-alpn",
            )
        case _ if plugin.startswith("dns-"):
            _dns(tree, draft, plugin.removeprefix("dns-"), parameters)
        case _:
            draft.ask(
                "how its names are validated is not recorded"
                if not plugin
                else f"certctl has no equal of certbot's plug-in {quoted(plugin)}",
                WAY,
            )


def _webroot(draft: Draft, parameters: Mapping[str, object]) -> None:
    draft.method = "webroot"
    draft.options["challenge.method"] = "webroot"
    paths = _texts(parameters.get("webroot_path"))
    table = parameters.get("webroot_map")
    named = {
        str(name).lower(): directory
        for name, value in (table.items() if isinstance(table, Mapping) else ())
        if (directory := _text(value))
    }
    names = (
        [] if draft.pair.facts is None else [each.value for each in draft.pair.facts.identifiers]
    )
    directories = {each: named.get(each, paths[-1] if paths else None) for each in names}
    if missing := [name for name, directory in directories.items() if directory is None]:
        draft.ask(
            f"no directory is recorded for {', '.join(missing)}", f"--webroot {missing[0]}=DIR"
        )
        return
    different = set(directories.values())
    if len(different) == 1:
        draft.options["challenge.webroots"] = (str(next(iter(different))),)
    else:
        draft.options["challenge.webroots"] = tuple(
            f"{name}={directory}" for name, directory in directories.items()
        )


def _standalone(draft: Draft, parameters: Mapping[str, object]) -> None:
    draft.method = "standalone"
    draft.options["challenge.method"] = "standalone"
    port, address = _text(parameters.get("http01_port")), _text(parameters.get("http01_address"))
    if port is not None and port.isdigit() and port != "80":
        draft.options["challenge.http_port"] = int(port)
    if address is not None:
        draft.options["challenge.http_address"] = address


def _manual(draft: Draft, parameters: Mapping[str, object]) -> None:
    hook, cleanup = (
        _command(parameters.get(each)) for each in ("manual_auth_hook", "manual_cleanup_hook")
    )
    challenges = _texts(parameters.get("pref_challs")) or _texts(parameters.get("pref_chall"))
    if hook is None:
        draft.ask(
            "a person answered its challenges by hand; certctl can ask too, but not when cron runs"
            " it",
            "--dns manual, or another way such as --webroot DIR",
        )
        return
    if challenges[:1] in (["dns-01"], ["dns"]):
        draft.method = "dns exec (certbot protocol)"
        draft.options |= {"challenge.method": "dns", "challenge.dns_provider": "exec"}
        prefix = "dns.exec."
        draft.options["dns.exec.protocol"] = "certbot"
    else:
        draft.method = "http-hook (certbot protocol)"
        draft.options["challenge.method"] = "http-hook"
        draft.options["challenge.http_hook_protocol"] = "certbot"
        prefix = "challenge.http_"
    draft.options[f"{prefix}hook"] = hook
    if cleanup is not None:
        draft.options[f"{prefix}cleanup_hook"] = cleanup


def _dns(tree: Tree, draft: Draft, plugin: str, parameters: Mapping[str, object]) -> None:
    draft.method = f"dns {plugin}"
    prefix = f"dns_{plugin.replace('-', '_')}"
    path = _text(parameters.get(f"{prefix}_credentials"))
    if path is None:
        draft.ask(
            f"its credentials for {plugin} are not in certbot's configuration, but in the"
            " environment or in files of the provider's library",
            "--dns-credentials NAME",
        )
        return
    try:
        given = {
            key.removeprefix(f"{prefix}_"): str(value)
            for key, value in _parsed(tree, path, PurePosixPath(path).parent.as_posix()).items()
            if key.startswith(f"{prefix}_") and not isinstance(value, Mapping)
        }
    except Unreadable as error:
        draft.ask(f"its DNS credentials cannot be read: {error}", "--dns-credentials NAME")
        return
    credentials = _rfc2136(given) if plugin == "rfc2136" else _provider(plugin, given)
    if credentials is None:
        draft.ask(
            f"the credentials for {plugin} in {path} have no equal in certctl",
            "--dns-credentials NAME",
        )
        return
    draft.options["challenge.method"] = "dns"
    draft.credentials = credentials


def _rfc2136(given: Mapping[str, str]) -> tuple[str, Mapping[str, str]] | None:
    if not given.get("server"):
        return None
    server, port = given["server"], given.get("port", "53")
    host = f"[{server}]" if ":" in server else server
    options = {"server": server if port == "53" else f"{host}:{port}"}
    if given.get("name"):
        options |= {
            "key_name": given["name"],
            "secret": given.get("secret", ""),
            "key_algorithm": given.get("algorithm", "hmac-md5").lower(),
        }
    return "rfc2136", options


def _provider(plugin: str, given: Mapping[str, str]) -> tuple[str, Mapping[str, str]] | None:
    if plugin not in _PLUGINS:
        return None
    provider, names = _PLUGINS[plugin]
    options = {names[key]: value for key, value in given.items() if key in names and value}
    return (provider, options) if options else None


def _options(
    draft: Draft, document: Mapping[str, object], parameters: Mapping[str, object]
) -> None:
    """Add the settings that do not concern validation."""
    for key, option in (("reuse_key", "reuse_key"), ("allow_subset_of_names", "allow_subset")):
        if _truth(parameters.get(key)):
            draft.options[option] = True
    for key, option in (
        ("preferred_profile", "profile"),
        ("required_profile", "required_profile"),
        ("preferred_chain", "preferred_chain"),
    ):
        if text := _text(parameters.get(key)):
            draft.options[option] = text
    for key, option in (
        ("pre_hook", "deploy.pre_hook"),
        ("renew_hook", "deploy.deploy_hook"),
        ("deploy_hook", "deploy.deploy_hook"),
        ("post_hook", "deploy.post_hook"),
    ):
        if command := _command(parameters.get(key)):
            draft.options[option] = command
    _installer(draft, _text(parameters.get("installer")))
    _renewal(draft, document, parameters)


def _installer(draft: Draft, installer: str | None) -> None:
    if installer in ("nginx", "apache"):
        draft.options["deploy.targets"] = (installer,)
    elif installer is not None:
        draft.ask(
            f"certctl has no equal of certbot's installer {quoted(installer)}",
            "--deploy PROGRAM or --deploy-hook COMMAND",
        )


def _renewal(
    draft: Draft, document: Mapping[str, object], parameters: Mapping[str, object]
) -> None:
    for source in (document, parameters):
        if _text(source.get("autorenew")) is not None and not _truth(source.get("autorenew")):
            draft.autorenew = False
            draft.options["autorenew"] = False
    before = _text(document.get("renew_before_expiry"))
    if before is not None and before != "30 days":
        draft.notes.append(
            f"certbot renewed it {before} before it expires; certctl follows the CA's renewal"
            " window, or else renews when a third of its lifetime is left"
        )
    if _truth(parameters.get("must_staple")) and not draft.pair.must_staple:
        draft.notes.append("OCSP Must-Staple was asked for; the next one comes without")


def _own_files(tree: Tree, home: str, name: str, draft: Draft) -> None:
    usual = {f"{kind}.pem" for kind in KINDS} | {"README"}
    others = [each.name for each in tree.entries(f"{home}/live/{name}") if each.name not in usual]
    if others:
        draft.notes.append(
            f"live/{name} has files that are not certbot's ({', '.join(others[:5])}): they stay as"
            " they are, and are not renewed"
        )


def _accounts(tree: Tree, home: str, problems: list[str]) -> Iterator[FoundAccount]:
    for directory in _account_directories(tree, f"{home}/accounts", home, 0):
        path = PurePosixPath(directory)
        place = path.parent.relative_to(f"{home}/accounts").as_posix()
        uri: str | None = None
        body: object = ()
        try:
            document = read_json(tree, f"{directory}/regr.json", home)
            uri = text_at(document, "uri")
            inner = document.get("body")
            body = inner.get("contact", ()) if isinstance(inner, dict) else ()
        except Unreadable as error:
            problems.append(str(error))
        account = read_account(
            tree,
            home,
            client=NAME,
            id=path.name,
            key_file=f"{directory}/private_key.json",
            ca=f"https://{place}",
            url=uri if uri is not None and urlsplit(uri).scheme == "https" else None,
            contact=body,
        )
        if account.problem is not None:
            problems.append(account.problem)
        yield account


def _account_directories(tree: Tree, path: str, home: str, depth: int) -> Iterator[str]:
    """Yield the directories of accounts; links to other directories of the home are followed, as
    certbot made them when a CA changed its URL.
    """
    for entry in tree.entries(path, home):
        below = f"{path}/{entry.name}"
        if entry.kind not in ("directory", "link") or depth > _MAX_DEPTH:
            continue
        if not tree.is_directory(below):
            continue
        if "private_key.json" in tree.files(below, home) or "regr.json" in tree.files(below, home):
            yield below
        else:
            yield from _account_directories(tree, below, home, depth + 1)


def _hooks(tree: Tree, home: str) -> Iterator[FoundHook]:
    for event in ("pre", "deploy", "post"):
        directory = f"{home}/renewal-hooks/{event}"
        for name in tree.files(directory, home):
            try:
                executable = bool(tree.status(f"{directory}/{name}").st_mode & 0o111)
            except Unreadable:
                executable = False
            yield FoundHook(event, f"{directory}/{name}", executable and not name.endswith("~"))


def _text(value: object) -> str | None:
    """Return a setting that is one text; certbot writes None as a word, and so did people."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if not isinstance(value, str) or value in ("", "None"):
        return None
    return value


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value not in ("", "None") else []
    return (
        [each for each in value if isinstance(each, str) and each]
        if isinstance(value, list)
        else []
    )


def _command(value: object) -> str | None:
    """Return a command line; one with a comma outside quotes is read as a list."""
    return ", ".join(_texts(value)) or None


def _truth(value: object) -> bool:
    return (_text(value) or "").lower() in ("true", "yes", "1", "on")
