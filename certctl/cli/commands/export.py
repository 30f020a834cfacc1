"""`certctl export`: export a certificate in another format, to a file or standard output."""

from __future__ import annotations

import click

from certctl.cli.completion import CertificateName
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, examples
from certctl.cli.session import open_run
from certctl.model.errors import UsageError
from certctl.model.spec import CopyFormat, Pkcs12Encryption
from certctl.output.document import Json, Result
from certctl.rules.paths import absolute_path

_BINARY = frozenset({CopyFormat.PKCS12, CopyFormat.DER})
_STANDARD_OUTPUT = 1


@click.command(
    "export",
    cls=Command,
    epilog=examples(
        "certctl export example.com > example.pem",
        "certctl export example.com --format combined --out example.pem",
        "certctl export example.com --format pkcs12 --password-file pw --out e.p12",
    ),
)
@click.argument("name", metavar="NAME", type=CertificateName())
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in CopyFormat], case_sensitive=False),
    default=CopyFormat.FULLCHAIN.value,
    show_default=True,
    help="Output format.",
)
@click.option("--out", metavar="FILE", help="Write to this file; - is standard output.")
@click.option(
    "--version",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="Version to export, by default the live one.",
)
@click.option("--password-file", metavar="FILE", help="File with the password for PKCS#12.")
@click.option(
    "--encryption",
    type=click.Choice([each.value for each in Pkcs12Encryption], case_sensitive=False),
    help="Encryption of PKCS#12; legacy for Windows Server 2016, macOS and older appliances.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_obj
def command(
    invocation: Invocation,
    name: str,
    form: str,
    out: str | None,
    number: int | None,
    password_file: str | None,
    encryption: str | None,
    force: bool,
) -> Result:
    """Export a certificate in another format.

    Without --out, PEM formats are printed.
    """
    from certctl.operations.export import export, write  # noqa: PLC0415 - not for --help
    from certctl.system.destinations import open_stream, write_stream  # noqa: PLC0415 - as above
    from certctl.system.secrets import read_secret  # noqa: PLC0415 - not for --help

    chosen, directory = CopyFormat(form), invocation.environment.directory
    stream = _STANDARD_OUTPUT if out is None else open_stream(out)
    _require_output(chosen, out, stream, invocation)
    if (chosen is CopyFormat.PKCS12) != (password_file is not None):
        raise UsageError(
            "--format pkcs12 and --password-file must be given together",
            hint="Write a password to a file of mode 0600: --password-file FILE",
        )
    if encryption is not None and chosen is not CopyFormat.PKCS12:
        raise UsageError("--encryption is only for --format pkcs12")
    encrypted = None if encryption is None else Pkcs12Encryption(encryption)
    password = (
        None if password_file is None else read_secret(absolute_path(password_file, directory))
    )
    with open_run(invocation) as run:
        number, data = export(run, name, chosen, number, password, encrypted)
        exported: dict[str, Json] = {"name": name, "version": number, "format": chosen.value}
        if out is None or stream == _STANDARD_OUTPUT:
            text = data.decode("ascii")
            public: dict[str, Json] = {} if chosen.secret else {"pem": text}
            return Result({**exported, "path": None, **public}, [text.rstrip("\n")])
        if stream is not None:
            write_stream(stream, data)
            return Result({**exported, "path": out}, [])
        path = absolute_path(out, directory)
        write(path, data, chosen, force=force)
    return Result({**exported, "path": str(path)}, [f"{name}: version {number} is in {path}."])


def _require_output(
    form: CopyFormat, out: str | None, stream: int | None, invocation: Invocation
) -> None:
    """Raise `UsageError` if this format must not go to that output."""
    if out is not None and stream != _STANDARD_OUTPUT:
        return
    if form in _BINARY:
        raise UsageError(f"{form} is a binary format", hint="Write it to a file: --out FILE")
    if form.secret and invocation.json:
        raise UsageError(
            "--json does not print private keys", hint="Write it to a file: --out FILE"
        )
    if form.secret and out is None and invocation.output.terminal:
        raise UsageError(
            f"{form} contains the private key, which is not printed on a terminal by default",
            hint="Write it to a file with --out FILE, or print it with --out -",
        )
