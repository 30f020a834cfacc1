"""From a web server at port 80 to HTTPS that is served, checked and renewed; and back.

`look` finds the server and says what would change, `carry_out` does it: lines that answer the
challenges, the certificate, lines for TLS. Each step is tested, loaded and tried out before the
next one; if one fails, every byte is put back and the server loads what it had. Files that lines
name are there before the lines, and a file is replaced by one rename, so that a kill at any moment
leaves a configuration that loads. `undo` removes the lines at any later time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from difflib import unified_diff
from pathlib import Path
from stat import S_IXOTH

from certctl.ca.directories import DEV, directory_url
from certctl.deploy.probe import addresses
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import find, load, new_name
from certctl.model.delivery import ProbeResult
from certctl.model.errors import (
    CertctlError,
    UsageError,
    WebServerFailed,
    WebServerRefused,
)
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.values import Value
from certctl.model.webserver import (
    ChangedFile,
    Changes,
    Endpoint,
    SecuredSite,
    SecureRequest,
    ServedFiles,
)
from certctl.operations.issue import IssueRequest, issue
from certctl.operations.secure_checks import (
    check_answers,
    check_served,
    leads_here,
    look_at_public,
)
from certctl.rules.snippets import SERVERS
from certctl.store.home.secured import SecuredSites
from certctl.system.files import ensure_directory, remove_unfinished, replace_contents
from certctl.system.locks import acquire
from certctl.system.port_holders import program_at
from certctl.system.reading import read_regular
from certctl.webservers.server import MODULES, ServerModule, ServerSystem, WebServer, server_module

_LARGEST_FILE = 16 * 1024 * 1024
_HTTP = 80
_PROGRAMS = {"apache2": "apache", "httpd": "apache"}
"""The names of servers in snippets, where they differ from those of their programs."""
_OVER_HTTP = {"standalone", "webroot", "http-hook", "tls-alpn"}
"""The challenge methods that `secure` replaces by its own; DNS stays."""


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
    before: Mapping[str, bytes]

    @property
    def diffs(self) -> dict[str, str]:
        """The unified diff of each file that would change."""
        return {
            each.path: _diff(each.path, self.before[each.path], each.final)
            for each in self.changes.files
        }


@dataclass(frozen=True)
class SecureResult:
    """What was done: the report of the order (None with challenges only), the endpoints of this
    machine that were checked, and what the names' public addresses presented.
    """

    name: str
    report: Report | None
    checked: tuple[Endpoint, ...] = ()
    public: tuple[ProbeResult, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class UndoResult:
    """What was put back, and whether the server was told."""

    name: str
    names: tuple[str, ...]
    diffs: Mapping[str, str]
    reloaded: bool
    changed_since: tuple[str, ...] = ()
    """The files in which other lines were changed in the meantime."""


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
        if record.tls and choices.challenges_only:
            raise UsageError(
                f"{name} is served with HTTPS already, which needs more than the lines for"
                " challenges",
                hint=f"Remove these lines first: certctl secure --undo {name}",
            )
        names = tuple(dict.fromkeys((*record.names, *names)))
    if existing is not None:
        every = dict.fromkeys((*existing.identifiers, *choices.identifiers))
        choices = replace(choices, identifiers=tuple(every))
    files = _served_files(name, sites)
    server = _server(choices, names, files, run)
    public = {each: addresses(each) for each in names}
    known = record if record is not None and record.tls else None
    local = {
        each
        for each in names
        if (each in known.redirected if known and each in known.names else leads_here(each))
    }
    redirect = choices.redirect
    if redirect is None and known is not None:
        redirect = known.redirect
    by_dns = existing is not None and existing.challenge.method not in _OVER_HTTP
    request = SecureRequest(
        tag=name,
        names=names,
        served=known.names if known is not None else (),
        redirect=frozenset({None: local, True: names, False: ()}[redirect]),
        always_redirect=redirect is True,
        hsts=(known is not None and known.hsts) if choices.hsts is None else choices.hsts,
        challenges=not by_dns or choices.challenges_only,
        challenges_only=choices.challenges_only,
    )
    _require_test(server, request, files)
    changes = server.plan(request, files)
    if request.challenges:
        _require_entrance(sites.layout.challenges)
    before = {each.path: _bytes(each.path) for each in changes.files}
    notes = [*server.notes, *changes.notes]
    if redirect is None and not choices.challenges_only:
        notes += [
            f"{each} leads to {', '.join(public[each]) or 'no address'}, which is not only this"
            " machine, so its requests are not redirected to HTTPS unless you ask with --redirect"
            for each in names
            if each not in local and not (known and each in known.names)
        ]
    choices = replace(choices, redirect=redirect)
    return SecurePlan(choices, name, server, request, files, changes, tuple(notes), before)


def carry_out(plan: SecurePlan, run: Run) -> SecureResult:
    """Change the server's configuration, issue the certificate, and check that it is served.

    If a step fails, every file is as before and the server has loaded it. Raises
    `WebServerRefused`, `WebServerFailed`, and the errors of `issue`.
    """
    sites = SecuredSites(Path(run.services.tree.home))
    with _locked(sites, run), _put_back_on_failure(plan, sites):
        _remember(plan, sites, tls=bool(plan.request.served))
        if plan.request.challenges:
            sites.create_challenges()
            _load(plan, {each.path: each.first for each in plan.changes.files})
            check_answers(plan.changes.http, sites.layout.challenges, run)
        if plan.request.challenges_only:
            return SecureResult(plan.name, None, plan.changes.http, (), _paths(plan))
        report = issue(_order(plan, sites, run), run)
        _require_success(report)
        sites.write_tls_settings(plan.server.kind, plan.server.tls_settings())
        _remember(plan, sites, tls=True)
        _load(plan, {each.path: each.final for each in plan.changes.files})
        check_served(plan.name, plan.changes.https, run)
    deployed = issue(_deployment(plan, run), run)
    checked = plan.changes.https
    public = look_at_public(plan.name, plan.request.names, run)
    return SecureResult(plan.name, _joined(report, deployed), checked, public, _paths(plan))


def undo(name: str, run: Run, *, dry_run: bool = False) -> UndoResult:
    """Remove the lines of a certificate from the server's configuration, and load it. The
    certificate stays. Raises `UsageError` if there are none, and `WebServerFailed`.
    """
    sites = SecuredSites(Path(run.services.tree.home))
    with _locked(sites, run):
        record = next((each for each in sites.all() if name in (each.name, *each.names)), None)
        if record is None:
            raise UsageError(
                f"`certctl secure` has changed nothing for {name}",
                hint="Give the name of the certificate, as `certctl list` shows it.",
                code="usage.not_secured",
            )
        others = [each for each in sites.all() if each.name != record.name]
        last = not [each for each in others if each.server == record.server]
        for each in record.files:
            remove_unfinished(Path(each.path))
        module = server_module(record.server)
        after: dict[str, bytes] = {}
        for each in record.files:
            undone = module.undone(each.path, record.name, last=last)
            if undone is not None and undone != _bytes(each.path):
                after[each.path] = undone
        before = {path: _bytes(path) for path in after}
        diffs = {path: _diff(path, before[path], after[path]) for path in after}
        written = {each.path: each.sha256 for each in record.files}
        changed = tuple(
            path
            for path, data in before.items()
            if hashlib.sha256(data).hexdigest() != written[path]
        )
        result = UndoResult(record.name, record.names, diffs, False, changed)
        if dry_run:
            return result
        servers = module.find(_system(run))
        try:
            _write(after)
            for server in servers:
                server.test()
                server.reload()
        except BaseException:
            _write(before)
            raise
        sites.remove(record.name)
        return replace(result, reloaded=bool(servers))


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


def _served_files(name: str, sites: SecuredSites) -> ServedFiles:
    layout, live = sites.layout, sites.layout.live(name)
    return ServedFiles(
        challenges=str(layout.challenges),
        fullchain=str(live / "fullchain.pem"),
        privkey=str(live / "privkey.pem"),
        tls_settings=str(layout.tls_settings("nginx")),
    )


def _server(
    choices: SecureChoices, names: Sequence[str], files: ServedFiles, run: Run
) -> WebServer:
    """Return the one server that runs. Raises `WebServerRefused`."""
    kinds = [choices.web_server] if choices.web_server else list(MODULES)
    modules = {each: server_module(each) for each in kinds}
    found: list[WebServer] = []
    for module in modules.values():
        try:
            found += module.find(_system(run))
        except WebServerRefused as error:
            lines = module.snippet(names, files, challenges_only=choices.challenges_only)
            error.hint = f"{error.hint}\n{lines}"
            raise
    if len(found) == 1:
        return found[0]
    first: ServerModule = next(iter(modules.values()))
    lines = first.snippet(names, files, challenges_only=choices.challenges_only)
    if not found:
        raise _no_server(kinds, names)
    described = "; ".join(each.description for each in found)
    raise WebServerRefused(
        f"several web servers run on this machine: {described}",
        hint=f"Choose one with --web-server, or add the lines by hand:\n{lines}",
        code="webserver.several",
    )


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


def _require_test(server: WebServer, request: SecureRequest, files: ServedFiles) -> None:
    """Raise `WebServerRefused` if the configuration fails its test before it is changed."""
    try:
        server.test()
    except WebServerFailed as error:
        module = server_module(server.kind)
        lines = module.snippet(request.names, files, challenges_only=request.challenges_only)
        raise WebServerRefused(
            f"{error.message}\nNothing was changed.",
            hint=f"Correct it, and run the command again. It needs these lines:\n{lines}",
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


def _system(run: Run) -> ServerSystem:
    return ServerSystem(run.services.clock, run.stop)


@contextmanager
def _locked(sites: SecuredSites, run: Run) -> Iterator[None]:
    path = sites.layout.web_server_lock
    ensure_directory(path.parent)
    with acquire(
        path,
        exclusive=True,
        timeout=run.services.settings.seconds("lock_timeout"),
        clock=run.services.clock,
        subject="the configuration of web servers",
        stop=run.stop,
    ):
        yield


def _require_unchanged(plan: SecurePlan) -> None:
    """Raise `WebServerRefused` if a file is not as it was when the changes were planned."""
    for path, data in plan.before.items():
        if _bytes(path) != data:
            raise WebServerRefused(
                f"{path} was changed in the meantime; nothing was done",
                hint="Run the same command again.",
            )
        remove_unfinished(Path(path))


def _remember(plan: SecurePlan, sites: SecuredSites, *, tls: bool) -> None:
    """Record the files before they change, with copies. `tls`: whether the certificate is there for
    their lines.
    """
    record = sites.get(plan.name)
    known = {each.path: each for each in record.files} if record else {}
    for each in plan.changes.files:
        backup = known[each.path].backup if each.path in known else None
        if backup is None:
            backup = sites.back_up(plan.name, len(known), each.path, plan.before[each.path])
        written = hashlib.sha256(each.final).hexdigest()
        known[each.path] = ChangedFile(each.path, backup, written)
    names = (*(record.names if record else ()), *plan.request.names)
    sites.save(
        SecuredSite(
            plan.name,
            plan.server.kind,
            tuple(dict.fromkeys(names)),
            tuple(known.values()),
            tls=tls,
            redirect=plan.choices.redirect,
            redirected=tuple(each for each in plan.request.names if each in plan.request.redirect),
            hsts=plan.request.hsts,
        )
    )


@contextmanager
def _put_back_on_failure(plan: SecurePlan, sites: SecuredSites) -> Iterator[None]:
    """Put every byte back if something fails, and let the server load it."""
    _require_unchanged(plan)
    record = sites.get(plan.name)
    try:
        yield
    except BaseException as error:
        changed = {path: data for path, data in plan.before.items() if _bytes(path) != data}
        _write(changed)
        if record is None:
            sites.remove(plan.name)
        else:
            sites.save(record)
        if changed:
            _reload_again(plan, error)
        raise


def _reload_again(plan: SecurePlan, error: BaseException) -> None:
    said = "The configuration of the web server is as it was before."
    code = error.code if isinstance(error, CertctlError) else ""
    try:
        if code != "webserver.test_failed":  # then it has not been told to load the changed files
            plan.server.reload(wait=code != "webserver.not_reloaded")
    except CertctlError as failed:
        said = f"Its files are as they were before, but: {failed.message}."
    if isinstance(error, CertctlError):
        error.hint = " ".join(each for each in (error.hint, said) if each)


def _load(plan: SecurePlan, contents: Mapping[str, bytes]) -> None:
    """Write the files that differ, test and load them."""
    different = {path: data for path, data in contents.items() if _bytes(path) != data}
    if not different:
        return
    _write(different)
    plan.server.test()
    plan.server.reload()


def _write(contents: Mapping[str, bytes]) -> None:
    for path, data in contents.items():
        replace_contents(Path(path), data)


def _order(plan: SecurePlan, sites: SecuredSites, run: Run) -> IssueRequest:
    """Return the request for the certificate. It is deployed later, when lines name its files."""
    given = dict(plan.choices.given)
    ca = given.get("ca") or run.services.settings.required_text("ca")
    if plan.request.challenges and directory_url(str(ca)) != DEV:
        given["challenge.webroots"] = (str(sites.layout.challenges),)
    return IssueRequest(plan.choices.identifiers, name=plan.name, given=given, confirmed=True)


def _deployment(plan: SecurePlan, run: Run) -> IssueRequest:
    """Return the request that saves how the certificate is deployed, and deploys it."""
    spec = load(run, plan.name)
    targets = tuple(dict.fromkeys((*spec.deploy.targets, plan.server.kind)))
    given: dict[str, Value] = {"deploy.targets": targets, **plan.server.target_options}
    return IssueRequest(spec.identifiers, name=plan.name, given=given, confirmed=True)


def _require_success(report: Report) -> None:
    """Raise the first error of a report."""
    for error in report.all_errors:
        raise error


def _joined(report: Report, deployed: Report) -> Report:
    """Return the report of the order, with what became of the deployment."""
    outcomes: tuple[Outcome, ...] = report.outcomes
    if report.outcomes and deployed.outcomes:
        done = deployed.outcomes[0]
        issued = report.outcomes[0]
        if issued.action == "issued":
            outcomes = (replace(issued, deploy=done.deploy, error=done.error),)
        else:
            outcomes = (done,)
    return Report(outcomes, (*report.errors, *deployed.errors), considered=1)


def _paths(plan: SecurePlan) -> tuple[str, ...]:
    return tuple(each.path for each in plan.changes.files)


def _bytes(path: str) -> bytes:
    try:
        return read_regular(Path(path), _LARGEST_FILE)
    except OSError as error:
        raise WebServerRefused(f"{path} cannot be read: {error.strerror}") from error


def _diff(path: str, before: bytes, after: bytes) -> str:
    """Return a unified diff for people; line ends are not shown."""
    old, new = (_text(each).splitlines() for each in (before, after))
    lines = unified_diff(old, new, path, path, lineterm="", n=2)
    return "\n".join(lines)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
