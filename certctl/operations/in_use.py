"""Whether a web server uses the files of a certificate, so that they must not be deleted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from certctl.engine.run import Run
from certctl.model.errors import CertctlError, UsageError
from certctl.store.home.secured import SecuredSites
from certctl.webservers.server import MODULES, ServerSystem, server_module


def require_unused(name: str, run: Run) -> None:
    """Raise `UsageError` if the configuration of a web server names a certificate's files."""
    sites = SecuredSites(Path(run.services.tree.home))
    system = ServerSystem(run.services.clock, run.stop)
    live = f"{sites.layout.live(name)}/"
    found: list[str] = []
    for kind in MODULES:
        with suppress(CertctlError):  # a server that cannot be examined
            for server in server_module(kind).find(system):
                found += server.names_path(live)
    record = sites.get(name)
    if not found and (record is None or not record.tls):
        return
    places = list(dict.fromkeys(found)) or [each.path for each in record.files] if record else found
    shown = f"{', '.join(places[:3])}{' and others' if len(places) > 3 else ''}"
    remedy = "Remove those lines first"
    if record is not None:
        remedy += f" (certctl secure --undo {name})"
    raise UsageError(
        f"{name} is in use: the configuration of a web server names its files ({shown}), and"
        " without them the server would not start again",
        hint=f"{remedy}, or delete it anyway with --force.",
        name=name,
        code="usage.in_use",
    )
