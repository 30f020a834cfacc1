"""run, install, enhance and rollback: the configuration of a web server is changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from certctl.certbot.front import Front, existing
from certctl.certbot.issue import chosen_certificate, obtained, web_server
from certctl.certbot.text import issued_lines
from certctl.engine.run import Run
from certctl.model.errors import UsageError, WebServerRefused
from certctl.model.names import parse_identifiers
from certctl.operations.issue import IssueRequest, issue
from certctl.operations.secure import SecureResult, carry_out, undo
from certctl.operations.secure_look import SecureChoices, look
from certctl.output.document import Result
from certctl.rules.certbot_names import Change, Chosen, chosen_names, is_host_name
from certctl.rules.certbot_options import WEB_SERVERS
from certctl.webservers.server import MODULES, ServerSystem, server_module

_CODE = "usage.certbot"


def run(front: Front) -> Result:
    """Obtain a certificate and have the web server use it."""
    _require_root(front)
    given, plugins = front.given, front.plugins
    if given.has("dry_run"):
        raise UsageError(
            "--dry-run works with certonly and renew only",
            hint="See what would be changed with: certctl secure NAMES --dry-run",
            code=_CODE,
        )
    if plugins.authenticator not in (None, *WEB_SERVERS) and plugins.installer is None:
        raise UsageError(
            f"--{plugins.authenticator} changes no web server, so there is nothing to install with",
            hint="Use certonly, or name the web server, as with -i nginx.",
            code=_CODE,
        )
    names = given.names if given.text("cert_name") else _names(front)
    front.ask_for_email()
    with front.open() as run:
        chosen = chosen_certificate(front, run, names)
        front.take_hooks(run)
        validated = front.validation(chosen.names)
        front.links.names.add(chosen.name)
        issued: list[str] = []
        if validated:
            first = obtained(front, run, chosen, validated)
            if first.all_errors:
                return Result({}, [], first.all_errors, first.exit_status)
            issued = issued_lines(first, front.lineages(run), chosen.name)
        lines = _secured(front, run, chosen, plugins.installer, issued)
        lines += front.schedule_lines(run)
        return Result({}, lines, tuple(front.links.errors))


def _names(front: Front) -> tuple[str, ...]:
    """Return the names that were given, or those that a person chooses among the web server's."""
    if front.given.names or not front.interactive:
        return front.given.names
    with front.open(reads_only=True) as run:
        found = _served_names(front, run)
    if not found:
        return front.names()
    shown = "\n".join(f"  {number}: {name}" for number, name in enumerate(found, 1))
    question = f"The web server answers for these names:\n{shown}\nWhich of them (Enter for all)?"
    return chosen_names(front.question(question) or "", found)


def _served_names(front: Front, run: Run) -> tuple[str, ...]:
    """Return the host names for which web servers of this machine answer."""
    kinds = [web_server(front.plugins.installer)] if front.plugins.installer else list(MODULES)
    system = ServerSystem(run.services.clock, run.stop)
    found: list[str] = []
    for kind in kinds:
        with suppress(WebServerRefused):
            for server in server_module(str(kind)).find(system):
                found += server.host_names()
    return tuple(dict.fromkeys(each for each in found if is_host_name(each)))


def install(front: Front) -> Result:
    """Have the web server use a certificate that exists."""
    return _existing(front, "install")


def enhance(front: Front) -> Result:
    """Add a redirect or HSTS to what the web server serves."""
    if front.given.switch("redirect") is None and front.given.switch("hsts") is None:
        raise UsageError("enhance needs --redirect or --hsts", code=_CODE)
    return _existing(front, "enhance")


def _existing(front: Front, subcommand: str) -> Result:
    _require_root(front)
    given = front.given
    if given.text("cert_path") or given.text("key_path"):
        raise UsageError(
            f"{subcommand} takes certificates of certctl only, by --cert-name",
            hint="List them with: certbot certificates",
            code=_CODE,
        )
    with front.open() as run:
        known = existing(run)
        name = given.text("cert_name")
        if name is None:
            names = front.names("For which names?")
            name = next(
                (one for one, has in sorted(known.items()) if names and set(names) <= set(has)),
                None,
            )
            if name is None:
                raise UsageError(
                    f"{subcommand} needs the certificate: none has these names",
                    hint="Give it with --cert-name NAME.",
                    code=_CODE,
                )
        front.require(run, name)
        front.lineages(run).require_free(name)
        chosen = Chosen(name, known[name], Change.SAME, known[name])
        lines = _secured(front, run, chosen, front.plugins.installer)
        return Result({}, lines, tuple(front.links.errors))


def _secured(
    front: Front, run: Run, chosen: Chosen, server: str | None, issued: Sequence[str] = ()
) -> list[str]:
    """Change the web server's configuration, and return the lines about it; `issued` are those
    about the certificate if it was ordered before.
    """
    given = front.given
    lineages = front.lineages(run)
    options = front.options({"deploy.lineage": str(lineages.path(chosen.name))})
    choices = SecureChoices(
        parse_identifiers(chosen.names),
        name=chosen.name,
        given=options,
        redirect=given.switch("redirect"),
        hsts=given.switch("hsts"),
        web_server=web_server(server),
    )
    plan = look(choices, run)
    for note in plan.notes:
        front.invocation.output.warning(note)
    done = carry_out(plan, run)
    front.links.names.add(chosen.name)
    lineages.create(chosen.name)
    lines = _lines(front, run, chosen, done, list(issued))
    shown = ", ".join(plan.request.names)
    return [*lines, f"HTTPS is served for {shown} by {plan.server.kind}."]


def _lines(
    front: Front, run: Run, chosen: Chosen, done: SecureResult, issued: list[str]
) -> list[str]:
    report = done.report
    if report is None:
        return issued
    given = front.given
    fresh = any(each.action == "issued" for each in report.outcomes)
    if (given.has("force") or given.has("new_key")) and not fresh and not issued:
        request = IssueRequest(
            parse_identifiers(chosen.names), name=chosen.name, force=True, confirmed=True
        )
        report = issue(request, run)
    for error in report.all_errors:
        raise error
    return issued or issued_lines(report, front.lineages(run), chosen.name)


def rollback(front: Front) -> Result:
    """Take back what was changed in a web server's configuration for a certificate."""
    _require_root(front)
    name = front.given.text("cert_name") or next(iter(front.given.names), None)
    name = name or front.question("Name of the certificate whose changes are taken back:")
    if not name:
        raise UsageError(
            "rollback needs the certificate whose changes are taken back",
            hint="Give it with --cert-name NAME.",
            code=_CODE,
        )
    with front.open() as run:
        undone = undo(name, run)
    return Result({}, [f"The changes for {undone.name} were taken back."])


def _require_root(front: Front) -> None:
    if front.invocation.environment.user_id != 0:
        raise UsageError(
            "only root can change the configuration of a web server",
            hint="Run the same command with sudo.",
        )
