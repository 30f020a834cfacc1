"""What `certctl revoke` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from certctl.cli.chosen import choose, counted, nothing_chosen, require_consent
from certctl.cli.invocation import Invocation
from certctl.cli.reports import read_file, report_lines, require_confirmation
from certctl.cli.selection import selection_of
from certctl.cli.session import open_run
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import CertctlError, ExitStatus, Interrupted, UsageError, worst
from certctl.operations.revoke import Revocation, revoke, revoke_file
from certctl.output.certificates import outcome_object
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result


def run(
    invocation: Invocation,
    names: Sequence[str],
    cert_path: str | None,
    key_path: str | None,
    reason: str,
    afterwards: str | None,
) -> Result:
    """Revoke certificates: those of this home directory by NAME, or any other by its file."""
    why = RevocationReason(reason)
    if selection_of(invocation, names).empty == (cert_path is None):
        raise UsageError(
            "give either the name of a certificate or --cert-path",
            hint="certctl revoke NAME --replace",
        )
    if cert_path is not None:
        return _file(invocation, cert_path, key_path, why)
    if key_path is not None:
        raise UsageError(
            "--key-path is for a certificate file",
            hint="Give the file with --cert-path FILE, or leave out --key-path.",
        )
    return _chosen(invocation, names, why, afterwards)


def _chosen(
    invocation: Invocation, names: Sequence[str], why: RevocationReason, afterwards: str | None
) -> Result:
    with open_run(invocation) as run:
        chosen = choose(invocation, names, run)
        if not chosen.names:
            return nothing_chosen(invocation)
        what = counted(chosen.names)
        one = chosen.names[0] if len(chosen.names) == 1 else None
        if afterwards is None:
            again = " ".join(chosen.names) if chosen.one else "NAME"
            raise UsageError(
                f"choose what happens to {what} after the revocation: one of --replace, --delete"
                " and --stop; otherwise renew would issue again",
                hint=f"To replace what is revoked: certctl revoke {again} --replace",
                name=one,
                code="usage.revoke_afterwards",
            )
        require_consent(invocation, chosen, f"Permanently revoke {what}?")
        done, errors = _revoked(chosen.names, why, Afterwards(afterwards), run)
        if len(names) == 1 and chosen.one:
            if errors:
                raise errors[0]
            return _result(done[0], run, invocation)
        results = [_result(each, run, invocation) for each in done]
    data: dict[str, Json] = {"certificates": [each.data for each in results]}
    failures = [*errors, *(error for each in results for error in each.errors)]
    statuses = [*(error.exit_status for error in errors), *_statuses(results)]
    lines = [line for each in results for line in each.lines]
    return Result(data, lines, failures, worst(statuses))


def _revoked(
    names: Sequence[str], why: RevocationReason, afterwards: Afterwards, run: Run
) -> tuple[list[tuple[Revocation, Report]], list[CertctlError]]:
    """Revoke certificates; return those that are revoked, and why others are not."""
    done, errors = list[tuple[Revocation, Report]](), list[CertctlError]()
    for name in names:
        run.check()
        try:
            done.append(revoke(run, name, why, afterwards))
        except Interrupted:
            raise
        except CertctlError as error:
            error.name = error.name or name
            errors.append(error)
    return done, errors


def _result(done: tuple[Revocation, Report], run: Run, invocation: Invocation) -> Result:
    """Return the result for one certificate."""
    revocation, report = done
    replaced = report_lines(report, run, invocation) if report.outcomes else []
    data: dict[str, Json] = {
        **_object(revocation),
        "certificates": [outcome_object(each) for each in report.outcomes],
    }
    lines = [*replaced, _sentence(revocation)]
    return Result(data, lines, report.all_errors, report.exit_status)


def _statuses(results: Sequence[Result]) -> list[ExitStatus]:
    return [each.exit_status for each in results if isinstance(each.exit_status, ExitStatus)]


def _file(
    invocation: Invocation, cert_path: str, key_path: str | None, why: RevocationReason
) -> Result:
    with open_run(invocation) as run:
        require_confirmation(invocation, f"Permanently revoke {cert_path}?", None)
        revocation = revoke_file(
            run,
            run.services.settings.one_word("ca") if "ca" in invocation.flags else None,
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
