"""Finds DNS providers: the modules of `certctl.dns.providers`, the entry points of plug-ins, and
Lexicon's providers.

The settings table imports all these modules, so they must import dnspython late or not at all.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Protocol

from certctl.dns import lexicon, providers
from certctl.dns.system import ProviderSystem
from certctl.model.errors import UsageError
from certctl.model.ports import DnsProvider
from certctl.model.values import Value
from certctl.rules.options import Option
from certctl.system.installation import install_command
from certctl.system.plugins import Plugins

__all__ = [
    "GROUP",
    "ProviderModule",
    "ProviderSystem",
    "builtin_provider_options",
    "create_provider",
    "is_builtin_or_plugin",
    "options_of",
    "provider_names",
    "provider_options",
]

GROUP = "certctl.dns"
"""The entry-point group of provider plug-ins: the object is a module."""

_PLUGINS = Plugins(providers, GROUP, "DNS provider", "usage.dns_provider")


class ProviderModule(Protocol):
    """The interface of a provider module."""

    OPTIONS: tuple[Option, ...]

    def create(self, settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
        """Return a provider with these settings, which have the keys of `OPTIONS`."""
        ...


def provider_names() -> tuple[str, ...]:
    """Return the names of all providers, sorted; Lexicon's if it is installed."""
    return tuple(sorted({*_PLUGINS.names(), *lexicon.names()}))


def provider_options() -> tuple[Option, ...]:
    """Return the options that are certctl settings, which excludes those of Lexicon's providers.
    Raises `ConfigurationError` for a broken plug-in.
    """
    return tuple(option for name in _PLUGINS.names() for option in _module(name).OPTIONS)


def options_of(name: str) -> tuple[Option, ...]:
    """Return the options of one provider. Raises the errors of `create_provider`."""
    if is_builtin_or_plugin(name):
        return _module(name).OPTIONS
    if name not in lexicon.names():
        raise _unknown(name)
    return lexicon.options(name)


def kind_of(name: str) -> str:
    """Return a provider's origin: `certctl`, `plug-in` or `lexicon`. Raises `UsageError`."""
    if is_builtin_or_plugin(name):
        return "certctl" if name in _PLUGINS.builtin else "plug-in"
    if name in lexicon.names():
        return "lexicon"
    raise _unknown(name)


def is_builtin_or_plugin(name: str) -> bool:
    """Whether a provider is not Lexicon's, so that its options are settings of certctl."""
    return name in _PLUGINS.builtin or name in _PLUGINS.names()


def builtin_provider_options() -> tuple[Option, ...]:
    """Return the options of certctl's built-in providers."""
    return tuple(option for name in _PLUGINS.builtin for option in _module(name).OPTIONS)


def create_provider(
    name: str, settings: Mapping[str, Value], system: ProviderSystem
) -> DnsProvider:
    """Return the provider `name`.

    Raises `UsageError` for an unknown name, and `ConfigurationError` for invalid settings.
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
    close_matches = difflib.get_close_matches(name, names, n=1)
    if close_matches:
        hint = f"Did you mean {close_matches[0]}?"
    elif lexicon.names():
        hint = "List all providers: certctl dns list"
    else:
        hint = (
            f"Available: {', '.join(names)}. To add Cloudflare, Route 53 and many more:"
            f" {install_command(lexicon.DISTRIBUTION)}"
        )
    return UsageError(f"there is no DNS provider {name!r}", hint=hint, code="usage.dns_provider")
