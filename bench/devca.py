"""Measures how many certificates per second the development CA issues, over 8 connections.

The CA runs in a separate process. First each name is validated by HTTP-01, then the same names are
ordered again with authorizations that are still valid.
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.load import Load
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings

CONNECTIONS = 8
EACH = 60
HTTP_PORT = 21_980


def serve(pipe: Connection) -> None:
    """Run the CA until a message arrives on `pipe`."""
    settings = DevCaSettings(http_port=HTTP_PORT, reuse_authorizations=True)
    with DevCa(None, settings=settings) as ca:
        pipe.send((ca.directory_url, ca.tls_ca_bundle))
        pipe.recv()
        assert ca.internal_errors == []


def main() -> None:
    """Measure, and print the figures."""
    spawn = multiprocessing.get_context("spawn")
    server_end, client_end = spawn.Pipe()
    server = spawn.Process(target=serve, args=(server_end,))
    server.start()
    directory_url, bundle = client_end.recv()
    load = Load(directory_url, bundle, HTTP_PORT, connections=CONNECTIONS, each=EACH)
    for what in ("HTTP-01 validation", "authorization reused"):
        seconds = load.issue()
        print(f"{what:22} {len(load) / seconds:7.0f} per second ({len(load)} in {seconds:.2f} s)")
    client_end.send("stop")
    server.join()


if __name__ == "__main__":
    main()
