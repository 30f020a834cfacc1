"""certbot, and what writes its files: `/etc/letsencrypt` with `renewal/NAME.conf`, `live`,
`archive` and `accounts`, as certbot 0.1 to 5.8 write them.

What counts is the files that programs read: names, key type and chain come from them, everything
else from the renewal configuration, which is read with the library that certbot writes it with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from certctl.importers.accounts import read_account, read_json, text_at
from certctl.importers.certbot_settings import options, parsed, text_of, validation
from certctl.importers.system import WAY, Draft, ImportSystem, current_ca, read_pair
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
from certctl.model.urls import url_parts

NAME = "certbot"
HOMES = ("/etc/letsencrypt", "/usr/local/etc/letsencrypt")
WORDS = ("certbot", "certbot-auto", "letsencrypt", "letsencrypt-auto")
KINDS = ("cert", "privkey", "chain", "fullchain")
_MAX_DEPTH = 8
_VERSION_LINE = re.compile(r"^version\s*=\s*([0-9][0-9.]{0,20})", re.MULTILINE)
_KEEP = ("options-ssl-nginx.conf", "options-ssl-apache.conf", "ssl-dhparams.pem")
_KNOWN_VERSION = 5


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes of certbot at its usual places, and those that command lines name."""
    named = system.places(NAME, WORDS, "--config-dir")
    return [each for each in dict.fromkeys([*HOMES, *named]) if is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that certbot has used; lego and dehydrated have accounts
    too.
    """
    tree = system.tree
    if any(tree.is_directory(f"{path}/{each}") for each in ("renewal", "live")):
        return True
    others = any(tree.exists(f"{path}/{each}") for each in ("certificates", "certs", "domains.txt"))
    return tree.is_directory(f"{path}/accounts") and not others


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what certbot has in a home. Raises nothing for damaged files."""
    tree = system.tree
    problems: list[str] = []
    accounts = tuple(_accounts(tree, home, problems))
    found: list[FoundCertificate] = []
    confs = [
        each
        for each in tree.files(f"{home}/renewal")
        if each.endswith(".conf") and not each.startswith(".")
    ]
    for each in confs:
        name = each.removesuffix(".conf")
        found.append(_certificate(tree, home, name, accounts))
    known = {each.removesuffix(".conf") for each in confs}
    found += [
        _without_conf(tree, home, each)
        for each in tree.directories(f"{home}/live")
        if each not in known and tree.files(f"{home}/live/{each}")
        if not _is_ours(tree, home, each)
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


def _is_ours(tree: Tree, home: str, name: str) -> bool:
    """Return whether a directory in `live` leads to certctl's own files, as `certctl-certbot` makes
    it: `live/NAME` is a link in certctl's home, and a directory in one of certbot.
    """
    if tree.exists(f"{home}/renewal/{name}.conf.imported"):
        return False
    with suppress(OSError):
        target = tree.real(f"{home}/live/{name}/fullchain.pem").readlink()
        is_live = target.is_absolute() and target.parts[-3::2] == ("live", "fullchain.pem")
        return is_live and tree.real(target.parent.as_posix()).is_symlink()
    return False


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
        document = parsed(tree, conf, home)
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
    account = text_of(parameters.get("account"))
    draft.ca = current_ca(text_of(parameters.get("server"))) or next(
        (each.ca for each in accounts if each.id == account), None
    )
    if draft.ca is None:
        draft.ask("its renewal configuration names no CA", "--ca CA")
    else:
        _account(draft, account, accounts)
    validation(tree, draft, parameters)
    options(draft, document, parameters)
    _own_files(tree, home, name, draft)
    _say_version(draft, text_of(document.get("version")))
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


def _version(tree: Tree, home: str, file: str) -> str | None:
    try:
        found = re.search(_VERSION_LINE, tree.text(f"{home}/renewal/{file}", home))
    except Unreadable:
        return None
    return found[1] if found else None


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split(".") if each)


def _say_version(draft: Draft, version: str | None) -> None:
    major = re.match(r"([0-9]{1,9})(?:\.|\Z)", version or "")
    if major is not None and int(major[1]) > _KNOWN_VERSION:
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
        stated = text_of(document.get(kind))
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
    stated = text_of(document.get("archive_dir"))
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
        ca = current_ca(f"https://{place}")
        # an account of ACMEv1 has another URL at the CA's current directory
        usable = uri is not None and url_parts(uri).scheme == "https" and ca == f"https://{place}"
        account = read_account(
            tree,
            home,
            client=NAME,
            id=path.name,
            key_file=f"{directory}/private_key.json",
            ca=ca,
            url=uri if usable else None,
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
