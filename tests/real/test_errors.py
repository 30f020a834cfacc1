"""What goes wrong on the way, and what a person is told: the cause, and the next thing to do."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.authority import AcmeServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.ports import free_port
from tests.lab.processes import wait_until
from tests.real.driver import Host, Running, host
from tests.real.test_signals import needs_loopbacks, never_validated

NOBODY = 65534


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that users other than the tests' may reach; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="certctl-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def ordinary_user() -> list[str]:
    """What runs a command as an ordinary user where the tests are root's; skips where it cannot."""
    if os.geteuid() != 0:
        return []
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        pytest.skip("setpriv is needed to give up root")
    prefix = [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--bounding-set=-all", "--inh-caps=-all", "--"),
    ]
    probe = [*prefix, sys.executable, "-c", "import certctl.cli.main"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("the user nobody cannot read the sources")
    return prefix


def unprivileged(host: Host, directory: Path) -> Host:
    """The same host for the ordinary user: a home in `directory`, the CA's roots where they can be
    read.
    """
    bundle = directory / "roots.pem"
    bundle.write_bytes(host.authority.ca_bundle.read_bytes())
    home = directory / "home"
    home.mkdir()
    settings = (host.home / "certctl.toml").read_text()
    (home / "certctl.toml").write_text(settings.replace(str(host.authority.ca_bundle), str(bundle)))
    if os.geteuid() == 0:
        for path in (home, home / "certctl.toml"):
            os.chown(path, NOBODY, NOBODY)
    return replace(host, home=home)


# The way to the CA.


def test_a_ca_that_cannot_be_reached_is_a_matter_for_later(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, port = host(tmp_path, pebble), free_port()

    finished = here.certctl("issue", "away.example", "--ca", f"https://127.0.0.1:{port}/dir")

    assert finished.exit_status == 6
    assert f"127.0.0.1:{port} cannot be reached" in finished.stderr
    assert "Connection refused" in finished.stderr
    assert "hint: " in finished.stderr


def test_the_wrong_roots_are_said_to_be_the_trouble(
    authority: AcmeServer, pebble_eab: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)

    finished = here.certctl("issue", "roots.example", "--ca-bundle", str(pebble_eab.ca_bundle))

    assert finished.exit_status == 1
    assert "the TLS certificate of 127.0.0.1:" in finished.stderr
    assert "is not trusted: " in finished.stderr
    assert "--ca-bundle FILE" in finished.stderr


def test_a_bundle_that_is_not_there_is_named(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("issue", "bundle.example", "--ca-bundle", str(tmp_path / "absent"))

    assert finished.exit_status == 2
    assert f"{tmp_path}/absent" in finished.stderr


def test_roots_in_the_environment_do_not_replace_the_ones_given(
    authority: AcmeServer, pebble_eab: PebbleServer, tmp_path: Path
) -> None:
    here, other = host(tmp_path, authority), str(pebble_eab.ca_bundle)

    here.issue(
        "environment.example",
        variables={"REQUESTS_CA_BUNDLE": other, "SSL_CERT_FILE": other, "CURL_CA_BUNDLE": other},
    )

    assert here.version("environment.example") == 1


def test_a_ca_that_nobody_knows_is_answered_with_the_nearest(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("issue", "typo.example", "--ca", "letsencrytp")

    assert finished.exit_status == 2
    assert "there is no CA named 'letsencrytp'" in finished.stderr
    assert "Did you mean letsencrypt?" in finished.stderr


def test_something_that_is_no_ca_is_not_taken_for_one(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    address = f"http://127.0.0.1:{challenge_dns.management_port}/nothing"

    finished = here.certctl("register", "--ca", address)

    assert finished.exit_status in {1, 2}
    assert finished.stderr.startswith("error: ")
    assert "Traceback" not in finished.stderr


# What the CA finds.


def test_a_name_that_does_not_resolve_is_told_in_the_ca_s_words(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    challenge_dns.set_servfail("unresolved.example")
    try:
        finished = here.certctl("issue", "resolved.example", "unresolved.example", "--json")
    finally:
        challenge_dns.clear_servfail("unresolved.example")

    (error,) = finished.json()["errors"]
    assert finished.exit_status == 1
    assert error["code"] == "challenge.failed"
    assert error["name"] == "resolved.example"
    assert [each["identifier"] for each in error["identifiers"]] == ["unresolved.example"]
    assert "could not resolve" in error["identifiers"][0]["reason"]
    assert here.leftovers() == []


def test_every_name_that_fails_is_told_once(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    failing = ["one.fails.example", "two.fails.example"]
    for name in failing:
        challenge_dns.set_servfail(name)
    try:
        finished = here.certctl("issue", "good.fails.example", *failing)
    finally:
        for name in failing:
            challenge_dns.clear_servfail(name)

    assert finished.exit_status == 1
    assert "(2 of 3 names)" in finished.stderr
    for name in failing:
        assert finished.stderr.count(f"{name}: ") == 1


@needs_loopbacks
def test_a_ca_that_still_looks_at_one_name_while_another_has_failed_stays_well(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here, waiting, failing = host(tmp_path, pebble), "looked-at.example", "failed-first.example"
    address = ("--http-address", "127.0.0.1")
    challenge_dns.set_servfail(failing)
    try:
        with never_validated(here, challenge_dns, waiting):
            failed = here.certctl("issue", waiting, failing, *address)
    finally:
        challenge_dns.clear_servfail(failing)

    here.issue(waiting, failing, *address)

    assert failed.exit_status == 1
    assert f"{failing}: " in failed.stderr


def test_a_name_that_the_ca_does_not_issue_for_is_told(
    challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    (tmp_path / "ca").mkdir()
    with PebbleServer(
        directory=tmp_path / "ca",
        dns_server=challenge_dns.dns_address,
        blocked_domains=("blocked.example",),
    ) as authority:
        here = host(tmp_path, authority)
        finished = here.certctl("issue", "blocked.example")

    assert finished.exit_status == 1
    assert "[rejectedIdentifier]" in finished.stderr
    assert "hint: " in finished.stderr


# Ports.


def test_who_has_the_port_is_named(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    with socket.create_server(("127.0.0.1", authority.http_port)):
        finished = here.certctl("issue", "port.example")

    told = f"port {authority.http_port} is in use by "
    assert finished.exit_status == 1
    assert told in finished.stderr
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in finished.stderr
    assert "--webroot DIR" in finished.stderr


def test_an_ordinary_user_is_told_the_ways_to_a_low_port(
    authority: AcmeServer, tmp_path: Path, open_directory: Path
) -> None:
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not lowest.exists() or int(lowest.read_text()) <= 80:
        pytest.skip("every user may listen at port 80 here")
    prefix = ordinary_user()
    here = unprivileged(host(tmp_path, authority), open_directory)

    finished = here.certctl("issue", "low.example", "--http-port", "80", prefix=prefix)

    assert finished.exit_status == 1
    assert "this user is not permitted to listen on port 80" in finished.stderr
    for way in ("root", "sysctl", "setcap", "--http-port", "--webroot", "--dns"):
        assert way in finished.stderr


def test_an_ordinary_user_has_a_home_of_their_own(
    authority: AcmeServer, open_directory: Path
) -> None:
    prefix = ordinary_user()
    bundle, user = open_directory / "roots.pem", open_directory / "user"
    bundle.write_bytes(authority.ca_bundle.read_bytes())
    user.mkdir()
    if os.geteuid() == 0:
        os.chown(user, NOBODY, NOBODY)
    arguments = (
        *("issue", "ordinary.example", "--agree-tos", "--ca", authority.directory_url),
        *("--ca-bundle", str(bundle), "--http-port", str(authority.http_port)),
    )
    variables = {"HOME": str(user), "XDG_CONFIG_HOME": ""}

    with Running(arguments, None, prefix=prefix, variables=variables) as running:
        finished = running.finish()

    live = user / ".config" / "certctl" / "live" / "ordinary.example"
    assert (finished.exit_status, finished.stderr) == (0, "")
    assert f"{live}/fullchain.pem" in finished.stdout
    assert (live / "privkey.pem").exists()


# The home directory.


@pytest.mark.parametrize("command", [("issue", "unwritable.example"), ("register",)])
def test_a_home_that_cannot_be_written_is_named(
    pebble: PebbleServer, tmp_path: Path, open_directory: Path, command: tuple[str, ...]
) -> None:
    prefix = ordinary_user()
    here = unprivileged(host(tmp_path, pebble), open_directory)
    here.home.chmod(0o555)
    (here.home / "certctl.toml").chmod(0o444)
    if os.geteuid() == 0:
        os.chown(here.home, 0, 0)

    finished = here.certctl(*command, prefix=prefix)

    assert finished.exit_status == 1
    assert str(here.home) in finished.stderr
    assert "Permission denied" in finished.stderr
    assert "hint: " in finished.stderr


@pytest.mark.parametrize("command", [("list",), ("renew",)])
def test_a_home_that_cannot_be_read_is_no_empty_one(
    pebble: PebbleServer, tmp_path: Path, open_directory: Path, command: tuple[str, ...]
) -> None:
    prefix = ordinary_user()
    here = unprivileged(host(tmp_path, pebble), open_directory)
    here.home.chmod(0)

    finished = here.certctl(*command, prefix=prefix)

    assert finished.exit_status == 1
    assert "Permission denied" in finished.stderr
    assert "internal error" not in finished.stderr


def test_a_lock_that_is_held_names_its_holder(authority: AcmeServer, tmp_path: Path) -> None:
    here, started = host(tmp_path, authority), tmp_path / "started"
    holding = ("issue", "held.example", "--pre-hook", f"touch {started}; sleep 60")

    with here.begin(*holding) as holder:
        wait_until(started.exists, "the pre hook")
        finished = here.certctl("issue", "held.example", "--lock-timeout", "0")

        assert finished.exit_status == 5
        assert "held.example is locked by" in finished.stderr
        if sys.platform == "linux":
            assert f"process {holder.pid}" in finished.stderr


def test_renew_passes_over_a_name_that_another_process_works_on(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here, started = host(tmp_path, authority), tmp_path / "started"
    here.given("busy.example")
    here.given("idle.example")
    holding = ("issue", "busy.example", "--force", "--pre-hook", f"touch {started}; sleep 60")

    with here.begin(*holding):
        wait_until(started.exists, "the pre hook")
        finished = here.certctl("renew", "--force", "--json")

    outcomes = {each["name"]: each["action"] for each in finished.json()["data"]["certificates"]}
    assert finished.exit_status == 0
    assert outcomes == {"busy.example": "busy", "idle.example": "issued"}


# Settings.


@pytest.mark.parametrize(
    ("written", "told", "hint"),
    [
        ("chalenge.http_port = 80", "'chalenge.http_port'", "Did you mean challenge.http_port?"),
        ("[account]\nemial = ['a@b.example']", "'account.emial'", "Did you mean account.email?"),
        ("challenge.http_port = 'x'", "challenge.http_port: 'x' is not a whole number", ""),
        ("key_type = 'rsa-1024'", "key_type: 'rsa-1024' is not one of ecdsa-p256", ""),
        ("ca = ", "is not valid TOML", ""),
    ],
)
def test_a_mistake_in_the_settings_is_named_with_its_file(
    pebble: PebbleServer, tmp_path: Path, written: str, told: str, hint: str
) -> None:
    here = host(tmp_path, pebble)
    (here.home / "certctl.toml").write_text(f"{written}\n")

    finished = here.certctl("list")

    assert finished.exit_status == 2
    assert f"{here.home}/certctl.toml" in finished.stderr
    assert told in finished.stderr
    assert hint in finished.stderr


def test_a_mistake_in_the_environment_is_named_by_its_variable(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("list", variables={"CERTCTL_HTTP_PORT": "eighty"})

    assert finished.exit_status == 2
    assert "CERTCTL_HTTP_PORT" in finished.stderr
    assert "'eighty' is not a whole number" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("issu", "x.example"), "Did you mean certctl issue?"),
        (("issue", "https://url.example/"), "Give only the host name: url.example"),
        (("issue", "a@mail.example"), "Give it with --email"),
        (("issue", "no-dot", "--ca", "letsencrypt"), "no dot"),
        (("issue",), "no name was given"),
        (("issue", "x.example", "--http-prt", "80"), "--http-port"),
        (("issue", "x.example", "--key-type", "rsa-1024"), "rsa-2048"),
        (("show",), "no certificate was given"),
        (("rollback", "absent.example"), "there is no certificate named absent.example"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_usage_error(
    pebble: PebbleServer, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl(*arguments)
    as_json = here.certctl(*arguments, "--json")

    assert (finished.exit_status, finished.stdout) == (2, "")
    assert told in finished.stderr
    assert (as_json.exit_status, as_json.json()["exit_code"]) == (2, 2)
