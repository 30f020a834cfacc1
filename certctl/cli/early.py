"""Opens the connection to the CA while a command that needs it is still being loaded.

It is opened only if the command will certainly send requests, and its result matters to nobody: who
sends the first request takes the connection if it is there, and reports what is wrong if it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from certctl import config
from certctl.ca.directories import DEV, directory_url
from certctl.cli.invocation import Invocation
from certctl.engine.plugins import option_table
from certctl.model.ca import OpenedConnection
from certctl.model.errors import CertctlError
from certctl.model.urls import DIRECT

_PROXY_VARIABLES = ("https_proxy", "all_proxy")


def connect_for_issue(
    invocation: Invocation,
    *,
    names: Sequence[str],
    domains: Sequence[str],
    name: str | None,
    force: bool,
    dry_run: bool,
    **_others: object,
) -> OpenedConnection | None:
    """Begin to connect to the CA of a certificate that is new, or is issued again in any case;
    return the connection, which the invocation has too.
    """
    wanted = name or next(iter((*names, *domains)), None)
    if wanted is None or dry_run:
        return None
    environment = invocation.environment
    # Whatever is wrong with the settings is reported by who needs them.
    with suppress(CertctlError, OSError, ValueError):
        home = config.home_directory(
            invocation.home,
            environment.variables,
            directory=environment.directory,
            user_id=environment.user_id,
        )
        if not force and (home / "live" / wanted.removeprefix("*.")).is_symlink():
            return None
        settings = config.load(
            home,
            environment.variables,
            invocation.flags,
            directory=environment.directory,
            options=option_table(),
        )
        proxy = settings.text("proxy")
        url = directory_url(settings.words("ca")[0])
        if url == DEV or not url.startswith("https://"):
            return None
        if proxy != DIRECT and (proxy is not None or _has_proxy(environment.variables)):
            return None
        from certctl.system.early_connection import (  # noqa: PLC0415 - loads sockets
            EarlyConnection,
        )

        invocation.opened = EarlyConnection(url, settings.text("ca_bundle"))
    return invocation.opened


def _has_proxy(variables: Mapping[str, str]) -> bool:
    return any(variables.get(each) or variables.get(each.upper()) for each in _PROXY_VARIABLES)
