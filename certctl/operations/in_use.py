"""Whether a web server uses the files of a certificate, so that they must not be deleted."""

from __future__ import annotations

from pathlib import Path

from certctl.engine.named_files import places_naming
from certctl.engine.run import Run
from certctl.importers.handover import not_linked
from certctl.model.errors import UsageError
from certctl.store.home.secured import SecuredSites


def require_unused(name: str, run: Run, otherwise: str = "") -> None:
    """Raise `UsageError` if the configuration of a web server names a certificate's files, or if
    paths of another client lead to them. `otherwise` ends the hint: what else the user may do.
    """
    record = run.services.machine.imports.find(name)
    live = Path(run.services.tree.home) / "live" / name
    if record is not None and len(not_linked(record, live)) < len(record.paths):
        raise UsageError(
            f"{name} is in use: it was imported from {record.client}, and"
            f" {record.paths[0].path} leads to its files",
            hint=f"Give it back first: certctl import --undo {name}{otherwise}",
            name=name,
            code="usage.in_use",
        )
    require_unnamed(name, run, otherwise)


def require_unnamed(name: str, run: Run, otherwise: str = "") -> None:
    """Raise `UsageError` if the configuration of a web server names a certificate's files."""
    sites = SecuredSites(Path(run.services.tree.home))
    found = [
        place
        for directory in (sites.layout.live(name), sites.layout.versions(name))
        for place in places_naming(directory, run)
    ]
    record = sites.get(name)
    if not found and (record is None or not record.tls):
        return
    places = found or ([each.path for each in record.files] if record else [])
    shown = f"{', '.join(places[:3])}{' and others' if len(places) > 3 else ''}"
    remedy = "Remove those lines first"
    if record is not None:
        remedy += f" (certctl secure --undo {name})"
    raise UsageError(
        f"{name} is in use: the configuration of a web server names its files ({shown}), and"
        " without them the server would not start again",
        hint=f"{remedy}{otherwise}.",
        name=name,
        code="usage.in_use",
    )
