"""What shell completion offers for names of certificates and for values of settings; loaded for a
completion only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

import click
from click.shell_completion import CompletionItem

from certctl import config
from certctl.ca.directories import KNOWN_CAS
from certctl.challenges.loading import method_names
from certctl.cli.invocation import Invocation
from certctl.deploy.loading import target_names
from certctl.dns.loading import provider_names
from certctl.model.errors import CertctlError
from certctl.model.names import unicode_name
from certctl.rules.shown_names import shown_name


def certificates(
    context: click.Context, given: Collection[str], incomplete: str
) -> list[CompletionItem]:
    """Return the certificates whose names start with `incomplete`, except those `given` already."""
    found = [each for each in sorted(_certificates(context)) if each not in given]
    if not incomplete.isascii():
        found = [unicode_name(each) for each in found]
    else:
        readable = {each: shown_name(each) for each in found}
        found = [name if name.startswith(incomplete) else each for each, name in readable.items()]
    return _items(found, incomplete)


def values(key: str, incomplete: str) -> list[CompletionItem]:
    """Return the values of a setting in `completion.KNOWN_VALUES` that start with `incomplete`."""
    return _items(_VALUES[key](), incomplete)


def _items(values: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(each) for each in values if each.startswith(incomplete)]


_VALUES: Mapping[str, Callable[[], Iterable[str]]] = MappingProxyType(
    {
        "ca": lambda: [each.name for each in KNOWN_CAS],
        "challenge.method": method_names,
        "challenge.dns_provider": provider_names,
        "deploy.targets": target_names,
    }
)


def _certificates(context: click.Context) -> Iterable[str]:
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
