"""Whether a file of a web server's configuration may be changed, and its bytes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.webserver import FileChange
from certctl.rules.configurations import Refused, Unreadable
from certctl.system.file_flags import forbids_replacement
from certctl.system.reading import read_regular
from certctl.system.trust import check_trusted

_LARGEST_FILE = 16 * 1024 * 1024
_GENERATORS = rb"ansible|puppet|chef|salt|terraform|cpanel|plesk|directadmin|ispconfig|nixos"
_GENERATED = re.compile(
    rb"^[ \t]*#.*?(ansible managed|(?:managed|generated|written) by [\w. -]*?(?:%s)"
    rb"|do not (?:manually )?(?:edit|modify|change)|auto(?:matically)?[- ]?generated|cpanel|plesk)"
    % _GENERATORS,
    re.IGNORECASE | re.MULTILINE,
)
_GENERATED_PLACES = (
    *("/nix/store/", "/usr/local/psa/", "/var/cpanel/"),
    *(f"/etc/{each}/plesk.conf.d/" for each in ("nginx", "apache2", "httpd/conf")),
)


def file_bytes(path: str) -> bytes:
    """Return the bytes of a file. Raises `Unreadable`."""
    try:
        return read_regular(Path(path), _LARGEST_FILE)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    except CertctlError as error:
        raise Unreadable(error.message) from error


def require_editable(changes: Sequence[FileChange], includes: Mapping[str, int]) -> None:
    """Raise `Refused` for a file that is read twice, generated or read-only, or that other users
    can write. `includes`: how many times the server reads each file.
    """
    read_as: Counter[str] = Counter()
    for path, count in includes.items():
        read_as[os.path.realpath(path)] += count
    for each in changes:
        real = os.path.realpath(each.path)
        if each.source is not None and read_as[real] > 1:
            raise Refused(f"{each.path} is read more than once, so a change counts twice")
        if generated := _is_generated(real, each.source):
            raise Refused(f"{each.path} is generated ({generated}), so a change would be lost")
        if not os.access(Path(real).parent, os.W_OK):
            raise Refused(f"{each.path} is read-only")
        if flag := forbids_replacement(Path(real)):
            raise Refused(
                f"{each.path} cannot be replaced, even by root: chattr has set its flag {flag}",
                f"Take it away with: chattr -{flag} {real}\nOtherwise add the lines by hand:",
            )
        trusted = Path(each.path) if each.source is not None else Path(each.path).parent
        try:
            check_trusted(trusted)
        except ConfigurationError as error:
            raise Refused(
                f"{trusted} can be written by other users, or a directory above it, so a"
                " change in it could become theirs",
                f"{error.hint}\nOtherwise add the lines by hand:",
            ) from error


def _is_generated(path: str, source: bytes | None) -> str | None:
    """Return by what a file is generated, None if nothing says so."""
    for place in _GENERATED_PLACES:
        if path.startswith(place):
            return place.rstrip("/")
    if path.endswith(".vhost"):
        return "ISPConfig"
    found = _GENERATED.search((source or b"")[:8192])
    return None if found is None else found[0].decode("utf-8", "replace").strip(" \t#")
