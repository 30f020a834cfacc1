"""Runs the development CA inside a client's process, for `--ca dev`.

Keys, accounts and orders are stored in the home directory, so that the next process finds them
again.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from threading import Event

from certctl.devca.dns_server import DnsServer
from certctl.devca.kept_port import KeptPort
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from certctl.devca.zone import MockZone
from certctl.model.ca import Endpoint
from certctl.model.errors import LockHeld
from certctl.system import trust
from certctl.system.clock import SystemClock
from certctl.system.files import PRIVATE_DIRECTORY, ensure_directory, remove_file, write_atomic
from certctl.system.locks import FileLock, acquire
from certctl.system.reading import read_own

DIRECTORY = "dev-ca"
"""The CA's directory in the home directory."""

WAIT_SECONDS = 120.0

_SERVED_FILE = "served.json"
_MAX_BYTES = 10_000


@contextmanager
def dev_endpoint(
    home: Path,
    *,
    settings: DevCaSettings | None = None,
    timeout: float = WAIT_SECONDS,
    stop: Event | None = None,
) -> Iterator[Endpoint]:
    """Run the CA of `home` in this process, and yield its endpoint.

    Only one process at a time can run it: a second one waits up to `timeout` seconds. If `dev-ca
    serve` runs for the same directory, its CA is used instead. HTTP-01 and TLS-ALPN-01 are
    validated at this machine, on ports that were just free. DNS-01 is validated in the built-in
    zone, which is served and accepts updates at `Endpoint.dns`. If `settings` is given, its ports
    are used. Raises `LockHeld`, `Interrupted`, `StoreError`, `ConfigurationError`.
    """
    state = home / DIRECTORY
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_state(state, timeout=0, stop=stop))
        except LockHeld:
            served = served_endpoint(state)
            if served is not None:
                yield served
                return
            stack.enter_context(lock_state(state, timeout=timeout, stop=stop))
        if settings is None:
            http_port, tls_alpn_port = free_ports(2)
            settings = DevCaSettings(
                http_port=http_port, tls_alpn_port=tls_alpn_port, terms_of_service=None
            )
        ca = stack.enter_context(DevCa(state, settings=settings))
        dns = stack.enter_context(zone_server(ca.zone, state))
        yield Endpoint(
            directory_url=ca.directory_url,
            ca_bundle=str(ca.tls_ca_bundle),
            http_port=settings.http_port,
            tls_alpn_port=settings.tls_alpn_port,
            dns=settings.dns or dns.address,
            moves=True,
        )


@contextmanager
def announced(endpoint: Endpoint, state: Path) -> Iterator[None]:
    """While the context is active, let other processes find the CA served from a state directory.

    The caller must hold the lock on the directory: without it, the announcement is ignored.
    """
    path = state / _SERVED_FILE
    write_atomic(path, json.dumps(asdict(endpoint)).encode())
    try:
        yield
    finally:
        remove_file(path)


def served_endpoint(state: Path) -> Endpoint | None:
    """Return the CA that another process announced for a directory, None if there is none."""
    data = read_own(state / _SERVED_FILE, _MAX_BYTES)
    try:
        return None if data is None else replace(Endpoint(**json.loads(data)), moves=True)
    except (ValueError, TypeError):
        return None


@contextmanager
def zone_server(zone: MockZone, state: Path) -> Iterator[DnsServer]:
    """Serve the built-in zone, on the port stored in the state directory. Raises OSError."""
    kept = KeptPort(state / "dns-port")
    with ExitStack() as stack:
        for port in kept.candidates(Random()):  # noqa: S311 - not used for secrets
            try:
                server = stack.enter_context(DnsServer(zone, port))
            except OSError:
                if not port:
                    raise
                continue
            kept.keep(server.port)
            yield server
            return


def lock_state(state: Path, *, timeout: float, stop: Event | None = None) -> FileLock:
    """Return the lock on a state directory, which is created if missing.

    Raises `LockHeld`, and `ConfigurationError` if another user can write to the directory: they
    could put a CA of their own there.
    """
    trust.refuse_path(state.absolute())
    ensure_directory(state, PRIVATE_DIRECTORY)
    trust.refuse_path(state.absolute())
    return acquire(
        state / "lock",
        exclusive=True,
        timeout=timeout,
        clock=SystemClock(),
        subject=f"the development CA in {state}",
        stop=stop,
    )


def free_ports(count: int) -> list[int]:
    """Return currently free ports of the loopback address."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
