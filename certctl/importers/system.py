"""What importers need to know of the machine, and what they build from a client's files."""

from __future__ import annotations

import dataclasses
import grp
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from certctl.importers.schedules import flag_values, path_of, runs_of
from certctl.importers.tree import Tree, Unreadable
from certctl.model.certificate import CertificateFacts, Material
from certctl.model.errors import CertctlError
from certctl.model.importing import (
    FoundCertificate,
    FoundFiles,
    FoundSchedule,
    Question,
    Readiness,
    StopRenewal,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import KeyType
from certctl.model.text import printable, quoted
from certctl.model.urls import is_loopback, url_parts, without_password
from certctl.model.values import Value

_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]*-----END CERTIFICATE-----", re.DOTALL
)
_OTHERS_KEY_TYPES = {"ecdsa-p521": KeyType.ECDSA_P384}
_NOT_FOR_WILDCARDS = frozenset({"webroot", "standalone", "http-hook", "tls-alpn"})
_GONE = {
    "acme-v01.api.letsencrypt.org": "https://acme-v02.api.letsencrypt.org/directory",
    "acme-staging.api.letsencrypt.org": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""The directories that took the place of those of ACMEv1, by host."""

WAY = "--webroot DIR, --standalone or --dns PROVIDER"
"""The options that say how names are validated, for a question that nothing else answers."""


def current_ca(url: str | None) -> str | None:
    """Return the directory URL that has taken the place of another one since."""
    return url and _GONE.get(url_parts(url).netloc, url)


def is_secure(url: str) -> bool:
    """Return whether a CA can be asked at a URL."""
    parts = url_parts(url)
    if not parts.hostname or "@" in parts.netloc or " " in url or not url.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def port_of(text: str) -> Value:
    """Return a port that a client wrote; a text that cannot be one as it is, to be asked about."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else printable(text, 40)


@dataclass(frozen=True)
class ImportSystem:
    """The files of the machine, what runs clients on it, the directory URLs of known CAs by host,
    and those of staging CAs.
    """

    tree: Tree
    schedules: Sequence[FoundSchedule] = ()
    known_cas: Mapping[str, str] = field(default_factory=dict)

    def commands(self, client: str) -> Sequence[FoundSchedule]:
        """Return the schedules that run a client."""
        return [each for each in self.schedules if each.client == client]

    def places(self, client: str, words: Sequence[str], *flags: str) -> list[str]:
        """Return the paths that command lines of a client give with flags, as absolute ones."""
        return [
            path_of(value, each.environment, run.directory)
            for each in self.commands(client)
            for run in runs_of(each.command, words)
            for value in flag_values(run.words, *flags)
        ]


@dataclass(frozen=True)
class Pair:
    """A certificate with its key as it was read; `why` says why it cannot be used. `key_for_all`:
    every user of the machine can read the key, through all directories.
    """

    material: Material | None = field(default=None, repr=False)
    facts: CertificateFacts | None = None
    must_staple: bool = False
    why: str | None = None
    notes: tuple[str, ...] = ()
    key_mode: int | None = None
    key_group: int | None = None
    key_for_all: bool = False


def read_pair(tree: Tree, files: FoundFiles, within: str, *, key_expected: bool = True) -> Pair:
    """Read a certificate from the files that programs read: the leaf and chain from the full chain,
    or from the files of each, and the private key. Never raises.
    """
    from certctl.rules import keys, x509  # noqa: PLC0415 - cryptography is slow to import

    notes: list[str] = []
    try:
        certificates = _certificates(tree, files, within, notes)
        facts = x509.facts(certificates[0])
        must_staple = x509.must_staple(certificates[0])
    except Unreadable as error:
        return Pair(why=str(error))
    except CertctlError as error:
        return Pair(why=error.message)
    cert, chain = certificates[0], b"".join(certificates[1:])
    public = Material(cert, chain)
    if not facts.identifiers:
        return Pair(facts=facts, why="the certificate has no names", notes=tuple(notes))
    if files.privkey is None or not key_expected:
        return Pair(public, facts, must_staple, None, tuple(notes))
    try:
        status = tree.status(files.privkey, within)
        key = keys.standard_pem(tree.read(files.privkey, within))
    except Unreadable as error:
        return Pair(public, facts, must_staple, f"private key: {error}", tuple(notes))
    reachable = tree.others_reach(files.privkey, within)
    access: dict[str, Any] = {
        "key_mode": status.st_mode & 0o777,
        "key_for_all": bool(status.st_mode & 0o004) and reachable,
        "key_group": status.st_gid if status.st_mode & 0o040 and status.st_gid else None,
    }
    if not keys.fits(key, facts.key_sha256):
        why = f"the private key in {files.privkey} does not belong to the certificate"
        return Pair(public, facts, must_staple, why, tuple(notes), **access)
    return Pair(Material(cert, chain, key), facts, must_staple, None, tuple(notes), **access)


def _certificates(tree: Tree, files: FoundFiles, within: str, notes: list[str]) -> list[bytes]:
    """Return leaf and chain, each as normalized PEM. Raises `Unreadable`."""
    from certctl.rules import formats  # noqa: PLC0415 - as above

    found: list[bytes] = []
    for path in (files.fullchain, files.cert):
        if path is None:
            continue
        try:
            found = split(tree.read(path, within))
        except Unreadable as error:
            if path == files.fullchain and files.cert is None:
                raise
            notes.append(str(error))
            continue
        if found:
            break
        notes.append(f"{path} contains no certificate")
    if not found:
        raise Unreadable(notes[0] if notes else "there is no certificate")
    if len(found) == 1 and files.chain is not None:
        try:
            found += [each for each in split(tree.read(files.chain, within)) if each != found[0]]
        except Unreadable as error:
            notes.append(str(error))
    if files.cert is not None and files.cert != files.fullchain:
        try:
            if split(tree.read(files.cert, within))[:1] != found[:1]:
                notes.append(f"{files.cert} is not the certificate in {files.fullchain}")
        except Unreadable as error:
            notes.append(str(error))
    return [formats.split_certificates(each)[0] for each in found]


def split(data: bytes) -> list[bytes]:
    """Return the certificates in a file; anything else in it is left out."""
    return [each + b"\n" for each in _BLOCK.findall(data)]


@dataclasses.dataclass
class Draft:
    """What is gathered about one certificate, until it is `finished`."""

    client: str
    name: str
    home: str
    files: FoundFiles
    pair: Pair
    conf: str | None = None
    stop: StopRenewal | None = None
    lock: str | None = None
    ca: str | None = None
    account_url: str | None = None
    account_key_file: str | None = None
    account_candidates: tuple[str, ...] = ()
    names_wanted: tuple[str, ...] = ()
    method: str | None = None
    options: dict[str, Value] = field(default_factory=dict)
    credentials: tuple[str, Mapping[str, str]] | None = None
    autorenew: bool = True
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    why: str | None = None
    by_name: bool = False
    archive: str | None = None
    csr: bytes | None = None
    within: str | None = None

    def ask(self, message: str, option: str) -> None:
        """Add a question."""
        self.questions.append(Question(message, option))

    def finished(self) -> FoundCertificate:
        """Return the certificate, with what follows from its key and its dates."""
        pair, why = self.pair, self.why or self.pair.why
        if pair.facts is not None:
            self._key_type(pair.facts.key_type)
        self._check_ca()
        self._check_wildcards()
        if pair.key_for_all:
            self.ask(
                "its private key is readable by all users; certctl gives keys to root and at most"
                " one group",
                "--key-group GROUP with the group of the programs that read it",
            )
        if pair.must_staple:
            self.notes.append(
                "it has OCSP Must-Staple, which CAs have given up: the next one comes without"
            )
        readiness = Readiness.TO_SETTLE if self.questions else Readiness.READY
        return FoundCertificate(
            client=self.client,
            name=self.name,
            home=self.home,
            files=self.files,
            readiness=readiness if why is None else Readiness.NOT_MOVED,
            conf=self.conf,
            stop=self.stop,
            lock=self.lock,
            ca=self.ca,
            account_url=self.account_url,
            account_key_file=self.account_key_file,
            account_candidates=self.account_candidates,
            facts=pair.facts,
            material=pair.material,
            names_wanted=self.names_wanted,
            method=self.method,
            options=self.options,
            credentials=self.credentials,
            autorenew=self.autorenew,
            key_mode=pair.key_mode,
            key_group=pair.key_group,
            questions=tuple(self.questions),
            notes=tuple(dict.fromkeys([*pair.notes, *self.notes])),
            why=why,
            by_name=self.by_name and pair.why is None,
            archive=self.archive,
            csr=self.csr,
            within=self.within or self.home,
        )

    def _check_ca(self) -> None:
        """Follow a CA to its current directory, and ask for one that cannot be used."""
        self.ca = current_ca(self.ca)
        if self.ca is not None and not is_secure(self.ca):
            self.ask(
                f"its CA {quoted(without_password(self.ca))} is not a URL with https", "--ca CA"
            )
            self.ca = None

    def _check_wildcards(self) -> None:
        names = () if self.pair.facts is None else self.pair.facts.identifiers
        method = self.options.get("challenge.method")
        wildcards = [each.value for each in names if each.wildcard]
        if wildcards and method in _NOT_FOR_WILDCARDS:
            self.ask(
                f"{wildcards[0]} can only be validated by DNS records, not by {method}",
                "--dns PROVIDER",
            )

    def _key_type(self, key_type: str) -> None:
        known = {each.value for each in KeyType}
        if key_type not in known:
            nearest = _OTHERS_KEY_TYPES.get(key_type)
            if nearest is None:
                nearest = KeyType.RSA_4096 if key_type.startswith("rsa") else KeyType.ECDSA_P256
            self.notes.append(
                f"its key is {key_type}, which certctl does not generate: it stays until the next"
                f" renewal, whose key will be {nearest.value}"
            )
            key_type = nearest.value
        self.options["key_type"] = key_type


def group_name(number: int) -> str | None:
    """Return the name of a group; None if this machine has none with that number."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None
