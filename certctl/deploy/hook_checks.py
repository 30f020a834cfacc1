"""Finds hooks and reload commands that cannot start: missing, not executable, or unsafe programs.

Used by `doctor`; nothing is run. Only the first word of a shell command line is checked, and not
if it is a keyword or a builtin of the shell.
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
_SHELL_WORDS = frozenset(
    {
        *(".", ":", "alias", "break", "case", "cd", "command", "continue", "echo", "eval", "exec"),
        *("exit", "export", "false", "for", "function", "if", "kill", "local", "printf", "pwd"),
        *("read", "return", "set", "shift", "source", "test", "time", "times", "trap", "true"),
        *("type", "ulimit", "umask", "unset", "until", "wait", "while"),
    }
)


def command_findings(spec: CertificateSpec, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield findings about the commands of a spec; `variables` is the caller's environment, whose
    PATH hooks inherit.
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
            yield from _command_findings(spec.name, kind, command, variables)


def alert_findings(command: str | None, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield findings about the `on_failure_hook`."""
    if command:
        yield from _command_findings(_SETTINGS, "on_failure_hook", command, variables)


def directory_findings(home: Path) -> Iterator[Finding]:
    """Yield findings about files in `hooks/*.d` that look like hooks but are skipped."""
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
                    f"this {event} hook is a symbolic link whose target does not exist",
                    f"Restore its target, or remove the link: rm {path}",
                )
            elif not os.access(path, os.X_OK):
                yield Finding(
                    "hook.not_executable",
                    Severity.WARNING,
                    str(path),
                    f"this {event} hook is not executable, so it is never run",
                    f"Give it a name that ends in ~, or make it executable: chmod +x {path}",
                )


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


def _command_findings(
    name: str, kind: str, command: str, variables: Mapping[str, str]
) -> Iterator[Finding]:
    try:
        program = program_of(command)
    except ValueError as error:
        yield Finding(
            "hook.syntax",
            Severity.WARNING,
            name,
            f"the {kind} is not a valid shell command ({error}): {command}",
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
            f"the {kind} calls {found}, which is not executable: {command}",
            f"Make it executable: chmod +x {found}",
        )
        return
    try:
        check_trusted(Path(found))
    except ConfigurationError as error:
        yield Finding(
            "hook.writable",
            Severity.WARNING,
            name,
            f"the {kind} calls {found}, which other users can modify: {error.message}",
            error.hint,
        )
    except CertctlError:
        return


def _change(name: str, kind: str) -> str:
    """Return a hint that states how to change a command."""
    if name == _SETTINGS:
        return f"Change {kind} in {_SETTINGS}"
    return f"Change the {kind}: certctl edit {name} --{kind.replace(' ', '-')} COMMAND"


def _missing(name: str, kind: str, command: str, program: str) -> Finding:
    if "/" not in program:
        return Finding(
            "hook.missing",
            Severity.ERROR,
            name,
            f"the {kind} calls {program}, which was not found in PATH: {command}",
            f"Install it, or use its full path. {_change(name, kind)}",
        )
    relative = "" if program.startswith("/") else " (hooks run in the directory /)"
    return Finding(
        "hook.missing",
        Severity.ERROR,
        name,
        f"the {kind} calls {program}, which does not exist{relative}: {command}",
        f"Install it, or call a different program. {_change(name, kind)}",
    )
