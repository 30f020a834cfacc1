"""Finds deploy targets: modules of `certctl.deploy.targets` and third-party entry points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from certctl.deploy import targets
from certctl.model.ports import DeployTarget
from certctl.model.values import Value
from certctl.rules.options import Option
from certctl.system.plugins import Plugins

if TYPE_CHECKING:
    from certctl.deploy.system import TargetSystem  # not loaded by runs that deploy nothing

GROUP = "certctl.targets"
"""The entry-point group of third-party targets: each entry point refers to a module."""

_PLUGINS = Plugins(
    targets,
    GROUP,
    "deploy target",
    "usage.deploy_target",
    "For any other server use --reload COMMAND.",
)


class TargetModule(Protocol):
    """The interface of a target's module."""

    OPTIONS: tuple[Option, ...]

    def create(self, settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
        """Return a target with these settings, whose keys are those of `OPTIONS`. Raises
        `ConfigurationError` if something that it needs is missing on this machine.
        """
        ...


def target_names() -> tuple[str, ...]:
    """Return the names of all targets, sorted."""
    return _PLUGINS.names()


def own_target_options() -> tuple[Option, ...]:
    """Return the options of certctl's built-in targets."""
    return tuple(option for name in _PLUGINS.builtin for option in _module(name).OPTIONS)


def target_options() -> tuple[Option, ...]:
    """Return the options of all targets. Raises `ConfigurationError` for a broken plug-in."""
    return tuple(option for name in target_names() for option in _module(name).OPTIONS)


def create_target(name: str, settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target of that name.

    Raises `UsageError` for an unknown name, and `ConfigurationError` if something that the target
    needs is missing on this machine.
    """
    return _module(name).create(settings, system)


def withdraw(name: str, settings: Mapping[str, Value], certificate: str) -> None:
    """Have a target with these settings remove what it wrote for a certificate, if it writes
    anything: its module then has a function `withdraw`. Raises `StoreError`.
    """
    remove = getattr(_module(name), "withdraw", None)
    if remove is not None:
        remove(settings, certificate)


def _module(name: str) -> TargetModule:
    module: TargetModule = _PLUGINS.module(name)
    return module
