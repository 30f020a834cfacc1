"""Findings of `doctor` about web servers that `secure` has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from certctl.engine.run import Run
from certctl.engine.specs import load
from certctl.model.errors import CertctlError, WebServerFailed
from certctl.model.run import Finding, Severity
from certctl.model.webserver import SecuredSite
from certctl.rules.answer_paths import left_to_servers
from certctl.store.home.secured import SecuredSites
from certctl.webservers.server import ServerSystem, WebServer, server_module

_SERVICES = MappingProxyType({"nginx": "nginx", "apache": "apache2 (or httpd)"})
_TESTS = MappingProxyType({"nginx": "nginx -t", "apache": "apache2ctl -t (or httpd -t)"})
_GONE = MappingProxyType(
    {
        "nginx": "no server block has the lines of certctl any more",
        "apache": "no virtual host has the lines of certctl any more",
    }
)


def secured_findings(run: Run) -> Iterator[Finding]:
    """Yield a finding for each line that answers before the lines for challenges, where a
    certificate needs these, for a server that does not run, and for a run that was killed. Raises
    `WebServerRefused` if the server cannot be examined.
    """
    system = ServerSystem(run.services.clock, run.stop)
    for record in SecuredSites(Path(run.services.tree.home)).all():
        servers = server_module(record.server).find(system)
        if record.tls and record.name not in run.services.records.names():
            yield _deleted(record)
            continue
        if not record.loaded:
            yield _unfinished(record)
            continue
        answers = _answers(record, run)
        if not servers:
            lost = "challenges are not answered" if answers else "nothing is served"
            yield Finding(
                "secured.not_running",
                Severity.ERROR,
                record.name,
                f"{record.server} does not run, so {lost}",
                f"Start it, for example with: systemctl start {_SERVICES[record.server]}",
            )
        if servers and answers:
            yield from _examined(record, servers)


def _examined(record: SecuredSite, servers: Sequence[WebServer]) -> Iterator[Finding]:
    """Yield what is in the way of challenges; a server that cannot be read counts only if no other
    one has the lines.
    """
    found: list[Sequence[str] | None] = []
    problem: WebServerFailed | None = None
    for each in servers:
        try:
            found.append(each.obstacles(record.name))
        except WebServerFailed as error:
            problem = problem or error
    if problem is None or any(each is not None for each in found):
        yield from _obstacles(record, found)
        return
    yield Finding(
        "secured.unreadable",
        Severity.ERROR,
        record.name,
        f"whether its challenges are answered is not known, and {record.server} would not start"
        f" again: {problem.message}",
        f"Correct its configuration. See what the server says: {_TESTS[record.server]}",
    )


def _unfinished(record: SecuredSite) -> Finding:
    return Finding(
        "secured.unfinished",
        Severity.WARNING,
        record.name,
        "a run of certctl secure was interrupted",
        f"Finish it: certctl secure {' '.join(record.names)}. Or take it back: certctl secure"
        f" --undo {record.name}",
    )


def _deleted(record: SecuredSite) -> Finding:
    return Finding(
        "secured.deleted",
        Severity.ERROR,
        record.name,
        f"there is no such certificate any more, but the configuration of {record.server} names its"
        f" files, so {record.server} would not start again",
        f"certctl secure --undo {record.name}",
    )


def _obstacles(record: SecuredSite, found: Sequence[Sequence[str] | None]) -> Iterator[Finding]:
    """Yield a finding for each obstacle; of several servers, those without our lines are others."""
    again = f"certctl secure {' '.join(record.names)}"
    if all(each is None for each in found):
        yield Finding(
            "secured.obstacle",
            Severity.ERROR,
            record.name,
            f"its challenges are not answered: {_GONE[record.server]}",
            f"Let certctl write them again: {again}. Or if the site is gone: certctl secure --undo"
            f" {record.name}",
        )
    for place in (place for each in found for place in each or ()):
        yield Finding(
            "secured.obstacle",
            Severity.ERROR,
            record.name,
            f"its challenges are not answered: before the lines of certctl comes {place}",
            "Move it below the lines marked with #certctl, or let certctl write them again:"
            f" {again}",
        )


def _answers(record: SecuredSite, run: Run) -> bool:
    """Whether the server is to answer challenges; not for a certificate validated by DNS."""
    if not record.tls:
        return True
    with suppress(CertctlError):  # a spec that cannot be read has a finding of its own
        return left_to_servers(load(run, record.name).challenge.method)
    return True
