"""`certctl revoke`: by name with what is to follow, or by a certificate's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certctl.cli.completion import certificate_names
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.session import open_run
from certctl.cli.specs import read_file, report_lines, require_confirmation
from certctl.errors import UsageError
from certctl.models import RevocationReason
from certctl.output.certificates import outcome_object
from certctl.output.document import Json, Result

if TYPE_CHECKING:
    from certctl.operations.revoke import Revocation


@click.command(
    "revoke",
    cls=Command,
    epilog=examples(
        "certctl revoke example.com --replace --reason keyCompromise",
        "certctl revoke --cert-path cert.pem --key-path key.pem",
    ),
)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=certificate_names)
@click.option(
    "--cert-path", type=click.Path(exists=True, dir_okay=False), help="Revoke this PEM file."
)
@click.option(
    "--key-path",
    type=click.Path(exists=True, dir_okay=False),
    help="The certificate's key, to revoke with it rather than with an account.",
)
@click.option(
    "--reason",
    type=click.Choice([each.value for each in RevocationReason]),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
    help="Why; some CAs accept only some of them.",
)
@click.option(
    "--replace", "afterwards", flag_value="replace", help="Get and deploy a new one first."
)
@click.option("--delete", "afterwards", flag_value="delete", help="Forget the certificate.")
@click.option("--stop", "afterwards", flag_value="stop", help="Keep its files, renew it no more.")
@yes_option
@settings("ca", "ca_bundle", "account.id", "lock_timeout", "order_timeout")
@click.pass_obj
def command(
    invocation: Invocation,
    name: str | None,
    cert_path: str | None,
    key_path: str | None,
    reason: str,
    afterwards: str | None,
) -> Result:
    """Revoke a certificate: one of this home directory by NAME, or any by its file.

    With NAME, say what becomes of it: --replace, --delete or --stop.
    """
    why = RevocationReason(reason)
    if (name is None) == (cert_path is None):
        raise UsageError(
            "give the name of a certificate, or a file with --cert-path",
            hint="certctl revoke NAME --replace",
        )
    if cert_path is not None:
        return _file(invocation, cert_path, key_path, why)
    return _named(invocation, str(name), why, afterwards)


def _named(
    invocation: Invocation, name: str, why: RevocationReason, afterwards: str | None
) -> Result:
    from certctl.operations.revoke import Afterwards, revoke  # noqa: PLC0415 - not for --help
    from certctl.operations.specs import require  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        require(run, (name,))
        if afterwards is None:
            raise UsageError(
                "what is to become of it? cron would renew a revoked certificate quietly",
                hint=f"certctl revoke {name} --replace (a new one first), --delete, or --stop",
                name=name,
                code="usage.revoke_afterwards",
            )
        require_confirmation(invocation, f"Revoke {name} for ever?", name)
        revocation, report = revoke(run, name, why, Afterwards(afterwards))
        replaced = report_lines(report, run, invocation) if report.outcomes else []
        lines = [*replaced, _words(revocation)]
    data: dict[str, Json] = {
        **_object(revocation),
        "certificates": [outcome_object(o) for o in report.outcomes],
    }
    return Result(data, lines, report.all_errors, report.exit_status)


def _file(
    invocation: Invocation, cert_path: str, key_path: str | None, why: RevocationReason
) -> Result:
    from certctl.operations.revoke import revoke_file  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        require_confirmation(invocation, f"Revoke {cert_path} for ever?", None)
        revocation = revoke_file(
            run,
            str(ca) if (ca := invocation.flags.get("ca")) else None,
            read_file(Path(cert_path)),
            read_file(Path(key_path)) if key_path else None,
            why,
        )
    return Result(_object(revocation), [_words(revocation)])


def _object(revocation: Revocation) -> dict[str, Json]:
    return {
        "name": revocation.name,
        "serial": revocation.serial,
        "already_revoked": revocation.already,
        "afterwards": revocation.afterwards.value if revocation.afterwards else None,
    }


def _words(revocation: Revocation) -> str:
    what = f"{revocation.name} " if revocation.name else ""
    done = "had been revoked before" if revocation.already else "is revoked"
    after = {
        "replace": "; its replacement is live.",
        "delete": "; its files are gone.",
        "stop": "; its files stay, and it is renewed no more.",
    }
    end = after[revocation.afterwards.value] if revocation.afterwards else "."
    return f"Certificate {what}(serial {revocation.serial}) {done}{end}"
