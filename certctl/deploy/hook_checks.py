"""Finds hooks and reload commands that cannot start: missing, not executable, or unsafe programs.

Used by `doctor`; nothing is run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.run import Finding, Severity
from certctl.model.spec import CertificateSpec
from certctl.system.commands import obstacle, program_of
from certctl.system.process import clean_environment
from certctl.system.trust import check_trusted

EVENTS = ("pre", "deploy", "post")

_SETTINGS = "certctl.toml"


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
    problem = obstacle(command, variables)
    if problem is not None:
        text = f"the {kind} cannot be run: {problem.text}: {command}"
        if problem.missing:
            fix = f"{problem.fix} {_change(name, kind)}"
            yield Finding("hook.missing", Severity.ERROR, name, text, fix)
        else:
            yield Finding("hook.not_executable", Severity.ERROR, name, text, problem.fix)
        return
    path = clean_environment(variables)["PATH"]
    found = shutil.which(program, path=path) or program
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
