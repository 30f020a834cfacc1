"""Whether something on this machine runs a command from time to time: cron, or a systemd timer.

Looks at the files that these read; what is in them is not judged, but for the command's name.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from certctl.system.process import run

_CRON_FILES = ("etc/crontab", "etc/anacrontab")
_CRON_DIRECTORIES = ("etc/cron.d", "etc/cron.hourly", "etc/cron.daily", "var/spool/cron/crontabs")
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
    """One thing that runs the command: the file that says so, and whether it is enabled."""

    where: str
    enabled: bool = True


def timers_for(
    words: Sequence[str], *, root: Path = Path("/"), user_units: Path | None = None
) -> list[Timer]:
    """Return what would run a command that has all of `words` in it, of cron and of systemd;
    `user_units` is the directory of the user's own units.
    """
    return [*_of_cron(words, root), *_of_systemd(words, root, user_units)]


def user_crontab(words: Sequence[str], *, program: str = "crontab") -> Timer | None:
    """Return this user's crontab where it runs a command with all of `words` in it, as `crontab -l`
    tells: nobody may read the file itself.
    """
    listed = run([program, "-l"], environment={}, timeout=_CRONTAB_SECONDS)
    if listed.exit_status == 0 and _mentions(listed.output.splitlines(), words):
        return Timer(f"the crontab of {pwd.getpwuid(os.geteuid()).pw_name}")
    return None


def _of_cron(words: Sequence[str], root: Path) -> Iterator[Timer]:
    files = [root / each for each in _CRON_FILES]
    for directory in _CRON_DIRECTORIES:
        # cron passes over names with a dot in them, such as those of packages' leftovers.
        files += [each for each in _inside(root / directory) if "." not in each.name]
    for path in files:
        if _mentions(_lines(path), words):
            yield Timer(str(path))


def _of_systemd(words: Sequence[str], root: Path, user_units: Path | None) -> Iterator[Timer]:
    directories = [root / each for each in _UNIT_DIRECTORIES] + ([user_units] if user_units else [])
    seen: set[str] = set()
    enabled = {
        each.name
        for directory in directories
        for each in _inside(directory / "timers.target.wants")
    }
    for directory in directories:
        for path in _inside(directory):
            if path.suffix != ".timer" or path.name in seen:
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
    """Return whether one line has all the words, each by itself or in a path."""
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


def _inside(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
