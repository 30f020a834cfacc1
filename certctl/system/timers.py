"""Finds cron jobs and systemd timers on this machine that run a command.

Searches their files for the command's words; nothing else in the files is interpreted.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass
from certctl.system.cron_names import runs_file
from certctl.system.process import run

RENEW_COMMAND = ("certctl", "renew")
"""The words that identify a line that runs `certctl renew`."""

_CRON_FILES = ("etc/crontab", "etc/anacrontab")
_CRON_DIRECTORIES = ("etc/cron.d", "etc/cron.hourly", "etc/cron.daily")
_SPOOLS = ("var/spool/cron/crontabs", "var/spool/cron/tabs", "var/spool/cron", "etc/crontabs")
"""Where the crontabs of users are: any name, since a user may have a dot in it."""

_UNIT_DIRECTORIES = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
_LIMIT = 256 * 1024
_CRONTAB_SECONDS = 10.0


@dataclass(frozen=True)
class Timer:
    """A cron job or timer that runs the command: its file, and whether it is enabled."""

    where: str
    enabled: bool = True


def timers_for(
    words: Sequence[str], *, root: Path = Path("/"), user_units: Path | None = None
) -> list[Timer]:
    """Return the cron jobs and systemd timers that run a command with all of `words` in it;
    `user_units` is the directory of the user's own units.
    """
    return [*_cron_timers(words, root), *_systemd_timers(words, root, user_units)]


def user_crontab(words: Sequence[str], *, program: str = "crontab") -> Timer | None:
    """Return this user's crontab if it runs a command with all of `words` in it. Reads it with
    `crontab -l`, since users may not read the file itself.
    """
    listed = run([program, "-l"], environment={}, timeout=_CRONTAB_SECONDS)
    if listed.exit_status == 0 and _mentions(listed.output.splitlines(), words):
        return Timer(f"the crontab of {pwd.getpwuid(os.geteuid()).pw_name}")
    return None


def _cron_timers(words: Sequence[str], root: Path) -> Iterator[Timer]:
    files = [root / each for each in _CRON_FILES]
    runs = runs_file(lambda path: (root / path.lstrip("/")).exists())
    for directory in _CRON_DIRECTORIES:
        files += [each for each in _entries(root / directory) if runs(each.name)]
    files += [each for spool in _SPOOLS for each in _entries(root / spool)]
    for path in files:
        if _mentions(_lines(path), words):
            yield Timer(str(path))


def _systemd_timers(words: Sequence[str], root: Path, user_units: Path | None) -> Iterator[Timer]:
    directories = [root / each for each in _UNIT_DIRECTORIES] + ([user_units] if user_units else [])
    seen: set[str] = set()
    enabled = {
        each.name
        for directory in directories
        for each in _entries(directory / "timers.target.wants")
    }
    for directory in directories:
        for path in _entries(directory, ".timer"):
            if path.name in seen:
                continue
            service = next(
                (
                    line.partition("=")[2].strip()
                    for line in _lines(path)
                    if line.startswith("Unit=")
                ),
                f"{path.stem}.service",
            )
            if any(_mentions(_lines(each / service), words) for each in directories):
                seen.add(path.name)
                yield Timer(str(path), enabled=path.name in enabled)


def _mentions(lines: Iterable[str], words: Sequence[str]) -> bool:
    """Return whether a line contains all the words, each separately or in a path."""
    lines = [line for line in lines if words[0] in line]
    wanted = [re.compile(rf"(?<![\w.-]){re.escape(each)}(?![\w.-])") for each in words]
    return any(
        all(each.search(line) for each in wanted)
        for line in lines
        if not line.lstrip().startswith(("#", ";"))
    )


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _entries(directory: Path, ending: str = "") -> list[Path]:
    """Return the files whose names have this ending: systemd has ten timers among hundreds."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - no objects for files that are not wanted
    except OSError:
        return []
    return [directory / each for each in sorted(names) if each.endswith(ending)]
