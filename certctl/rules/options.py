"""The table of all settings, from which flags, `certctl.toml` keys, environment variables and
documentation are derived.

`certctl.rules.settings` parses, checks and holds their values.
"""

from __future__ import annotations

from certctl.rules.option import Kind, Option
from certctl.rules.settings_tables.ca import CA_OPTIONS
from certctl.rules.settings_tables.certificate import CERTIFICATE_OPTIONS
from certctl.rules.settings_tables.challenge import BY_IDENTIFIER, CHALLENGE_OPTIONS, METHODS
from certctl.rules.settings_tables.deployment import DEPLOYMENT_OPTIONS
from certctl.rules.settings_tables.runs import RUNS_OPTIONS

__all__ = ["BY_IDENTIFIER", "METHODS", "OPTIONS", "Kind", "Option"]

OPTIONS: tuple[Option, ...] = (
    *CA_OPTIONS,
    *CERTIFICATE_OPTIONS,
    *CHALLENGE_OPTIONS,
    *DEPLOYMENT_OPTIONS,
    *RUNS_OPTIONS,
)
