"""What `certctl revoke` does."""

from __future__ import annotations

from pathlib import Path

from certctl.cli.chosen import choose, require_agreement
from certctl.cli.invocation import Invocation
from certctl.cli.reports import read_file, report_lines, require_confirmation
from certctl.cli.session import open_run
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import UsageError
from certctl.operations.revoke import Revocation, revoke, revoke_file
from certctl.output.certificates import outcome_object
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result


def run(
    invocation: Invocation,
    name: str | None,
    cert_path: str | None,
    key_path: str | None,
    reason: str,
    afterwards: str | None,
) -> Result:
    """Revoke a certificate: one of this home directory by NAME, or any other by its file."""
    why = RevocationReason(reason)
    if (name is None) == (cert_path is None):
        raise UsageError(
            "give either the name of a certificate or --cert-path",
            hint="certctl revoke NAME --replace",
        )
    if cert_path is not None:
        return _file(invocation, cert_path, key_path, why)
    return _named(invocation, str(name), why, afterwards)


def _named(
    invocation: Invocation, name: str, why: RevocationReason, afterwards: str | None
) -> Result:
    with open_run(invocation) as run:
        chosen = choose(invocation, (name,), run)
        (name,) = chosen.names
        if afterwards is None:
            raise UsageError(
                f"choose what happens to {name} after the revocation: one of --replace, --delete"
                " and --stop; otherwise renew would reissue it",
                hint=f"To replace it with a new certificate: certctl revoke {name} --replace",
                name=name,
                code="usage.revoke_afterwards",
            )
        question = f"Permanently revoke {name}?"
        if chosen.exact:
            require_confirmation(invocation, question, name)
        else:
            require_agreement(invocation, chosen, question)
        revocation, report = revoke(run, name, why, Afterwards(afterwards))
        replaced = report_lines(report, run, invocation) if report.outcomes else []
        lines = [*replaced, _sentence(revocation)]
    data: dict[str, Json] = {
        **_object(revocation),
        "certificates": [outcome_object(o) for o in report.outcomes],
    }
    return Result(data, lines, report.all_errors, report.exit_status)


def _file(
    invocation: Invocation, cert_path: str, key_path: str | None, why: RevocationReason
) -> Result:
    with open_run(invocation) as run:
        require_confirmation(invocation, f"Permanently revoke {cert_path}?", None)
        revocation = revoke_file(
            run,
            str(ca) if (ca := invocation.flags.get("ca")) else None,
            read_file(Path(cert_path)),
            read_file(Path(key_path)) if key_path else None,
            why,
        )
    return Result(_object(revocation), [_sentence(revocation)])


def _object(revocation: Revocation) -> dict[str, Json]:
    return {
        "name": revocation.name,
        "serial": revocation.serial,
        "already_revoked": revocation.already,
        "afterwards": revocation.afterwards.value if revocation.afterwards else None,
    }


def _sentence(revocation: Revocation) -> str:
    what = f"{revocation.name} " if revocation.name else ""
    done = "was already revoked" if revocation.already else "was revoked"
    after = {
        "replace": "; its replacement is live.",
        "delete": "; its files were deleted.",
        "stop": "; its files were kept, and renewal is turned off.",
    }
    end = after[revocation.afterwards.value] if revocation.afterwards else "."
    return Paragraph(f"Certificate {what}(serial {revocation.serial}) {done}{end}")
