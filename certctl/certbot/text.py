"""What is printed. Scripts search for some of certbot's lines and read its list of certificates:
these are as certbot prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType

from certctl.certbot.live import Lineages
from certctl.engine.report import Report
from certctl.engine.rows import CertificateView
from certctl.model.run import Outcome
from certctl.model.spec import CopySpec

RECEIVED = "Successfully received certificate."
SAVED = "Certificate is saved at: {path}"
KEY_SAVED = "Key is saved at:         {path}"
RECONFIGURED = [
    "Successfully updated configuration.",
    "Changes will apply when the certificate renews.",
]
_EXPIRES = "This certificate expires on {date:%Y-%m-%d}."
_COPIES = MappingProxyType(
    {
        "cert": "Certificate is saved at:            {path}",
        "chain": "Intermediate CA chain is saved at:  {path}",
        "fullchain": "Full certificate chain is saved at: {path}",
    }
)
NOT_DUE = "Certificate not yet due for renewal"
_NOTHING = "No renewals were attempted."
_TRIED = "The dry run was successful."


def issued_lines(report: Report, lineages: Lineages, name: str) -> list[str]:
    """Return the lines about a certificate that was ordered, or was not due."""
    outcome = next((each for each in report.outcomes if each.name == name), None)
    if outcome is None or outcome.error is not None:
        return []
    if outcome.version is None or outcome.action not in ("issued", "undeployed"):
        return [NOT_DUE, f"It is kept as it is: {lineages.file(name, 'fullchain')}"]
    lines = [RECEIVED, SAVED.format(path=lineages.file(name, "fullchain"))]
    if outcome.version.has_key:
        lines.append(KEY_SAVED.format(path=lineages.file(name, "privkey")))
    lines.append(_EXPIRES.format(date=outcome.version.facts.not_after))
    return lines


def csr_lines(report: Report, name: str, copies: Sequence[CopySpec]) -> list[str]:
    """Return the lines about a certificate for a signing request, written to `copies`."""
    outcome = next((each for each in report.outcomes if each.name == name), None)
    if outcome is None or outcome.error is not None or outcome.version is None:
        return []
    written = {str(each.format): each.to for each in copies}
    lines = [text.format(path=written[kind]) for kind, text in _COPIES.items() if kind in written]
    return [RECEIVED, *lines, _EXPIRES.format(date=outcome.version.facts.not_after)]


def dry_run_lines(report: Report) -> list[str]:
    """Return the lines about a dry run."""
    return [] if report.all_errors else [_TRIED]


def renewed_lines(
    report: Report, lineages: Lineages, views: Sequence[CertificateView], *, dry_run: bool
) -> list[str]:
    """Return the lines about a run of renew, in the order of certbot's."""
    tried = [each for each in report.outcomes if _was_tried(each)]
    waiting = {each.name for each in views} - {each.name for each in tried}
    lines: list[str] = []
    skipped = [each for each in views if each.name in waiting and each.live is not None]
    if skipped and not dry_run:
        lines.append("The following certificates are not due for renewal yet:")
        lines += [f"  {_skipped(each, lineages)}" for each in skipped]
    if not tried:
        return [*lines, _NOTHING]
    done = [each for each in tried if each.error is None]
    failed = [each for each in tried if each.error is not None]
    kind = "simulated renewals" if dry_run else "renewals"
    if not failed:
        lines.append(f"Congratulations, all {kind} succeeded:")
    elif not done:
        lines.append(f"All {kind} failed. The following certificates could not be renewed:")
    else:
        lines.append(f"The following {kind} succeeded:")
    lines += [f"  {lineages.shown(each.name)}/fullchain.pem (success)" for each in done]
    if done and failed:
        lines.append(f"The following {kind} failed:")
    lines += [f"  {lineages.shown(each.name)}/fullchain.pem (failure)" for each in failed]
    if failed:
        lines.append(f"{len(failed)} renew failure(s), 0 parse failure(s)")
    return lines


def _was_tried(outcome: Outcome) -> bool:
    if outcome.error is not None:
        return True
    return outcome.action in ("issued", "dry-run", "undeployed")


def _skipped(view: CertificateView, lineages: Lineages) -> str:
    path = f"{lineages.shown(view.name)}/fullchain.pem"
    return f"{path} expires on {view.live.not_after:%Y-%m-%d} (skipped)" if view.live else path


def certificate_lines(
    views: Sequence[CertificateView], lineages: Lineages, now: datetime, *, chosen: bool = False
) -> list[str]:
    """Return certbot's list of certificates: all, or those that were `chosen` by a name."""
    if not views:
        return ["No certificates found."]
    rule = "- " * 39 + "-"
    lines = [rule, f"Found the following {'matching ' if chosen else ''}certs:"]
    for each in views:
        lines.append(f"  Certificate Name: {each.name}")
        if each.live is None:
            reason = each.problem.message if each.problem else "it was not issued yet"
            lines += [f"    Domains: {' '.join(each.names)}", f"    Expiry Date: none ({reason})"]
            continue
        directory = lineages.shown(each.name)
        expiry = f"{each.live.not_after:%Y-%m-%d %H:%M:%S+00:00}"
        lines += [
            f"    Serial Number: {each.live.serial.lstrip('0').lower()}",
            f"    Key Type: {each.live.key_type.upper().partition('-')[0]}",
            f"    Domains: {' '.join(each.live.names)}",
            f"    Expiry Date: {expiry} ({_validity(each, now)})",
            f"    Certificate Path: {directory}/fullchain.pem",
            f"    Private Key Path: {directory}/privkey.pem",
        ]
    return [*lines, rule]


def _validity(view: CertificateView, now: datetime) -> str:
    if view.live is None:
        return "INVALID: MISSING"
    left = view.live.not_after - now
    if left.total_seconds() <= 0:
        return "INVALID: EXPIRED"
    invalid = ["TEST_CERT"] if "staging" in view.ca else []
    if view.state == "revoked":
        invalid.append("REVOKED")
    if invalid:
        return f"INVALID: {', '.join(invalid)}"
    if left.days == 1:
        return "VALID: 1 day"
    return f"VALID: {left.days} days" if left.days else f"VALID: {left.seconds // 3600} hour(s)"
