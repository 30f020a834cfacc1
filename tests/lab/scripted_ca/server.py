"""A CA with scripted faults: an ACME server (RFC 8555, 8738, 9773) on loopback for tests.

It behaves correctly unless a test scripts faults:

    with ScriptedCA() as ca:
        ca.script("new-order", problem("badNonce"), times=3)
        ca.script("finalize", drop_connection(after_processing=True))
        ca.on("order", removing("finalize"))
        ca.fail("b.example", "stays pending")
        ca.finalize_polls, ca.retry_after = 2, "Wed, 21 Oct 2026 07:28:00 GMT"
        ...
        assert ca.count("new-order") == 4

It shares no code with certctl, so that a bug in one does not hide a bug in the other. It is for
tests only: it checks signatures, nonces, URLs and CSRs strictly, but validates names only if
`validate_http01` is set.
"""

from __future__ import annotations

import ssl
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.certificates import make_server_certificate
from tests.lab.scripted_ca import issuer, service
from tests.lab.scripted_ca.faults import Call, Change, Fault, altered, problem
from tests.lab.scripted_ca.issuer import Issued
from tests.lab.scripted_ca.problems import document
from tests.lab.scripted_ca.settings import ALWAYS, Failing, Settings
from tests.lab.scripted_ca.state import Account, Received, Revocation, State
from tests.lab.scripted_ca.wire import Connection, Listener, Reply, Request, json_reply


@dataclass(frozen=True)
class Seen:
    """One request as received, before any checks."""

    method: str
    resource: str
    url: str
    payload: Any  # None for GET, HEAD and POST-as-GET
    headers: Message  # case-insensitive
    protected: dict[str, Any]  # the JWS's header; empty without one


When = Callable[[Seen], bool]


@dataclass(eq=False, slots=True)
class _Rule:
    """The requests that a fault or a change applies to."""

    resource: str
    times: int
    after: int
    when: When
    used: bool = False

    def takes(self, seen: Seen) -> bool:
        if seen.resource != self.resource or not self.times or not self.when(seen):
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        self.used = True
        return True


@dataclass(kw_only=True, eq=False, repr=False, slots=True)
class ScriptedCA(Settings):
    """Every `Settings` field is also an argument and an attribute. Leaving the `with` block raises
    AssertionError if a scripted fault was never used (such a test shows nothing), or if the CA
    itself had an internal error."""

    https: bool = True
    certificate_start: datetime | None = None  # of the listener's TLS certificate, see the lab

    requests: list[Seen] = field(init=False, default_factory=list)
    refused: int = field(init=False, default=0)  # requests above `request_limits`
    _next_slots: dict[str, float] = field(init=False, default_factory=dict)
    ca_bundle: Path = field(init=False)
    _state: State = field(init=False)
    _listener: Listener = field(init=False)
    _scripts: list[tuple[_Rule, Fault]] = field(init=False, default_factory=list)
    _changes: list[tuple[_Rule, Change]] = field(init=False, default_factory=list)
    _internal_errors: list[str] = field(init=False, default_factory=list)
    _changed: threading.Condition = field(init=False, default_factory=threading.Condition)
    _directory: tempfile.TemporaryDirectory[str] = field(init=False)

    # -- start and stop

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="scripted-ca-")
        files = make_server_certificate(Path(self._directory.name), start=self.certificate_start)
        self.ca_bundle = files.ca_bundle
        context = None
        if self.https:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.private_key)
        self._listener = Listener(self._answer, context)
        self._state = State(self, self._listener.base_url)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._listener.close()
        for thread in self._state.validations:
            thread.join()
        self._directory.cleanup()
        if kind is None:
            assert self._internal_errors == [], "\n".join(self._internal_errors)
            rules = [rule for rule, _ in (*self._scripts, *self._changes)]
            unmet = [rule.resource for rule in rules if not rule.used]
            assert unmet == [], f"scripted faults that no request triggered: {unmet}"

    # -- scripting

    def script(
        self,
        resource: str,
        fault: Fault,
        *,
        times: int = 1,
        after: int = 0,
        when: When = lambda _: True,
    ) -> None:
        """Applies `fault` to the next `times` requests to `resource`, skipping the first `after`
        and those for which `when` is false. Scripts for one resource apply one after another."""
        with self._changed:
            self._scripts.append((_rule(resource, times, after, when), fault))

    def on(
        self,
        resource: str,
        change: Change,
        *,
        times: int = ALWAYS,
        after: int = 0,
        when: When = lambda _: True,
    ) -> None:
        """Alters, in place, the JSON object in each reply of `resource`. Changes accumulate, and
        scripts are applied after them."""
        with self._changed:
            self._changes.append((_rule(resource, times, after, when), change))

    def fail(
        self, name: str, how: Failing = "invalid", error: dict[str, Any] | None = None
    ) -> None:
        """Makes the validation of this name fail, for any challenge."""
        refused = document("connection", f"{name}: connection refused", status=400)
        self.failing[name] = (how, error or refused)

    def is_challenge_of(self, seen: Seen, name: str) -> bool:
        """Whether a request submits the response to a challenge of this DNS name."""
        with self._state.lock:
            challenge = self._state.challenges.get(seen.url)
            if challenge is None or seen.payload is None:
                return False
            authorization = self._state.authorizations[challenge.authorization_url]
            return authorization.identifier["value"] == name

    def forget_nonces(self) -> None:
        """Invalidates every nonce issued so far, as a CA's restart does."""
        with self._state.lock:
            self._state.nonces.clear()

    def forget_accounts(self) -> None:
        with self._state.lock:
            self._state.accounts.clear()

    def deactivate_accounts(self) -> None:
        with self._state.lock:
            for account in self._state.accounts.values():
                account.status = "deactivated"

    def revoke(self, certificate: Issued, reason: int = 4) -> None:
        """Revokes a certificate on the CA's initiative; its renewal window is then in the past."""
        with self._state.lock:
            self._state.revoked.append(Revocation(certificate, reason))

    # -- recorded requests and state

    @property
    def directory_url(self) -> str:
        return self._listener.base_url + "/directory"

    @property
    def connections(self) -> int:
        """The number of accepted TCP connections."""
        return self._listener.connections_seen

    def count(self, *resources: str) -> int:
        """The number of requests for these resources, including faulty ones; for all without
        arguments."""
        with self._changed:
            return len([one for one in self.requests if not resources or one.resource in resources])

    def sequence(self) -> list[str]:
        """The resource of each request, in the order of arrival."""
        with self._changed:
            return [one.resource for one in self.requests]

    def payloads(self, resource: str) -> list[Any]:
        with self._changed:
            return [one.payload for one in self.requests if one.resource == resource]

    def wait_for(self, resource: str, count: int = 1, *, timeout: float = 30) -> None:
        """Waits until `count` requests for the resource have been received."""
        with self._changed:
            seen = self._changed.wait_for(lambda: self.count(resource) >= count, timeout)
        assert seen, f"{self.count(resource)} requests for {resource} after {timeout} s"

    @property
    def accounts(self) -> list[Account]:
        with self._state.lock:
            return list(self._state.accounts.values())

    @property
    def issued(self) -> list[Issued]:
        with self._state.lock:
            return list(self._state.issued.values())

    @property
    def revoked(self) -> list[Revocation]:
        with self._state.lock:
            return list(self._state.revoked)

    @property
    def deactivated(self) -> list[str]:
        """The names whose authorizations were deactivated, as ordered."""
        with self._state.lock:
            return list(self._state.deactivated)

    @property
    def root_pem(self) -> bytes:
        """The root of the default chain; the listener's root is `ca_bundle`."""
        return issuer.pem(self._state.issuer.roots[0])

    # -- replies

    def _answer(self, request: Request, connection: Connection) -> Reply:
        try:
            received = service.receive(self._state, request)
            seen = self._record(received)
            if self._is_above_limit(received.resource):
                return problem("rateLimited", 503, "Service busy; retry later.")(
                    Call(received, _never, lambda: service.fresh_nonce(self._state), connection)
                )
            fault = self._next_fault(seen)
            call = Call(
                received=received,
                proceed=lambda: self._normal_reply(received, seen),
                fresh_nonce=lambda: service.fresh_nonce(self._state),
                connection=connection,
            )
            return fault(call) if fault else call.proceed()
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - a test's function may raise; reported on exit
            self._internal_errors.append(traceback.format_exc())
            return json_reply(500, document("serverInternal", traceback.format_exc()))

    def _is_above_limit(self, resource: str) -> bool:
        """Whether a request exceeds one of `request_limits`, by the rules of nginx's limit_req."""
        group = resource if resource in self.request_limits else "*"
        if group not in self.request_limits:
            return False
        per_second, burst = self.request_limits[group]
        with self._changed:
            now = time.monotonic()
            slot = max(self._next_slots.get(group, 0.0), now)
            if slot - now > burst / per_second:
                self.refused += 1
                return True
            self._next_slots[group] = slot + 1 / per_second
            return False

    def _record(self, received: Received) -> Seen:
        request = received.request
        seen = Seen(
            method=request.method,
            resource=received.resource,
            url=request.url,
            payload=received.content,
            headers=request.headers,
            protected=received.message.protected if received.message else {},
        )
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()
        return seen

    def _next_fault(self, seen: Seen) -> Fault | None:
        with self._changed:
            return next((fault for rule, fault in self._scripts if rule.takes(seen)), None)

    def _normal_reply(self, received: Received, seen: Seen) -> Reply:
        reply = service.answer(self._state, received)
        if reply.status >= 400:
            return reply
        with self._changed:
            changes = [change for rule, change in self._changes if rule.takes(seen)]
        for change in changes:
            reply = altered(reply, change)
        return reply


def _rule(resource: str, times: int, after: int, when: When) -> _Rule:
    if resource not in service.RESOURCES:
        raise ValueError(f"{resource!r} is not one of {sorted(service.RESOURCES)}")
    return _Rule(resource, times, after, when)


def _never() -> Reply:
    raise AssertionError("a refused request is not processed")
