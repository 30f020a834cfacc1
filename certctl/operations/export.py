"""Export a version of a certificate in another format, once. No record of it is kept."""

from __future__ import annotations

from pathlib import Path

from certctl.engine.current import current_state_of, summary_of
from certctl.engine.run import Run
from certctl.engine.specs import require
from certctl.model.errors import UsageError
from certctl.model.spec import CopyFormat, Pkcs12Encryption
from certctl.rules import formats
from certctl.rules.copies import part_of
from certctl.system.destinations import not_replaceable
from certctl.system.files import PRIVATE_FILE, write_atomic
from certctl.system.trust import check_trusted

_PUBLIC = 0o644


def export(
    run: Run,
    name: str,
    format_: CopyFormat,
    number: int | None,
    password: str | None,
    encryption: Pkcs12Encryption | None = None,
    key: str | None = None,
) -> tuple[int, bytes]:
    """Return the number of a version and its bytes in a format; by default the live version. If it
    has two certificates, `key` is the kind of key of the one to export, by default the first.

    Raises `UnknownCertificate` if the version does not exist, `UsageError` if none is live, and
    `ConfigurationError` for a format with a private key if certctl does not have the key.
    """
    require(run, (name,))
    if number is None:
        live = current_state_of(name, run.services).live
        if live is None:
            raise UsageError(
                f"{name} has no certificate to export yet",
                hint=f"To issue it, run: certctl renew {name}",
                name=name,
            )
        number = live.number
    material = run.services.records.material(name, number, with_key=format_.secret)
    if key is not None:
        version = summary_of(name, run.services).versions[number]
        material = part_of(version, material, key)
    data = formats.contents(format_, material, name=name, password=password, encryption=encryption)
    return number, data


def write(path: Path, data: bytes, format_: CopyFormat, *, force: bool) -> None:
    """Write an export; one with a private key is readable by its owner only.

    Raises `UsageError` if the file exists, unless with `force`, or is not a regular file;
    `ConfigurationError` if other users can write to its directory; `StoreError`.
    """
    require_replaceable(path)
    check_trusted(path.parent)
    if not force and (path.exists() or path.is_symlink()):
        raise UsageError(
            f"{path} already exists",
            hint="Replace it with --force, or choose another file.",
        )
    write_atomic(path, data, PRIVATE_FILE if format_.secret else _PUBLIC)


def require_replaceable(path: Path) -> None:
    """Raise `UsageError` if a file at `path` would take the place of a device, a pipe or a
    directory.
    """
    kind = not_replaceable(path)
    if kind is not None:
        raise UsageError(
            f"{path} is {kind}, which is never replaced by a file",
            hint="Give the path of a regular file; - is standard output.",
        )
