"""Loads settings from `certctl.toml`, then the environment, then the flags of a command.

Reading and precedence are here; `certctl.rules.options` defines the settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.rules.credentials import (
    TABLE,
    ZONES,
    read_tables,
    without_tables,
)
from certctl.rules.paths import SYSTEM_HOME, UNREACHABLE, absolute_path, home_expanded, require_utf8
from certctl.rules.settings import OptionTable, Settings, Source, check, flatten, parse, unknown
from certctl.rules.spec import RENAMED, with_absolute_paths, with_current_keys, with_method
from certctl.rules.variables import HOME, PREFIX
from certctl.system.reading import read_trusted

FILE_NAME = "certctl.toml"
_LIMIT = 1_000_000


def home_directory(
    flag: str | None, environment: Mapping[str, str], *, directory: Path, user_id: int
) -> Path:
    """Return the home directory: from the flag, `CERTCTL_HOME`, or the default for the user.

    Relative paths are resolved against `directory`. Raises `ConfigurationError` if the path cannot
    be used (see `certctl.rules.paths`).
    """
    given = flag or environment.get(HOME)
    if given:
        return absolute_path(given, directory)
    if user_id == 0:
        return SYSTEM_HOME
    configured = Path(environment.get("XDG_CONFIG_HOME", ""))
    if not configured.is_absolute():  # as the XDG base directory specification requires
        configured = home_expanded(environment.get("HOME", "~")) / ".config"
    return absolute_path(configured / "certctl", directory)


def hidden_system_home(home: Path, system_home: Path, user_id: int) -> bool:
    """Return whether an ordinary user without certificates of their own may expect to see those of
    the system, which only root can.
    """
    if user_id == 0 or home == system_home or _may_exist(home / "certificates"):
        return False
    return _may_exist(system_home / "certificates")


def _may_exist(path: Path) -> bool:
    """Return whether a path exists, also if that cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def state_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory for what certctl remembers outside of any home directory, as the XDG
    base directory specification says. Raises `ConfigurationError` if it cannot be known.
    """
    configured = Path(environment.get("XDG_STATE_HOME", ""))
    if not configured.is_absolute():
        configured = home_expanded(environment.get("HOME", "~")) / ".local" / "state"
    return absolute_path(configured / "certctl", UNREACHABLE)


def load(
    home: Path,
    environment: Mapping[str, str],
    flags: Mapping[str, Value],
    *,
    directory: Path,
    options: OptionTable | None = None,
    renamed: Mapping[str, str] = RENAMED,
) -> Settings:
    """Return the effective settings, each with its source.

    Relative paths are resolved against `home` in the file, and against `directory` in the
    environment and in flags. Raises `ConfigurationError` with the file, the key and the values that
    it accepts; for root also if other users can write the file.
    """
    if options is None:  # `or` would call len(), which loads the plug-ins
        options = OptionTable()
    document = _read_file(home)
    credentials = read_tables(document, str(home / FILE_NAME), str(home))
    from_file = with_method(_values(without_tables(document), home, options, renamed))
    from_environment = with_method(_read_environment(environment, options, directory))
    return (
        Settings(table=options, dns=replace(credentials, variables=environment))
        .over(from_file, Source.FILE)
        .over(from_environment, Source.ENVIRONMENT)
        .over(with_absolute_paths(flags, options, str(directory)), Source.FLAG)
    )


def _read_file(home: Path) -> dict[str, object]:
    path = home / FILE_NAME
    try:
        raw, _ = read_trusted(path, _LIMIT)
    except FileNotFoundError:
        return {}
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _values(
    document: Mapping[str, object], home: Path, options: OptionTable, renamed: Mapping[str, str]
) -> dict[str, Value]:
    path = home / FILE_NAME
    values: dict[str, Value] = {}
    for key, value in with_current_keys(flatten(document), str(path), renamed).items():
        option = options.get(key)
        if option is None or not option.in_file:
            known = [each.key for each in options.values() if each.in_file]
            raise unknown(key, [*known, TABLE, ZONES], str(path))
        try:
            values[key] = check(option, value)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{path}: {error.message}", hint=error.hint, code=error.code
            ) from None
    return with_absolute_paths(values, options, str(home))


def _read_environment(
    environment: Mapping[str, str], options: OptionTable, directory: Path
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for variable, text in environment.items():
        if not text or not variable.startswith(PREFIX) or variable == HOME:
            continue
        option = options.of_variable(variable)
        if option is None:
            continue
        require_utf8(text, f"the environment variable {variable}:")
        try:
            values[option.key] = parse(option, text)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"the environment variable {variable}: {error.message}",
                hint=error.hint,
                code=error.code,
            ) from None
    return with_absolute_paths(values, options, str(directory))
