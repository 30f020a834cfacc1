"""Hooks and reloads that would fail before they begin: what is not there, or cannot be run.

For `doctor`: nothing is run. A shell command line is judged by its first word only; the rest is the
shell's, and a first word that belongs to the shell is left alone.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from certctl.errors import CertctlError, ConfigurationError
from certctl.models import CertificateSpec, Finding, Severity
from certctl.system.files import check_trusted
from certctl.system.process import clean_environment

EVENTS = ("pre", "deploy", "post")

_SETTINGS = "certctl.toml"
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./+@:-]+\Z")
_OF_THE_SHELL = frozenset(
    {
        *(".", ":", "alias", "break", "case", "cd", "command", "continue", "echo", "eval", "exec"),
        *("exit", "export", "false", "for", "function", "if", "kill", "local", "printf", "pwd"),
        *("read", "return", "set", "shift", "source", "test", "time", "times", "trap", "true"),
        *("type", "ulimit", "umask", "unset", "until", "wait", "while"),
    }
)


def command_findings(spec: CertificateSpec, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with the commands of a spec; `variables` are those of the caller, whose
    PATH a hook has too.
    """
    deploy = spec.deploy
    commands = {
        "pre hook": deploy.pre_hook,
        "deploy hook": deploy.deploy_hook,
        "reload": deploy.reload,
        "post hook": deploy.post_hook,
    }
    for kind, command in commands.items():
        if command:
            yield from _of_command(spec.name, kind, command, variables)


def alert_findings(command: str | None, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with the command that is run when a renewal failed."""
    if command:
        yield from _of_command(_SETTINGS, "on_failure_hook", command, variables)


def directory_findings(home: Path) -> Iterator[Finding]:
    """Yield the files of `hooks/*.d` that are passed over though they look like hooks."""
    for event in EVENTS:
        directory = home / "hooks" / f"{event}.d"
        try:
            paths = sorted(directory.iterdir())
        except OSError:
            continue
        for path in paths:
            if path.name.startswith(".") or path.name.endswith("~") or path.is_dir():
                continue
            if not path.exists():
                yield Finding(
                    "hook.missing",
                    Severity.WARNING,
                    str(path),
                    f"this {event} hook is a link that leads nowhere",
                    f"rm {path}, or put there what it should lead to",
                )
            elif not os.access(path, os.X_OK):
                yield Finding(
                    "hook.not_executable",
                    Severity.WARNING,
                    str(path),
                    f"this {event} hook is not executable, and so never run",
                    f"chmod +x {path}, or give it a name that ends in ~",
                )


def program_of(command: str) -> str | None:
    """Return the program that a shell command line begins with; None where only the shell can tell.

    Raises ValueError where quotes are left open.
    """
    for word in shlex.split(command, comments=True):
        if _ASSIGNMENT.match(word):
            continue
        return word if _PLAIN.match(word) and word not in _OF_THE_SHELL else None
    return None


def _of_command(
    name: str, kind: str, command: str, variables: Mapping[str, str]
) -> Iterator[Finding]:
    try:
        program = program_of(command)
    except ValueError as error:
        yield Finding(
            "hook.syntax",
            Severity.WARNING,
            name,
            f"its {kind} does not look like a command of the shell ({error}): {command}",
            _change(name, kind),
        )
        return
    if program is None:
        return
    path = clean_environment(variables)["PATH"]
    found = program if "/" in program else shutil.which(program, path=path)
    if found is None or not Path(found).exists():
        yield _missing(name, kind, command, program)
        return
    if not os.access(found, os.X_OK):
        yield Finding(
            "hook.not_executable",
            Severity.ERROR,
            name,
            f"its {kind} calls {found}, which is not executable: {command}",
            f"chmod +x {found}",
        )
        return
    try:
        check_trusted(Path(found))
    except ConfigurationError as error:
        yield Finding(
            "hook.writable",
            Severity.WARNING,
            name,
            f"its {kind} calls {found}, which others could change: {error.message}",
            error.hint,
        )
    except CertctlError:
        return


def _change(name: str, kind: str) -> str:
    """Return what to type to change a command."""
    if name == _SETTINGS:
        return f"change {kind} in {_SETTINGS}"
    return f"certctl edit {name} --{kind.replace(' ', '-')} COMMAND"


def _missing(name: str, kind: str, command: str, program: str) -> Finding:
    if "/" not in program:
        return Finding(
            "hook.missing",
            Severity.ERROR,
            name,
            f"its {kind} calls {program}, which is in no directory of PATH: {command}",
            f"Install it, or give its whole path: {_change(name, kind)}",
        )
    relative = "" if program.startswith("/") else " (hooks start in /)"
    return Finding(
        "hook.missing",
        Severity.ERROR,
        name,
        f"its {kind} calls {program}, which does not exist{relative}: {command}",
        f"Put it there, or call another: {_change(name, kind)}",
    )
