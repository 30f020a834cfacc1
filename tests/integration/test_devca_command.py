"""`certctl dev-ca`: the CA as a command, and its root."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certctl.devca.endpoint import dev_endpoint
from tests.integration.devca_client import request
from tests.lab.ports import free_port
from tests.lab.processes import wait_until
from tests.support.command import Finished, certctl, certctl_process

SECONDS = 30.0


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`dev-ca serve` as a process, and what it said of itself."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "certctl", "dev-ca", "serve", "--json"),
            *("--home", str(home), *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, _announcement(process)
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def _announcement(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The one document on its standard output, a line, which comes before it ends."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    found = json.loads(line)["data"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as (process, said):
        directory = request(said["directory_url"], Path(said["root"])).json
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=SECONDS)

    assert directory["meta"]["profiles"]
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert not (tmp_path / "dev-ca" / "served.json").exists()


def issue(home: Path, said: Mapping[str, Any], *names: str) -> Finished:
    return certctl_process(
        *("issue", *names, "--ca", said["directory_url"], "--ca-bundle", said["root"]),
        *("--agree-tos", "--http-port", str(said["http_port"])),
        home=home,
    )


def test_its_options_do_what_they_say(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--http-port", str(port), "--lifetime", "15m", "--fault", "bad-nonce=30")
    with serving(tmp_path, *arguments) as (_, said):
        issued = issue(tmp_path, said, "a.example")

    leaf = x509.load_pem_x509_certificate((tmp_path / "live/a.example/cert.pem").read_bytes())
    assert (issued.exit_status, issued.stderr) == (0, "")
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=15)


def test_an_external_account_is_read_from_a_private_file(tmp_path: Path) -> None:
    key = tmp_path / "hmac.key"
    key.write_text("c2VjcmV0\n")
    key.chmod(0o600)
    with serving(tmp_path, "--eab", f"kid-1={key}") as (_, said):
        meta = request(said["directory_url"], Path(said["root"])).json["meta"]

    assert meta["externalAccountRequired"] is True


def test_the_ca_of_the_home_is_used_where_it_is_served(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, said), dev_endpoint(tmp_path, timeout=0) as endpoint:
        assert endpoint.directory_url == said["directory_url"]
        assert endpoint.http_port == said["http_port"]


def test_a_second_server_on_the_same_directory_reports_the_first(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, _):
        second = certctl_process("dev-ca", "serve", home=tmp_path)

    assert second.exit_status == 5
    assert str(process.pid) in second.stderr


def test_it_says_how_others_use_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "certctl", "dev-ca", "serve", "--home", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "dev-ca" / "served.json").exists, "the CA")
    process.terminate()
    stdout, _ = process.communicate(timeout=SECONDS)

    assert "Its certificates are not publicly trusted" in stdout.splitlines()[0]
    assert {"certctl:", "certbot:", "lego:"} <= set(stdout.splitlines())
    assert str(tmp_path / "dev-ca" / "root.pem") in stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "nowhere"), "nowhere"),
        (("--dns", "resolver.example"), "resolver.example"),
        (("--lifetime", "soon"), "soon"),
        (("--fault", "nosuch=1"), "nosuch"),
        (("--fault", "html"), "NAME=VALUE"),
        (("--eab", "kid-1"), "KID=FILE"),
        (("--validate-at", "here"), "here"),
        (("--profiles", "absent.toml"), "absent.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    finished = certctl("dev-ca", "serve", *arguments, home=tmp_path / "home")

    assert finished.exit_status in {1, 2}
    assert said in finished.stderr
    assert " hint: " in finished.stderr or "absent" in finished.stderr


# The root.


def test_the_root_is_printed_and_created_if_missing(tmp_path: Path) -> None:
    first, second = (certctl("dev-ca", "root", home=tmp_path) for _ in range(2))

    x509.load_pem_x509_certificate(first.stdout.encode())
    assert first == second
    assert first.stderr == ""
    assert stat.S_IMODE((tmp_path / "dev-ca" / "root.key").stat().st_mode) == 0o600
    with dev_endpoint(tmp_path) as endpoint:
        assert Path(str(endpoint.ca_bundle)).read_text() == first.stdout


def test_on_a_terminal_it_says_how_to_trust_the_root(tmp_path: Path) -> None:
    shown = certctl("dev-ca", "root", home=tmp_path, terminal=True)

    x509.load_pem_x509_certificate(shown.stdout.encode())
    for word in ("curl --cacert", "SSL_CERT_FILE=", "certctl dev-ca install"):
        assert word in shown.stderr


def test_a_custom_state_directory_is_used(tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"

    done = certctl("dev-ca", "root", "--state", str(state), "--json", home=tmp_path / "home")

    assert done.json()["data"]["root"] == str(state / "root.pem")
    assert not (tmp_path / "home").exists()
