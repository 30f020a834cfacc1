"""`certctl revoke`: revoke a certificate of this home directory, or a certificate file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples, settings, yes_option
from certctl.cli.session import open_run
from certctl.cli.specs import read_file, report_lines, require_confirmation
from certctl.model.ca import RevocationReason
from certctl.model.errors import UsageError
from certctl.output.certificates import outcome_object
from certctl.output.console import Paragraph
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
@click.argument("name", required=False, metavar="[NAME]", type=CertificateName())
@click.option(
    "--cert-path",
    type=click.Path(exists=True, dir_okay=False),
    help="Revoke the certificate in this PEM file.",
)
@click.option(
    "--key-path",
    type=click.Path(exists=True, dir_okay=False),
    help="Authorize the revocation with the certificate's private key, not with an account.",
)
@click.option(
    "--reason",
    type=click.Choice([each.value for each in RevocationReason]),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
    help="Revocation reason. Not every CA accepts every reason.",
)
@click.option(
    "--replace",
    "afterwards",
    flag_value="replace",
    help="First issue and deploy a new certificate.",
)
@click.option(
    "--delete", "afterwards", flag_value="delete", help="Delete the certificate and its files."
)
@click.option(
    "--stop", "afterwards", flag_value="stop", help="Keep the files, but turn off renewal."
)
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
    """Revoke a certificate: one of this home directory by NAME, or any other by its file.

    With NAME, also give one of --replace, --delete and --stop, so that renew does not reissue the
    certificate unintentionally.
    """
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
    from certctl.engine.specs import require  # noqa: PLC0415 - not for --help
    from certctl.operations.revoke import Afterwards, revoke  # noqa: PLC0415 - not for --help

    with open_run(invocation) as run:
        require(run, (name,))
        if afterwards is None:
            raise UsageError(
                f"choose what happens to {name} after the revocation: one of --replace, --delete"
                " and --stop; otherwise renew would reissue it",
                hint=f"To replace it with a new certificate: certctl revoke {name} --replace",
                name=name,
                code="usage.revoke_afterwards",
            )
        require_confirmation(invocation, f"Permanently revoke {name}?", name)
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
    from certctl.operations.revoke import revoke_file  # noqa: PLC0415 - not for --help

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
