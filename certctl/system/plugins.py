"""Plug-ins of one kind: the modules of a package of certctl, and entry points of other packages.

A built-in plug-in is a file in the package, named after it with underscores for hyphens. Names are
listed without importing anything, and the installed packages are searched once per process. The
caller knows the interface of the modules.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class Plugins:
    """The modules of `package` and the entry points of `group`.

    `noun` describes one of them in messages. `code` is the code of the error for an unknown name,
    and `more_hint` is appended to its hint. `files` has the modules of `package` by name, if they
    are not named after the plug-ins.
    """

    package: ModuleType
    group: str
    noun: str
    code: str
    more_hint: str = ""
    files: Mapping[str, str] | None = None

    @cached_property
    def builtin(self) -> tuple[str, ...]:
        """The names of the built-in plug-ins, sorted."""
        if self.files is not None:
            return tuple(sorted(self.files))
        files = pkgutil.iter_modules(self.package.__path__)
        return tuple(sorted(each.name.replace("_", "-") for each in files))

    def names(self) -> tuple[str, ...]:
        """Return the names of all plug-ins, sorted."""
        return tuple(sorted({*self.builtin, *self._entry_points}))

    def others(self) -> tuple[str, ...]:
        """Return the names of the plug-ins of other packages, sorted."""
        return tuple(sorted(self._entry_points.keys() - set(self.builtin)))

    def module(self, name: str) -> Any:
        """Return the module with this name. Raises `UsageError` if there is none,
        `ConfigurationError` if the plug-in of another package cannot be loaded.
        """
        if name in self.builtin:
            file = name.replace("-", "_") if self.files is None else self.files[name]
            return importlib.import_module(f"{self.package.__name__}.{file}")
        entry_points = self._entry_points
        if name not in entry_points:
            raise self._unknown(name)
        try:
            return entry_points[name].load()
        except Exception as error:
            raise ConfigurationError(
                f"the plug-in {entry_points[name].value} for the {self.noun} {name!r} cannot be"
                f" loaded: {error}",
                hint="Update or remove the package that provides it.",
                code="configuration.plugin",
            ) from error

    def _unknown(self, name: str) -> UsageError:
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        known = f"Did you mean {near[0]}?" if near else f"Available: {', '.join(names)}."
        return UsageError(
            f"there is no {self.noun} {name!r}",
            hint=f"{known} {self.more_hint}".rstrip(),
            code=self.code,
        )

    @cached_property
    def _entry_points(self) -> Mapping[str, EntryPoint]:
        from importlib import metadata  # noqa: PLC0415 - slow to import, and rarely needed

        try:
            return {each.name: each for each in metadata.entry_points(group=self.group)}
        except Exception as error:
            raise ConfigurationError(
                f"the installed Python packages cannot be searched for plug-ins: {error}",
                hint="Mend or remove the package whose entry_points.txt cannot be read, or install"
                " certctl in a virtual environment of its own.",
                code="configuration.plugin",
            ) from error
