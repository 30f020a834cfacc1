"""certificates, delete, revoke, plugins and update_symlinks."""

from __future__ import annotations

from pathlib import Path

from certctl.certbot.front import Front, existing
from certctl.certbot.text import certificate_lines
from certctl.cli.reports import read_file
from certctl.engine.rows import CertificateView
from certctl.engine.run import Run
from certctl.inspection.overview import overview
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import ConsentRequired, Declined, UsageError
from certctl.model.names import parse_identifiers
from certctl.operations.in_use import require_unused
from certctl.operations.revoke import revoke as revoke_
from certctl.operations.revoke import revoke_file
from certctl.operations.versions import delete as delete_
from certctl.operations.versions import require_deletable
from certctl.output.document import Result
from certctl.rules.certbot_flags import DNS_PLUGINS
from certctl.rules.certbot_options import WEB_SERVERS, reason

_CODE = "usage.certbot"
_DELETED = "Deleted all files relating to certificate {name}."
_REVOKED = (
    "Congratulations! You have successfully revoked the certificate that was located at {path}."
)


def certificates(front: Front) -> Result:
    """List certificates, all or those with these names."""
    name = front.given.text("cert_name")
    wanted = {each.value for each in parse_identifiers(front.given.names)}
    with front.open(reads_only=True) as run:
        views = overview(run)
        front.warn_of_certbots(run)
        shown = [
            each
            for each in views
            if (not wanted or wanted & _names(each)) and name in (None, each.name)
        ]
        chosen = name is not None or bool(wanted)
        now = run.services.clock.now()
        lines = certificate_lines(shown, front.lineages(run), now, chosen=chosen)
    return Result({}, lines)


def _names(view: CertificateView) -> set[str]:
    return {*view.names, *(view.live.names if view.live else ())}


def delete(front: Front) -> Result:
    """Delete a certificate, its files and its links."""
    with front.open() as run:
        name = _named(front, run, "delete")
        require_deletable(run, name)
        require_unused(name, run)
        if front.interactive:
            _require_yes(front, f"Delete {name} and its files?")
        delete_(run, name)
        front.lineages(run).remove(name)
    return Result({}, [_DELETED.format(name=name)])


def _named(front: Front, run: Run, subcommand: str) -> str:
    """Return the name of the certificate, for which a person is asked if it was not given."""
    name = front.given.text("cert_name")
    if name is None and front.interactive:
        known = ", ".join(run.services.records.names())
        name = front.question(f"Which certificate ({known})?")
    if not name:
        raise UsageError(
            f"{subcommand} needs the certificate",
            hint="Give it with --cert-name NAME; certbot certificates lists them.",
            code=_CODE,
        )
    front.require(run, name)
    return name


def _require_yes(front: Front, question: str) -> None:
    answer = front.invocation.ask(question)
    if not answer:
        raise (ConsentRequired if answer is None else Declined)("nothing was changed")


def revoke(front: Front) -> Result:
    """Revoke a certificate by its name or its file, and delete it unless that is not wanted."""
    given, why = front.given, RevocationReason(reason(front.given))
    if given.text("cert_path") and given.text("cert_name"):
        raise UsageError("--cert-path and --cert-name cannot be combined", code=_CODE)
    with front.open() as run:
        path = given.text("cert_path")
        if path is None:
            name = _named(front, run, "revoke")
            keep = _keeps(front)
            if not keep:
                require_unused(name, run)
            afterwards = Afterwards.STOP if keep else Afterwards.DELETE
            _, report = revoke_(run, name, why, afterwards)
            for error in report.all_errors:
                raise error
            if not keep:
                front.lineages(run).remove(name)
            deleted = None if keep else name
            path = str(front.lineages(run).file(name, "cert"))
        else:
            deleted = _revoke_file(front, run, path, why, keep=_keeps(front))
    lines = [_DELETED.format(name=deleted)] if deleted else []
    return Result({}, [*lines, _REVOKED.format(path=path)])


def _keeps(front: Front) -> bool:
    """Return whether a revoked certificate is kept: as was said, or as a person answers."""
    wanted = front.given.switch("delete_after")
    if wanted is None and front.interactive:
        return not front.invocation.ask("Delete the certificate that is revoked, too?")
    return wanted is False


def _revoke_file(
    front: Front, run: Run, path: str, why: RevocationReason, *, keep: bool
) -> str | None:
    """Revoke the certificate in a file; return the name of the certificate that was deleted."""
    directory = front.invocation.environment.directory
    key = front.given.text("key_path")
    ca = front.invocation.flags.get("ca")
    certificate = read_file(directory / path)
    own = read_file(directory / key) if key else None
    done = revoke_file(run, None if ca is None else str(ca), certificate, own, why)
    name = done.name
    if name is None or keep or name not in run.services.records.names():
        return None
    require_unused(name, run)
    delete_(run, name)
    front.lineages(run).remove(name)
    return name


def plugins(front: Front) -> Result:
    """List how names can be validated."""
    del front
    names = (
        "manual",
        "standalone",
        "webroot",
        *WEB_SERVERS,
        *(f"dns-{one}" for one in DNS_PLUGINS),
    )
    lines: list[str] = []
    for each in sorted(names):
        kinds = "Authenticator, Installer" if each in WEB_SERVERS else "Authenticator"
        lines += [f"* {each}", f"Interfaces: {kinds}", ""]
    return Result({}, lines)


def update_symlinks(front: Front) -> Result:
    """Make the links of every certificate again that has some."""
    with front.open() as run:
        lineages = front.lineages(run)
        for name in existing(run):
            if Path(lineages.path(name)).is_dir():
                lineages.require_free(name)
                lineages.create(name)
    return Result({}, [])
