"""The text of alerts: a run's failures, limited in size because hundreds may fail at once."""

from __future__ import annotations

from certctl.model.run import RunFailure, RunSummary

MAX_BYTES = 100_000
"""The maximum size of one text: Linux limits one environment variable to 128 KiB."""


def title(summary: RunSummary) -> str:
    """Return one line that states how many certificates failed."""
    names = {each.name for each in summary.failures if each.name is not None}
    if not names:
        return f"certctl renew failed (exit status {summary.exit_status})"
    return f"certctl renew: {len(names)} of {summary.considered} certificates failed"


def body(summary: RunSummary, max_bytes: int = MAX_BYTES) -> str:
    """Return each failure with its error code and its hint."""
    return truncated("\n".join(_paragraph(each) for each in summary.failures), max_bytes)


def truncated(text: str, max_bytes: int = MAX_BYTES) -> str:
    """Return a text, cut so that it has at most `max_bytes` bytes in UTF-8."""
    data = text.encode()
    return text if len(data) <= max_bytes else data[: max_bytes - 3].decode(errors="ignore") + "..."


def _paragraph(failure: RunFailure) -> str:
    subject = f"{failure.name}: " if failure.name else ""
    hint = f"\n  hint: {failure.hint}" if failure.hint else ""
    return f"{subject}{failure.message} [{failure.code}]{hint}"
