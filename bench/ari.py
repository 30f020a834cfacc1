"""Measures one `renew` with nothing due that has to ask the CA about every certificate (ARI, RFC
9773), as a run does every few hours.

    python bench/ari.py [COUNT ...]

The CA is a process of its own that answers each question at once. The minimal client only sends
the questions, over one connection, and parses the answers. Compare times only within one run.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import cost, precompile
from certctl.model.certificate import RenewalState
from tests.lab.certificates import ServerCertificate, make_server_certificate
from tests.support.homes import add_certificate, add_copies

COUNTS = (500, 10_000)


class _Answers(asyncio.Protocol):
    """Answers every request on a connection with the directory or a renewal window."""

    port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._transport.write(self._answer(head.split(b" ", 2)[1].decode()))

    def _answer(self, path: str) -> bytes:
        now = datetime.now(UTC)
        base = f"https://127.0.0.1:{self.port}"
        if path == "/directory":
            names = ("newNonce", "newAccount", "newOrder", "revokeCert", "renewalInfo")
            document: object = {name: f"{base}/{name}" for name in names}
        else:
            start, end = (now + timedelta(days=days) for days in (50, 52))
            texts = {"start": start.isoformat(), "end": end.isoformat()}
            document = {"suggestedWindow": texts}
        body = json.dumps(document).encode()
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRetry-After: 21600\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )


def _serve(pipe: Connection, certificate: Path, key: Path) -> None:
    async def answering() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Answers, "127.0.0.1", 0, ssl=context)
        _Answers.port = server.sockets[0].getsockname()[1]
        pipe.send(_Answers.port)
        await loop.run_in_executor(None, pipe.recv)
        server.close()

    asyncio.run(answering())


@contextmanager
def ari_server(files: ServerCertificate) -> Iterator[int]:
    """Run the CA; yield its port."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=_serve, args=(theirs, files.certificate, files.private_key))
    server.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        server.join()


def prepare(home: Path, port: int, bundle: Path, count: int) -> str:
    """Create a home directory in which every certificate is to be asked about; return the CertID,
    which all of them have.
    """
    chosen = {"ca": f"https://127.0.0.1:{port}/directory", "ca_bundle": str(bundle)}
    state = RenewalState()
    version = add_certificate(home, "copy0.example", renewal_state=state, chosen=chosen)
    add_copies(home, count)
    return version.facts.ari_id or ""


def minimal(port: int, bundle: Path, cert_id: str, count: int) -> float:
    """Return the seconds that the questions alone take."""
    context = ssl.create_default_context(cafile=bundle)
    started = time.perf_counter()
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    for _ in range(count):
        connection.request("GET", f"/renewalInfo/{cert_id}")
        window = json.loads(connection.getresponse().read())["suggestedWindow"]
        datetime.fromisoformat(window["start"])
    connection.close()
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print."""
    counts = [int(each) for each in sys.argv[1:]] or COUNTS
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    precompile()
    print("`certctl renew` with nothing due, every certificate asked about:")
    print(f"{'':24}{'seconds':>9}{'CPU':>8}{'ms of CPU each':>16}{'MiB':>7}{'minimal':>9}")
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
            directory = Path(name)
            files = make_server_certificate(directory)
            with ari_server(files) as port:
                home = directory / "home"
                cert_id = prepare(home, port, files.ca_bundle, count)
                least = minimal(port, files.ca_bundle, cert_id, count)
                took = cost(["certctl", "renew", "--quiet", "--home", str(home)])
                idle = cost(["certctl", "renew", "--quiet", "--home", str(home)])
        each = 1000 * (took.cpu - idle.cpu) / count
        print(
            f"{count:>10} certificates {took.seconds:9.2f}{took.cpu:8.2f}{each:16.2f}"
            f"{took.memory:7.0f}{least:9.2f}"
        )


if __name__ == "__main__":
    main()
