"""The lab itself: the servers that other tests rely on start, answer, and stop."""

import os
import socket
import ssl
import threading
import time
from datetime import timedelta
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import pytest
from cryptography import x509

from tests.lab.authority import LoggedRequest
from tests.lab.bind import BindServer
from tests.lab.clock import START, SteerableClock
from tests.lab.http import UnexpectedStatus, get, get_json
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.ports import PortBlock, free_port
from tests.lab.processes import ServerFailed, ServerProcess, wait_until
from tests.lab.programs import missing, require

SECONDARY_HOST = "127.0.0.2"


def add_txt(server: BindServer, zone: str, name: str, value: str) -> dns.rcode.Rcode:
    """Send one signed RFC 2136 update to the server."""
    update = update_of(server, zone)
    update.add(name, 1, "TXT", value)
    return dns.query.tcp(update, server.host, port=server.port, timeout=5).rcode()


def remove_txt(server: BindServer, zone: str, name: str) -> None:
    """Leave the server as it was: other tests share it."""
    update = update_of(server, zone)
    update.delete(name, "TXT")
    dns.query.tcp(update, server.host, port=server.port, timeout=5)


def update_of(server: BindServer, zone: str) -> dns.update.UpdateMessage:
    keyring = dns.tsigkeyring.from_text({server.key_name: server.key_secret_b64})
    return dns.update.UpdateMessage(zone, keyring=keyring, keyalgorithm="hmac-sha256")


def test_pebble_serves_a_directory_that_its_ca_bundle_vouches_for(pebble: PebbleServer) -> None:
    directory = get_json(pebble.directory_url, ca_bundle=pebble.ca_bundle)
    assert {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} <= directory.keys()


def test_pebble_is_not_trusted_without_its_ca_bundle(
    pebble: PebbleServer, pebble_eab: PebbleServer
) -> None:
    with pytest.raises(OSError, match="certificate verify failed") as refusal:
        get(pebble.directory_url, ca_bundle=pebble_eab.ca_bundle)
    assert isinstance(refusal.value.__cause__ or refusal.value.args[0], ssl.SSLError)


def test_pebble_counts_the_requests_it_received(pebble: PebbleServer) -> None:
    before = pebble.request_count()
    directory = get_json(pebble.directory_url, ca_bundle=pebble.ca_bundle)
    get(directory["newNonce"], ca_bundle=pebble.ca_bundle)
    assert pebble.requests(since=before) == [
        LoggedRequest("GET", "/dir"),
        LoggedRequest("GET", "/nonce-plz"),
    ]


def test_pebble_requires_external_accounts_only_where_it_has_keys(
    pebble: PebbleServer, pebble_eab: PebbleServer
) -> None:
    required = [
        get_json(server.directory_url, ca_bundle=server.ca_bundle)["meta"][
            "externalAccountRequired"
        ]
        for server in (pebble, pebble_eab)
    ]
    assert required == [False, True]


def test_pebble_hands_out_the_roots_of_all_its_chains(
    challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    with PebbleServer(
        directory=tmp_path, dns_server=challenge_dns.dns_address, alternate_roots=1
    ) as server:
        roots = [x509.load_pem_x509_certificate(server.root(number)) for number in (0, 1)]
    assert all(root.issuer == root.subject for root in roots)
    assert roots[0].subject != roots[1].subject


def test_pebble_knows_no_certificate_that_it_did_not_issue(pebble: PebbleServer) -> None:
    with pytest.raises(UnexpectedStatus) as refusal:
        pebble.certificate_status(0x123)
    assert refusal.value.status == 404


def test_two_pebbles_run_side_by_side(
    pebble: PebbleServer, pebble_bad_nonces: PebbleServer, pebble_slow: PebbleServer
) -> None:
    servers = (pebble, pebble_bad_nonces, pebble_slow)
    ports = [
        port
        for server in servers
        for port in (server.port, server.management_port, server.http_port, server.tls_port)
    ]
    assert len(set(ports)) == len(ports)
    assert len({server.root() for server in servers}) == len(servers)


def test_the_challenge_dns_says_that_every_name_is_this_machine(
    challenge_dns: ChallengeTestServer,
) -> None:
    query = dns.message.make_query("anything.example", "A")
    answer = dns.query.udp(query, "127.0.0.1", port=challenge_dns.dns_port, timeout=5)
    assert [record.to_text() for rrset in answer.answer for record in rrset] == ["127.0.0.1"]


def test_the_challenge_dns_holds_two_values_at_one_name_until_cleared(
    challenge_dns: ChallengeTestServer,
) -> None:
    name = "_acme-challenge.two-values.example"

    def values() -> list[str]:
        query = dns.message.make_query(name, "TXT")
        answer = dns.query.udp(query, "127.0.0.1", port=challenge_dns.dns_port, timeout=5)
        return sorted(record.to_text() for rrset in answer.answer for record in rrset)

    challenge_dns.add_txt(name, "one")
    challenge_dns.add_txt(name, "two")
    assert values() == ['"one"', '"two"']
    challenge_dns.clear_txt(name)
    assert values() == []


def test_the_challenge_dns_fails_for_a_name_when_told_to(
    challenge_dns: ChallengeTestServer,
) -> None:
    challenge_dns.set_servfail("broken.example")
    query = dns.message.make_query("broken.example", "A")
    answer = dns.query.udp(query, "127.0.0.1", port=challenge_dns.dns_port, timeout=5)
    assert answer.rcode() == dns.rcode.SERVFAIL


def test_bind_takes_an_update_signed_with_its_key(bind: BindServer) -> None:
    assert add_txt(bind, "example.test", "_acme-challenge.signed", "hello") == dns.rcode.NOERROR
    assert bind.txt("_acme-challenge.signed.example.test") == ["hello"]
    remove_txt(bind, "example.test", "_acme-challenge.signed")
    assert bind.txt("_acme-challenge.signed.example.test") == []


def test_bind_refuses_an_update_of_a_type_that_is_not_granted(bind: BindServer) -> None:
    keyring = dns.tsigkeyring.from_text({bind.key_name: bind.key_secret_b64})
    update = dns.update.UpdateMessage("example.test", keyring=keyring, keyalgorithm="hmac-sha256")
    update.add("www", 1, "A", "192.0.2.1")
    answer = dns.query.tcp(update, bind.host, port=bind.port, timeout=5)
    assert answer.rcode() == dns.rcode.REFUSED


def test_bind_refuses_a_key_that_it_does_not_know(bind: BindServer, tmp_path: Path) -> None:
    stranger = BindServer(
        directory=tmp_path, zones={}, port=bind.port, key_name=bind.key_name, key_secret=b"wrong"
    )
    with pytest.raises(dns.exception.DNSException):
        add_txt(stranger, "example.test", "_acme-challenge.stranger", "hello")
    assert bind.txt("_acme-challenge.stranger.example.test") == []


def test_bind_resolves_any_name_of_its_zones_to_this_machine(bind: BindServer) -> None:
    assert bind.records("anything.example.test", "A") == ["127.0.0.1"]


def test_bind_follows_an_alias_from_one_of_its_zones_into_another(bind: BindServer) -> None:
    add_txt(bind, "challenges.test", "alias", "hello")
    assert bind.txt("_acme-challenge.alias.example.test") == ["hello"]
    remove_txt(bind, "challenges.test", "alias")


def test_bind_says_that_a_name_outside_its_zones_does_not_exist(bind: BindServer) -> None:
    answer = bind.endpoint.ask(dns.message.make_query("www.elsewhere.example", "A"))
    assert answer.rcode() == dns.rcode.NXDOMAIN


def test_bind_keeps_its_key_in_a_file_that_only_the_owner_reads(bind: BindServer) -> None:
    assert bind.keyfile.stat().st_mode & 0o777 == 0o600
    assert bind.key_secret_b64 in bind.keyfile.read_text()


def test_a_secondary_lags_until_it_is_told_to_catch_up(tmp_path: Path) -> None:
    require("named")
    skip_without_address(SECONDARY_HOST)
    directories = [tmp_path / "primary", tmp_path / "secondary"]
    for directory in directories:
        directory.mkdir()
    with (
        BindServer(
            directory=directories[0], zones={"example.test": ""}, secondary_host=SECONDARY_HOST
        ) as primary,
        primary.secondary(directories[1]) as secondary,
    ):
        add_txt(primary, "example.test", "late", "hello")
        assert (primary.txt("late.example.test"), secondary.txt("late.example.test")) == (
            ["hello"],
            [],
        )
        secondary.catch_up()
        wait_until(lambda: secondary.txt("late.example.test") == ["hello"], "a zone transfer")


def skip_without_address(host: str) -> None:
    """Skip where loopback has one address only (macOS)."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine does not have the loopback address {host}")


def test_a_server_that_ends_early_shows_its_output(tmp_path: Path) -> None:
    server = ServerProcess(
        ["sh", "-c", "echo out of paper >&2; exit 3"], directory=tmp_path, ready=lambda: False
    )
    with pytest.raises(ServerFailed, match=r"ended with status 3(?s:.*)out of paper"):
        server.start()


def test_a_server_is_stopped_with_a_child_that_will_not_listen(tmp_path: Path) -> None:
    pid_file = tmp_path / "child"
    stubborn_child = (
        f"trap '' TERM; echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 60"
    )
    with ServerProcess(
        ["sh", "-c", 'sh -c "$CHILD" & wait'],
        directory=tmp_path,
        environment={"CHILD": stubborn_child},
        ready=pid_file.exists,
    ) as server:
        child = int(pid_file.read_text())
        assert os.getpgid(child) == server.pid
    wait_until(lambda: not is_running(child), "the child's end")


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_free_port_is_given_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_a_port_that_is_listened_on_is_not_given(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    port = PortBlock(first).take()
    with socket.create_server(("127.0.0.1", port)):
        assert PortBlock(second).take() != port


def test_two_processes_get_ports_from_different_blocks(tmp_path: Path) -> None:
    first, second = PortBlock(tmp_path), PortBlock(tmp_path)
    assert abs(first.take() - second.take()) > 300


def test_waiting_on_the_steerable_clock_moves_it_and_takes_no_time() -> None:
    clock = SteerableClock()
    started = time.monotonic()
    assert clock.wait(threading.Event(), 3600) is False
    assert (clock.now() - START, clock.monotonic()) == (timedelta(hours=1), 3600)
    assert time.monotonic() - started < 600


def test_a_stopped_wait_leaves_the_steerable_clock_alone() -> None:
    clock, stop = SteerableClock(), threading.Event()
    stop.set()
    assert clock.wait(stop, 3600) is True
    assert (clock.now(), clock.waits) == (START, [])


def test_a_missing_program_is_named_with_its_debian_package() -> None:
    assert missing(("named", "pebble")) == (
        "not installed: named, pebble (apt-get install bind9 pebble)"
    )


def test_a_missing_program_skips_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require("no-such-program")


def test_a_missing_program_fails_a_test_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require("no-such-program")
