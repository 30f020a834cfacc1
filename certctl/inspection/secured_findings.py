"""Findings of `doctor` about web servers that `secure` has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from certctl.engine.run import Run
from certctl.model.run import Finding, Severity
from certctl.store.home.secured import SecuredSites
from certctl.webservers.server import ServerSystem, server_module

_SERVICES = MappingProxyType({"nginx": "nginx", "apache": "apache2 (or httpd)"})


def secured_findings(run: Run) -> Iterator[Finding]:
    """Yield a finding for each line that answers before the lines for challenges, and for a server
    that does not run. Raises `WebServerRefused` if it cannot be examined.
    """
    system = ServerSystem(run.services.clock, run.stop)
    for record in SecuredSites(Path(run.services.tree.home)).all():
        servers = server_module(record.server).find(system)
        if not servers:
            yield Finding(
                "secured.not_running",
                Severity.ERROR,
                record.name,
                f"{record.server} does not run, so challenges are not answered",
                f"Start it, for example with: systemctl start {_SERVICES[record.server]}",
            )
        for server in servers:
            for place in server.obstacles(record.name):
                yield Finding(
                    "secured.obstacle",
                    Severity.ERROR,
                    record.name,
                    f"its challenges are not answered: before the lines of certctl comes {place}"
                    if ":" in place
                    else f"its challenges are not answered: {place}",
                    "Move it below the lines marked with #certctl, or let certctl write them again:"
                    f" certctl secure {' '.join(record.names)}",
                )
