"""Secrets that people keep in files: API tokens, HMAC keys.

Keys that certctl makes itself are the store's; nothing here logs, caches or shows a secret.
"""

from __future__ import annotations

from pathlib import Path

from certctl.errors import ConfigurationError, StoreError
from certctl.system.files import read_private

_LIMIT = 64 * 1024


def read_secret(path: Path) -> str:
    """Return the text of a file that holds one secret, without the line's end.

    Raises `ConfigurationError` where it cannot be read, others could read it, or it is empty or
    no text.
    """
    try:
        data = read_private(path, _LIMIT)
    except StoreError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    try:
        secret = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # no `from`: the original carries the bytes
        raise ConfigurationError(f"{path} should hold a secret, but is no text") from None
    if not secret.strip() or "\0" in secret:
        raise ConfigurationError(
            f"{path} should hold a secret, but is empty or no text",
            hint="Write the secret into it, as one line.",
        )
    return secret
