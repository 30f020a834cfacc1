"""lego 4 and 5: `accounts` and `certificates` in its storage directory.

How names are validated is recorded only on the command lines that run lego, so that is where it is
looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from certctl.importers.accounts import inner, read_account, read_json, text_at
from certctl.importers.schedules import (
    Run,
    flag_values,
    leading_assignments,
    path_of,
    runs_of,
    stop_line,
)
from certctl.importers.system import WAY, Draft, ImportSystem, port_of, read_pair
from certctl.importers.tree import Unreadable
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundClient,
    FoundFiles,
    FoundSchedule,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.urls import url_parts

NAME = "lego"
HOMES = ("/var/lib/lego", "/etc/lego", "/root/.lego", "/root/lego", "/.lego", "/lego")
WORDS = ("lego",)


@dataclass(frozen=True)
class _Command:
    """A command line that runs lego, split into words, and its environment."""

    schedule: FoundSchedule
    run: Run
    environment: Mapping[str, str]

    @property
    def home(self) -> str | None:
        """The storage directory that it names, None if that is its working directory's."""
        path = self.value("--path") or self.environment.get("LEGO_PATH")
        if path is None and self.run.directory is None and "HOME" not in self.environment:
            return None
        return path_of(path or ".lego", self.environment, self.run.directory)

    def values(self, *flags: str) -> list[str]:
        return flag_values(self.run.words, *flags)

    def value(self, *flags: str) -> str | None:
        return next(iter(self.values(*flags)), None)

    def has(self, flag: str) -> bool:
        return any(each == flag or each.startswith(f"{flag}=") for each in self.run.words)

    @property
    def names(self) -> set[str]:
        found = self.values("-d", "--domains")
        return {each.strip() for value in found for each in value.split(",")}


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes at the usual places, and those that command lines name."""
    named = [each.home for each in _commands(system) if each.home is not None]
    beside = [
        f"{parent}/{each}"
        for parent in ("/var/lib", "/etc", "/srv", "/opt")
        for each in system.tree.directories(parent)
        if each.startswith((".lego", "lego"))
    ]
    places = dict.fromkeys([*HOMES, *named, *beside])
    return [each for each in places if each.startswith("/") and is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that lego has used."""
    tree = system.tree
    return tree.is_directory(f"{path}/certificates") and tree.is_directory(f"{path}/accounts")


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what lego has in a home. Raises nothing for damaged files."""
    problems: list[str] = []
    accounts = tuple(_accounts(system, home, problems))
    certificates = tuple(_certificates(system, home, accounts, problems))
    return FoundClient(NAME, home, None, accounts, certificates, (), tuple(problems))


def _commands(system: ImportSystem) -> list[_Command]:
    return [
        _Command(each, run, {**each.environment, **leading_assignments(run.words)})
        for each in system.commands(NAME)
        for run in runs_of(each.command, WORDS)
    ]


def _accounts(system: ImportSystem, home: str, problems: list[str]) -> Iterator[FoundAccount]:
    tree = system.tree
    servers = {
        url_parts(value).netloc.replace(":", "_"): value  # as lego names directories
        for each in _commands(system)
        for value in each.values("--server", "-s")
    }
    for host in tree.directories(f"{home}/accounts", home):
        for name in tree.directories(f"{home}/accounts/{host}", home):
            directory = f"{home}/accounts/{host}/{name}"
            try:
                document = read_json(tree, f"{directory}/account.json", home)
            except Unreadable as error:
                problems.append(str(error))
                continue
            old = inner(document, "registration", "body")
            url = text_at(document, "registration", "uri") or text_at(
                document, "registration", "accountURL"
            )
            key = f"{directory}/{name}.key"
            if not tree.exists(key):
                key = f"{directory}/keys/{name}.key"
            account = read_account(
                tree,
                home,
                client=NAME,
                id=text_at(document, "id") or name,
                key_file=key,
                ca=text_at(document, "server") or servers.get(host) or system.known_cas.get(host),
                url=url,
                contact=(old or inner(document, "registration")).get("contact", ()),
            )
            if account.problem is not None:
                problems.append(account.problem)
            yield account


def _certificates(
    system: ImportSystem, home: str, accounts: Sequence[FoundAccount], problems: list[str]
) -> Iterator[FoundCertificate]:
    tree = system.tree
    directory = f"{home}/certificates"
    names = tree.files(directory, home)
    for file in names:
        if not file.endswith(".json"):
            continue
        try:
            document = read_json(tree, f"{directory}/{file}", home)
        except Unreadable as error:
            problems.append(str(error))
            continue
        stem = file.removesuffix(".json")
        if f"{stem}.crt" not in names:
            problems.append(f"{directory}/{stem}.crt is missing")
            continue
        yield _certificate(system, home, stem, document, accounts)


def _certificate(
    system: ImportSystem,
    home: str,
    stem: str,
    document: Mapping[str, object],
    accounts: Sequence[FoundAccount],
) -> FoundCertificate:
    tree, base = system.tree, f"{home}/certificates/{stem}"
    has_key = tree.exists(f"{base}.key")
    files = FoundFiles(
        f"{base}.crt",
        f"{base}.key" if has_key else None,
        None,
        f"{base}.issuer.crt" if tree.exists(f"{base}.issuer.crt") else None,
    )
    stated = text_at(document, "domain") or text_at(document, "id") or stem
    name = stated.replace("*", "_")
    draft = Draft(NAME, name, home, files, read_pair(tree, files, home), conf=f"{base}.json")
    if profile := text_at(document, "profile"):
        draft.options["profile"] = profile
    others = [f"{base}{each}" for each in (".pem", ".pfx") if tree.exists(f"{base}{each}")]
    if others:
        draft.notes.append(f"lego also wrote {', '.join(others)}")
        forms = {"pem": "combined", "pfx": "pkcs12"}
        copies = tuple(f"{forms[each[-3:]]}:{each}" for each in others if each.endswith(".pem"))
        if copies:
            draft.options["deploy.copy"] = copies
        if any(each.endswith(".pfx") for each in others):
            draft.notes.append(
                f"its PKCS#12 file is not moved: add --copy pkcs12:{base}.pfx,password-file=FILE"
            )
    if not has_key:
        draft.ask(
            "it has no private key here: it was issued for a signing request, which lego does not"
            " keep",
            "certctl issue --csr FILE, in place of the import",
        )
    command = _command_for(system, draft)
    _account(draft, document, accounts, command)
    _validation(system, draft, command)
    return draft.finished()


def _command_for(system: ImportSystem, draft: Draft) -> _Command | None:
    """Return the command line that renews a certificate: it names the same home and names."""
    if draft.pair.facts is None:
        return None
    names = {each.value for each in draft.pair.facts.identifiers}
    for each in _commands(system):
        if each.names == names and each.home in (None, draft.home):
            return each
    return None


def _account(
    draft: Draft,
    document: Mapping[str, object],
    accounts: Sequence[FoundAccount],
    command: _Command | None,
) -> None:
    host = url_parts(text_at(document, "certUrl") or "").netloc
    possible = [each for each in accounts if each.url and url_parts(each.url).netloc == host]
    email = command.value("--email", "-m") if command is not None else None
    chosen = [each for each in possible if each.id == email] or possible
    draft.ca = next((each.ca for each in chosen if each.ca), None)
    if draft.ca is None:
        what = f"its CA is {host}, but the URL of its directory" if host else "its CA"
        draft.ask(f"{what} is recorded nowhere", "--ca URL")
    if len(chosen) == 1:
        draft.account_url, draft.account_key_file = chosen[0].url, chosen[0].key_file
        return
    draft.account_candidates = tuple(each.url for each in chosen if each.url)
    if chosen:
        draft.ask(
            "lego has several accounts at its CA, and does not record which one ordered it",
            f"--account URL ({', '.join(draft.account_candidates)})",
        )
    else:
        draft.ask("its account is not here: a new one must be registered", "--agree-tos")


def _validation(system: ImportSystem, draft: Draft, command: _Command | None) -> None:
    if command is None:
        draft.ask(
            "lego records nowhere how names are validated, and no cron line or unit names it", WAY
        )
        return
    draft.stop, by_hand = stop_line(command.schedule, command.run, system.commands(NAME))
    if by_hand is not None:
        draft.ask(f"{command.schedule.where} would go on renewing it with lego", by_hand)
    _command_options(draft, command)
    _way(draft, command)


def _command_options(draft: Draft, command: _Command) -> None:
    hook = command.value("--renew-hook", "--deploy-hook", "--run-hook") or command.run.after
    if hook:
        draft.options["deploy.deploy_hook"] = hook
        draft.notes.append(
            "its hook is called with certctl's variables and certbot's, not with LEGO_CERT_PATH"
        )
    if days := command.value("--days", "--renew-days"):
        draft.notes.append(
            f"lego renewed it {days} days before it expires; certctl follows the CA's renewal"
            " window, or else renews when a third of its lifetime is left"
        )
    if command.has("--reuse-key"):
        draft.options["reuse_key"] = True


def _way(draft: Draft, command: _Command) -> None:
    """Add how the command line says that names are validated."""
    provider = command.value("--dns")
    if provider == "exec" and command.environment.get("EXEC_PATH"):
        raw = command.environment.get("EXEC_MODE", "").upper() == "RAW"
        draft.method = "dns exec (lego protocol)"
        draft.options |= {
            "challenge.method": "dns",
            "challenge.dns_provider": "exec",
            "dns.exec.hook": command.environment["EXEC_PATH"],
            "dns.exec.protocol": "lego-raw" if raw else "lego",
        }
    elif provider is not None:
        draft.method = f"dns {provider}"
        draft.ask(
            f"lego's DNS provider {provider} takes its credentials from the environment of"
            f" {command.schedule.where}",
            "--dns-credentials NAME",
        )
    elif webroot := command.value("--http.webroot", "--http-webroot"):
        draft.method = "webroot"
        draft.options |= {"challenge.method": "webroot", "challenge.webroots": (webroot,)}
    elif command.has("--http"):
        draft.method = "standalone"
        draft.options["challenge.method"] = "standalone"
        port = (command.value("--http.port") or "").rpartition(":")[2]
        if port not in ("", "80"):
            draft.options["challenge.http_port"] = port_of(port)
    elif command.has("--tls"):
        draft.method = "tls-alpn"
        draft.options["challenge.method"] = "tls-alpn"
    else:
        draft.ask(f"{command.schedule.where} does not say how its names are validated", WAY)
