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
from certctl.cli.session import open_run
from certctl.deploy.loading import target_names
from certctl.dns.loading import provider_names
from certctl.inspection.selection import values_of
from certctl.model.errors import CertctlError
from certctl.model.names import unicode_name
from certctl.model.spec import KeyType
from certctl.output.listing import STATES
from certctl.rules.selection import PROPERTIES
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


def conditions(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return what `--where` can be given: properties, and after `PROPERTY=` the values that it can
    have, or has in a certificate.
    """
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return _items((f"{each}=" for each in PROPERTIES), incomplete)
    found = {*_CONDITIONS.get(key, tuple)(), *_present(context, key)}
    return _items((f"{key}={each}" for each in sorted(found)), incomplete)


def _present(context: click.Context, key: str) -> Iterable[str]:
    """Return the values that a property has in the certificates of the home directory."""
    invocation = context.find_root().ensure_object(Invocation)
    invocation.quiet = True
    try:
        with open_run(invocation, untrusted="warn") as run:
            return values_of(run, key)
    except CertctlError:
        return ()


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

_CONDITIONS: Mapping[str, Callable[[], Iterable[str]]] = MappingProxyType(
    {
        "ca": _VALUES["ca"],
        "challenge": method_names,
        "dns_provider": provider_names,
        "key_type": lambda: [each.value for each in KeyType],
        "state": lambda: STATES,
    }
)
"""Values of properties that a condition can name."""


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
