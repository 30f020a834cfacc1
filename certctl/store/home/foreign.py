"""Refuses a home directory that is another client's: certctl's files would mix with its."""

from __future__ import annotations

from pathlib import Path

from certctl.model.errors import ConfigurationError
from certctl.rules.paths import SYSTEM_HOME

_OF_CERTBOT = ("renewal-hooks", "cli.ini", "csr", "keys")
"""What certbot makes in its directory, and certctl never does."""


def require_own(home: Path) -> None:
    """Raise `ConfigurationError` if a home directory is certbot's."""
    if (home / "certificates").is_dir() or not _is_certbots(home):
        return
    raise ConfigurationError(
        f"{home} is the directory of certbot, and certctl would mix its files with certbot's",
        hint=f"certctl's own directory is {SYSTEM_HOME} (leave out --home). To take certbot's"
        f" certificates over, run: certctl import --from {home}",
        code="configuration.home",
    )


def _is_certbots(home: Path) -> bool:
    if not (home / "live").is_dir() and not (home / "renewal").is_dir():
        return False
    if any((home / each).exists() for each in _OF_CERTBOT):
        return True
    try:
        return any(each.suffix == ".conf" for each in (home / "renewal").iterdir())
    except OSError:
        return False
