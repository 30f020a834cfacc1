"""certonly and reconfigure: certificates that no web server's configuration is changed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from certctl.certbot.front import Front, existing
from certctl.certbot.text import RECONFIGURED, csr_lines, dry_run_lines, issued_lines
from certctl.cli.reports import read_file
from certctl.engine.delivery.hooks import run_outstanding_post_hooks
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.errors import ConsentRequired, Declined, UsageError
from certctl.model.names import parse_identifiers
from certctl.model.values import Value
from certctl.operations.issue import IssueRequest, edit, issue
from certctl.operations.secure import carry_out, undo
from certctl.operations.secure_look import SecureChoices, look
from certctl.output.document import Result
from certctl.rules import x509
from certctl.rules.certbot_names import Change, Chosen, choose, file_name, free_name
from certctl.rules.certbot_options import WEB_SERVERS, copies
from certctl.store.home.secured import SecuredSites
from certctl.webservers.server import MODULES

_CODE = "usage.certbot"
_WAYS = "--standalone, --webroot -w DIR, --nginx, --manual or --dns-PLUGIN"


def certonly(front: Front) -> Result:
    """Obtain a certificate, or leave one alone that is not due."""
    if front.given.text("csr") is not None:
        return _signing_request(front)
    names = front.given.names if front.given.text("cert_name") else front.names()
    front.ask_for_email()
    with front.open() as run:
        chosen = chosen_certificate(front, run, names)
        front.take_hooks(run)
        validated = _validated(front, chosen)
        if front.given.has("dry_run"):
            report = issue(_request(front, run, chosen, validated), run)
            return Result({}, dry_run_lines(report), report.all_errors, report.exit_status)
        report = obtained(front, run, chosen, validated)
        lines = issued_lines(report, front.lineages(run), chosen.name)
        if lines:
            lines += front.schedule_lines(run)
        return Result({}, lines, (*report.all_errors, *front.links.errors), report.exit_status)


def chosen_certificate(front: Front, run: Run, names: tuple[str, ...]) -> Chosen:
    """Return the certificate that is meant; a person is asked before its names change.

    Raises `UsageError` if its place in certbot's directory is taken, `ConsentRequired` if its names
    would change and nobody has agreed to that.
    """
    given = front.given
    known = existing(run)
    names = tuple(each.value for each in parse_identifiers(names))
    chosen = choose(names, known, named=given.text("cert_name"), duplicate=given.has("duplicate"))
    front.lineages(run).require_free(chosen.name)
    if chosen.change is Change.MORE and given.text("cert_name") is None:
        agreed = given.has("expand") or given.has("force") or given.has("renew_with_new_domains")
        _require_agreement(front, chosen, known, "--expand", agreed)
    if chosen.change is Change.OTHER and front.interactive:
        _require_agreement(
            front, chosen, known, "--renew-with-new-domains", given.has("renew_with_new_domains")
        )
    if chosen.change is not Change.NEW:
        _keep_key_type(front, run, chosen.name)
    return chosen


def _keep_key_type(front: Front, run: Run, name: str) -> None:
    """Leave the certificate an RSA or an ECDSA one, unless `--key-type` and `--cert-name` say
    otherwise, or a person agrees. Raises `UsageError` for `--key-type` alone.
    """
    given, flags = front.given, front.invocation.flags
    has = load(run, name).key_type.value.partition("-")[0]
    wanted = str(flags.get("key_type", has)).partition("-")[0]
    asked = given.text("key_type") is not None
    if wanted == has or (asked and given.text("cert_name") is not None):
        return
    if not asked:
        del flags["key_type"]  # a curve says nothing about an RSA key
        return
    question = f"The key of {name} is {has.upper()}. Change its type to {wanted.upper()}?"
    if not (front.interactive and front.invocation.ask(question)):
        raise UsageError(
            f"the key of {name} is {has.upper()}, and --key-type {wanted} alone does not change it",
            hint=f"To change it, add --cert-name {name}.",
            name=name,
            code=_CODE,
        )


def _require_agreement(
    front: Front, chosen: Chosen, known: Mapping[str, tuple[str, ...]], flag: str, agreed: bool
) -> None:
    if agreed:
        return
    has = ", ".join(known[chosen.name])
    question = f"{chosen.name} has the names {has}; it would have {', '.join(chosen.names)}"
    answer = front.invocation.ask(f"{question}. Replace it?")
    if answer:
        return
    raise (ConsentRequired if answer is None else Declined)(
        f"{question}, and nothing says that this is wanted",
        hint=f"Add {flag}, or create another certificate with --cert-name NAME.",
        name=chosen.name,
    )


def _validated(front: Front, chosen: Chosen) -> dict[str, Value]:
    """Return the settings for how the names are validated; those of a certificate that exists stay
    as they are if nothing was said.
    """
    found = front.validation(chosen.names)
    if found or chosen.change is not Change.NEW or front.plugins.authenticator in WEB_SERVERS:
        return found
    if front.plugins.authenticator is None:
        way = front.question(f"How are the names validated ({_WAYS})? standalone, webroot, nginx:")
        if way in ("standalone", "webroot", *WEB_SERVERS):
            front.given = replace(front.given, values={**front.given.values, way: True})
            return front.validation(chosen.names)
        raise UsageError(
            "nothing says how the names are validated", hint=f"Add {_WAYS}.", code=_CODE
        )
    return found


def _request(
    front: Front, run: Run, chosen: Chosen, validated: Mapping[str, Value]
) -> IssueRequest:
    given = front.given
    lineage = str(front.lineages(run).path(chosen.name))
    force = given.has("force") or given.has("break_my_certs") or given.has("new_key")
    return IssueRequest(
        parse_identifiers(chosen.names),
        name=chosen.name,
        given=front.options({**validated, "deploy.lineage": lineage}),
        force=force,
        confirmed=True,
        confirmed_from=chosen.before,
        dry_run=given.has("dry_run"),
        deploys_changes=False,
    )


def obtained(front: Front, run: Run, chosen: Chosen, validated: Mapping[str, Value]) -> Report:
    """Issue the certificate as it was chosen, with its links."""
    front.links.names.add(chosen.name)
    way = front.plugins.authenticator
    if not validated and way in WEB_SERVERS:
        report = _through_server(front, run, chosen, str(way))
    else:
        report = issue(_request(front, run, chosen, validated), run)
    if chosen.name in run.services.records.names() and report.outcomes:
        front.lineages(run).create(chosen.name)
        _keep_key(front, run, chosen.name, report)
    return report


def _keep_key(front: Front, run: Run, name: str, report: Report) -> None:
    """Save that the key is kept, after `--new-key --reuse-key` has made a new one."""
    again = front.given.has("new_key") and front.given.switch("reuse_key")
    if again and not report.all_errors:
        edit(run, (name,), (), (), {"reuse_key": True})


def _through_server(front: Front, run: Run, chosen: Chosen, server: str) -> Report:
    """Issue a certificate that is validated by a web server, to whose configuration only the lines
    for challenges are added. They stay, so that it can be renewed; if nothing was issued, they are
    removed again.
    """
    sites = SecuredSites(Path(run.services.tree.home))
    record = sites.get(chosen.name)
    added = record is None or not set(chosen.names) <= set(record.names)
    if added:
        choices = SecureChoices(
            parse_identifiers(chosen.names),
            name=chosen.name,
            given={},
            challenges_only=True,
            web_server=web_server(server),
        )
        carry_out(look(choices, run), run)
    directory: dict[str, Value] = {
        "challenge.method": "webroot",
        "challenge.webroots": (str(sites.layout.challenges),),
    }
    issued = False
    try:
        report = issue(_request(front, run, chosen, directory), run)
        issued = not report.all_errors
    finally:
        there = issued or chosen.name in run.services.records.names()
        if added and record is None and not there:
            undo(chosen.name, run)
    return report


def web_server(wanted: str | None) -> str | None:
    """Return the web server that is wanted. Raises `UsageError` for one that certctl cannot
    configure.
    """
    if wanted is not None and wanted not in MODULES:
        raise UsageError(
            f"certctl cannot change the configuration of {wanted}",
            hint="Use certonly --webroot -w DIR with --deploy-hook COMMAND.",
            code=_CODE,
        )
    return wanted


def _signing_request(front: Front) -> Result:
    """Issue a certificate for a signing request, and write what certbot writes."""
    given, directory = front.given, front.invocation.environment.directory
    csr = read_file(directory / str(given.text("csr")))
    names = tuple(each.value for each in x509.read_csr(csr).identifiers)
    if others := set(given.names) - set(names):
        raise UsageError(
            f"the signing request is for {', '.join(names)}, not for {', '.join(sorted(others))}",
            hint="Leave out -d: the names are those of the signing request.",
            code=_CODE,
        )
    name = given.text("cert_name") or file_name(names[0])
    taken: set[str] = set()

    def free(file: str) -> str:
        numbered = (f"{number:04d}_{file}" for number in range(10_000))
        found = next(
            each for each in numbered if each not in taken and not (directory / each).exists()
        )
        taken.add(found)
        return found

    wanted: dict[str, Value] = {"deploy.copy": copies(given, free)}
    front.ask_for_email()
    with front.open() as run:
        known = existing(run)
        if given.text("cert_name") is None and name in known and set(known[name]) != set(names):
            name = free_name(name, known)
        chosen = Chosen(name, names, Change.NEW, known.get(name, ()))
        front.take_hooks(run)
        validated = _validated(front, chosen)
        request = _request(front, run, chosen, {**validated, **wanted})
        kept = {key: value for key, value in (request.given or {}).items() if key != "key_type"}
        kept.pop("deploy.lineage", None)
        report = issue(replace(request, csr=csr, given=kept, force=True), run)
        if given.has("dry_run"):
            return Result({}, dry_run_lines(report), report.all_errors, report.exit_status)
        written = load(run, name).deploy.copies if name in run.services.records.names() else ()
        lines = csr_lines(report, name, written)
        return Result({}, lines, report.all_errors, report.exit_status)


def reconfigure(front: Front) -> Result:
    """Try new options of a certificate by a dry run, and save them if that succeeds."""
    name = front.given.text("cert_name") or front.question("Name of the certificate:")
    if not name:
        raise UsageError("reconfigure needs --cert-name", code=_CODE)
    if front.given.names:
        raise UsageError(
            "reconfigure changes no names",
            hint=f"Change them with: certbot certonly --cert-name {name} -d NAMES",
            code=_CODE,
        )
    with front.open() as run:
        front.require(run, name)
        earlier = run_outstanding_post_hooks(run)  # what failed before is no fault of new options
        names = tuple(each.value for each in load(run, name).identifiers)
        options = front.options(front.validation(names))
        if not options:
            raise UsageError(f"no new option of {name} was given", code=_CODE)
        trial = IssueRequest(
            parse_identifiers(names), name=name, given=options, confirmed=True, dry_run=True
        )
        tried = issue(trial, run)
        if tried.all_errors:
            errors = (*earlier, *tried.all_errors)
            return Result({}, dry_run_lines(tried), errors, tried.exit_status)
        saved = replace(trial, dry_run=False, deploys_changes=False)
        report = issue(saved, run)
        return Result({}, RECONFIGURED, (*earlier, *report.all_errors), report.exit_status)
