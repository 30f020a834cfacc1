"""Finds the solver for a challenge method: a module of this package, or a plug-in's entry point.

Solvers are imported when they are needed, so that importing this module stays fast.
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Sequence
from types import MappingProxyType
from typing import Protocol, cast

from certctl.challenges.system import SolverSystem, no_port_lock
from certctl.model.errors import ConfigurationError
from certctl.model.identifiers import Identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.rules.options import Option
from certctl.rules.settings import unknown

__all__ = [
    "GROUP",
    "MODULES",
    "SolverModule",
    "SolverSystem",
    "check_solver",
    "create_solver",
    "no_port_lock",
    "sharing_key",
]

GROUP = "certctl.challenges"
"""The entry-point group of solver plug-ins: the name is the method, the object a module."""

MODULES = MappingProxyType(
    {
        "standalone": "http01_standalone",
        "webroot": "http01_webroot",
        "http-hook": "http01_hook",
        "dns": "dns01",
        "tls-alpn": "tls_alpn01",
        "dns-persist": "dns_persist01",
    }
)
"""The module of each built-in challenge method."""


class SolverModule(Protocol):
    """The interface of a solver module."""

    OPTIONS: tuple[Option, ...]

    def create(self, challenge: ChallengeSpec, system: SolverSystem) -> Solver:
        """Return a solver for challenges with this configuration."""
        ...


def create_solver(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return the solver for `challenge.method`.

    Raises `ConfigurationError` for an unknown method, for a plug-in that cannot be loaded, and for
    invalid settings.
    """
    return _module(challenge.method).create(challenge, system)


def check_solver(solver: Solver, identifiers: Sequence[Identifier]) -> None:
    """Have a solver check its settings for these names, if it can, before anything is ordered.

    Raises `ConfigurationError`, `UsageError` or `ChallengeError`. `check` is optional for plug-ins.
    """
    check = getattr(solver, "check", None)
    if check is not None:
        check(identifiers)


def sharing_key(challenge: ChallengeSpec) -> Hashable:
    """Return a key that is equal for two specs whose certificates can share a solver in a run.

    It covers only the settings that the method uses: two standalone servers on one port would
    conflict, even if the specs differ in other settings.
    """
    if challenge.method == "standalone":
        return challenge.method, challenge.http_address, challenge.http_port
    if challenge.method == "webroot":
        return challenge.method, challenge.webroots
    if challenge.method == "tls-alpn":
        return challenge.method, challenge.tls_alpn_address, challenge.tls_alpn_port
    return repr(challenge), tuple(sorted(challenge.plugin.items()))


def _module(method: str) -> SolverModule:
    if method in MODULES:
        module = importlib.import_module(f"certctl.challenges.{MODULES[method]}")
        return cast(SolverModule, module)
    from importlib import metadata  # noqa: PLC0415 - slow to import, and seldom needed

    plugins = {each.name: each for each in metadata.entry_points(group=GROUP)}
    if method not in plugins:
        raise unknown(method, (*MODULES, *plugins), "challenge.method")
    try:
        return cast(SolverModule, plugins[method].load())
    except Exception as error:
        raise ConfigurationError(
            f"the plug-in {plugins[method].value} for the challenge method {method!r} cannot be"
            f" loaded: {error}",
            hint="Update or remove the package that contains it.",
            code="configuration.plugin",
        ) from error
