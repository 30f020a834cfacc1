"""Finds the solver for a challenge method: a module of this package, or a plug-in's entry point.

Solvers are imported when they are needed, so that importing this module stays fast. The settings of
certctl's own are in `certctl.rules.options`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from certctl import challenges
from certctl.challenges.system import SolverSystem, no_port_lock
from certctl.model.identifiers import Identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.rules.options import METHODS, Option
from certctl.system.plugins import Plugins

__all__ = [
    "GROUP",
    "SolverModule",
    "SolverSystem",
    "challenge_options",
    "check_solver",
    "create_solver",
    "method_names",
    "no_port_lock",
    "sharing_key",
]

GROUP = "certctl.challenges"
"""The entry-point group of solver plug-ins: the name is the method, the object a module."""

_PLUGINS = Plugins(challenges, GROUP, "challenge method", "usage.challenge_method", files=METHODS)


class SolverModule(Protocol):
    """The interface of a solver module."""

    OPTIONS: tuple[Option, ...]

    def create(self, challenge: ChallengeSpec, system: SolverSystem) -> Solver:
        """Return a solver for challenges with this configuration."""
        ...


def method_names() -> tuple[str, ...]:
    """Return the names of all challenge methods, sorted."""
    return _PLUGINS.names()


def challenge_options() -> tuple[Option, ...]:
    """Return the options of plug-ins, named `challenge.METHOD.OPTION`. Raises `ConfigurationError`
    for one that is broken.
    """
    return tuple(option for name in _PLUGINS.others() for option in _module(name).OPTIONS)


def create_solver(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return the solver for `challenge.method`.

    Raises `UsageError` for an unknown method, `ConfigurationError` for a plug-in that cannot be
    loaded, and for invalid settings.
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
        return challenge.method, challenge.webroots, challenge.directory
    if challenge.method == "stateless":
        return challenge.method, challenge.http_port, challenge.dns_resolver
    if challenge.method == "tls-alpn":
        return challenge.method, challenge.tls_alpn_address, challenge.tls_alpn_port
    return repr(challenge), tuple(sorted(challenge.plugin.items()))


def _module(method: str) -> SolverModule:
    module: SolverModule = _PLUGINS.module(method)
    return module
