"""Reads the user's secrets, such as API tokens and HMAC keys: from files, from systemd credentials,
or from the output of a command.

The store keeps the keys that certctl generates. This module never logs, caches or prints a secret.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from certctl.model.errors import ConfigurationError, Interrupted, StoreError
from certctl.system.reading import read_bounded, read_private

_LIMIT = 64 * 1024
_CODE = "configuration.secret"
_DIRECTORY = "CREDENTIALS_DIRECTORY"


def read_secret(path: Path) -> str:
    """Return the secret in a file, without the final newline.

    Raises `ConfigurationError` if the file cannot be read, is accessible to other users, is empty
    or is not text.
    """
    try:
        data = read_private(path, _LIMIT)
    except StoreError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    return _text(data, str(path))


def systemd_credential(name: str, variables: Mapping[str, str]) -> str:
    """Return a credential that systemd passes to the service (`LoadCredential=NAME:FILE`).

    Raises `ConfigurationError` if the process is not such a service or has no such credential.
    """
    directory = variables.get(_DIRECTORY)
    if not directory or "/" in name or name.startswith("."):
        raise ConfigurationError(
            f"there is no credential {name!r}: "
            + ("that is not a valid credential name" if directory else f"{_DIRECTORY} is not set"),
            hint=f"Add LoadCredential={name}:FILE to certctl's unit; without systemd, use a file.",
            code=_CODE,
        )
    path = Path(directory, name)
    try:
        data = read_bounded(path, _LIMIT)
    except StoreError as error:
        raise ConfigurationError(
            f"the credential {name} cannot be read: {error.message}",
            hint=f"Add LoadCredential={name}:FILE to certctl's unit.",
            code=_CODE,
        ) from error
    return _text(data, str(path))


def secret_from_command(command: str, *, timeout: float, stop: threading.Event) -> str:
    """Return the standard output of a shell command, without the final newline. Standard error is
    discarded.

    Raises `ConfigurationError`, which never contains the output, and `Interrupted`.
    """
    from certctl.system import process  # noqa: PLC0415 - few secrets come from a command
    from certctl.system.commands import cause_of_status  # noqa: PLC0415 - as above

    completed = process.run(
        command, environment={}, timeout=timeout, stop=stop, separate_stdout=True
    )
    if completed.stopped:
        raise Interrupted("stopped while a command was reading a secret")
    if completed.exit_status != 0 or completed.timed_out:
        how = (
            "took too long"
            if completed.timed_out
            else f"failed with exit status {completed.exit_status}"
        )
        cause = cause_of_status(command, completed.exit_status)
        why = "" if cause is None else f" ({cause.text})"
        raise ConfigurationError(
            f"the command that prints a secret {how}{why}: {command}",
            hint="Run the command by hand, as the user who runs certctl."
            if cause is None
            else cause.fix,
            code=_CODE,
        )
    return _text(completed.printed.encode(), f"the output of `{command}`")


def _text(data: bytes, where: str) -> str:
    try:
        # Editors on Windows begin a file with a byte order mark, which is not part of the secret.
        secret = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        # without `from error`, which contains the bytes
        raise ConfigurationError(
            f"{where} must contain a secret, but is not text in UTF-8", hint="Save it as UTF-8."
        ) from None
    if not secret.strip() or "\0" in secret:
        raise ConfigurationError(
            f"{where} must contain a secret, but is empty or not text",
            hint="It must contain the secret on a single line.",
        )
    return secret
