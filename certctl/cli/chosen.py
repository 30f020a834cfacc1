"""The certificates that a command works on, found for its actions, and the consent that it takes to
change certificates that were not given by their own names.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.invocation import Invocation
from certctl.cli.reports import require_confirmation
from certctl.cli.selection import selection_of
from certctl.engine.run import Run
from certctl.inspection.selection import select
from certctl.model.errors import UsageError
from certctl.output.document import Result
from certctl.rules.selection import Chosen

_SHOWN = 50


def choose(
    invocation: Invocation, words: Sequence[str], run: Run, *, remains: bool = False
) -> Chosen:
    """Return the certificates that the words and options of a command mean. Raises `UsageError`."""
    return select(run, selection_of(invocation, words), remains=remains)


def require_selection(invocation: Invocation, words: Sequence[str], hint: str) -> None:
    """Raise `UsageError` if neither words nor options choose certificates."""
    if selection_of(invocation, words).empty:
        raise UsageError("no certificate was given", hint=hint, code="usage.no_certificate")


def require_consent(invocation: Invocation, chosen: Chosen, question: str) -> None:
    """Return if the user agrees to the question, or did so with `--yes`. Unless one certificate was
    given by its own name, show which are meant. Raises as `require_confirmation` does.
    """
    only = chosen.names[0] if chosen.exact and len(chosen.names) == 1 else None
    if only is None:
        shown = f"These certificates are meant:\n{names_listed(chosen.names)}"
        if invocation.interactive and not invocation.yes:  # also with --quiet
            question = f"{shown}\n{question}"
        else:
            invocation.output.note(shown)
    require_confirmation(invocation, question, only)


def names_listed(names: Sequence[str]) -> str:
    """Return names, one on each line, of very many the first."""
    lines = [f"  {each}" for each in names[:_SHOWN]]
    if len(names) > _SHOWN:
        lines.append(f"  and {len(names) - _SHOWN} more")
    return "\n".join(lines)


def counted(names: Sequence[str]) -> str:
    """Return the name of one certificate, or how many there are."""
    return names[0] if len(names) == 1 else f"{len(names)} certificates"


def nothing_chosen(invocation: Invocation) -> Result:
    """Return the result of a command whose conditions no certificate meets."""
    lines = ["No certificate meets these conditions."] if invocation.output.terminal else []
    return Result({"certificates": []}, lines)
