"""Finds the cron lines and systemd units that run other clients, with their command lines.

The lines are read, never executed: words are split as a shell would, and nothing is expanded.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from certctl.importers.tree import Tree, Unreadable
from certctl.model.importing import FoundSchedule, StopRenewal
from certctl.model.text import printable

_CRON_FILES = ("/etc/crontab", "/etc/anacrontab")
_SCRIPT_DIRECTORIES = (
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
)
_SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron")
_UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)\Z")
_TIMES = re.compile(r"\s*(?:@[a-z]+|(?:[-0-9*,/A-Za-z]+\s+){4}[-0-9*,/A-Za-z]+)\s+(.*)\Z")
_MAX_LINE = 4000


def find_schedules(tree: Tree, words: Mapping[str, Sequence[str]]) -> list[FoundSchedule]:
    """Return what runs the clients, whose program names are `words` by client."""
    patterns = {
        client: re.compile(
            "|".join(rf"(?<![\w.-]){re.escape(each)}(?![\w-]|\.(?!sh\b))" for each in names)
        )
        for client, names in words.items()
    }
    found: list[FoundSchedule] = []
    for where, kind, command, enabled, environment in (*_cron(tree), *_systemd(tree)):
        for client, pattern in patterns.items():
            if pattern.search(command):
                shown = printable(command, _MAX_LINE)
                found.append(FoundSchedule(client, where, kind, shown, enabled, environment))
    return list({(each.client, each.where, each.command): each for each in found}.values())


def command_line(schedule: FoundSchedule) -> StopRenewal | None:
    """Return how one line of a crontab is turned off; None for a unit or a script."""
    is_crontab = schedule.where in _CRON_FILES or schedule.where.startswith(
        ("/etc/cron.d/", *(f"{each}/" for each in _SPOOLS))
    )
    return StopRenewal(schedule.where, line=schedule.command) if is_crontab else None


def words_of(command: str) -> list[str]:
    """Return the words of a command line as a shell would split them; quotes that do not match
    are taken literally.
    """
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()


def flag_values(words: Sequence[str], *flags: str) -> list[str]:
    """Return the values of a flag that takes one, as `--flag VALUE` or `--flag=VALUE`."""
    found: list[str] = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in flags and equals:
            found.append(value)
        elif word in flags and place + 1 < len(words):
            found.append(words[place + 1])
    return found


def leading_assignments(words: Iterable[str]) -> dict[str, str]:
    """Return the variables that a command line sets for its command."""
    found: dict[str, str] = {}
    for word in words:
        match = _ASSIGNMENT.match(word)
        if match is None:
            break
        found[match[1]] = match[2]
    return found


_Line = tuple[str, str, str, bool, Mapping[str, str]]


def _cron(tree: Tree) -> Iterator[_Line]:
    files = [(each, True) for each in _CRON_FILES]
    # cron skips names with a dot in them, such as old configuration files of packages
    files += [
        (f"/etc/cron.d/{each}", True) for each in tree.files("/etc/cron.d") if "." not in each
    ]
    for spool in _SPOOLS:
        files += [(f"{spool}/{each}", False) for each in tree.files(spool)]
    for path, has_user in files:
        environment: dict[str, str] = {}
        for line in _lines(tree, path):
            times = _TIMES.match(line)
            if times is None:
                if (assignment := _ASSIGNMENT.match(line)) is not None:
                    environment[assignment[1]] = assignment[2].strip().strip("\"'")
                continue
            command = times[1]
            if has_user:
                command = command.partition(" ")[2].strip()
            yield (
                path,
                "cron",
                command,
                True,
                {
                    **environment,
                    **leading_assignments(words_of(command)),
                },
            )
    for directory in _SCRIPT_DIRECTORIES:
        for name in tree.files(directory):
            if "." in name:
                continue
            path = f"{directory}/{name}"
            lines = [each for each in _lines(tree, path) if not _ASSIGNMENT.match(each)]
            for line in lines:
                yield path, "cron", line.strip(), True, {}


def _systemd(tree: Tree) -> Iterator[_Line]:
    units = {
        name: f"{directory}/{name}"
        for directory in reversed(_UNITS)
        for name in tree.files(directory)
        if name.endswith(".service")
    }
    started = {
        name.removesuffix(".timer")
        for directory in _UNITS
        for name in tree.files(f"{directory}/timers.target.wants")
    }
    timers = {
        name.removesuffix(".timer")
        for directory in _UNITS
        for name in tree.files(directory)
        if name.endswith(".timer")
    }
    for name, path in sorted(units.items()):
        environment: dict[str, str] = {}
        lines = _lines(tree, path)
        for line in lines:
            key, _, value = line.partition("=")
            if key.strip() == "Environment":
                environment |= leading_assignments(words_of(value))
            elif key.strip() == "EnvironmentFile":
                environment |= _environment_file(tree, value.strip().lstrip("-"))
        stem = name.removesuffix(".service")
        where = path
        timer = next(
            (f"{each}/{stem}.timer" for each in _UNITS if tree.exists(f"{each}/{stem}.timer")), None
        )
        if stem in timers and timer is not None:
            where = timer
        for line in lines:
            key, _, value = line.partition("=")
            if key.strip() == "ExecStart":
                enabled = stem in started or stem not in timers
                yield where, "systemd", value.strip().lstrip("-+!@:"), enabled, environment


def _environment_file(tree: Tree, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in _lines(tree, path):
        if (assignment := _ASSIGNMENT.match(line)) is not None:
            found[assignment[1]] = assignment[2].strip().strip("\"'")
    return found


def _lines(tree: Tree, path: str) -> list[str]:
    """Return the lines of a file that are not comments, with continued lines joined."""
    try:
        text = tree.text(path)
    except Unreadable:
        return []
    lines = text.replace("\\\n", " ").split("\n")
    return [each[:_MAX_LINE] for each in lines if not each.lstrip().startswith(("#", ";"))]
