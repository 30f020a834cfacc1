"""dehydrated: `/etc/dehydrated/config`, `domains.txt`, and `certs` and `accounts` in its base
directory.

The configuration is a shell script. Only lines `NAME=VALUE` are read, with references to variables
that such lines have set; everything else is reported as not understood, and never executed.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from certctl.importers.accounts import read_account, read_json, text_at
from certctl.importers.system import Draft, ImportSystem, read_pair
from certctl.importers.tree import Tree, Unreadable
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundClient,
    FoundFiles,
    StopRenewal,
)
from certctl.model.text import printable

NAME = "dehydrated"
HOMES = ("/etc/dehydrated", "/usr/local/etc/dehydrated", "/opt/dehydrated", "/root/dehydrated")
WORDS = ("dehydrated",)
_LONGEST = 4096
"""The longest value of a setting; a value can have other ones in it several times over."""

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Z][A-Z0-9_]*)=(.*)\Z")
_REFERENCE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\}?")
_PRESETS = {
    "letsencrypt": "acme-v02.api.letsencrypt.org",
    "letsencrypt-test": "acme-staging-v02.api.letsencrypt.org",
    "zerossl": "acme.zerossl.com",
}
_PER_CERTIFICATE = frozenset(
    {
        *("KEY_ALGO", "KEYSIZE", "PRIVATE_KEY_RENEW", "PRIVATE_KEY_ROLLOVER", "CHALLENGETYPE"),
        *("HOOK", "PREFERRED_CHAIN", "WELLKNOWN", "OCSP_MUST_STAPLE", "RENEW_DAYS"),
        *("HOOK_CHAIN", "ACME_PROFILE"),
    }
)


@dataclass
class _Config:
    """The settings of dehydrated, and the lines that are not settings."""

    values: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def add(self, text: str, where: str) -> None:
        """Read a file's lines. A line that is not a plain assignment is kept as not understood."""
        for line in text.replace("\\\n", " ").split("\n"):
            plain = line.strip()
            if not plain or plain.startswith("#"):
                continue
            match = _ASSIGNMENT.match(plain)
            value = self._value(match[2]) if match is not None else None
            if match is None or value is None:
                self.unknown.append(f"{where}: {printable(plain, 80)}")
            else:
                self.values[match[1]] = value

    def _value(self, text: str) -> str | None:
        """Return the value of an assignment; None if a shell would have to execute something."""
        quoted = re.match(r"""'([^']*)'\s*(?:#.*)?\Z""", text)
        if quoted is not None:
            return quoted[1]
        double = re.match(r""""([^"`\\]*)"\s*(?:#.*)?\Z""", text)
        bare = re.match(r"([^\s'\"`;&|<>()\\]*)\s*(?:#.*)?\Z", text)
        match = double or bare
        if match is None or "$(" in match[1]:
            return None
        if any(each not in self.values for each in _REFERENCE.findall(match[1])):
            return None
        value = _REFERENCE.sub(lambda found: self.values[found[1]], match[1])
        return None if "$" in value or len(value) > _LONGEST else value


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes, which are the directories with the configuration: those at the usual
    places, and those that command lines name.
    """
    named = [
        PurePosixPath(each).parent.as_posix()
        for each in system.places(NAME, WORDS, "--config", "-f")
        if PurePosixPath(each).name == "config"
    ]
    return [each for each in dict.fromkeys([*HOMES, *named]) if is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that dehydrated uses."""
    names = system.tree.files(path)
    return "domains.txt" in names or (
        "config" in names and system.tree.is_directory(f"{path}/certs")
    )


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what dehydrated has in a home. Raises nothing for damaged files."""
    tree = system.tree
    problems: list[str] = []
    config = _config(tree, home, problems)
    base = config.values["BASEDIR"]
    accounts = tuple(_accounts(tree, config, problems))
    listed = _domains(tree, config, problems)
    certs = config.values["CERTDIR"]
    names = [each for each in tree.directories(certs) if _has_certificate(tree, certs, each)]
    found = [
        _certificate(system, home, config, name, listed, accounts)
        for name in dict.fromkeys([*names, *listed])
    ]
    notes = [f"not understood, and left out: {each}" for each in config.unknown]
    if base != home:
        notes.append(f"its certificates and accounts are in {base}")
    return FoundClient(
        NAME,
        home,
        None,
        accounts,
        tuple(sorted(found, key=lambda one: one.name)),
        (),
        tuple(problems),
        tuple(notes),
    )


def _config(tree: Tree, home: str, problems: list[str]) -> _Config:
    config = _Config({"BASEDIR": home, "SCRIPTDIR": home})
    try:
        config.add(tree.text(f"{home}/config", home), f"{home}/config")
    except Unreadable as error:
        problems.append(str(error))
    directory = config.values.get("CONFIG_D")
    for name in tree.files(directory) if directory else ():
        if name.endswith(".sh"):
            try:
                config.add(tree.text(f"{directory}/{name}", directory), f"{directory}/{name}")
            except Unreadable as error:
                problems.append(str(error))
    base = config.values["BASEDIR"]
    for key, usual in (
        ("CERTDIR", f"{base}/certs"),
        ("ACCOUNTDIR", f"{base}/accounts"),
        ("DOMAINS_TXT", f"{base}/domains.txt"),
        ("WELLKNOWN", "/var/www/dehydrated"),
        ("CHALLENGETYPE", "http-01"),
    ):
        config.values.setdefault(key, usual)
    return config


def _domains(tree: Tree, config: _Config, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of each certificate in domains.txt, by the name of its directory."""
    path = config.values["DOMAINS_TXT"]
    try:
        text = tree.text(path)
    except Unreadable as error:
        problems.append(str(error))
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for line in text.lower().splitlines():
        names, _, alias = line.partition("#")[0].partition(">")
        words = tuple(names.split())
        if words:
            found[alias.strip() or words[0]] = words
    return found


def _has_certificate(tree: Tree, certs: str, name: str) -> bool:
    return any(each.endswith(".pem") for each in tree.files(f"{certs}/{name}"))


def _certificate(
    system: ImportSystem,
    home: str,
    config: _Config,
    name: str,
    listed: Mapping[str, tuple[str, ...]],
    accounts: Sequence[FoundAccount],
) -> FoundCertificate:
    tree, directory = system.tree, f"{config.values['CERTDIR']}/{name}"
    files = FoundFiles(
        *(f"{directory}/{each}.pem" for each in ("fullchain", "privkey", "cert", "chain"))
    )
    pair = read_pair(tree, files, directory)
    draft = Draft(NAME, name, home, files, pair, conf=config.values["DOMAINS_TXT"])
    own = _own_config(tree, config, name, draft)
    draft.archive = draft.within = directory
    draft.lock = f"{config.values['BASEDIR']}/lock"
    if name in listed:
        draft.stop = StopRenewal(config.values["DOMAINS_TXT"], line=" ".join(listed[name]))
    draft.names_wanted = listed.get(name, ())
    _ca(system, draft, own, accounts)
    _validation(draft, own)
    _options(draft, own)
    names = tree.files(directory)
    if not _has_certificate(tree, config.values["CERTDIR"], name):
        draft.why = "dehydrated has never got a certificate for it"
    elif pair.why is not None and any(each.endswith("-revoked") for each in names):
        draft.why = (
            "dehydrated revoked it; get a new one instead: certctl issue "
            f"{' '.join(draft.names_wanted) or name}"
        )
    elif any(each.endswith("-revoked") for each in names):
        draft.notes.append("an older one was revoked")
    if name not in listed and pair.why is None:
        draft.conf = None
        draft.by_name = True
        draft.why = (
            "it is not in domains.txt, so dehydrated does not renew it; to import it all the same,"
            " name it"
        )
    return draft.finished()


def _own_config(tree: Tree, config: _Config, name: str, draft: Draft) -> Mapping[str, str]:
    """Return the settings with those of this certificate's own file."""
    directory = config.values.get("DOMAINS_D")
    path = f"{directory}/{name}" if directory else f"{config.values['CERTDIR']}/{name}/config"
    own = _Config(dict(config.values))
    try:
        own.add(tree.text(path), path)
    except Unreadable:
        return config.values
    draft.notes += [f"not understood, and left out: {each}" for each in own.unknown]
    changed = {key: value for key, value in own.values.items() if key in _PER_CERTIFICATE}
    return {**config.values, **changed}


def _ca(
    system: ImportSystem,
    draft: Draft,
    config: Mapping[str, str],
    accounts: Sequence[FoundAccount],
) -> None:
    wanted = config.get("CA", "letsencrypt")
    if draft.pair.facts is not None and draft.name and not draft.names_wanted:
        # asked for on the command line, perhaps with another CA
        wanted = ""
    draft.ca = system.known_cas.get(_PRESETS[wanted]) if wanted in _PRESETS else wanted or None
    if draft.ca is None:
        draft.ask("its CA is recorded nowhere", "--ca CA")
        return
    account = next((each for each in accounts if each.ca == draft.ca), None)
    if account is None or account.problem is not None:
        draft.ask(
            "its account is not here or cannot be used: a new one must be registered",
            "--agree-tos",
        )
    else:
        draft.account_url, draft.account_key_file = account.url, account.key_file


def _validation(draft: Draft, config: Mapping[str, str]) -> None:
    hook, kind = config.get("HOOK"), config["CHALLENGETYPE"]
    if kind == "http-01":
        draft.method = "webroot"
        draft.options |= {
            "challenge.method": "webroot",
            "challenge.directory": config["WELLKNOWN"],
        }
    elif kind == "dns-01" and hook:
        protocol = "dehydrated-chain" if config.get("HOOK_CHAIN") == "yes" else "dehydrated"
        draft.method = f"dns exec ({protocol} protocol)"
        draft.options |= {
            "challenge.method": "dns",
            "challenge.dns_provider": "exec",
            "dns.exec.hook": hook,
            "dns.exec.protocol": protocol,
        }
    else:
        draft.ask(
            f"dehydrated validates its names with {kind}, for which certctl has no equal of its"
            " hook",
            "--webroot DIR, --tls-alpn or --dns PROVIDER",
        )


def _options(draft: Draft, config: Mapping[str, str]) -> None:
    if config.get("PRIVATE_KEY_RENEW") == "no":
        draft.options["reuse_key"] = True
    if config.get("PREFERRED_CHAIN"):
        draft.options["preferred_chain"] = config["PREFERRED_CHAIN"]
    if config.get("ACME_PROFILE"):
        draft.options["profile"] = config["ACME_PROFILE"]
    if hook := config.get("HOOK"):
        domain = next(iter(draft.names_wanted), draft.name)
        draft.options["deploy.deploy_hook"] = deploy_command(hook, domain)
        draft.notes.append(
            "its hook is called to deploy as dehydrated does (deploy_cert); its calls for other"
            " events are not moved"
        )
    if config.get("OCSP_MUST_STAPLE") == "yes" and not draft.pair.must_staple:
        draft.notes.append("OCSP Must-Staple was asked for; the next one comes without")
    if config.get("RENEW_DAYS"):
        draft.notes.append(
            f"dehydrated renewed it {config['RENEW_DAYS']} days before it expires; certctl follows"
            " the CA's renewal window, or else renews when a third of its lifetime is left"
        )


def deploy_command(hook: str, domain: str) -> str:
    """Return a command line that calls a hook as dehydrated does for a new certificate."""
    return (
        f"{shlex.quote(hook)} deploy_cert {shlex.quote(domain)} "
        '"$CERTCTL_PRIVKEY_FILE" "$CERTCTL_CERT_FILE" "$CERTCTL_FULLCHAIN_FILE"'
        ' "$CERTCTL_CHAIN_FILE" "$(date +%s)"'
    )


def _accounts(tree: Tree, config: _Config, problems: list[str]) -> Iterator[FoundAccount]:
    root = config.values["ACCOUNTDIR"]
    for name in tree.directories(root):
        directory = f"{root}/{name}"
        if "account_key.pem" not in tree.files(directory):
            continue
        url: str | None = None
        contact: object = ()
        try:
            registration = read_json(tree, f"{directory}/registration_info.json", directory)
            contact = registration.get("contact", ())
            url = text_at(registration, "id")
            url = text_at(read_json(tree, f"{directory}/account_id.json", directory), "url") or url
        except Unreadable as error:
            problems.append(str(error))
        account = read_account(
            tree,
            directory,
            client=NAME,
            id=name,
            key_file=f"{directory}/account_key.pem",
            ca=_decoded(name),
            url=url,
            contact=contact,
        )
        if account.problem is not None:
            problems.append(account.problem)
        yield account


def _decoded(name: str) -> str | None:
    """Return the directory URL that the name of an account's directory encodes."""
    try:
        text = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode("ascii").strip()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if text.startswith("https://") else None
