"""`certctl export`: a certificate in another form, to a file or to standard output."""

from __future__ import annotations

from pathlib import Path

import click

from certctl.cli.completion import certificate_names
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.errors import UsageError
from certctl.models import CopyFormat
from certctl.output.document import Json, Result

_BINARY = frozenset({CopyFormat.PKCS12, CopyFormat.DER})
_STANDARD_OUTPUT = "-"


@click.command(
    "export",
    cls=Command,
    epilog=examples(
        "certctl export example.com > example.pem",
        "certctl export example.com --format combined --out /etc/ssl/private/example.pem",
        "certctl export example.com --format pkcs12 --password-file p12-password --out example.p12",
    ),
)
@click.argument("name", metavar="NAME", shell_complete=certificate_names)
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in CopyFormat], case_sensitive=False),
    default=CopyFormat.FULLCHAIN.value,
    show_default=True,
    help="The form to write it in.",
)
@click.option("--out", metavar="FILE", help="Write it to this file; - is standard output.")
@click.option("--version", "number", type=click.IntRange(min=1), metavar="N", help="The version.")
@click.option("--password-file", metavar="FILE", help="What a PKCS#12 file is locked with.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def command(
    invocation: Invocation,
    name: str,
    form: str,
    out: str | None,
    number: int | None,
    password_file: str | None,
    force: bool,
) -> Result:
    """Write a certificate in another form, the live version by default.

    Without --out, PEM goes to standard output.
    """
    from certctl.operations.export import export, write  # noqa: PLC0415 - not for --help
    from certctl.system.secrets import read_secret  # noqa: PLC0415 - not for --help

    wanted, directory = CopyFormat(form), invocation.environment.directory
    _require_place(wanted, out, invocation)
    if (wanted is CopyFormat.PKCS12) != (password_file is not None):
        raise UsageError(
            "--password-file belongs to --format pkcs12, and only to that",
            hint="Write a password into a file of mode 0600, and name it.",
        )
    password = None if password_file is None else read_secret(Path(directory, password_file))
    with open_run(invocation) as run:
        number, data = export(run, name, wanted, number, password)
        said: dict[str, Json] = {"name": name, "version": number, "format": wanted.value}
        if out is None or out == _STANDARD_OUTPUT:
            text = data.decode("ascii")
            public: dict[str, Json] = {} if wanted.secret else {"pem": text}
            return Result({**said, "path": None, **public}, [text.rstrip("\n")])
        path = Path(directory, out).absolute()
        write(path, data, wanted, force=force)
    return Result({**said, "path": str(path)}, [f"{name}: version {number} is in {path}."])


def _require_place(form: CopyFormat, out: str | None, invocation: Invocation) -> None:
    """Raise `UsageError` where an export would go where it should not."""
    if out not in (None, _STANDARD_OUTPUT):
        return
    if form in _BINARY:
        raise UsageError(f"{form} is no text", hint="Say where to: --out FILE")
    if form.secret and invocation.json:
        raise UsageError("a private key is in no JSON", hint="Say where to: --out FILE")
    if form.secret and out is None and invocation.output.terminal:
        raise UsageError(
            f"{form} holds the private key, and this is a terminal",
            hint="Say where to: --out FILE, or --out - to see it here.",
        )
