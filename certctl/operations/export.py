"""Export: a version of a certificate in another form, by hand. Nothing is remembered of it."""

from __future__ import annotations

from pathlib import Path

from certctl import formats
from certctl.errors import UsageError
from certctl.models import CopyFormat
from certctl.operations.run import Run
from certctl.operations.specs import require
from certctl.system.files import PRIVATE_FILE, write_atomic

_PUBLIC = 0o644


def export(
    run: Run, name: str, form: CopyFormat, number: int | None, password: str | None
) -> tuple[int, bytes]:
    """Return the number and the bytes of a version, the live one by default.

    Raises `UnknownCertificate` where there is no such version, `UsageError` where none is live, and
    `ConfigurationError` for a form that needs a key which is not ours.
    """
    require(run, (name,))
    store = run.services.store
    if number is None:
        live = store.status(name).live
        if live is None:
            raise UsageError(
                f"{name} has no certificate to export yet", hint=f"certctl renew {name}", name=name
            )
        number = live.number
    material = store.material(name, number)
    return number, formats.contents(form, material, name=name, password=password)


def write(path: Path, data: bytes, form: CopyFormat, *, force: bool) -> None:
    """Write an export, one with a key for its owner alone.

    Raises `UsageError` where a file is there already, unless with `force`; `StoreError`.
    """
    if not force and (path.exists() or path.is_symlink()):
        raise UsageError(
            f"{path} is there already", hint="Replace it with --force, or name another file."
        )
    write_atomic(path, data, PRIVATE_FILE if form.secret else _PUBLIC)
