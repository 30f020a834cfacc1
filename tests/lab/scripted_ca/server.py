"""A CA whose faults are scripted: an ACME server (RFC 8555, 8738, 9773) on loopback for tests.

It behaves well until a test says otherwise, in words of the protocol:

    with ScriptedCA() as ca:
        ca.script("new-order", problem("badNonce"), times=3)
        ca.script("finalize", drop_connection(after_processing=True))
        ca.on("order", removing("finalize"))
        ca.fail("b.example", "stays pending")
        ca.finalize_polls, ca.retry_after = 2, "Wed, 21 Oct 2026 07:28:00 GMT"
        ...
        assert ca.count("new-order") == 4

It shares no code with certctl, or both could be wrong together. It is no CA for anything but tests:
it checks signatures, nonces, URLs and CSRs strictly, but names only where `validate_http01` is set.
"""

from __future__ import annotations

import ssl
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.certificates import make_server_certificate
from tests.lab.scripted_ca import issuer, service
from tests.lab.scripted_ca.faults import Call, Change, Fault, altered
from tests.lab.scripted_ca.issuer import Issued
from tests.lab.scripted_ca.problems import document
from tests.lab.scripted_ca.settings import ALWAYS, Failing, Settings
from tests.lab.scripted_ca.state import Account, Received, Revocation, State
from tests.lab.scripted_ca.wire import Connection, Listener, Reply, Request, json_reply


@dataclass(frozen=True)
class Seen:
    """One request as it came in, before anything was checked."""

    method: str
    resource: str
    url: str
    payload: Any  # None for GET, HEAD and POST-as-GET
    headers: Message  # looked up without regard to case
    protected: dict[str, Any]  # the JWS's header; empty without one


When = Callable[[Seen], bool]


@dataclass(eq=False, slots=True)
class _Rule:
    """Which requests a fault or a change is for."""

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
    """Every `Settings` field is an argument and an attribute too. Leaving the `with` block raises
    AssertionError where a scripted fault was never met (such a test shows nothing), or where the
    CA itself broke."""

    https: bool = True

    requests: list[Seen] = field(init=False, default_factory=list)
    ca_bundle: Path = field(init=False)
    _state: State = field(init=False)
    _listener: Listener = field(init=False)
    _scripts: list[tuple[_Rule, Fault]] = field(init=False, default_factory=list)
    _changes: list[tuple[_Rule, Change]] = field(init=False, default_factory=list)
    _internal_errors: list[str] = field(init=False, default_factory=list)
    _changed: threading.Condition = field(init=False, default_factory=threading.Condition)
    _directory: tempfile.TemporaryDirectory[str] = field(init=False)

    # -- life

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="scripted-ca-")
        files = make_server_certificate(Path(self._directory.name))
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
            assert unmet == [], f"scripted, but no request met it: {unmet}"

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
        """The next `times` requests to `resource` meet `fault`; the first `after` of them do not,
        nor those for which `when` is false. Scripts for one resource follow each other."""
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
        """Alters, in place, the JSON object that `resource` answers with, each time. Changes add
        up, and scripts work on top of them."""
        with self._changed:
            self._changes.append((_rule(resource, times, after, when), change))

    def fail(
        self, name: str, how: Failing = "invalid", error: dict[str, Any] | None = None
    ) -> None:
        """The validation of this name fails, whichever challenge is answered."""
        refused = document("connection", f"{name}: connection refused", status=400)
        self.failing[name] = (how, error or refused)

    def forget_nonces(self) -> None:
        """Every nonce handed out so far is bad, as after a CA's restart."""
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
        """The CA revokes by itself; renewal information then says "now"."""
        with self._state.lock:
            self._state.revoked.append(Revocation(certificate, reason))

    # -- what was seen

    @property
    def directory_url(self) -> str:
        return self._listener.base_url + "/directory"

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted."""
        return self._listener.connections_seen

    def count(self, *resources: str) -> int:
        """How many requests came for these resources, faults included; for all without argument."""
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
        """Returns once that many requests for the resource have come in."""
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
        """The root over the default chain; not the one of the listener, which is `ca_bundle`."""
        return issuer.pem(self._state.issuer.roots[0])

    # -- answering

    def _answer(self, request: Request, connection: Connection) -> Reply:
        try:
            received = service.receive(self._state, request)
            seen = self._record(received)
            fault = self._next_fault(seen)
            call = Call(
                received=received,
                proceed=lambda: self._honest_answer(received, seen),
                fresh_nonce=lambda: service.fresh_nonce(self._state),
                connection=connection,
            )
            return fault(call) if fault else call.proceed()
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - a test's own function may raise: shown at the end
            self._internal_errors.append(traceback.format_exc())
            return json_reply(500, document("serverInternal", traceback.format_exc()))

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

    def _honest_answer(self, received: Received, seen: Seen) -> Reply:
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
        raise ValueError(f"{resource!r} is none of {sorted(service.RESOURCES)}")
    return _Rule(resource, times, after, when)
