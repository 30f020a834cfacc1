"""renew: what is due, as `certctl renew`."""

from __future__ import annotations

from certctl.ca.directories import directory_url, label
from certctl.certbot.front import Front, existing
from certctl.certbot.text import renewed_lines
from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.inspection.overview import overview
from certctl.model.errors import UsageError
from certctl.operations.renew import RenewRequest
from certctl.operations.renew import renew as renew_
from certctl.output.document import Result

_CODE = "usage.certbot"


def renew(front: Front) -> Result:
    """Renew what is due; options that were given are saved with the certificates."""
    given = front.given
    if given.names:
        raise UsageError(
            "renew takes no names: it renews all certificates that are due",
            hint="Name one with --cert-name, or use certonly.",
            code=_CODE,
        )
    named = (given.text("cert_name"),) if given.text("cert_name") else ()
    names = tuple(each for each in named if each)
    options = front.options(front.validation(()))
    with front.open() as run:
        if names:
            front.require(run, names[0])
        else:
            front.warn_of_certbots(run)
        front.take_hooks(run)
        _repair_links(front, run)
        if not names and not given.has("dry_run") and "ca" in options:
            _keep_cas(run, directory_url(str(options.pop("ca"))))
        request = RenewRequest(
            names,
            force=given.has("force") or given.has("new_key"),
            dry_run=given.has("dry_run"),
            unattended=not front.interactive,
            given=options,
        )
        report = renew_(request, run)
        views = overview(run, names)
        lines = renewed_lines(report, front.lineages(run), views, dry_run=request.dry_run)
    return Result({}, lines, (*report.all_errors, *front.links.errors), report.exit_status)


def _repair_links(front: Front, run: Run) -> None:
    """Make the links that a killed run did not make, since hooks need them; remove those of
    certificates that are deleted, since scripts ask whether they are there.
    """
    lineages = front.lineages(run)
    for name in lineages.abandoned(run.services.records.names()):
        lineages.remove(name)
    for name in existing(run):
        if lineages.is_ours(name) or load(run, name).deploy.lineage == str(lineages.path(name)):
            lineages.create(name)
            front.links.names.add(name)


def _keep_cas(run: Run, wanted: str) -> None:
    """Warn of certificates that another CA issued: a run for all of them changes no CA."""
    for name in existing(run):
        cas = load(run, name).cas
        if wanted not in cas:
            run.warn(
                f"it is renewed at {label(cas[0])}; to change that, add --cert-name {name}", name
            )
