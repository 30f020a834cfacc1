"""Finds DNS providers: the modules of `certctl.dns.providers`, others' entry points, and those that
Lexicon has besides.

Options import the modules, which therefore import dnspython late or not at all.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Protocol

from certctl.dns import lexicon, providers
from certctl.dns.system import ProviderSystem
from certctl.errors import UsageError
from certctl.models import Value
from certctl.options import Option
from certctl.ports import DnsProvider
from certctl.system.plugins import Plugins

__all__ = [
    "GROUP",
    "ProviderModule",
    "ProviderSystem",
    "create_provider",
    "is_builtin_or_plugin",
    "options_of",
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
    """Return the names of all providers, sorted; those of Lexicon where it is installed."""
    return tuple(sorted({*_PLUGINS.names(), *lexicon.names()}))


def provider_options() -> tuple[Option, ...]:
    """Return the options that are settings, those of Lexicon's providers not among them. Raises
    `ConfigurationError` for a broken plug-in.
    """
    return tuple(option for name in _PLUGINS.names() for option in _module(name).OPTIONS)


def options_of(name: str) -> tuple[Option, ...]:
    """Return the options of one provider. Raises as `create_provider`."""
    if is_builtin_or_plugin(name):
        return _module(name).OPTIONS
    if name not in lexicon.names():
        raise _unknown(name)
    return lexicon.options(name)


def kind_of(name: str) -> str:
    """Return where a provider is from: `certctl`, `plug-in` or `lexicon`. Raises `UsageError`."""
    if is_builtin_or_plugin(name):
        return "certctl" if name in _PLUGINS.builtin else "plug-in"
    if name in lexicon.names():
        return "lexicon"
    raise _unknown(name)


def is_builtin_or_plugin(name: str) -> bool:
    """Whether the options of a provider are settings of certctl's: flags, variables and all."""
    return name in _PLUGINS.builtin or name in _PLUGINS.names()


def own_provider_options() -> tuple[Option, ...]:
    """Return the options of certctl's own providers."""
    return tuple(option for name in _PLUGINS.builtin for option in _module(name).OPTIONS)


def create_provider(
    name: str, settings: Mapping[str, Value], system: ProviderSystem
) -> DnsProvider:
    """Return the provider of that name.

    Raises `UsageError` for a name that no provider has, and `ConfigurationError` for settings that
    it cannot work with.
    """
    if name in lexicon.names() and not is_builtin_or_plugin(name):
        return lexicon.create(name, settings, system)
    return _module(name).create(settings, system)


def _module(name: str) -> ProviderModule:
    if not is_builtin_or_plugin(name):
        raise _unknown(name)
    module: ProviderModule = _PLUGINS.module(name)
    return module


def _unknown(name: str) -> UsageError:
    names = provider_names()
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        hint = f"Did you mean {near[0]}?"
    elif lexicon.names():
        hint = "certctl dns list has them all."
    else:
        hint = (
            f"There are: {', '.join(names)}. Cloudflare, Route 53 and many more come with:"
            f" {lexicon.INSTALL}"
        )
    return UsageError(f"there is no DNS provider {name!r}", hint=hint, code="usage.dns_provider")
