"""TLS-ALPN-01 by certctl's own server, from the command line to the files, with both CAs."""

import json
import os
import socket
from pathlib import Path

import pytest

from tests.lab.authority import AcmeServer
from tests.lab.pebble import PebbleServer
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program, require
from tests.real.driver import Host, host, is_free, names
from tests.support.command import certctl
from tests.support.http01 import needs_ipv6


def tls_host(directory: Path, authority: AcmeServer) -> Host:
    settings = f"challenge.tls_alpn_port = {authority.tls_port}"
    return host(directory, authority, settings)


def test_names_are_proved_by_tls_alpn_and_renewed_the_same_way(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = tls_host(tmp_path, authority)

    here.issue("tls.example", "www.tls.example", "--tls-alpn")
    renewed = here.certctl("renew", "--force", "tls.example")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert here.version("tls.example") == 2
    assert names(here.leaf("tls.example")) == ["tls.example", "www.tls.example"]
    assert here.leftovers() == []
    assert is_free(authority.tls_port)


def test_an_ipv4_address_is_proved_by_tls_alpn_beside_a_name(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = tls_host(tmp_path, authority)

    here.issue("127.0.0.1", "beside-tls.example", "--tls-alpn")

    assert names(here.leaf("127.0.0.1")) == ["127.0.0.1", "beside-tls.example"]


@needs_ipv6
def test_an_ipv6_address_is_proved_by_tls_alpn(authority: AcmeServer, tmp_path: Path) -> None:
    here = tls_host(tmp_path, authority)

    here.issue("[::1]", "--tls-alpn")

    assert names(here.leaf("0000-0000-0000-0000-0000-0000-0000-0001")) == ["::1"]


def test_certificates_that_share_a_name_are_renewed_in_one_run(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = tls_host(tmp_path, authority)
    certificates = [f"shared-{number}" for number in range(4)]
    for each in certificates:
        here.given("shared-tls.example", f"{each}.example", "--tls-alpn", "--name", each)

    renewed = here.certctl("renew", "--force", *certificates, "--jobs", "2")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert [here.version(each) for each in certificates] == [2] * 4


def test_a_taken_port_is_said_with_its_holder_and_the_way_out(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = tls_host(tmp_path, authority)

    with socket.create_server(("127.0.0.1", authority.tls_port)):
        finished = certctl("issue", "taken.example", "--tls-alpn", "--json", home=here.home)

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (1, "challenge.tls_alpn.port_taken")
    assert f"port {authority.tls_port} is in use by" in error["message"]
    assert f"(pid {os.getpid()})" in error["message"]
    assert "ssl_preread" in error["hint"]
    assert here.leftovers() == []


def test_a_wildcard_is_told_to_go_by_the_dns(authority: AcmeServer, tmp_path: Path) -> None:
    here = tls_host(tmp_path, authority)

    finished = here.certctl("issue", "*.tls.example", "--tls-alpn")

    assert finished.exit_status == 1
    assert "the CA does not offer tls-alpn-01 for *.tls.example" in finished.stderr
    assert "--dns PROVIDER" in finished.stderr


def test_show_and_the_spec_say_how(pebble: PebbleServer, tmp_path: Path) -> None:
    here = tls_host(tmp_path, pebble)
    here.given("said.example", "--tls-alpn", "--tls-alpn-address", "127.0.0.1")

    shown = certctl("show", "said.example", home=here.home).stdout

    assert f"TLS-ALPN-01, built-in server on port {pebble.tls_port}" in shown
    spec = (here.home / "certificates" / "said.example.toml").read_text()
    assert 'method = "tls-alpn"' in spec
    assert 'tls_alpn_address = "127.0.0.1"' in spec


def test_another_way_is_chosen_later_and_leaves_no_setting_behind(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = tls_host(tmp_path, pebble)
    here.given("change.example", "--tls-alpn", "--tls-alpn-address", "127.0.0.1")

    here.given("change.example", "--standalone", "--force")

    spec = (here.home / "certificates" / "change.example.toml").read_text()
    assert "tls" not in spec


@pytest.mark.parametrize("other", ["--standalone", "--webroot=/srv", "--dns=exec"])
def test_two_ways_at_once_are_refused(tmp_path: Path, other: str) -> None:
    finished = certctl("issue", "two.example", "--tls-alpn", other, home=tmp_path)

    assert finished.exit_status == 2
    assert "cannot be combined" in finished.stderr


def test_the_ca_inside_certctl_is_proved_to_by_tls_alpn(tmp_path: Path) -> None:
    finished = certctl(
        *("issue", "inside.example", "--ca", "dev", "--tls-alpn", "--json"), home=tmp_path / "home"
    )

    assert finished.exit_status == 0, finished
    assert json.loads(finished.stdout)["status"] == "success"


def test_haproxy_passes_the_protocol_on_and_goes_on_serving(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    """The configuration of docs/challenges.md, with other ports."""
    require("haproxy")
    here, inner, site = host(tmp_path, pebble), free_port(), free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        f"""\
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend https
    bind 127.0.0.1:{pebble.tls_port}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend certctl if {{ req.ssl_alpn acme-tls/1 }}
    default_backend site
backend certctl
    server certctl 127.0.0.1:{inner}
backend site
    server site 127.0.0.1:{site}
"""
    )
    haproxy = ServerProcess(
        [program("haproxy"), "-f", str(configuration)],
        directory=tmp_path,
        ready=lambda: not is_free(pebble.tls_port),
    )
    with haproxy:
        here.issue("behind.example", "--tls-alpn", "--tls-alpn-port", str(inner))

    assert names(here.leaf("behind.example")) == ["behind.example"]
