"""The settings of plug-ins, in addition to certctl's own: challenge methods, DNS providers and
deploy targets.
"""

from __future__ import annotations

from certctl.challenges.loading import challenge_options
from certctl.deploy.loading import own_target_options, target_options
from certctl.dns.loading import builtin_provider_options, provider_options
from certctl.rules.options import OPTIONS, Option
from certctl.rules.settings import OptionTable


def plugin_options() -> tuple[Option, ...]:
    """Return the options of all plug-ins. Raises `ConfigurationError` for one that is broken."""
    return (*challenge_options(), *provider_options(), *target_options())


def option_table() -> OptionTable:
    """Return certctl's options and those of plug-ins; plug-ins are only loaded when an option is
    not certctl's own.
    """
    return OptionTable(OPTIONS, builtin_provider_options, own_target_options, plugin_options)
