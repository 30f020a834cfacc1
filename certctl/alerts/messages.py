"""A run's failures in words, for hooks and messages; bounded, since hundreds may fail at once."""

from __future__ import annotations

from certctl.models import RunFailure, RunSummary

LONGEST = 100_000
"""Characters that one text may have: Linux runs nothing with a variable over 128 KiB."""


def title(summary: RunSummary) -> str:
    """Return one line that says how many have failed."""
    names = {each.name for each in summary.failures if each.name is not None}
    if not names:
        return f"certctl renew failed (exit status {summary.exit_status})"
    return f"certctl renew: {len(names)} of {summary.considered} certificates failed"


def body(summary: RunSummary, longest: int = LONGEST) -> str:
    """Return each failure with its cause and what to do."""
    return cut("\n".join(_paragraph(each) for each in summary.failures), longest)


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text, or as much of it as fits in UTF-8."""
    data = text.encode()
    return text if len(data) <= longest else data[: longest - 3].decode(errors="ignore") + "..."


def _paragraph(failure: RunFailure) -> str:
    subject = f"{failure.name}: " if failure.name else ""
    hint = f"\n  hint: {failure.hint}" if failure.hint else ""
    return f"{subject}{failure.message} [{failure.code}]{hint}"
