"""The findings of `doctor`, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from certctl.inspection.doctor import Diagnosis, Tried
from certctl.model.errors import ExitStatus
from certctl.model.run import Finding, Severity
from certctl.output.console import Labelled, Paragraph
from certctl.output.document import Json, Result
from certctl.rules.selection import listed

_MARKS: Mapping[Severity | None, str] = {
    None: "\N{CHECK MARK}",
    Severity.WARNING: "!",
    Severity.ERROR: "\N{BALLOT X}",
}
_SUBJECTS = 3
"""How many of several subjects of which the same is said are named."""
_STYLES = {Severity.ERROR: "1;31", Severity.WARNING: "1;35", Severity.INFO: "2"}


def diagnosis_result(diagnosis: Diagnosis) -> Result:
    """Return the result of `doctor`; it fails if a finding is an error."""
    counts = {
        each: sum(found.severity is each for found in diagnosis.findings) for each in Severity
    }
    lines = [*tried_lines(diagnosis.tried)]
    lines += [line for each in _grouped(diagnosis.findings) for line in finding_lines(each)]
    data: dict[str, Json] = {
        "certificates": diagnosis.certificates,
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "tried": [dict(asdict(each)) for each in diagnosis.tried],
        "findings": [dict(asdict(each)) for each in diagnosis.findings],
    }
    status = ExitStatus.FAILED if counts[Severity.ERROR] else ExitStatus.DONE
    return Result(data, [*lines, _verdict(counts, diagnosis)], (), status)


def tried_lines(tried: Sequence[Tried]) -> list[object]:
    """Return what was checked with a tick, or with a mark for what has a problem: a line for the
    machine, and one for each certificate.
    """
    by_subject: dict[str, list[str]] = {}
    for each in tried:
        mark = _MARKS[each.worst]
        by_subject.setdefault(each.subject, []).append(f"{mark} {each.what}")
    return [
        Paragraph(f"{subject or 'this machine'}: {', '.join(marked)}")
        for subject, marked in by_subject.items()
    ]


def finding_lines(finding: Finding) -> list[object]:
    """Return a finding as one line, followed by its fix, if any."""
    severity = finding.severity
    text = f"{finding.subject}: {finding.message} [{finding.code}]"
    lines: list[object] = [Labelled(severity.value, _STYLES[severity], text)]
    if finding.fix is not None:
        lines.append(Paragraph(f"  fix: {finding.fix}"))
    return lines


def _grouped(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, of which those that say the same of several subjects, and call for nothing,
    are one.
    """
    subjects: dict[Finding, list[str]] = {}
    for each in findings:
        same = each.severity is Severity.INFO and each.fix is None
        subjects.setdefault(replace(each, subject="") if same else each, []).append(each.subject)
    return [replace(each, subject=listed(names, _SUBJECTS)) for each, names in subjects.items()]


def _verdict(counts: dict[Severity, int], diagnosis: Diagnosis) -> str:
    number = diagnosis.certificates
    checked = f" ({number} certificate{'' if number == 1 else 's'} checked)"
    found = [
        f"{count} {severity.value}{'' if count == 1 else 's'}"
        for severity, count in counts.items()
        if count and severity is not Severity.INFO
    ]
    if not found:
        return f"No problems found{checked}."
    return f"{' and '.join(found)}{checked}."
