"""What `certctl export` does."""

from __future__ import annotations

from certctl.cli.chosen import choose
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.model.errors import UsageError
from certctl.model.spec import CopyFormat, Pkcs12Encryption
from certctl.operations.export import export, write
from certctl.output.document import Json, Result
from certctl.rules.paths import absolute_path
from certctl.system.destinations import open_stream, write_stream
from certctl.system.secrets import read_secret

_BINARY = frozenset({CopyFormat.PKCS12, CopyFormat.DER})

_STANDARD_OUTPUT = 1


def run(  # noqa: PLR0913, PLR0917 - one for each option
    invocation: Invocation,
    name: str,
    form: str,
    out: str | None,
    number: int | None,
    password_file: str | None,
    encryption: str | None,
    key: str | None,
    force: bool,
) -> Result:
    """Export a certificate in another format."""
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
        (name,) = choose(invocation, (name,), run).names
        number, data = export(run, name, chosen, number, password, encrypted, key)
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
