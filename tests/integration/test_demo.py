"""`certctl demo`: what it prints on a terminal and off it, and what it leaves behind."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.operations import CERTCTL


def environment(directory: Path) -> dict[str, str]:
    """An environment whose settings would break the demo if it read them."""
    return {
        **os.environ,
        "TMPDIR": str(directory),
        "CERTCTL_HOME": "/nonexistent/home",
        "CERTCTL_CA": "https://nowhere.invalid/directory",
        "TERM": "xterm",
    }


def demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CERTCTL, "demo", *arguments],
        env=environment(directory),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_without_a_terminal_the_steps_are_plain_lines(tmp_path: Path) -> None:
    finished = demo(tmp_path)

    assert (finished.returncode, finished.stderr) == (0, "")
    assert re.findall(r"^\d", finished.stdout, re.MULTILINE) == list("1234567")
    assert re.search(r"\d+ requests during the renewal, 0 lost", finished.stdout)
    assert len(re.findall(r"serial [0-9a-f]{8} → [0-9a-f]{8}", finished.stdout)) == 2
    assert "certctl issue example.com" in finished.stdout
    assert "\x1b" not in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_as_json_it_is_one_document_with_the_observations(tmp_path: Path) -> None:
    finished = demo(tmp_path, "--json")

    data = json.loads(finished.stdout)["data"]
    assert data["requests"] > 0
    assert data["lost"] == 0
    assert set(data["before"]) == set(data["after"]) == {"shop.example", "blog.example"}
    assert len({*data["before"].values(), *data["after"].values()}) == 4
    assert data["revoked"].lstrip("0") == data["after"]["blog.example"]


def test_a_kept_directory_is_an_ordinary_home(tmp_path: Path) -> None:
    home = tmp_path / "kept"

    assert demo(tmp_path, "--keep", str(home), "--quiet").returncode == 0

    listed = subprocess.run(
        [*CERTCTL, "--home", str(home), "list", "--json"], capture_output=True, check=True
    )
    found = {
        each["name"]: each["state"] for each in json.loads(listed.stdout)["data"]["certificates"]
    }
    assert found == {"blog.example": "revoked", "shop.example": "valid"}
    again = demo(tmp_path, "--keep", str(home))
    assert again.returncode == 2
    assert "already exists" in again.stderr


def test_on_a_terminal_the_diagram_ends_with_all_steps_done(tmp_path: Path) -> None:
    child, screen = pty.fork()
    if not child:
        os.execve(CERTCTL[0], [*CERTCTL, "demo"], environment(tmp_path))  # noqa: S606 - no shell
    shown = b""
    try:
        while part := os.read(screen, 65536):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(screen)

    text = shown.decode()
    assert status == 0
    assert "▸" in text
    assert text.rpartition("── TLS")[2].count("✔") == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGTERM])
def test_stopped_half_way_it_cleans_up(tmp_path: Path, wanted: signal.Signals) -> None:
    process = subprocess.Popen(
        [*CERTCTL, "demo"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("4."):
            break
    process.send_signal(wanted)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "stopped" in said
    assert list(tmp_path.iterdir()) == []
    assert proxies_of(process.pid) == []


def proxies_of(parent: int) -> list[str]:
    """The proxies of a demo that still run after it ended."""
    deadline = time.monotonic() + 5
    while True:
        listed = subprocess.run(
            ["ps", "-A", "-o", "ppid=,args="], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        left = [each for each in listed if each.split()[0] == str(parent)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
