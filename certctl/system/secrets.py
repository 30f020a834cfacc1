"""Secrets that people keep: API tokens, HMAC keys; in files, in systemd's credentials, or behind a
command that prints them.

Keys that certctl makes itself are the store's; nothing here logs, caches or shows a secret.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from certctl.errors import ConfigurationError, Interrupted, StoreError
from certctl.system.files import read_bounded, read_private

_LIMIT = 64 * 1024
_CODE = "configuration.secret"
_DIRECTORY = "CREDENTIALS_DIRECTORY"


def read_secret(path: Path) -> str:
    """Return the text of a file that holds one secret, without the line's end.

    Raises `ConfigurationError` where it cannot be read, others could read it, or it is empty or
    no text.
    """
    try:
        data = read_private(path, _LIMIT)
    except StoreError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    return _text(data, str(path))


def systemd_credential(name: str, variables: Mapping[str, str]) -> str:
    """Return a credential that systemd hands to the service (`LoadCredential=NAME:FILE`).

    Raises `ConfigurationError` where the process is no such service, or has no such credential.
    """
    directory = variables.get(_DIRECTORY)
    if not directory or "/" in name or name.startswith("."):
        raise ConfigurationError(
            f"there is no credential {name!r}: "
            + ("that is no name of one" if directory else f"{_DIRECTORY} is not set"),
            hint=f"LoadCredential={name}:FILE in certctl's unit; outside of it, use a file.",
            code=_CODE,
        )
    path = Path(directory, name)
    try:
        data = read_bounded(path, _LIMIT)
    except StoreError as error:
        raise ConfigurationError(
            f"the credential {name} cannot be read: {error.message}",
            hint=f"LoadCredential={name}:FILE in certctl's unit.",
            code=_CODE,
        ) from error
    return _text(data, str(path))


def secret_from_command(command: str, *, timeout: float, stop: threading.Event) -> str:
    """Return what a shell command prints, without the line's end; what it says on standard error
    is thrown away.

    Raises `ConfigurationError`, never with what was printed, and `Interrupted`.
    """
    from certctl.system import process  # noqa: PLC0415 - few secrets come from a command

    done = process.run(command, environment={}, timeout=timeout, stop=stop, separate_stdout=True)
    if done.stopped:
        raise Interrupted("stopped while a command was asked for a secret")
    if done.exit_status != 0 or done.timed_out:
        what = "took too long" if done.timed_out else f"ended with status {done.exit_status}"
        raise ConfigurationError(
            f"the command that should print a secret {what}: {command}",
            hint="Run it by hand, as the user that certctl runs as.",
            code=_CODE,
        )
    return _text(done.printed.encode(), f"what `{command}` prints")


def _text(data: bytes, where: str) -> str:
    try:
        secret = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # no `from`: the original carries the bytes
        raise ConfigurationError(f"{where} should hold a secret, but is no text") from None
    if not secret.strip() or "\0" in secret:
        raise ConfigurationError(
            f"{where} should hold a secret, but is empty or no text",
            hint="Write the secret into it, as one line.",
        )
    return secret
