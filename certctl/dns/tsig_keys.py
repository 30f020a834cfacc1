"""Reads TSIG keys (RFC 8945) from BIND key files, or from a secret in base64."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import pairwise
from pathlib import Path

from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.secrets import read_secret

ALGORITHMS = (
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
    "hmac-sha224",
    "hmac-sha1",
    "hmac-md5",
)
DEFAULT_ALGORITHM = "hmac-sha256"

_CODE = "configuration.tsig_key"
# Matches comments and quoted strings as a whole, since a base64 secret may contain `//`.
_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|#[^\n]*|"([^"\n]*)"|([{};])|([^\s{};"#]+)', re.DOTALL)


@dataclass(frozen=True)
class TsigKey:
    """A shared secret with its name and algorithm (one of `ALGORITHMS`)."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


def read_key_file(path: str, name: str | None, algorithm: str | None) -> TsigKey:
    """Return the key in a file: `key NAME { algorithm A; secret "S"; };`, or only the secret.

    `name` selects one of several keys, and is required if the file has only the secret.
    `algorithm` overrides the file's. Raises `ConfigurationError`, also if other users can read the
    file.
    """
    text = read_secret(Path(path))
    keys = list(_statements(text))
    if not keys:
        return make_key(text.strip(), name, algorithm, where=path)
    wanted = [each for each in keys if name is None or each[0] == _normalized(name)]
    if len(wanted) != 1:
        names = ", ".join(each[0] for each in keys)
        raise ConfigurationError(
            f"{path} has the keys {names}"
            + (f", but not {name}" if name else ", and none was selected"),
            hint="Select one of them with --rfc2136-key-name.",
            code=_CODE,
        )
    found, stated, secret = wanted[0]
    return make_key(secret, found, algorithm or stated, where=path)


def make_key(secret: str, name: str | None, algorithm: str | None, *, where: str) -> TsigKey:
    """Return a key from a secret in base64; error messages name its source, `where`.

    Raises `ConfigurationError`, never with the secret in its text.
    """
    if not name:
        raise ConfigurationError(
            f"{where}: the TSIG key needs a name",
            hint="Set --rfc2136-key-name to the key's name in the server's configuration.",
            code=_CODE,
        )
    chosen = (algorithm or DEFAULT_ALGORITHM).lower().removesuffix(".")
    chosen = "hmac-md5" if chosen.startswith("hmac-md5.") else chosen
    if chosen not in ALGORITHMS:
        raise ConfigurationError(
            f"{where}: the TSIG algorithm {chosen!r} is unknown",
            hint=f"Use one of {', '.join(ALGORITHMS)}.",
            code=_CODE,
        )
    try:
        raw = base64.b64decode("".join(secret.split()), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw:
        raise ConfigurationError(
            f"{where} contains neither a BIND key statement nor a secret in base64",
            hint="Create a key file with: tsig-keygen NAME",
            code=_CODE,
        )
    return TsigKey(_normalized(name), chosen, raw)


def _statements(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield name, algorithm and secret of each `key` statement in BIND's syntax."""
    words = [quoted or mark or word for quoted, mark, word in _TOKEN.findall(text)]
    words = [each for each in words if each]
    for index, word in enumerate(words):
        if word == "key" and words[index + 2 : index + 3] == ["{"]:
            body = words[index + 3 :]
            body = body[: body.index("}")] if "}" in body else body
            yield (
                _normalized(words[index + 1]),
                _after(body, "algorithm"),
                _after(body, "secret") or "",
            )


def _after(words: Sequence[str], keyword: str) -> str | None:
    return next((value for word, value in pairwise(words) if word == keyword), None)


def _normalized(name: str) -> str:
    return name.lower().removesuffix(".")
