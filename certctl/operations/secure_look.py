"""What `certctl secure` would do: finds the server and the names, and plans; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from stat import S_IXOTH

from certctl.deploy.probe import addresses
from certctl.engine.run import Run
from certctl.engine.specs import changed, find, new, new_name
from certctl.model.errors import UsageError, WebServerFailed, WebServerRefused
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.model.webserver import Changes, SecuredSite, SecureRequest, ServedFiles
from certctl.operations.secure_checks import leads_here
from certctl.operations.secure_files import contents, difference, digest
from certctl.rules.answer_paths import left_to_servers
from certctl.rules.snippets import SERVERS
from certctl.store.home.secured import SecuredSites
from certctl.system.port_holders import program_at
from certctl.webservers.server import MODULES, ServerModule, ServerSystem, WebServer, server_module

_HTTP = 80
_PROGRAMS = {"apache2": "apache", "httpd": "apache"}
"""The names of servers in snippets, where they differ from those of their programs."""
_TITLES = {"nginx": "nginx", "apache": "Apache"}


@dataclass(frozen=True)
class SecureChoices:
    """What the user asked for. `given`: options of the certificate by key. `redirect` and `hsts`:
    None for what was chosen before, or what certctl decides. `web_server`: the program, where
    several run.
    """

    identifiers: tuple[Identifier, ...]
    name: str | None = None
    given: Mapping[str, Value] = field(default_factory=dict)
    redirect: bool | None = None
    hsts: bool | None = None
    challenges_only: bool = False
    web_server: str | None = None


@dataclass(frozen=True)
class SecurePlan:
    """What would be done: the server found, the changes of its files, and what to read first."""

    choices: SecureChoices
    name: str
    server: WebServer
    request: SecureRequest
    files: ServedFiles
    changes: Changes
    notes: tuple[str, ...]
    before: Mapping[str, bytes | None]
    adds_second: bool = False
    """Whether the certificate gets a second key now, which the server does not know yet."""

    @property
    def diffs(self) -> dict[str, str]:
        """The unified diff of each file that would change."""
        return {
            each.path: difference(each.path, self.before[each.path], each.final, link=each.link)
            for each in self.changes.files
        }

    @property
    def links(self) -> frozenset[str]:
        """The files that are symbolic links of ours."""
        return frozenset(each.path for each in self.changes.files if each.link)


def look(choices: SecureChoices, run: Run) -> SecurePlan:
    """Return what `carry_out` would do; changes nothing.

    Raises `WebServerRefused`, with the lines to add by hand, where no server can be changed, and
    `UsageError` for names that cannot be validated by HTTP.
    """
    names = _host_names(choices)
    sites = SecuredSites(Path(run.services.tree.home))
    existing = find(run, choices.name, choices.identifiers)
    name = existing.name if existing else new_name(run, choices.name, choices.identifiers)
    _refuse_overlap(names, name, sites)
    record = sites.get(name)
    if record is not None:
        _refuse_less(record, choices)
        names = tuple(dict.fromkeys((*_still_wanted(record, existing), *names)))
    given = names
    if existing is not None:
        every = tuple(dict.fromkeys((*existing.identifiers, *choices.identifiers)))
        choices = replace(choices, identifiers=every)
        names = _validated_with(existing, names, choices)
        _refuse_overlap(names, name, sites)
    server = _server(choices, names, name, sites, run)
    files = _served_files(name, server.kind, sites, _second_kind(choices, name, existing, run))
    request, notes = _request(choices, name, names, record, existing)
    notes += _also_secured(name, [each for each in names if each not in given])
    _require_test(server, request, files, record)
    changes = server.plan(request, files)
    adds_second = files.second is not None and not Path(files.second[0]).exists()
    if adds_second:
        changes = _first_without_second(changes, server.plan(request, replace(files, second=None)))
    if request.challenges:
        _require_entrance(sites.layout.challenges)
    before = {each.path: contents(each.path, link=each.link) for each in changes.files}
    return SecurePlan(
        replace(choices, redirect=_redirect(choices, record)),
        name,
        server,
        request,
        files,
        changes,
        (*server.notes, *changes.notes, *_newer(server, changes, sites), *notes),
        before,
        adds_second,
    )


def _first_without_second(changes: Changes, without: Changes) -> Changes:
    """Return changes that name the files of a second certificate only once it is there: until then,
    the files are as they would be `without` it.
    """
    first = {each.path: each.first for each in without.files}
    files = tuple(
        replace(each, first=first.get(each.path, contents(each.path, link=each.link)))
        for each in changes.files
    )
    return replace(changes, files=files)


def _still_wanted(record: SecuredSite, existing: CertificateSpec | None) -> tuple[str, ...]:
    """Return the names that were secured before, without those that the certificate has lost."""
    if existing is None or not record.tls:
        return record.names
    now = {each.value for each in existing.identifiers}
    return tuple(each for each in record.names if each in now)


def _newer(server: WebServer, changes: Changes, sites: SecuredSites) -> list[str]:
    """Return what to say about files that the server has not loaded. What a run of certctl has left
    that was killed is no change of somebody else.
    """
    files = (file for site in sites.all() for file in site.files if not file.link)
    written = {os.path.realpath(each.path): each for each in files}
    return [
        f"{path} was changed after {_TITLES[server.kind]} had loaded it: the reload activates that"
        " change too"
        for path in changes.newer
        if Path(path).parent != sites.layout.web_servers
        if (own := written.get(os.path.realpath(path))) is None
        or not own.is_as_written(digest(contents(path)))
    ]


def _validated_with(
    existing: CertificateSpec, names: tuple[str, ...], choices: SecureChoices
) -> tuple[str, ...]:
    """Return the names to secure, with those that the certificate is for already: once the server
    answers its challenges, it has to answer those of each of them.
    """
    if choices.challenges_only or not left_to_servers(existing.challenge.method):
        return names
    for each in existing.identifiers:
        if each.type is IdentifierType.IP:
            raise UsageError(
                f"the certificate {existing.name} is for the address {each} too, which no server"
                " block has as its name",
                hint="Give these names a certificate of their own: certctl secure"
                f" {' '.join(names)} --name NAME",
            )
    return tuple(dict.fromkeys((*names, *(each.value for each in existing.identifiers))))


def _also_secured(name: str, more: Sequence[str]) -> list[str]:
    if not more:
        return []
    also = "is secured" if len(more) == 1 else "are secured"
    it = "it" if len(more) == 1 else "them"
    return [f"{', '.join(more)} {also} too: the certificate {name} has {it} already"]


def _request(
    choices: SecureChoices,
    name: str,
    names: tuple[str, ...],
    record: SecuredSite | None,
    existing: CertificateSpec | None,
) -> tuple[SecureRequest, list[str]]:
    """Return what is asked of the server, and what to say about it."""
    public = {each: addresses(each) for each in names}
    known = record if record is not None and record.tls else None
    local = {
        each
        for each in names
        if (each in known.redirected if known and each in known.names else leads_here(each))
    }
    redirect = _redirect(choices, record)
    own_way = existing is not None and not left_to_servers(existing.challenge.method)
    request = SecureRequest(
        tag=name,
        names=names,
        served=known.names if known is not None else (),
        redirect=frozenset({None: local, True: names, False: ()}[redirect]),
        always_redirect=redirect is True,
        hsts=(known is not None and known.hsts) if choices.hsts is None else choices.hsts,
        challenges=not own_way or choices.challenges_only,
        challenges_only=choices.challenges_only,
    )
    notes: list[str] = []
    if redirect is None and not choices.challenges_only:
        notes += [
            f"{each} leads to {', '.join(public[each]) or 'no address'}, which is not only this"
            " machine, so its requests are not redirected to HTTPS unless you ask with --redirect"
            for each in names
            if each not in local and not (known and each in known.names)
        ]
    return request, notes


def _redirect(choices: SecureChoices, record: SecuredSite | None) -> bool | None:
    """Return what was asked for now, or before."""
    if choices.redirect is None and record is not None and record.tls:
        return record.redirect
    return choices.redirect


def _refuse_less(record: SecuredSite, choices: SecureChoices) -> None:
    if record.tls and choices.challenges_only:
        raise UsageError(
            f"{record.name} is served with HTTPS already, which needs more than the lines for"
            " challenges",
            hint=f"Remove these lines first: certctl secure --undo {record.name}",
        )
    if choices.web_server not in {None, record.server}:
        raise UsageError(
            f"{record.name} is served by {record.server} already",
            hint=f"Remove its lines first: certctl secure --undo {record.name}",
        )


def _host_names(choices: SecureChoices) -> tuple[str, ...]:
    if not choices.identifiers:
        raise UsageError("no name was given", hint="For example: certctl secure example.com")
    for each in choices.identifiers:
        if each.wildcard:
            raise UsageError(
                f"{each}: a wildcard cannot be validated by a web server",
                hint=f"Issue it with DNS-01: certctl issue '{each}' --dns PROVIDER",
            )
        if each.type is IdentifierType.IP:
            raise UsageError(
                f"{each}: give the name of a site, not an address",
                hint=f"For an address: certctl issue {each} --help",
            )
    return tuple(each.value for each in choices.identifiers)


def _refuse_overlap(names: Sequence[str], name: str, sites: SecuredSites) -> None:
    for record in sites.all():
        shared = [each for each in names if each in record.names]
        if record.name != name and shared:
            every = " ".join(dict.fromkeys((*record.names, *names)))
            raise UsageError(
                f"{', '.join(shared)} is secured by the certificate {record.name} already",
                hint=f"Add names to it: certctl secure {every} --name {record.name}",
                code="usage.secured",
            )


def _second_kind(
    choices: SecureChoices, name: str, existing: CertificateSpec | None, run: Run
) -> str | None:
    """Return the kind of key of the second certificate, None if there will be only one."""
    names = existing.identifiers if existing is not None else choices.identifiers
    if existing is None:
        spec = new(run, name, names, choices.given)
    else:
        spec = changed(run, existing, names, choices.given)
    return None if spec.second_key_type is None else spec.second_key_type.family


def _served_files(
    name: str, kind: str, sites: SecuredSites, second: str | None = None
) -> ServedFiles:
    layout, live = sites.layout, sites.layout.live(name)
    own = None if second is None else live / second
    return ServedFiles(
        challenges=str(layout.challenges),
        fullchain=str(live / "fullchain.pem"),
        privkey=str(live / "privkey.pem"),
        tls_settings=str(layout.tls_settings(kind)),
        default_certificate=str(layout.default_certificate(kind)),
        second=None if own is None else (str(own / "fullchain.pem"), str(own / "privkey.pem")),
    )


def _server(
    choices: SecureChoices, names: Sequence[str], name: str, sites: SecuredSites, run: Run
) -> WebServer:
    """Return the server to change: the one that was changed before, that runs alone, or that has
    port 80. Raises `WebServerRefused`.
    """
    record = sites.get(name)
    chosen = choices.web_server or (record.server if record is not None else None)
    kinds = [chosen] if chosen else list(MODULES)
    found: list[WebServer] = []
    elsewhere: WebServerRefused | None = None
    for kind in kinds:
        try:
            found += server_module(kind).find(server_system(run))
        except WebServerRefused as error:
            error.hint = f"{error.hint}\n{_snippet(kind, names, name, choices, sites)}"
            elsewhere = elsewhere or error
    if record is not None and len(found) > 1:
        changed = [each.path for each in record.files]
        found = [each for each in found if each.reads(changed)] or found
    if len(found) > 1:
        at_the_port = [each for each in found if each.holds(_HTTP) is not False]
        found = at_the_port if len(at_the_port) == 1 else found
    if len(found) == 1:
        return found[0]
    if not found:
        raise elsewhere or _no_server(kinds, names)
    described = "; ".join(each.description for each in found)
    lines = _snippet(found[0].kind, names, name, choices, sites)
    raise WebServerRefused(
        f"several web servers run on this machine: {described}",
        hint=f"Choose one with --web-server, or add the lines by hand:\n{lines}",
        code="webserver.several",
    )


def _snippet(
    kind: str, names: Sequence[str], name: str, choices: SecureChoices, sites: SecuredSites
) -> str:
    files = _served_files(name, kind, sites)
    module: ServerModule = server_module(kind)
    return module.snippet(names, files, challenges_only=choices.challenges_only)


def _no_server(kinds: Sequence[str], names: Sequence[str]) -> WebServerRefused:
    """Return the error where none of these servers runs; another one may listen on port 80."""
    program = program_at(_HTTP)
    hint = f"Start it, and run the command again. Without a web server: certctl issue {names[0]}"
    if program is not None:
        known = _PROGRAMS.get(program, program)
        hint = f"{program} listens on port 80. "
        if known in SERVERS:
            hint += f"See what to add to its configuration: certctl snippet {known} {names[0]}"
        else:
            hint += f"Use the directory that it serves: certctl issue {names[0]} --webroot DIR"
    return WebServerRefused(
        f"no {' or '.join(kinds)} runs on this machine", hint=hint, code="webserver.none"
    )


def _require_test(
    server: WebServer, request: SecureRequest, files: ServedFiles, record: SecuredSite | None
) -> None:
    """Raise `WebServerRefused` if the configuration fails its test before it is changed."""
    try:
        server.test()
    except WebServerFailed as error:
        module = server_module(server.kind)
        lines = module.snippet(request.names, files, challenges_only=request.challenges_only)
        undo = f" (without certctl's lines: certctl secure --undo {record.name})" if record else ""
        raise WebServerRefused(
            f"{error.message}\nNothing was changed.",
            hint=f"Correct it{undo}, and run the command again. It needs these lines:\n{lines}",
            code="webserver.test_failed",
        ) from error


def _require_entrance(directory: Path) -> None:
    """Raise `WebServerRefused` if other users, such as the server's workers, cannot enter."""
    for each in directory.parents:
        with suppress(OSError):
            if not each.stat().st_mode & S_IXOTH:
                raise WebServerRefused(
                    f"the web server cannot read challenge responses in {directory}: other users"
                    f" cannot enter {each}",
                    hint="Use another home directory, such as --home /etc/certctl, or run:"
                    f" chmod o+x {each}",
                )


def server_system(run: Run) -> ServerSystem:
    """Return what web servers need of a run."""
    return ServerSystem(run.services.clock, run.stop)
