"""From a web server at port 80 to HTTPS that is served, checked and renewed; and back.

`secure_look` finds the server and says what would change, `carry_out` does it: lines that answer
the challenges, the certificate, lines for TLS. Each step is tested, loaded and tried out before the
next one; if one fails, every byte is put back and the server loads what it had. Files that lines
name are there before the lines, and a file is replaced by one rename, so that a kill at any moment
leaves a configuration that loads. `undo` removes the lines at any later time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from certctl.ca.directories import DEV, directory_url
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.delivery import ProbeResult
from certctl.model.errors import (
    CertctlError,
    InvalidIdentifier,
    NotServed,
    UsageError,
    WebServerFailed,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import parse_identifier
from certctl.model.run import Outcome
from certctl.model.values import Value
from certctl.model.webserver import ChangedFile, Endpoint, SecuredSite
from certctl.operations.issue import IssueRequest, issue, prepare
from certctl.operations.secure_checks import check_answers, check_served, look_at_public
from certctl.operations.secure_files import (
    contents,
    difference,
    digest,
    hand_over,
    locked,
    note_written,
    put_back,
    recorded,
    require_unchanged,
    write,
)
from certctl.operations.secure_look import SecurePlan, server_system
from certctl.operations.secure_spec import (
    challenge_options,
    forget_target_options,
    renewed_without,
    take_back,
)
from certctl.rules.placeholder_certificate import placeholder_certificate
from certctl.rules.settings import Source
from certctl.store.home.secured import SecuredSites
from certctl.system.files import remove_unfinished
from certctl.webservers.server import ServerModule, WebServer, server_module


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
    server: str
    names: tuple[str, ...]
    diffs: Mapping[str, str]
    reloaded: bool
    changed_since: tuple[str, ...] = ()
    """The files in which other lines were changed in the meantime."""
    kept: tuple[str, ...] = ()
    """The copies of files of ours that were changed in the meantime, and are gone."""
    renewed: bool | None = None
    """Whether the certificate is validated without these lines; None if there is none."""


def carry_out(plan: SecurePlan, run: Run) -> SecureResult:
    """Change the server's configuration, issue the certificate, and check that it is served.

    If a step fails, every file is as before and the server has loaded it. Raises
    `WebServerRefused`, `WebServerFailed`, and the errors of `issue`.
    """
    sites = SecuredSites(Path(run.services.tree.home))
    if not plan.request.challenges_only:
        sites.create_challenges()
        prepare(_order(plan, sites, run), run)  # before any file of the server is touched
    with locked(sites, run), _put_back_on_failure(plan, sites, run):
        _load_what_was_left(plan, sites)
        _remember(plan, sites, run, tls=bool(plan.request.served))
        if plan.request.challenges:
            sites.create_challenges()
            _load(plan, {each.path: each.first for each in plan.changes.files})
            check_answers(plan.changes.http, sites.layout.challenges, run)
        if plan.request.challenges_only:
            _note_done(plan, sites)
            return SecureResult(plan.name, None, plan.changes.http, (), _paths(plan))
        report = issue(_order(plan, sites, run), run)
        _require_success(report, plan)
        _write_included(plan, sites, run)
        _remember(plan, sites, run, tls=True)
        _load(plan, {each.path: each.final for each in plan.changes.files})
        check_served(plan.name, plan.changes.https, run)
        _note_done(plan, sites)
    forget_target_options(plan.name, plan.server.kind, plan.server.target_options.keys(), run)
    deployed = issue(_deployment(plan, run), run)
    checked = plan.changes.https
    public = look_at_public(plan.name, plan.request.names, run)
    return SecureResult(plan.name, _joined(report, deployed), checked, public, _paths(plan))


def undo(name: str, run: Run, *, dry_run: bool = False) -> UndoResult:
    """Remove the lines of a certificate from the server's configuration, and load it. The
    certificate stays. Raises `UsageError` if there are none, and `WebServerFailed`.
    """
    sites = SecuredSites(Path(run.services.tree.home))
    with locked(sites, run):
        record = _record(name, sites)
        others = [each for each in sites.all() if each.name != record.name]
        heirs = [each for each in others if each.server == record.server]
        for each in record.files:
            remove_unfinished(Path(each.path))
        module = server_module(record.server)
        after = _undone(record, module, last=not heirs)
        links = {each.path for each in record.files if each.link}
        before = {path: contents(path, link=path in links) for path in after}
        diffs = {
            path: difference(path, before[path], after[path], link=path in links) for path in after
        }
        written = {each.path: each for each in record.files}
        by_hand = [
            path for path, data in before.items() if not written[path].is_as_written(digest(data))
        ]
        result = UndoResult(
            record.name,
            record.server,
            record.names,
            diffs,
            False,
            tuple(each for each in by_hand if after[each] is not None),
            renewed=renewed_without(record, sites, run),
        )
        if dry_run:
            return result
        # Another nginx, with files of its own, is not to keep this one from being put back.
        concerned = [each.path for each in record.files]
        servers = [each for each in module.find(server_system(run)) if each.reads(concerned)]
        modules = {path for path in links if written[path].shared}
        _take_back(before, after, modules, servers, links)
        kept = [
            str(sites.keep(path, data))
            for path, data in before.items()
            if after[path] is None and data is not None and path not in links
            if path in by_hand or module.edited_by_hand(data, record.name)
        ]
        if heirs:
            shared = [each for each in record.files if _is_shared(each, record, module)]
            hand_over(shared, heirs[0], sites)
        note_written(after, record.name, sites)
        keeps_target = not servers or _is_named(record, servers, sites)
        take_back(record, sites, run, keeps_target=keeps_target)
        sites.remove(record.name)
        return replace(result, reloaded=bool(servers), kept=tuple(kept))


def _is_named(record: SecuredSite, servers: Sequence[WebServer], sites: SecuredSites) -> bool:
    """Whether other lines name the files of a certificate."""
    directories = (sites.layout.live(record.name), sites.layout.versions(record.name))
    return any(each.names_path(f"{path}/") for each in servers for path in directories)


def _record(name: str, sites: SecuredSites) -> SecuredSite:
    wanted = {name}
    with suppress(InvalidIdentifier):  # the name of a certificate need not be one of a host
        wanted.add(parse_identifier(name).value)
    found = (each for each in sites.all() if not wanted.isdisjoint((each.name, *each.names)))
    record = next(found, None)
    if record is None:
        raise UsageError(
            f"`certctl secure` has changed nothing for {name}",
            hint="Give the name of the certificate, as `certctl list` shows it.",
            code="usage.not_secured",
        )
    return record


def _undone(record: SecuredSite, module: ServerModule, *, last: bool) -> dict[str, bytes | None]:
    """Return the contents of each file that differs once our lines are gone, users of other files
    first.
    """
    found: dict[str, bytes | None] = {}
    for each in reversed(record.files):
        now = contents(each.path, link=each.link)
        if each.created:
            # A link that leads elsewhere by now is somebody else's.
            moved = each.link and now is not None and digest(now) != each.sha256
            undone = now if moved or (each.shared and not last) else None
        else:
            undone = module.undone(each.path, record.name, last=last)
            if undone is None:
                continue
        if undone != now:
            found[each.path] = undone
    return found


def _is_shared(file: ChangedFile, record: SecuredSite, module: ServerModule) -> bool:
    """Whether another certificate needs a file, or lines in it."""
    if file.created:
        return file.shared
    rest, none = (module.undone(file.path, record.name, last=each) for each in (False, True))
    return rest != none


def _take_back(
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    modules: set[str],
    servers: Sequence[WebServer],
    links: set[str],
) -> None:
    """Write what is without our lines, and have the servers load it. Modules that other lines need
    by now stay.
    """
    try:
        write(after, links)
        try:
            _test(servers)
        except WebServerFailed:
            again = {path: before[path] for path in reversed(list(after)) if path in modules}
            if not again:
                raise
            write(again, links)
            _test(servers)
        for server in servers:
            server.reload()
    except BaseException:
        write(dict(reversed(list(before.items()))), links)
        raise


def _test(servers: Sequence[WebServer]) -> None:
    for server in servers:
        server.test()


def _remember(plan: SecurePlan, sites: SecuredSites, run: Run, *, tls: bool) -> None:
    """Record the files before they change, with copies. `tls`: whether the certificate is there for
    their lines.
    """
    record = sites.get(plan.name)
    known = record.files if record else ()
    sites.save(
        SecuredSite(
            plan.name,
            plan.server.kind,
            plan.request.names,
            recorded(plan.name, known, plan.changes.files, plan.before, sites),
            tls=tls,
            redirect=plan.choices.redirect,
            redirected=tuple(each for each in plan.request.names if each in plan.request.redirect),
            hsts=plan.request.hsts,
            loaded=False,
            challenge=record.challenge if record else challenge_options(plan.name, run),
        )
    )


def _load_what_was_left(plan: SecurePlan, sites: SecuredSites) -> None:
    """Have the server load what a run wrote that was killed before it could."""
    record = sites.get(plan.name)
    if record is not None and not record.loaded:
        plan.server.test()
        plan.server.reload()


def _note_done(plan: SecurePlan, sites: SecuredSites) -> None:
    note_written(_written(plan), plan.name, sites)
    record = sites.get(plan.name)
    if record is not None:
        files = tuple(replace(each, left=()) for each in record.files)
        sites.save(replace(record, files=files, loaded=True))


def _write_included(plan: SecurePlan, sites: SecuredSites, run: Run) -> None:
    """Write the files of ours that the lines include."""
    kind = plan.server.kind
    sites.write_tls_settings(kind, plan.server.tls_settings())
    if plan.server.needs_default_certificate:
        now = run.services.clock.now()
        sites.write_default_certificate(kind, lambda: placeholder_certificate(now))


@contextmanager
def _put_back_on_failure(plan: SecurePlan, sites: SecuredSites, run: Run) -> Iterator[None]:
    """Put every byte back if something fails, and let the server load it."""
    require_unchanged(plan.before, plan.links)
    record = sites.get(plan.name)
    try:
        yield
    except BaseException as error:
        changed = {
            path: data
            for path, data in reversed(list(plan.before.items()))
            if contents(path, link=path in plan.links) != data
        }
        put_back(changed, plan.links)
        if record is not None:
            sites.save(record)
        elif (begun := sites.get(plan.name)) is not None:
            with suppress(CertctlError):  # the error that is raised says what went wrong
                take_back(begun, sites, run, keeps_target=True)
            sites.remove(plan.name)
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
        error.hint = " ".join(each for each in (said, error.hint) if each)


def _load(plan: SecurePlan, wanted: Mapping[str, bytes | None]) -> None:
    """Write the files that differ, test and load them."""
    different = {
        path: data
        for path, data in wanted.items()
        if contents(path, link=path in plan.links) != data
    }
    if not different:
        return
    write(different, plan.links)
    plan.server.test()
    plan.server.reload()


def _written(plan: SecurePlan) -> dict[str, bytes | None]:
    return {each.path: each.final for each in plan.changes.files}


def _order(plan: SecurePlan, sites: SecuredSites, run: Run) -> IssueRequest:
    """Return the request for the certificate. It is deployed later, when lines name its files."""
    given = dict(plan.choices.given)
    settings = run.services.settings.over(given, Source.FLAG)
    if plan.request.challenges and DEV not in map(directory_url, settings.words("ca")):
        given["challenge.webroots"] = (str(sites.layout.challenges),)
    return IssueRequest(plan.choices.identifiers, name=plan.name, given=given, confirmed=True)


def _deployment(plan: SecurePlan, run: Run) -> IssueRequest:
    """Return the request that saves how the certificate is deployed, and deploys it."""
    spec = load(run, plan.name)
    targets = tuple(dict.fromkeys((*spec.deploy.targets, plan.server.kind)))
    given: dict[str, Value] = {"deploy.targets": targets, **plan.server.target_options}
    return IssueRequest(spec.identifiers, name=plan.name, given=given, confirmed=True)


def _require_success(report: Report, plan: SecurePlan) -> None:
    """Raise the first error of a report. That a server which serves the certificate already does
    not serve its new second key is none: it is about to be told.
    """
    expected = {NotServed.code, "deploy.not_used"} if plan.adds_second else set()
    for error in report.all_errors:
        if error.code not in expected:
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
