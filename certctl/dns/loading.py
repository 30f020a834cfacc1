"""Finds DNS providers: the modules of `certctl.dns.providers`, and other people's entry points.

A provider is found by its file name, so that a new one is one new file. Names are listed without
importing anything; options import the modules, which therefore import dnspython late or not at all.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from certctl.dns import providers
from certctl.dns.system import ProviderSystem
from certctl.errors import ConfigurationError, UsageError
from certctl.models import Value
from certctl.options import OPTIONS, Option, OptionTable
from certctl.ports import DnsProvider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUP",
    "ProviderModule",
    "ProviderSystem",
    "create_provider",
    "option_table",
    "provider_names",
    "provider_options",
]

GROUP = "certctl.dns"
"""The entry-point group of other people's providers: the object is a module."""


class ProviderModule(Protocol):
    """What a provider's module offers."""

    OPTIONS: tuple[Option, ...]

    def create(self, settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
        """Return a provider with these settings, by the keys of `OPTIONS`."""
        ...


def provider_names() -> tuple[str, ...]:
    """Return the names of all providers, sorted."""
    return tuple(sorted({*_own(), *_plugins()}))


def provider_options() -> tuple[Option, ...]:
    """Return the options of all providers. Raises `ConfigurationError` for a broken plug-in."""
    return tuple(option for name in provider_names() for option in _module(name).OPTIONS)


def option_table() -> OptionTable:
    """Return certctl's options and those of the providers; plug-ins are looked for when needed."""
    own = tuple(option for name in sorted(_own()) for option in _module(name).OPTIONS)
    return OptionTable((*OPTIONS, *own), provider_options)


def create_provider(
    name: str, settings: Mapping[str, Value], system: ProviderSystem
) -> DnsProvider:
    """Return the provider of that name.

    Raises `UsageError` for a name that no provider has, and `ConfigurationError` for settings that
    it cannot work with.
    """
    if name not in _own() and name not in _plugins():
        names = provider_names()
        near = difflib.get_close_matches(name, names, n=1)
        raise UsageError(
            f"there is no DNS provider {name!r}",
            hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names)}.",
            code="usage.dns_provider",
        )
    return _module(name).create(settings, system)


def _module(name: str) -> ProviderModule:
    if name in _own():
        return cast(ProviderModule, importlib.import_module(f"{providers.__name__}.{name}"))
    plugin = _plugins()[name]
    try:
        return cast(ProviderModule, plugin.load())
    except Exception as error:
        raise ConfigurationError(
            f"the plug-in {plugin.value} for the DNS provider {name!r} cannot be loaded: {error}",
            hint="Update or remove the package that it came with.",
            code="configuration.plugin",
        ) from error


def _own() -> frozenset[str]:
    return frozenset(each.name for each in pkgutil.iter_modules(providers.__path__))


def _plugins() -> Mapping[str, EntryPoint]:
    from importlib import metadata  # noqa: PLC0415 - slow to import, and seldom needed

    return {each.name: each for each in metadata.entry_points(group=GROUP)}
