"""Finds DNS providers: the modules of `certctl.dns.providers`, and other people's entry points.

Options import the modules, which therefore import dnspython late or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from certctl.dns import providers
from certctl.dns.system import ProviderSystem
from certctl.models import Value
from certctl.options import Option
from certctl.ports import DnsProvider
from certctl.system.plugins import Plugins

__all__ = [
    "GROUP",
    "ProviderModule",
    "ProviderSystem",
    "create_provider",
    "own_provider_options",
    "provider_names",
    "provider_options",
]

GROUP = "certctl.dns"
"""The entry-point group of other people's providers: the object is a module."""

_PLUGINS = Plugins(providers, GROUP, "DNS provider", "usage.dns_provider")


class ProviderModule(Protocol):
    """What a provider's module offers."""

    OPTIONS: tuple[Option, ...]

    def create(self, settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
        """Return a provider with these settings, by the keys of `OPTIONS`."""
        ...


def provider_names() -> tuple[str, ...]:
    """Return the names of all providers, sorted."""
    return _PLUGINS.names()


def provider_options() -> tuple[Option, ...]:
    """Return the options of all providers. Raises `ConfigurationError` for a broken plug-in."""
    return tuple(option for name in provider_names() for option in _module(name).OPTIONS)


def own_provider_options() -> tuple[Option, ...]:
    """Return the options of certctl's own providers."""
    return tuple(option for name in _PLUGINS.own() for option in _module(name).OPTIONS)


def create_provider(
    name: str, settings: Mapping[str, Value], system: ProviderSystem
) -> DnsProvider:
    """Return the provider of that name.

    Raises `UsageError` for a name that no provider has, and `ConfigurationError` for settings that
    it cannot work with.
    """
    return _module(name).create(settings, system)


def _module(name: str) -> ProviderModule:
    module: ProviderModule = _PLUGINS.module(name)
    return module
