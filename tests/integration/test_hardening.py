"""What keeps keys and time out of reach of others: no core dumps, isolated Python, and bodies of
answers that nobody needs.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.schedule.job import ISOLATED, job_for
from certctl.schedule.systemd import service_unit
from certctl.system.http import ping, post_json
from tests.support.homes import add_certificate

PUNYCODE = b"Content-Type: text/plain; charset=punycode\r\n"


@contextlib.contextmanager
def answering(head: bytes, body: bytes) -> Iterator[str]:
    """A server that answers one request with these bytes, then waits for the client to close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


def test_the_body_of_a_heartbeats_answer_is_not_read() -> None:
    with answering(PUNYCODE + b"Content-Length: 100000\r\n", b"never complete") as url:
        assert ping(url, method="GET", user_agent="certctl", seconds=20) == 200


def test_a_body_is_utf8_whatever_charset_a_server_names() -> None:
    body = "ü".encode()
    with answering(PUNYCODE + b"Content-Length: 2\r\n", body) as url:
        response = post_json(url, {}, headers={}, user=None, seconds=20)

    assert response.body == "ü"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has prctl(2)")
def test_a_process_with_a_key_cannot_be_dumped_but_its_commands_can(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    script = """
import ctypes, os, sys
from certctl.cli.main import main
from certctl.system.process import run
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
before = dumpable()
main(["export", "a.example", "--format", "combined", "--out", sys.argv[1], "--quiet"])
child = run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"],
            environment={}, timeout=20)
print(before, dumpable(), child.output.strip())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "out.pem"],
        capture_output=True,
        text=True,
        env={**os.environ, "CERTCTL_HOME": str(tmp_path)},
        check=False,
    )

    assert (done.stdout, done.stderr) == ("1 0 1\n", "")


def test_the_scheduled_command_is_isolated_from_directory_and_variables(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "certctl", "--home", tmp_path, "schedule", "show", "--json"],
        capture_output=True,
        check=False,
    )

    command = json.loads(done.stdout)["data"]["command"]
    assert command[:4] == [sys.executable, *ISOLATED]

    # A module of the same name in the working directory, and a variable, decide nothing.
    (tmp_path / "certctl.py").write_text("raise SystemExit('planted')")
    planted = subprocess.run(
        [*command[:4], "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert (planted.returncode, planted.stdout[:8]) == (0, "certctl ")


def test_the_service_writes_no_core_dumps(tmp_path: Path) -> None:
    unit = service_unit(
        job_for((sys.executable, *ISOLATED), tmp_path, default_home=tmp_path, node="a")
    )

    assert "\nLimitCORE=0\n" in unit
    assert f"\nExecStart={sys.executable} -I -m certctl --home {tmp_path} renew\n" in unit
