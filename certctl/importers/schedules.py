"""Finds the cron lines and systemd units that run other clients, with their command lines.

The lines are read, never executed: words are split as a shell would, and nothing is expanded.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from certctl.importers.tree import Tree, Unreadable
from certctl.model.importing import FoundSchedule, StopRenewal
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import printable
from certctl.system.cron_names import runs_file

_ANACRONTAB = "/etc/anacrontab"
_CRON_FILES = ("/etc/crontab", _ANACRONTAB)
_SCRIPT_DIRECTORIES = (
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
)
_SPOOLS = (
    "/var/spool/cron/crontabs",
    "/var/spool/cron/tabs",
    "/var/spool/cron",
    "/etc/crontabs",  # of BusyBox
)
_UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)\Z")
_TIMES = re.compile(r"\s*(?:@[a-z_]+|(?:[-~0-9*,/A-Za-z]+\s+){4}[-~0-9*,/A-Za-z]+)\s+(.*)\Z")
_JOB = re.compile(r"\s*(?:@[a-z]+|[0-9]+)\s+[0-9]+\s+\S+\s+(.*)\Z")
"""A line of anacrontab: period, delay and name of the job before its command."""

_HOME = re.compile(r"\A~(?=/|\Z)|\$HOME\b|\$\{HOME\}")
_MAX_LINE = 4000
_PREFIX_WORDS = 6
"""How far into a command its program is looked for: behind `sudo -u USER` and the like."""
_OPERATOR = re.compile(
    r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.|(?P<operator>&&|\|\||[;|&\n])""", re.DOTALL
)
"""An operator between commands; quoted text before it is skipped."""


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


def stop_line(
    schedule: FoundSchedule, run: Run, others: Sequence[FoundSchedule]
) -> tuple[StopRenewal | None, str | None]:
    """Return how a run of a client is turned off that renews one certificate: a line of a crontab
    that runs nothing else of the client, or else what a person has to do; neither if it is off.
    """
    if not schedule.enabled:
        return None, None
    where = schedule.where
    is_crontab = where in _CRON_FILES or where.startswith(
        ("/etc/cron.d/", *(f"{each}/" for each in _SPOOLS))
    )
    if is_crontab and run.alone:
        return StopRenewal(where, line=schedule.command), None
    if is_crontab:
        return None, f"give it a line of its own in {where}: {run.text}"
    same = [each for each in others if each.where == where]
    if schedule.kind == "systemd" and len(same) == 1 and run.alone:
        return None, f"turn it off: systemctl disable --now {PurePosixPath(where).name}"
    return None, f"remove this command from {where.replace('.timer', '.service')}: {run.text}"


@dataclass(frozen=True)
class Run:
    """One run of a client on a command line: its words, `after` what follows if it succeeds, and
    the working directory if the line changes it. `alone`: the line has no other run of the client.
    """

    words: tuple[str, ...]
    text: str
    after: str = ""
    directory: str | None = None
    alone: bool = True


def runs_of(command: str, names: Sequence[str]) -> list[Run]:
    """Return the runs of a client, whose program has one of `names`, on a command line of a shell.
    What is not understood is one run.
    """
    found: list[Run] = []
    directory: str | None = None
    parts = _split(command)
    for place, (text, _) in enumerate(parts):
        words = words_of(text)
        plain = [each for each in words if not _ASSIGNMENT.match(each)]
        inner = _inner_command(plain)
        if inner is not None:
            found += runs_of(inner, names)
        elif plain[:1] == ["cd"] and len(plain) > 1:
            directory = plain[1]
        elif any(PurePosixPath(each).name in names for each in plain[:_PREFIX_WORDS]):
            succeeding = parts[place][1] == "&&" and place + 1 < len(parts)
            after = parts[place + 1][0] if succeeding else ""
            found.append(Run(tuple(words), text, after, directory))
    if not found:
        found = [Run(tuple(words_of(command)), command)]
    return [replace(each, alone=len(found) == 1) for each in found]


def _inner_command(words: Sequence[str]) -> str | None:
    """Return the command line that `sh -c` runs."""
    shell = bool(words) and PurePosixPath(words[0]).name in ("sh", "bash", "dash")
    if shell and len(words) > 2 and words[1].startswith("-") and words[1].endswith("c"):
        return words[2]
    return None


def _split(command: str) -> list[tuple[str, str]]:
    """Return the commands of a command line, each with the operator that follows it."""
    found: list[tuple[str, str]] = []
    start = 0
    for operator in _OPERATOR.finditer(command):
        if operator["operator"] is None:
            continue
        found.append((command[start : operator.start()].strip(), operator["operator"]))
        start = operator.end()
    found.append((command[start:].strip(), ""))
    return [each for each in found if each[0]]


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


def path_of(text: str, environment: Mapping[str, str], directory: str | None = None) -> str:
    """Return a path on a command line as an absolute one: `~` and `$HOME` are those of the user who
    runs it, and it is relative to `directory`, or else to the user's home.
    """
    home = environment.get("HOME", "/root")
    found = _HOME.sub(lambda _: home, text)
    within = home if directory is None else path_of(directory, environment)
    return os.path.normpath(os.path.join(within, found))  # noqa: PTH118 - another machine's path


def _users(tree: Tree) -> dict[str, str]:
    """Return the home directories of a machine's users."""
    fields = (each.split(":") for each in _lines(tree, "/etc/passwd"))
    return {each[0]: each[5] for each in fields if len(each) > 5 and each[5].startswith("/")}


_Line = tuple[str, str, str, bool, Mapping[str, str]]


def _cron(tree: Tree) -> Iterator[_Line]:
    files = [(each, each != _ANACRONTAB) for each in _CRON_FILES]
    runs = runs_file(tree.exists)
    files += [(f"/etc/cron.d/{each}", True) for each in tree.files("/etc/cron.d") if runs(each)]
    for spool in _SPOOLS:
        files += [(f"{spool}/{each}", False) for each in tree.files(spool)]
    users = _users(tree)
    for path, has_user in files:
        environment: dict[str, str] = {}
        for line in _lines(tree, path):
            times = (_JOB if path == _ANACRONTAB else _TIMES).match(line)
            if times is None:
                if (assignment := _ASSIGNMENT.match(line)) is not None:
                    environment[assignment[1]] = assignment[2].strip().strip("\"'")
                continue
            command, user = times[1], PurePosixPath(path).name
            if path == _ANACRONTAB:
                user = "root"
            elif has_user:
                user, command = [*command.split(None, 1), "", ""][:2]
            of_user = {"HOME": users[user]} if user in users else {}
            yield (
                path,
                "cron",
                command,
                True,
                {
                    **of_user,
                    **environment,
                    **leading_assignments(words_of(command)),
                },
            )
    for directory in _SCRIPT_DIRECTORIES:
        for name in tree.files(directory):
            if not runs(name):
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
        stem = name.removesuffix(".service")
        lines = _lines(tree, path)
        environment = _unit_environment(tree, lines)
        commands = [
            value.strip().lstrip("-+!@:")
            for key, _, value in (line.partition("=") for line in lines)
            if key.strip() == "ExecStart" and value.strip()
        ]
        instances = sorted(each for each in started if each != stem and each.startswith(stem))
        if stem.endswith("@") and instances:
            for each in instances:
                where = f"{_directory_of(tree, f'timers.target.wants/{each}.timer')}/{each}.timer"
                for command in commands:
                    yield where, "systemd", _of_instance(command, each), True, environment
            continue
        place = _directory_of(tree, f"{stem}.timer")
        where = path if place is None or stem not in timers else f"{place}/{stem}.timer"
        for command in commands:
            yield where, "systemd", command, stem in started or stem not in timers, environment


def _directory_of(tree: Tree, name: str) -> str | None:
    return next((each for each in _UNITS if tree.exists(f"{each}/{name}")), None)


def _of_instance(command: str, unit: str) -> str:
    """Return the command line of an instance of a template (systemd.unit(5), specifiers)."""
    instance = unit.partition("@")[2]
    return re.sub(r"%[iI]", lambda _: instance, command)


def _unit_environment(tree: Tree, lines: Sequence[str]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "Environment":
            environment |= leading_assignments(words_of(value))
        elif key.strip() == "EnvironmentFile":
            environment |= _environment_file(tree, value.strip().lstrip("-"))
    return environment


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
