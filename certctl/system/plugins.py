"""Plug-ins of one kind: the modules of a package of ours, and other people's entry points.

One is found by its file name, in which an underscore stands for a hyphen of the plug-in's, so that
a new one is one new file. Names are listed without importing anything. What is installed is looked
at once a process. What a module of the kind offers is for the caller to know.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from certctl.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class Plugins:
    """The modules of `package` and the entry points of `group`; `what` is one of them in words,
    `code` that of the error for a name that none has, `otherwise` what is added to its hint.
    """

    package: ModuleType
    group: str
    what: str
    code: str
    otherwise: str = ""

    @cached_property
    def own(self) -> tuple[str, ...]:
        """The names of our own, sorted."""
        files = pkgutil.iter_modules(self.package.__path__)
        return tuple(sorted(each.name.replace("_", "-") for each in files))

    def names(self) -> tuple[str, ...]:
        """Return the names of all, sorted."""
        return tuple(sorted({*self.own, *self._others}))

    def module(self, name: str) -> Any:
        """Return the module of that name. Raises `UsageError` where there is none, and
        `ConfigurationError` where another's cannot be loaded.
        """
        if name in self.own:
            file = name.replace("-", "_")
            return importlib.import_module(f"{self.package.__name__}.{file}")
        others = self._others
        if name not in others:
            raise self._unknown(name)
        try:
            return others[name].load()
        except Exception as error:
            raise ConfigurationError(
                f"the plug-in {others[name].value} for the {self.what} {name!r} cannot be loaded:"
                f" {error}",
                hint="Update or remove the package that it came with.",
                code="configuration.plugin",
            ) from error

    def _unknown(self, name: str) -> UsageError:
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        known = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names)}."
        return UsageError(
            f"there is no {self.what} {name!r}",
            hint=f"{known} {self.otherwise}".rstrip(),
            code=self.code,
        )

    @cached_property
    def _others(self) -> Mapping[str, EntryPoint]:
        from importlib import metadata  # noqa: PLC0415 - slow to import, and seldom needed

        return {each.name: each for each in metadata.entry_points(group=self.group)}
