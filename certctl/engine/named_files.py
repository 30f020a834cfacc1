"""Which files of the home directory the configuration of a running web server names: without them
it would not start again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from certctl.engine.run import Run
from certctl.model.errors import CertctlError
from certctl.store.home.layout import Layout
from certctl.webservers.server import MODULES, ServerSystem, server_module


def places_naming(directory: Path, run: Run) -> Sequence[str]:
    """Return the places in the configurations of running web servers that name files below a
    directory. A server that cannot be examined is left out.
    """
    system = ServerSystem(run.services.clock, run.stop)
    found: list[str] = []
    for kind in MODULES:
        with suppress(CertctlError):
            for server in server_module(kind).find(system):
                found += server.names_path(f"{directory}/")
    return list(dict.fromkeys(found))


def named_versions(name: str, numbers: Sequence[int], run: Run) -> Sequence[int]:
    """Return those of a certificate's versions whose own files a configuration names, where the
    ones in `live` should be; warn of them.
    """
    layout = Layout(Path(run.services.tree.home))
    if not run.once("versions named", lambda: bool(places_naming(layout.archive, run))):
        return ()
    found = {number: places_naming(layout.version(name, number), run) for number in numbers}
    for number, places in found.items():
        if places:
            run.warn(
                f"version {number} is kept, since the configuration of a web server names its files"
                f" ({places[0]}); have it name those in {layout.live(name)}",
                name,
            )
    return [number for number, places in found.items() if places]
