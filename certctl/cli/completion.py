"""Shell completion that Click cannot do by itself: names of certificates, from their files in the
home directory, and values of settings.

Errors are ignored during completion.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from certctl.cli.invocation import Invocation
from certctl.model.errors import CertctlError
from certctl.model.names import stored_name, unicode_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class CertificateName(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.5
    """The name of a certificate as it is stored; on the command line also in Unicode."""

    name = "name"

    def convert(
        self,
        value: str,
        param: click.Parameter | None,  # noqa: ARG002 - Click's signature
        ctx: click.Context | None,  # noqa: ARG002 - as above
    ) -> str:
        return stored_name(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the certificates whose names start with `incomplete`, except those that are
        already on the command line.
        """
        given = ctx.params.get(param.name or "") or ()
        found = [each for each in sorted(_certificates(ctx)) if each not in given]
        if not incomplete.isascii():
            found = [unicode_name(each) for each in found]
        return _items(found, incomplete)


_Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def setting_values(key: str) -> _Completer:
    """Return the function that completes the value of a setting in `KNOWN_VALUES`."""

    def complete(
        _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _items(KNOWN_VALUES[key](), incomplete)

    return complete


def _items(values: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only for a completion

    return [CompletionItem(each) for each in values if each.startswith(incomplete)]


def _cas() -> Iterable[str]:
    from certctl.ca.directories import KNOWN_CAS  # noqa: PLC0415 - only for a completion

    return [each.name for each in KNOWN_CAS]


def _methods() -> Iterable[str]:
    from certctl.challenges.loading import method_names  # noqa: PLC0415 - only for a completion

    return method_names()


def _dns_providers() -> Iterable[str]:
    from certctl.dns.loading import provider_names  # noqa: PLC0415 - only for a completion

    return provider_names()


def _targets() -> Iterable[str]:
    from certctl.deploy.loading import target_names  # noqa: PLC0415 - only for a completion

    return target_names()


KNOWN_VALUES = MappingProxyType(
    {
        "ca": _cas,
        "challenge.method": _methods,
        "challenge.dns_provider": _dns_providers,
        "deploy.targets": _targets,
    }
)
"""Functions that return the values of a setting without a fixed list of choices, by its key."""


def _certificates(context: click.Context) -> Iterable[str]:
    from certctl import config  # noqa: PLC0415 - only for a completion

    invocation = context.find_root().ensure_object(Invocation)
    environment = invocation.environment
    try:
        home = config.home_directory(
            invocation.home,
            environment.variables,
            directory=environment.directory,
            user_id=environment.user_id,
        )
        with os.scandir(home / "certificates") as entries:
            files = [each.name for each in entries if not each.name.startswith(".")]
    except (OSError, CertctlError):
        return ()
    return (each.removesuffix(".toml") for each in files if each.endswith(".toml"))
