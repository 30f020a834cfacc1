"""The client against a CA that behaves: how many requests, over how many connections, saying what;
and what reaches it from the environment, from the network, and from the caller.
"""

import http.server
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest

from certctl import config
from certctl.ca.client import AcmeClient
from certctl.ca.session import Session
from certctl.model.ca import AccountKeyType, Endpoint, Proxy
from certctl.model.errors import (
    AcmeError,
    BadResponse,
    CaUnavailable,
    ConfigurationError,
    ExitStatus,
    Interrupted,
)
from certctl.model.identifiers import Identifier
from certctl.model.names import parse_identifiers
from certctl.rules.settings import Settings
from certctl.system.clock import SystemClock
from certctl.system.http import ping
from certctl.system.proxy import proxies_for, proxy_from
from certctl.version import VERSION
from tests.lab.certificates import make_issuer, make_server_certificate
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.lab.scripted_ca.faults import Call, delay, drip, raw, response
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_ca.settings import ALWAYS
from tests.lab.scripted_ca.wire import Connection, Reply
from tests.support.ca_clients import Caller, csr_for, new_account_key

NAMES = parse_identifiers(["a.example"])


def names(count: int) -> tuple[Identifier, ...]:
    return parse_identifiers([f"n{number}.example" for number in range(count)])


def warm_issuance(caller: Caller, account_url: str | None, *wanted: Identifier) -> None:
    """All that a run does for one certificate when the account is there already."""
    with caller.client(account_url) as client:
        order = client.new_order(wanted)
        ready = caller.prove(client, order)
        valid = client.finalize(ready, csr_for(wanted), deadline=caller.deadline)
        next(client.chains(valid))


# -- requests and connections


def test_one_name_takes_eight_requests_with_a_warm_account(ca: ScriptedCA, caller: Caller) -> None:
    with caller.registered() as client:
        url = client.account_url
    mark = ca.count()
    warm_issuance(caller, url, *NAMES)
    assert ca.sequence()[mark:] == [
        "directory",
        "new-nonce",
        "new-order",
        "authorization",
        "challenge",
        "order",
        "finalize",
        "certificate",
    ]


@pytest.mark.parametrize("count", [2, 25])
def test_more_names_take_two_requests_more_each(ca: ScriptedCA, caller: Caller, count: int) -> None:
    ca.finalize_polls = 1
    with caller.registered() as client:
        url = client.account_url
    mark = ca.count()
    warm_issuance(caller, url, *names(count))
    assert ca.count() - mark <= 7 + 2 * count + 2


def test_a_whole_issuance_uses_one_connection(ca: ScriptedCA, caller: Caller) -> None:
    with caller.registered() as client:
        before = ca.connections
        caller.issue(client, "a.example", "b.example")
        assert ca.connections == before == 1


def test_many_threads_share_nonces_and_connections(ca: ScriptedCA, caller: Caller) -> None:
    with caller.registered() as client, ThreadPoolExecutor(8) as pool:
        wanted = [f"n{number}.example" for number in range(32)]
        chains = list(pool.map(lambda name: caller.issue(client, name), wanted))
        assert len(set(chains)) == 32
        assert ca.connections <= 8
        assert ca.count("new-nonce") <= 8
        assert caller.retries == []


def test_requests_say_who_asks_and_in_which_language(ca: ScriptedCA, caller: Caller) -> None:
    with caller.registered():
        pass
    for seen in ca.requests:
        assert seen.headers["User-Agent"].startswith(f"certctl/{VERSION} requests/")
        assert seen.headers["Accept-Language"] == "en"
        assert seen.headers["Accept-Encoding"] == "identity"
        assert "Cookie" not in seen.headers


def test_headers_and_body_are_sent_in_one_record(tmp_path: Path) -> None:
    """A server with TLS reads one record at a time."""
    files = make_server_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.private_key)
    read: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as server:
                for _ in range(2):
                    read.append(server.recv(65536))
                    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/path"
        session = Session(str(files.ca_bundle), threading.Event())
        for data in ("body", None):
            method = "GET" if data is None else "POST"
            session.request(method, url, seconds=20, proxies={}, data=data)
        session.close()
        thread.join()

    heads, bodies = zip(*(each.split(b"\r\n\r\n") for each in read), strict=True)
    assert [each.split(b" ", 1)[0] for each in heads] == [b"POST", b"GET"]
    assert bodies == (b"body", b"")


def test_cookies_are_not_kept(ca: ScriptedCA, caller: Caller) -> None:
    ca.script("directory", response(503, "", {"Set-Cookie": "track=1; Path=/"}))
    with caller.registered():
        pass
    assert all("Cookie" not in seen.headers for seen in ca.requests)


@pytest.mark.parametrize("kind", list(AccountKeyType))
def test_every_kind_of_account_key_signs(ca: ScriptedCA, kind: AccountKeyType) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, key=new_account_key(kind))
    with caller.registered() as client:
        caller.issue(client, "a.example")
    assert {seen.protected["alg"] for seen in ca.requests if seen.protected} == {kind.upper()}


def test_registering_twice_finds_the_account_again(ca: ScriptedCA, caller: Caller) -> None:
    with caller.client() as client:
        first = client.new_account(["a@example.com", "mailto:b@example.com"], terms_agreed=True)
        again = client.new_account((), terms_agreed=True)
    assert (first.created, again.created) == (True, False)
    assert first.url == again.url
    assert again.contact == ("mailto:a@example.com", "mailto:b@example.com")
    assert len(ca.accounts) == 1


def test_contacts_are_replaced(ca: ScriptedCA, caller: Caller) -> None:
    with caller.registered() as client:
        assert client.update_account(["new@example.com"]).contact == ("mailto:new@example.com",)
        assert client.update_account(()).contact == ()
    assert ca.accounts[0].contact == []


# -- what stands in the way


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_in_the_environment_does_not_replace_ours(
    caller: Caller, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/nonexistent/bundle.pem")
    with caller.registered() as client:
        assert client.account().status == "valid"


def test_an_untrusted_ca_is_refused_at_once(ca: ScriptedCA, clock: SteerableClock) -> None:
    with pytest.raises(AcmeError, match=r"TLS certificate of \S+ is not trusted") as refusal:
        Caller(ca.directory_url, None, clock).directory()
    assert refusal.value.code == "acme.tls"
    assert refusal.value.hint == (
        "If it is a private CA, pass its root certificates with --ca-bundle FILE, or add them to "
        "the certificates that this system trusts."
    )
    assert clock.waits == []


def test_a_root_that_this_system_trusts_is_trusted(
    ca: ScriptedCA, clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.ca_bundle))

    assert "newOrder" in Caller(ca.directory_url, None, clock).directory().urls


def test_a_bundle_of_ours_replaces_what_this_system_trusts(
    ca: ScriptedCA, clock: SteerableClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.ca_bundle))
    other = make_issuer(tmp_path).certificate

    with pytest.raises(AcmeError, match="is not trusted"):
        Caller(ca.directory_url, other, clock).directory()


@pytest.mark.parametrize(
    ("days", "reason"), [(30, "certificate is not yet valid"), (-30, "certificate has expired")]
)
def test_a_tls_certificate_outside_its_validity_is_blamed_on_a_clock_that_is_wrong(
    days: int, reason: str
) -> None:
    """OpenSSL goes by the system's clock; the CA's own Date shows that ours is wrong."""
    clock = SteerableClock(datetime(2037, 6, 8, 12, 0, tzinfo=UTC))
    with ScriptedCA(certificate_start=datetime.now(UTC) + timedelta(days=days)) as ca:
        with pytest.raises(AcmeError) as refusal:
            Caller(ca.directory_url, ca.ca_bundle, clock).directory()

        assert [each.method for each in ca.requests] == ["HEAD"]

    message = refusal.value.message
    assert message.startswith(
        "the clock of this machine is wrong: it shows 2037-06-08 12:00 UTC, but it is about"
    )
    assert message.endswith(f"is not valid: {reason}")
    assert refusal.value.hint == (
        "Set the clock and enable time synchronization: timedatectl set-ntp true"
    )


def test_a_tls_certificate_that_has_expired_by_a_right_clock_is_not_blamed_on_the_bundle() -> None:
    with (
        ScriptedCA(certificate_start=datetime.now(UTC) - timedelta(days=30)) as ca,
        pytest.raises(AcmeError, match="is not valid by the clock of this machine") as refusal,
    ):
        Caller(ca.directory_url, ca.ca_bundle, SystemClock()).directory()

    assert refusal.value.hint == (
        "Check the clock: date --utc. If it is right, the CA has to renew its certificate."
    )


@pytest.mark.parametrize("content", [None, "", "no PEM"])
def test_a_bundle_that_cannot_be_read_is_named(
    ca: ScriptedCA, tmp_path: Path, content: str | None
) -> None:
    bundle = tmp_path / "roots.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(
        ConfigurationError, match=r"cannot read trusted root certificates from .*roots\.pem"
    ) as refusal:
        Caller(ca.directory_url, bundle).client()
    assert refusal.value.code == "configuration.ca_bundle"


def test_a_ca_that_cannot_be_reached(clock: SteerableClock) -> None:
    caller = Caller(f"http://127.0.0.1:{free_port()}/dir", None, clock)
    with pytest.raises(CaUnavailable) as failure:
        caller.directory()
    assert failure.value.message.endswith("for the directory request: Connection refused")
    assert failure.value.code == "acme.unreachable"
    assert failure.value.exit_status == ExitStatus.LATER
    assert clock.waits == [0.5, 1.0, 2.0, 4.0]


def test_a_ca_whose_name_does_not_resolve(clock: SteerableClock) -> None:
    with pytest.raises(CaUnavailable, match=r"ca\.invalid cannot be reached") as failure:
        Caller("https://ca.invalid/dir", None, clock).directory()
    assert failure.value.code == "acme.unreachable"


def test_a_server_that_does_not_speak_http(ca: ScriptedCA, caller: Caller) -> None:
    ca.script("directory", raw(b"220 mail.example ESMTP\r\n"), times=ALWAYS)
    with pytest.raises(CaUnavailable, match="did not respond"):
        caller.directory()


def test_silence_is_given_up(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, SteerableClock(), timeout=0.2)
    ca.script("directory", delay(5), times=ALWAYS)
    with pytest.raises(CaUnavailable, match="timed out"):
        caller.directory()
    assert ca.count("directory") == 5


def dripping_head(call: Call) -> Reply:
    """The honest answer, its headers in pieces: none of them late by itself."""

    def send(reply: Reply, connection: Connection) -> None:
        head = reply.head(length=len(reply.body))
        for start in range(0, len(head), 8):
            connection.write(head[start : start + 8])
            connection.pause(0.05)
        connection.write(reply.body)

    return replace(call.proceed(), send=send)


def test_headers_that_drip_are_given_up(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock(), timeout=0.4)
    ca.script("directory", dripping_head)
    with pytest.raises(BadResponse, match=r"complete after 0\.4 s"):
        caller.directory()


def test_a_compressed_answer_is_refused(ca: ScriptedCA, caller: Caller) -> None:
    ca.script("directory", response(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}))
    with pytest.raises(BadResponse, match="it is compressed"):
        caller.directory()


def test_a_slow_answer_within_the_limit_is_taken(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock(), timeout=5)
    ca.script("directory", drip(200, 0.05))
    assert "newOrder" in caller.directory().urls


def test_a_stopped_run_waits_for_nothing(ca: ScriptedCA, caller: Caller) -> None:
    ca.validated_after = ALWAYS
    with caller.registered() as client:
        order = client.new_order(NAMES)
        caller.stop.set()
        with pytest.raises(Interrupted):
            client.await_ready(order, deadline=caller.deadline)


def test_a_stop_ends_a_wait_that_is_under_way(ca: ScriptedCA) -> None:
    caller = Caller(ca.directory_url, ca.ca_bundle, SystemClock())
    ca.validated_after, ca.retry_after = ALWAYS, 60
    with caller.registered() as client, ThreadPoolExecutor(1) as pool:
        order = client.new_order(NAMES)
        polling = pool.submit(caller.prove, client, order)
        ca.wait_for("order")
        caller.stop.set()
        with pytest.raises(Interrupted):
            polling.result(timeout=10)


def test_a_client_without_a_key_reads_the_directory_only(ca: ScriptedCA, caller: Caller) -> None:
    nobody = AcmeClient(
        Endpoint(ca.directory_url, str(ca.ca_bundle)),
        clock=caller.clock,
        stop=caller.stop,
        notify=lambda _, __: None,
    )
    with nobody:
        assert nobody.account_url is None
        assert nobody.directory.caa_identities == ("ca.example",)
        with pytest.raises(ValueError, match="no key"):
            nobody.new_order(NAMES)


@pytest.mark.parametrize(
    "pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_cannot_sign_is_refused(ca: ScriptedCA, pem: bytes) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Caller(ca.directory_url, ca.ca_bundle, key=pem).client()
    assert refusal.value.code == "configuration.key"


# -- proxies


def test_a_proxy_of_the_environment_is_used(
    clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedCA(https=False) as ca, forward_proxy() as proxy:
        caller = Caller(ca.directory_url, None, clock)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert "newOrder" in caller.directory().urls
        assert proxy.seen == [ca.directory_url]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert "newOrder" in caller.directory().urls
        assert len(proxy.seen) == 1


def settings_of(home: Path, text: str) -> Settings:
    home.mkdir(exist_ok=True)
    (home / "certctl.toml").write_text(text)
    return config.load(home, {}, {}, directory=home)


def test_a_proxy_that_is_set_is_used_with_the_credentials_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("user:p@ss word\n")
    (tmp_path / "secret").chmod(0o600)
    with forward_proxy() as proxy:
        text = f'proxy = "{proxy.url}"\nproxy_credentials_file = "{tmp_path}/secret"'
        found = proxy_from(settings_of(tmp_path / "home", text))

        status = ping("http://ca.example/x", method="GET", user_agent="x", seconds=10, proxy=found)

    assert (status, proxy.seen) == (200, ["http://ca.example/x"])
    assert proxy.authorizations == ["Basic " + b64encode(b"user:p@ss word").decode()]
    assert "ss word" not in repr(found)


def test_a_ca_is_reached_through_the_proxy_that_is_set_and_this_machine_directly(
    clock: SteerableClock,
) -> None:
    with ScriptedCA(https=False) as ca, forward_proxy() as proxy:
        through = Proxy(proxy.url)
        assert proxies_for("https://ca.example/dir", through) == {"https": proxy.url}
        assert proxies_for("https://ca.example/dir", Proxy("direct")) == {}
        with AcmeClient(
            Endpoint(ca.directory_url, proxy=through),
            clock=clock,
            stop=threading.Event(),
            notify=lambda *_: None,
        ) as client:
            assert "newOrder" in client.directory.urls

    assert proxy.seen == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('proxy_credentials_file = "x"', "proxy_credentials_file is set, but proxy is not"),
        (
            'proxy = "proxy.example"\nproxy_credentials_file = "secret"',
            "secret does not contain a user name and a password",
        ),
    ],
)
def test_incomplete_proxy_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    home = tmp_path / "home"
    settings = settings_of(home, text)
    (home / "secret").write_text("password-only")
    (home / "secret").chmod(0o600)

    with pytest.raises(ConfigurationError, match=message) as refusal:
        proxy_from(settings)

    assert "password-only" not in refusal.value.message


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_wrong_proxy_in_the_environment_is_named_and_not_the_url_of_the_ca(
    ca: ScriptedCA, caller: Caller, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://user:secret@[proxy")
    with pytest.raises(ConfigurationError) as refusal:
        caller.directory()

    assert refusal.value.message == (
        f"the environment variable {variable.lower()}: "
        "'http://[proxy' is not the URL of an http or https proxy"
    )
    assert ca.count() == 0


class ForwardProxy(http.server.ThreadingHTTPServer):
    """A proxy for plain http URLs that remembers them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarding)
        self.seen: list[str] = []
        self.authorizations: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Forwarding(http.server.BaseHTTPRequestHandler):
    server: ForwardProxy

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        self.server.authorizations.append(self.headers.get("Proxy-Authorization"))
        if "ca.example" in self.path:  # exists for the proxy only
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        # Not through the proxy that the environment names, which is this one.
        with build_opener(ProxyHandler({})).open(self.path) as answer:
            body = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def forward_proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
