"""The demo: the life cycle of two certificates, from the account to the revocation.

It runs certctl's real operations against a CA, a proxy, an application and visitors on this
machine, and reports what was observed. The caller provides the `Display`.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit
from urllib.request import urlopen

from certctl.ca.directories import DEV
from certctl.demo.application import application
from certctl.demo.visitors import Visit, Visitor, load
from certctl.devca.endpoint import dev_endpoint
from certctl.engine.current import current_state_of
from certctl.engine.plugins import option_table
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.services import Services
from certctl.model.ca import Endpoint, RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.events import Event, HookFinished
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import parse_identifiers
from certctl.model.text import whole_number
from certctl.model.values import Value
from certctl.operations.accounts import register
from certctl.operations.issue import IssueRequest, issue
from certctl.operations.renew import RenewRequest, renew
from certctl.operations.revoke import revoke, revoke_file
from certctl.rules.settings import Settings, Source
from certctl.store.home.home import Home
from certctl.system.clock import SystemClock

NAMES = ("shop.example", "blog.example")

_TIMEOUT = 10.0
_RELOAD_TIMEOUT = 10.0
_LOAD_SECONDS = 0.4


@dataclass(frozen=True)
class Step:
    """A step of the demo; `parts` are the parts of the diagram that are active in it."""

    key: str
    title: str
    parts: frozenset[str]


STEPS = (
    Step("ca", "Start a CA on this machine", frozenset({"ca"})),
    Step("register", "Register an account", frozenset({"certctl", "ca"})),
    Step("issue", "Issue two certificates, validated by HTTP-01", frozenset({"certctl", "ca"})),
    Step(
        "serve",
        "Serve both names on one port of a proxy, selected by SNI",
        frozenset({"visitor", "proxy", "application"}),
    ),
    Step("idle", "Run certctl renew when nothing is due", frozenset({"certctl"})),
    Step(
        "renew",
        "Run certctl renew --force while visitors send requests",
        frozenset({"visitor", "proxy", "application", "certctl", "ca"}),
    ),
    Step("revoke", "Revoke one certificate", frozenset({"certctl", "ca"})),
)


class Display(Protocol):
    """Shows the progress of the demo."""

    def begin(self, step: Step) -> None:
        """Show that a step begins and the previous one has ended."""
        ...

    def report(self, observation: str) -> None:
        """Show an observation of the current step."""
        ...


@dataclass(frozen=True)
class DemoResult:
    """The result. `before` and `after` map each name to the serial number that the proxy served,
    `requests` and `lost` count those answered and not answered during the renewal.
    """

    requests: int
    lost: int
    before: Mapping[str, str]
    after: Mapping[str, str]
    revoked: str


class DemoFailed(CertctlError):
    """An observation in the demo was not as expected."""

    code = "demo.failed"


def run_demo(home: Path, display: Display, stop: threading.Event) -> DemoResult:
    """Run the demo in the empty directory `home`. Raises an error of `certctl.model.errors`;
    `Interrupted` if `stop` was set.
    """
    clock = SystemClock()
    display.begin(STEPS[0])
    started = clock.monotonic()
    with dev_endpoint(home, stop=stop) as endpoint:
        took = clock.monotonic() - started
        display.report(f"{endpoint.directory_url} (ready in {took * 1000:.0f} ms)")
        scenario = _Scenario(home, display, stop, endpoint)
        scenario.register()
        scenario.issue(NAMES, {})
        with application() as backend, _proxy(home / "live", backend) as (process, port):
            visitor = Visitor(str(endpoint.ca_bundle), port)
            before = scenario.visit(visitor)
            scenario.idle()
            requests, lost, after = scenario.renew(visitor, process, before)
        revoked = scenario.revoke(NAMES[1])
    return DemoResult(requests, lost, before, after, revoked)


class _Scenario:
    """Runs the commands one after another in one home directory, each as a separate run."""

    def __init__(
        self, home: Path, display: Display, stop: threading.Event, endpoint: Endpoint
    ) -> None:
        self._home = home
        self._display = display
        self._stop = stop
        self._endpoint = endpoint
        self._clock = SystemClock()
        self._events: list[Event] = []

    def register(self) -> None:
        self._begin("register")
        with self._run({"ca": DEV, "account.agree_tos": True}) as run:
            registered = register(run, DEV, None)
        account = registered.account
        self._display.report(f"{account.url}, key type {account.key_type.value}")

    def issue(self, names: tuple[str, ...], more: Mapping[str, Value]) -> None:
        self._begin("issue")
        given: dict[str, Value] = {"ca": DEV, **more}
        for name in names:
            requests, started = self._requests(), self._clock.monotonic()
            with self._run(given) as run:
                report = issue(IssueRequest(parse_identifiers([name]), given=given), run)
                _require_success(report)
            version = report.outcomes[0].version
            if version is None:
                raise DemoFailed(f"no certificate was issued for {name}")
            took = (self._clock.monotonic() - started) * 1000
            facts = version.facts
            requests = self._requests() - requests
            self._display.report(
                f"{name}: serial {_short(facts.serial)}, valid until {facts.not_after:%Y-%m-%d}"
                f" ({requests} requests, {took:.0f} ms)"
            )

    def visit(self, visitor: Visitor) -> dict[str, str]:
        """Return the serial number that the proxy serves for each name."""
        self._begin("serve")
        serials = {}
        for name in NAMES:
            seen = self._visit(visitor, name)
            if not seen.body.startswith(name) or not seen.body.endswith("by https"):
                raise DemoFailed(f"unexpected response from https://{name}: {seen.body!r}")
            serials[name] = seen.serial
            self._display.report(
                f"https://{name}: status 200, {seen.protocol}, serial {_short(seen.serial)},"
                " trusted"
            )
        self._display.report("the application received plain HTTP with X-Forwarded-Proto: https")
        return serials

    def idle(self) -> None:
        self._begin("idle")
        requests, started = self._requests(), self._clock.monotonic()
        with self._run() as run:
            report = renew(RenewRequest(), run)
        _require_success(report)
        took = (self._clock.monotonic() - started) * 1000
        requests = self._requests() - requests
        if any(each.action == "issued" for each in report.outcomes):
            raise DemoFailed("a certificate was renewed although it was not due")
        self._display.report(
            f"0 of {report.considered} certificates due ({requests} requests to the CA,"
            f" {took:.1f} ms)"
        )

    def renew(
        self, visitor: Visitor, proxy: subprocess.Popen[str], before: Mapping[str, str]
    ) -> tuple[int, int, dict[str, str]]:
        """Return the number of requests that were answered, the number lost, and the serial numbers
        that are served afterwards.
        """
        self._begin("renew")
        reload = {"deploy.reload": f"kill -HUP {proxy.pid}"}
        for name in NAMES:
            with self._run(reload) as run:
                request = IssueRequest(parse_identifiers([name]), name=name, given=reload)
                _require_success(issue(request, run))
        with load(visitor, NAMES) as seen:
            self._pause(_LOAD_SECONDS)
            self._events.clear()
            with self._run() as run:
                report = renew(RenewRequest(force=True), run)
            _require_success(report)
            after = {name: self._new_serial(visitor, name, before[name]) for name in NAMES}
            self._pause(_LOAD_SECONDS)
        reloads = [each for each in self._events if isinstance(each, HookFinished)]
        for each in reloads:
            self._display.report(f"{each.event}: {each.command} (once for both certificates)")
        for name in NAMES:
            new, old = after[name], before[name]
            self._display.report(f"https://{name}: serial {_short(old)} → {_short(new)}")
        self._display.report(f"{seen.answered} requests during the renewal, {seen.lost} lost")
        if seen.lost:
            raise DemoFailed(f"{seen.lost} of {seen.answered + seen.lost} requests were lost")
        return seen.answered, seen.lost, after

    def revoke(self, name: str) -> str:
        """Return the serial number that was revoked."""
        self._begin("revoke")
        with self._run() as run:
            live = current_state_of(name, run.services).live
            if live is None:
                raise DemoFailed(f"{name} has no certificate to revoke")
            pem = run.services.records.material(name, live.number)
            revoked, report = revoke(run, name, RevocationReason.SUPERSEDED, Afterwards.STOP)
            _require_success(report)
        with self._run() as run:
            reason = RevocationReason.SUPERSEDED
            again = revoke_file(run, DEV, pem.cert, pem.privkey, reason)
        if not again.already:
            raise DemoFailed(f"the CA did not revoke the certificate of {name}")
        self._display.report(
            f"{name}: serial {_short(revoked.serial)} revoked, confirmed by the CA"
        )
        return revoked.serial

    def _new_serial(self, visitor: Visitor, name: str, old: str) -> str:
        deadline = self._clock.monotonic() + _RELOAD_TIMEOUT
        while self._clock.monotonic() < deadline:
            serial = self._visit(visitor, name).serial
            if serial != old:
                return serial
            self._pause(0.02)
        raise DemoFailed(f"https://{name} still serves the old certificate")

    def _visit(self, visitor: Visitor, name: str) -> Visit:
        try:
            return visitor.visit(name)
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"the request to https://{name} failed: {error}") from error

    def _requests(self) -> int:
        """Return how many ACME requests the CA has received."""
        log = urlsplit(self._endpoint.directory_url)._replace(path="/manage/requests").geturl()
        trusted = ssl.create_default_context(cafile=self._endpoint.ca_bundle)
        with urlopen(log, timeout=_TIMEOUT, context=trusted) as answer:  # noqa: S310 - our own CA
            counts: dict[str, int] = json.load(answer)["counts"]
        return sum(counts.values())

    def _begin(self, key: str) -> None:
        self._pause(0)
        self._display.begin(next(step for step in STEPS if step.key == key))

    def _pause(self, seconds: float) -> None:
        if self._clock.wait(self._stop, seconds):
            raise Interrupted("the demo was stopped")

    @contextmanager
    def _run(self, values: Mapping[str, Value] | None = None) -> Iterator[Run]:
        flags = dict(values or {})
        settings = Settings(flags, dict.fromkeys(flags, Source.FLAG), option_table())
        home = Home(self._home, settings, self._clock, stop=self._stop)
        services = Services(
            records=home.records,
            machine=home.machine,
            tree=home.tree,
            clock=self._clock,
            settings=settings,
            emit=self._events.append,
            ask=lambda _question: None,
            endpoints={DEV: lambda: nullcontext(self._endpoint)},
        )
        with Run(services, self._stop) as run:
            yield run


@contextmanager
def _proxy(live: Path, application_port: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the proxy as a separate process; yield the process and its port."""
    command = [sys.executable, "-m", "certctl.demo.proxy", str(live), str(application_port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        port = _first_line(process.stdout)
        number = whole_number(port)
        if number is None:
            raise DemoFailed("the proxy did not start")
        yield process, number
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(stream: IO[str] | None) -> str:
    return "" if stream is None else stream.readline().strip()


def _require_success(report: Report) -> None:
    for error in report.all_errors:
        raise error


def _short(serial: str) -> str:
    return serial.lstrip("0")[:8]
