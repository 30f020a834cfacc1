"""Whether servers need the files of the second certificate, before a version without them is live:
a server that does not find them would not start again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from certctl.engine.delivery.steps import targets_of
from certctl.engine.held import Held
from certctl.engine.named_files import places_naming
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, UsageError
from certctl.model.ports import NamesFiles
from certctl.store.home.layout import Layout


def require_unused_second(held: Held, kept: str | None, run: Run) -> None:
    """Raise `UsageError` if the configuration of a server names the files of the live version's
    second certificate, and the next version will not have them: its second key is of the kind
    `kept`, or there is none.
    """
    second = held.live.second if held.live is not None else None
    if second is None or second.family == kept:
        return
    directory = Layout(Path(run.services.tree.home)).live(held.name) / second.family
    places = [*places_naming(directory, run), *_targets_naming(str(directory), held, run)]
    if places:
        raise UsageError(
            f"{held.name} would have no files in {directory} any more, which the configuration of"
            f" a server names ({', '.join(places[:3])}): it would not start again",
            hint="Remove those lines, and reload the server. Then run the same command again.",
            name=held.name,
            code="usage.in_use",
        )


def _targets_naming(directory: str, held: Held, run: Run) -> list[str]:
    with suppress(CertctlError):
        return [
            each.name
            for each in targets_of(held.spec, run, {})
            if isinstance(each.plugin, NamesFiles) and each.plugin.names_path(directory)
        ]
    return []
