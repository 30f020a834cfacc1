"""Traefik: its `acme.json` files. A report only.

Traefik holds the file in memory while it runs, and gets certificates by itself for as long as a
router names a resolver.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence

from certctl.importers.accounts import inner, read_json, text_at, with_key
from certctl.importers.system import Draft, ImportSystem, Pair, split
from certctl.importers.tree import Unreadable
from certctl.model.certificate import Material
from certctl.model.errors import CertctlError
from certctl.model.importing import FoundAccount, FoundCertificate, FoundClient, FoundFiles
from certctl.rules import keys, x509

NAME = "traefik"
HOMES = ("/var/lib/traefik", "/etc/traefik", "/letsencrypt", "/data/traefik")
WORDS = ("traefik",)
_WHY = (
    "Traefik gets it by itself. To let certctl do it: certctl issue {names} --deploy traefik, and"
    " remove certResolver from its routers"
)


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes at the usual places."""
    return [each for each in HOMES if is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory has a file of Traefik's certificates."""
    return bool(_files(system, path))


def _files(system: ImportSystem, path: str) -> list[str]:
    found = []
    for name in system.tree.files(path):
        if name.endswith(".json"):
            try:
                document = read_json(system.tree, f"{path}/{name}", path)
            except Unreadable:
                if name == "acme.json":
                    found.append(f"{path}/{name}")
                continue
            if any(True for _ in _resolvers(document)):
                found.append(f"{path}/{name}")
    return found


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what Traefik has in its files. Raises nothing for damaged ones."""
    accounts: list[FoundAccount] = []
    certificates: list[FoundCertificate] = []
    problems: list[str] = []
    for path in _files(system, home):
        try:
            document = read_json(system.tree, path, home)
        except Unreadable as error:
            problems.append(str(error))
            continue
        for resolver, content in _resolvers(document):
            account = _account(path, resolver, content)
            accounts += [] if account is None else [account]
            certificates += _certificates(home, path, content, account)
    return FoundClient(
        NAME,
        home,
        None,
        tuple(accounts),
        tuple(certificates),
        (),
        tuple(problems),
        report_only=True,
    )


def _resolvers(document: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield each resolver; the first version of the format has only one, without a name."""
    if isinstance(document.get("Account"), dict):
        yield "", document
        return
    for name, content in document.items():
        if isinstance(content, dict) and {"Account", "Certificates"} & content.keys():
            yield name, content


def _account(path: str, resolver: str, content: Mapping[str, object]) -> FoundAccount | None:
    account = inner(content, "Account")
    if not account:
        return None
    email = text_at(account, "Email")
    found = FoundAccount(
        NAME,
        resolver,
        None,
        text_at(account, "Registration", "uri"),
        path,
        contact=(f"mailto:{email}",) if email else (),
    )
    try:
        return with_key(found, keys.from_der(_decoded(account.get("PrivateKey"))))
    except CertctlError:
        return found


def _certificates(
    home: str,
    path: str,
    content: Mapping[str, object],
    account: FoundAccount | None,
) -> Iterator[FoundCertificate]:
    listed = content.get("Certificates")
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict):
            continue
        name = text_at(each, "domain", "main") or "?"
        draft = Draft(NAME, name, home, FoundFiles(path, path), _pair(each))
        draft.account_url = None if account is None else account.url
        names = [] if draft.pair.facts is None else draft.pair.facts.identifiers
        draft.why = _WHY.format(names=" ".join(one.value for one in names) or name)
        yield draft.finished()


def _pair(document: Mapping[str, object]) -> Pair:
    certificates = split(_decoded(document.get("certificate")))
    key = _decoded(document.get("key"))
    if not certificates:
        return Pair(why="its certificate cannot be read")
    try:
        facts = x509.facts(certificates[0])
        if not keys.fits(key, facts.key_sha256):
            return Pair(facts=facts, why="its private key does not belong to the certificate")
    except CertctlError as error:
        return Pair(why=error.message)
    return Pair(Material(certificates[0], b"".join(certificates[1:]), key), facts)


def _decoded(value: object) -> bytes:
    try:
        return base64.b64decode(value) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
