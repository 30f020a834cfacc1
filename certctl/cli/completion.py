"""Shell completion that Click cannot do by itself: names of certificates, from their files in the
home directory, and values of settings. `completed_values` finds them.

Errors are ignored during completion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from certctl.cli.implementation import implementation
from certctl.model.names import stored_name

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
        complete = implementation("certctl.cli.completed_values:certificates")
        items: list[CompletionItem] = complete(ctx, given, incomplete)
        return items


KNOWN_VALUES = frozenset({"ca", "challenge.method", "challenge.dns_provider", "deploy.targets"})
"""The keys of the settings that have known values, but no fixed list of choices."""

_Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def setting_values(key: str) -> _Completer:
    """Return the function that completes the value of a setting in `KNOWN_VALUES`."""

    def complete(
        _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        values = implementation("certctl.cli.completed_values:values")
        items: list[CompletionItem] = values(key, incomplete)
        return items

    return complete


def conditions(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return what completes the condition of `--where`."""
    complete = implementation("certctl.cli.completed_values:conditions")
    items: list[CompletionItem] = complete(context, incomplete)
    return items
