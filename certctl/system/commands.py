"""Why a command cannot start: what a shell reports only as exit status 126 or 127.

Nothing is run. Only the first word of a shell command line is examined, and not if it is a keyword
or a builtin of the shell.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.model.lazy_dataclass import dataclass
from certctl.system.process import WORKING_DIRECTORY, clean_environment

CANNOT_RUN = 126
NOT_FOUND = 127
"""The exit statuses of a shell whose command cannot be executed, or was not found."""

_HEAD_BYTES = 4096
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./+@:-]+\Z")
_LOADER = re.compile(rb"/[^\0]{0,200}/ld[^\0/]{0,100}\.so[^\0/]{0,20}(?=\0)")
"""The dynamic loader, which is the interpreter of an ELF program."""
_SHELL_WORDS = frozenset(
    {
        *(".", ":", "alias", "break", "case", "cd", "command", "continue", "echo", "eval", "exec"),
        *("exit", "export", "false", "for", "function", "if", "kill", "local", "printf", "pwd"),
        *("read", "return", "set", "shift", "source", "test", "time", "times", "trap", "true"),
        *("type", "ulimit", "umask", "unset", "until", "wait", "while"),
    }
)


@dataclass(frozen=True)
class Obstacle:
    """Why a program cannot start, as a clause such as "/x/hook does not exist", and how to solve
    it, as a sentence. `missing`: the program or its interpreter does not exist.
    """

    text: str
    fix: str
    missing: bool = False


def program_of(command: str) -> str | None:
    """Return the program that a shell command line starts with; None if it cannot be determined
    without the shell.

    Raises ValueError if a quote is not closed.
    """
    for word in shlex.split(command, comments=True):
        if _ASSIGNMENT.match(word):
            continue
        return word if _PLAIN.match(word) and word not in _SHELL_WORDS else None
    return None


def names_a_path(command: str) -> bool:
    """Return whether a shell command line starts with a program that is given by its path."""
    try:
        return "/" in (program_of(command) or "")
    except ValueError:
        return False


def obstacle(
    command: str | Sequence[str], variables: Mapping[str, str] = os.environ
) -> Obstacle | None:
    """Return why a command cannot start, or None if it can, or if only the shell could tell.

    `command` is a shell command line, or a program with its arguments, as `process.run` takes it.
    `variables` is the caller's environment, whose PATH commands inherit.
    """
    try:
        program = program_of(command) if isinstance(command, str) else command[0]
    except ValueError:
        return None
    return None if program is None else _obstacle(program, clean_environment(variables)["PATH"])


def _obstacle(program: str, search_path: str) -> Obstacle | None:
    if "/" not in program:
        found = shutil.which(program, path=search_path)
        if found is None:
            return Obstacle(
                f"{program} was not found in PATH ({search_path})",
                "Install it, or use its full path.",
                missing=True,
            )
        return _obstacle_of_file(Path(found), search_path)
    path = Path(WORKING_DIRECTORY, program)
    if not program.startswith("/") and not path.exists():
        return Obstacle(
            f"{program} is a relative path, and commands run in the directory {WORKING_DIRECTORY}",
            "Use its full path.",
            missing=True,
        )
    return _obstacle_of_file(path, search_path)


def _obstacle_of_file(path: Path, search_path: str) -> Obstacle | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        what = "is a symbolic link whose target does not exist" if path.is_symlink() else ""
        return Obstacle(
            f"{path} {what or 'does not exist'}",
            "Install it, or call a different program.",
            missing=True,
        )
    except OSError as error:
        return Obstacle(
            f"{path} cannot be accessed: {error.strerror}",
            "Give the user who runs certctl access to it and to the directories above it.",
        )
    if stat.S_ISDIR(mode):
        return Obstacle(f"{path} is a directory", "Give the path of a program in it.")
    return _no_permission(path, mode) or _bad_start(path, search_path)


def _no_permission(path: Path, mode: int) -> Obstacle | None:
    if not mode & 0o111:
        return Obstacle(f"{path} is not executable", f"Make it executable (chmod +x {path}).")
    if os.access(path, os.X_OK):
        return None
    if _mounted_noexec(path):
        return Obstacle(
            f"{path} is on a file system that is mounted with noexec",
            f"Move it, or run it with its interpreter (sh {path}).",
        )
    return Obstacle(
        f"this user is not permitted to execute {path}", f"Make it executable (chmod +x {path})."
    )


def _mounted_noexec(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 8))
    except OSError:
        return False


def _bad_start(path: Path, search_path: str) -> Obstacle | None:
    """Return what is wrong with the first bytes of a program: the kernel and the shell then report
    an interpreter as not found, without naming it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if head.startswith(b"\x7fELF"):
        loader = _LOADER.search(head)
        return None if loader is None else _no_interpreter(path, os.fsdecode(loader[0]))
    line = head.partition(b"\n")[0]
    if line.startswith(b"\xef\xbb\xbf#!"):
        return Obstacle(
            f"{path} begins with a byte order mark, which hides the interpreter in its first line",
            "Save it as UTF-8 without a byte order mark.",
        )
    if line.endswith(b"\r"):
        return Obstacle(
            f"{path} has line ends of Windows (CRLF), so its interpreter or its commands are not"
            " found",
            f"Convert its line ends (sed -i 's/\\r$//' {path}).",
            missing=True,
        )
    if not line.startswith(b"#!"):
        return None
    words = os.fsdecode(line[2:]).split()
    return _no_interpreter(path, *words, search_path=search_path) if words else None


def _no_interpreter(
    path: Path, interpreter: str, *arguments: str, search_path: str = ""
) -> Obstacle | None:
    fix = f"Install it, or change the first line of {path}."
    try:
        found = Path(WORKING_DIRECTORY, interpreter).stat()
    except OSError:
        return Obstacle(
            f"{path} needs the interpreter {interpreter}, which does not exist", fix, missing=True
        )
    if stat.S_ISDIR(found.st_mode) or not os.access(Path(WORKING_DIRECTORY, interpreter), os.X_OK):
        return Obstacle(f"{path} needs the interpreter {interpreter}, which cannot be run", fix)
    if Path(interpreter).name != "env":
        return None
    wanted = next(
        (each for each in arguments if not each.startswith("-") and not _ASSIGNMENT.match(each)),
        None,
    )
    if wanted is None or shutil.which(wanted, path=search_path) is not None:
        return None
    return Obstacle(
        f"{path} needs the interpreter {wanted}, which was not found in PATH ({search_path})",
        fix,
        missing=True,
    )


def cause_of_status(
    command: str | Sequence[str],
    exit_status: int,
    environment: Mapping[str, str] | None = None,
) -> Obstacle | None:
    """Return why a command ended with `CANNOT_RUN` or `NOT_FOUND`; None for another exit status.

    `environment` is what the command got in addition to the caller's.
    """
    if exit_status not in (CANNOT_RUN, NOT_FOUND):
        return None
    found = obstacle(command, {**os.environ, **(environment or {})})
    if found is not None:
        return found
    if exit_status == NOT_FOUND:
        return Obstacle(
            "a program that it calls was not found",
            f"Use full paths: commands run in the directory {WORKING_DIRECTORY} with a PATH of"
            " system directories.",
            missing=True,
        )
    return Obstacle(
        "a program that it calls cannot be executed",
        "Check that the program is executable (chmod +x) and built for this machine.",
    )
