"""What is said where the configuration of a web server is not changed from here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from certctl.model.errors import WebServerRefused
from certctl.model.webserver import FileChange, ServedFiles
from certctl.rules import snippets
from certctl.rules.configurations import Refused, Unreadable
from certctl.system.port_holders import held_by_others
from certctl.system.server_processes import ServerProcess


def lines_by_hand(
    kind: str, names: Sequence[str], files: ServedFiles, *, challenges_only: bool
) -> str:
    """Return the lines to add by hand, each under where it belongs."""
    live = Path(files.fullchain).parent
    paths = snippets.Files(
        files.fullchain, files.privkey, str(live / "combined.pem"), str(live.parent), files.second
    )
    parts = snippets.snippet(kind, names, paths, snippets.Webroot(files.challenges))
    shown = [each for each in parts if each.purpose == "challenges" or not challenges_only]
    return "\n".join(
        f"{each.where}\n{textwrap.indent(each.text.rstrip(), '    ')}" for each in shown
    )


def without_lines(
    now: Mapping[str, bytes], base: Mapping[str, bytes], changes: Sequence[FileChange]
) -> list[FileChange]:
    """Return the changes of files that have lines of ours, and need none of them any more. `now`
    and `base`: what each file has with our lines and without them.
    """
    changed = {each.path for each in changes}
    return [
        FileChange(path, data, data, data)
        for path, data in base.items()
        if path not in changed and now[path] != data
    ]


def nothing_changed(error: Refused | Unreadable, by_hand: str) -> WebServerRefused:
    """Return the error for a configuration that is not changed, with the lines to add by hand."""
    hint = getattr(error, "hint", None) or "Add the lines by hand:"
    return WebServerRefused(f"{error}; nothing was changed", hint=f"{hint}\n{by_hand}")


def of_this_machine(program: str, masters: Iterable[ServerProcess]) -> list[ServerProcess]:
    """Return the first processes of servers whose files and ports are those that certctl sees.
    Raises `WebServerRefused` if there are servers, but none of them is.
    """
    every = list(masters)
    found = [
        each for each in every if each.same_files is not False and each.same_network is not False
    ]
    if every and not found:
        pids = ", ".join(str(each.pid) for each in every)
        raise WebServerRefused(
            f"{program} runs in a container, or in another root directory (process {pids}), so its"
            " files and ports are not those of this machine",
            hint="Run certctl there, or add the lines by hand:",
            code="webserver.container",
        )
    return found


def replaced_note(master: ServerProcess, program: str) -> str:
    """Return the note about a server that still runs a program that is no longer on disk."""
    return (
        f"process {master.pid} still runs the {program} from before {master.executable} was"
        " replaced, and its lines are written for that version; restart it to run the new one"
    )


def require_alone(port: int, program: str, master: int) -> None:
    """Raise `Refused` if something else than this server listens on a port. nginx would go on with
    what it has loaded, and say nothing; Apache would end.
    """
    other = held_by_others(port, master)
    if other is not None:
        raise Refused(
            f"port {port} is taken by {other}, not only by {program} (process {master})",
            "Stop that program, or move it to another port, and run the command again."
            " Otherwise add the lines by hand:",
        )
