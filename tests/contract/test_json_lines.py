"""`--json-lines`: a line of JSON for each event as it happens, and the result as the last line."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ports import free_port
from tests.lab.scripted_ca.faults import calls, problem
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import Finished, certctl, certctl_process
from tests.support.homes import add_copies

LINE = {"schema", "at", "kind", "name", "facts"}


@pytest.fixture
def ca() -> Iterator[ScriptedCA]:
    """A CA that asks for no domain validation."""
    with ScriptedCA(authorizations_start="valid") as ca:
        yield ca


def arguments(ca: ScriptedCA, *names: str) -> list[str]:
    return [
        *("issue", *names, "--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)),
        *("--agree-tos", "--http-address", "127.0.0.1", "--http-port", str(free_port())),
    ]


def lines(finished: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_each_event_is_a_line_and_the_result_is_the_last(tmp_path: Path, ca: ScriptedCA) -> None:
    *events, result = lines(
        certctl(*arguments(ca, "a.example"), "--json-lines", "--reload", "true", home=tmp_path)
    )

    assert [each["kind"] for each in events] == [
        "account.registered",
        "certificate.started",
        "order.placed",
        "certificate.saved",
        "hook.started",
        "hook.finished",
        "deploy.done",
        "certificate.finished",
    ]
    assert {frozenset(each) for each in events} == {frozenset(LINE)}
    assert {each["schema"] for each in events} == {result["schema"]}
    assert [each["name"] for each in events] == [
        None,
        *["a.example"] * 3,
        None,
        None,
        *["a.example"] * 2,
    ]
    assert list(result) == ["kind", "schema", "command", "status", "exit_code", "data", "errors"]
    assert (result["kind"], result["schema"], result["command"]) == ("result", 1, "issue")
    assert result["data"]["certificates"][0]["action"] == "issued"


def test_the_result_is_the_document_of_json(tmp_path: Path, ca: ScriptedCA) -> None:
    certctl(*arguments(ca, "a.example"), home=tmp_path)

    (result,) = lines(certctl("renew", "a.example", "--json-lines", home=tmp_path))
    document = certctl("renew", "a.example", "--json", home=tmp_path).json()

    assert result == {"kind": "result", **document}


def test_what_fails_is_told_and_is_in_the_result(tmp_path: Path, ca: ScriptedCA) -> None:
    ca.script("new-order", problem("rejectedIdentifier", 400, "not that one"))

    *events, result = lines(certctl(*arguments(ca, "a.example"), "--json-lines", home=tmp_path))

    (failed,) = [each for each in events if each["kind"] == "run.failed"]
    assert failed["facts"]["code"] == result["errors"][0]["code"] == "acme.refused"
    assert (result["status"], result["exit_code"]) == ("error", 1)


def test_a_certificate_is_finished_once_it_is_deployed_with_the_error_of_that(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    command = (*arguments(ca, "a.example"), "--json-lines", "--reload", "false")

    *events, result = lines(certctl(*command, home=tmp_path))

    kinds = [each["kind"] for each in events]
    assert kinds[-2:] == ["run.failed", "certificate.finished"]
    assert events[-1]["facts"] == {"action": "issued", "code": "hook.failed"}
    assert result["exit_code"] == 4


@pytest.mark.parametrize(
    ("given", "command"),
    [
        (("issue", "--json-lines"), "issue"),
        (("issue", "--json-lines", "--nosuch"), "issue"),
        (("renew", "nosuch.example", "--json-lines"), "renew"),
        (("renew", "--json", "--json-lines", "nosuch.example"), "renew"),
    ],
    ids=" ".join,
)
def test_an_error_of_use_is_the_only_line(
    tmp_path: Path, given: tuple[str, ...], command: str
) -> None:
    finished = certctl(*given, home=tmp_path)

    (result,) = lines(finished)
    assert finished.exit_status == result["exit_code"] == 2
    assert (result["kind"], result["command"], result["status"]) == ("result", command, "error")
    assert finished.stderr == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_else_is_on_standard_output_nor_drawn(
    tmp_path: Path, ca: ScriptedCA, terminal: bool
) -> None:
    finished = certctl(
        *arguments(ca, "a.example"), "--json-lines", "-v", home=tmp_path, terminal=terminal
    )

    assert [line for line in finished.stdout.splitlines() if not line.startswith("{")] == []
    assert finished.stderr == ""


def test_a_line_comes_when_it_happens_and_not_at_the_end(tmp_path: Path, ca: ScriptedCA) -> None:
    read = threading.Event()
    # The CA does not answer before the reader has the lines that came before.
    ca.script("finalize", calls(lambda: read.wait(30), after_processing=False))
    with subprocess.Popen(
        [sys.executable, "-m", "certctl", *arguments(ca, "a.example"), "--json-lines"],
        env={**os.environ, "CERTCTL_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(3)]
        read.set()
        rest = process.stdout.readlines()

    assert [json.loads(each)["kind"] for each in first] == [
        "account.registered",
        "certificate.started",
        "order.placed",
    ]
    assert json.loads(rest[-1])["kind"] == "result"


def test_hundreds_of_certificates_are_told_of_line_by_line(tmp_path: Path) -> None:
    add_copies(tmp_path, 400)
    for number in range(400):
        (tmp_path / "deployed" / f"copy{number}.example.json").write_text(
            '{"version": 1, "target": 1, "failures": 0}'
        )

    *events, result = lines(certctl_process("renew", "--json-lines", home=tmp_path))

    done = [each["name"] for each in events if each["kind"] == "deploy.done"]
    assert len(set(done)) == len(done) == 400
    assert result["data"]["considered"] == 400
    assert len(result["data"]["certificates"]) == 400


def test_a_reader_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    add_copies(tmp_path, 300)
    for number in range(300):
        (tmp_path / "deployed" / f"copy{number}.example.json").write_text(
            '{"version": 1, "target": 1, "failures": 0}'
        )
    with subprocess.Popen(
        [sys.executable, "-m", "certctl", "renew", "--json-lines"],
        env={**os.environ, "CERTCTL_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        complaints = process.stderr.read()

    assert complaints == ""
    assert process.returncode == 1
    deployed = [json.loads(each.read_text()) for each in (tmp_path / "deployed").iterdir()]
    assert [each["deployments"][0]["deployed"] for each in deployed] == [1] * 300
