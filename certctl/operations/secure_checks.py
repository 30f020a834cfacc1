"""The checks of `certctl secure`: answers to challenges and certificates, as others see them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from certctl.challenges.http01 import PREFIX
from certctl.challenges.reachability import NotReached, check_http_answer
from certctl.challenges.webroot_directory import Directory, remove, remove_created, write
from certctl.deploy.probe import ProbeSystem, addresses, probe, probe_version
from certctl.dns.hosts import is_of_this_machine
from certctl.engine.current import current_state_of
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.delivery import ProbeResult
from certctl.model.errors import WebServerFailed
from certctl.model.events import Event
from certctl.model.spec import ServiceAddress
from certctl.model.webserver import Endpoint
from certctl.system.file_errors import as_store_error

_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.2
_CHECK_SECONDS = 15.0
_PUBLIC_SECONDS = 5.0


def check_answers(endpoints: Sequence[Endpoint], challenges: Path, run: Run) -> None:
    """Fetch a response as a CA would, at each address of each name. Raises `WebServerFailed`,
    `StoreError`.
    """
    token, content = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    parts = tuple(PREFIX.strip("/").split("/"))
    root = str(challenges)
    missing = sum(not Path(root, *parts[:depth]).exists() for depth in (1, 2))
    directory = Directory(root, parts, missing)
    with as_store_error("write a challenge response in", challenges):
        write(directory, token, content.encode())
    try:
        for each in endpoints:
            _try_answer(each, token, content, run)
    finally:
        with as_store_error("remove a challenge response from", challenges):
            remove(directory, token)
            remove_created(directory)


def _try_answer(endpoint: Endpoint, token: str, content: str, run: Run) -> None:
    deadline = run.services.clock.monotonic() + _ANSWER_SECONDS
    while True:
        run.check()
        try:
            check_http_answer(endpoint.address, endpoint.name, token, content, port=endpoint.port)
            return
        except NotReached as error:
            # For a moment after a reload, old processes still take connections.
            if run.services.clock.monotonic() > deadline:
                raise WebServerFailed(
                    f"{endpoint.name} at {endpoint.address} does not answer with the challenge"
                    f" response: {error}",
                    hint="Something before the added lines answers: a redirect or `return` above"
                    " them, or another server.",
                    code="webserver.challenge_not_served",
                ) from error
        run.services.clock.wait(run.stop, _POLL_SECONDS)


def check_served(name: str, endpoints: Sequence[Endpoint], run: Run) -> None:
    """Return if the live version of a certificate is served at each endpoint. Raises
    `WebServerFailed`.
    """
    live = current_state_of(name, run.services).live
    system = ProbeSystem(run.services.clock, run.stop, _silent, timeout=_CHECK_SECONDS)
    for each in endpoints:
        for result in _seen(ServiceAddress(each.address, each.port), each.name, live, system):
            if result.error is not None:
                raise WebServerFailed(
                    f"{each.name} is not served at {each.address}, port {each.port}:"
                    f" {result.error}",
                    code="webserver.not_served",
                )


def look_at_public(name: str, hosts: Sequence[str], run: Run) -> tuple[ProbeResult, ...]:
    """Return what the addresses of hosts in DNS present that are not this machine's own."""
    live = current_state_of(name, run.services).live
    system = ProbeSystem(
        run.services.clock, run.stop, _silent, timeout=0.0, connection_timeout=_PUBLIC_SECONDS
    )
    return tuple(
        result
        for host in hosts
        if not leads_here(host)
        for result in _seen(ServiceAddress(host), host, live, system)
    )


def _seen(
    service: ServiceAddress, name: str, live: Version | None, system: ProbeSystem
) -> Sequence[ProbeResult]:
    if live is None:
        return probe(service, (name,), None, system)
    return probe_version(service, (name,), live, system)


def leads_here(host: str) -> bool:
    """Return whether a host has addresses, and all of them are this machine's."""
    found = addresses(host)
    return bool(found) and all(map(is_of_this_machine, found))


def _silent(_: Event) -> None:
    """Take no notice: results are returned."""
