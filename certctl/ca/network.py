"""HTTP to one CA: signed requests, nonces, retries and waiting (RFC 8555 §6).

`session` sends single requests. This module adds nonces for many threads (`nonces`), retries where
they are safe (`retries`), and errors that keep the CA's message and its `Retry-After`. It knows
nothing of orders.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from certctl.ca import key_caches, messages, retries
from certctl.ca.connection_errors import connection_error
from certctl.ca.directories import DEV, as_typed
from certctl.ca.documented_limits import DocumentedLimits
from certctl.ca.messages import Directory
from certctl.ca.nonces import Nonces, has_nonce
from certctl.ca.parallel_requests import ParallelRequests
from certctl.ca.problems import Resource, error_from
from certctl.ca.rate_limiter import Limiter, PollTally
from certctl.ca.retry_after import http_date, retry_after
from certctl.ca.session import CONNECT_TIMEOUT, Session
from certctl.ca.signing import Signer
from certctl.model.ca import Endpoint
from certctl.model.errors import (
    AcmeError,
    BadResponse,
    CaUnavailable,
    Interrupted,
    OrderTimeout,
)
from certctl.model.ports import Clock
from certctl.model.urls import is_loopback
from certctl.system.http import (
    RequestStopped,
    ResponseLimitExceeded,
    unverified_date,
)
from certctl.system.proxy import proxies_for

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_NONCE_ATTEMPTS = 3

MORE_TIME = "To allow more time, use --order-timeout."
"""The hint of every `OrderTimeout`; whether the order is resumed is for the caller to say."""

TIMEOUT = 45.0
"""Seconds from sending a request to the last byte of its response."""

_MOMENT = 1.0
"""Seconds. For a shorter wait it is not worth while to let others work."""


_FAILED = 10.0
"""Seconds for which a directory that could not be fetched is not asked for again."""


@dataclass
class _Shared:
    """The state shared by all networks to one CA, regardless of the signing key.

    `lock` guards fetching the directory; `failed` is the error of the last attempt that failed, and
    when that was by the clock's `monotonic`. `proxies` caches the proxy for each host; looking it
    up twice is harmless.
    """

    limiter: Limiter
    parallel: ParallelRequests
    nonces: Nonces = field(default_factory=Nonces, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock)
    directory: Directory | None = None
    failed: tuple[AcmeError, float] | None = None
    polled: PollTally = field(default_factory=PollTally)
    proxies: dict[str, Mapping[str, str]] = field(default_factory=dict)
    server_time: datetime | None = None
    latency: float = 0.0


class Network:
    """Requests to one CA, signed with one key. Safe for many threads. The key and account never
    change: `signed_by` returns another network over the same connections.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock,
        stop: threading.Event,
        notify: Callable[[str, float], None],
        signer: Signer | None = None,
        timeout: float = TIMEOUT,
        documented_limits: DocumentedLimits | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`waiting` is entered while a request waits for longer than a moment, so that others can
        use what its thread has reserved.
        """
        self._endpoint = endpoint
        self._clock = clock
        self._stop = stop
        self._notify = notify
        self._waiting = waiting
        self._signer = signer
        self._timeout = timeout
        known = documented_limits or DocumentedLimits()
        limiter = Limiter(clock, known.rates, known.others)
        self._shared = _Shared(limiter, ParallelRequests(clock, limiter.concurrent))
        self._deadline = math.inf
        self._key_is_new = False
        self._session = Session(endpoint.ca_bundle, stop, endpoint.opened)

    def close(self) -> None:
        """Close the connections, also for every network that shares them; safe to call twice."""
        self._shared.parallel.close()
        self._session.close()

    def signed_by(self, signer: Signer) -> Network:
        """Return a network over the same connections and nonces whose requests `signer` signs."""
        other = copy.copy(self)
        other._signer = signer
        other._key_is_new = False
        return other

    def patient_with_new_key(self) -> Network:
        """Return a network over the same connections that repeats requests which the CA may have
        refused because not all of its servers know the signer's key yet.
        """
        other = copy.copy(self)
        other._key_is_new = True
        return other

    def until(self, deadline: float) -> Network:
        """Return a network over the same connections whose requests, retries and waits together end
        at `deadline`, in terms of the clock's `monotonic`. Its methods raise `OrderTimeout` then.
        """
        other = copy.copy(self)
        other._deadline = deadline
        return other

    def at_most(self, seconds: float) -> Network:
        """Return a network whose requests all end within `seconds` from now, whatever deadline this
        one has: for cleanup, and to find out why there was a failure.
        """
        return self.until(self._clock.monotonic() + seconds)

    def parallel(self, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """Return the result of `work`, which sends requests to this CA, for each item, in order;
        many are worked on in parallel.
        """
        return self._shared.parallel.map(work, items, latency=self.latency)

    @property
    def signer(self) -> Signer:
        """The key that signs requests. Raises ValueError on a network without a key."""
        if self._signer is None:
            raise ValueError("this network has no key to sign with")
        return self._signer

    @property
    def account_url(self) -> str | None:
        """The account that requests are signed for, None without one."""
        return None if self._signer is None else self._signer.kid

    @property
    def clock(self) -> Clock:
        """The clock that this network waits by."""
        return self._clock

    @property
    def host(self) -> str:
        """The CA's host, with the port if the URL has one."""
        return urlsplit(self._endpoint.directory_url).netloc

    @property
    def _ca(self) -> str:
        """What a user types to choose this CA."""
        return DEV if self._endpoint.moves else as_typed(self._endpoint.directory_url)

    @property
    def server_time(self) -> datetime | None:
        """The `Date` of the latest response, in UTC; None if it had none."""
        return self._shared.server_time

    @property
    def directory(self) -> Directory:
        """The CA's directory, fetched once (RFC 8555 §7.1.1). Raises `AcmeError`: for a while the
        same one for all, after an attempt has failed with all its retries.
        """
        with self._shared.lock:
            if self._shared.directory is None:
                error, at = self._shared.failed or (None, 0.0)
                if error is not None and self._clock.monotonic() - at < _FAILED:
                    raise copy.copy(error)
                self._shared.directory = self._fetch_directory()
            return self._shared.directory

    def _fetch_directory(self) -> Directory:
        # Nothing is given up while others wait for the lock: they would take it and keep it.
        network = copy.copy(self)
        network._waiting = nullcontext
        try:
            response = network.fetch(self._endpoint.directory_url, resource=Resource.DIRECTORY)
            return messages.directory(response)
        except AcmeError as error:
            if not isinstance(error, OrderTimeout):  # that is one certificate's own
                self._shared.failed = error, self._clock.monotonic()
            raise

    def url(self, name: str, resource: Resource) -> str:
        """Return a URL from the directory. Raises `AcmeError` if the CA lacks this resource."""
        found = self.directory.urls.get(name)
        if found is None:
            raise AcmeError(
                f"{self.host} does not offer {resource}: its directory has no {name}",
                code="acme.not_offered",
            )
        return found

    @property
    def latency(self) -> float:
        """The seconds that the fastest request took so far, from sending it to its response; 0.0
        before the first request.
        """
        return self._shared.latency

    @property
    def polled(self) -> PollTally:
        """What waits for this CA, in all threads."""
        return self._shared.polled

    def retry_after(self, response: requests.Response) -> float | None:
        """Return the seconds to wait according to the response's `Retry-After`, None without it."""
        return retry_after(response.headers, self._clock.now())

    def pause(self, seconds: float) -> None:
        """Wait, at most until the deadline. Raises `Interrupted` if the run is stopped before or
        during the wait.
        """
        seconds = max(min(seconds, self._left()), 0.0)
        with self._waiting() if seconds >= _MOMENT else nullcontext():
            stopped = self._clock.wait(self._stop, seconds)
        if stopped:
            raise Interrupted("stopped while waiting for the CA")

    def _left(self) -> float:
        """Return the seconds until the deadline."""
        return self._deadline - self._clock.monotonic()

    def fetch(self, url: str, *, resource: Resource) -> requests.Response:
        """Return the response to an unsigned GET, retried after transient failures. Raises
        `AcmeError`.
        """
        url = self._with_current_port(url)
        return self._with_retries(lambda: self._exchange("GET", url, resource), resend=True)

    def fetch_once(self, url: str, *, resource: Resource) -> requests.Response:
        """Return the response to an unsigned GET that is not essential: it has a short timeout, and
        is retried once, immediately, if there was no response. Raises `AcmeError`.
        """
        try:
            return self._exchange("GET", url, resource, timeout=CONNECT_TIMEOUT)
        except CaUnavailable as error:
            if error.status is not None:
                raise
            return self._exchange("GET", url, resource, timeout=CONNECT_TIMEOUT)

    def send(
        self,
        url: str,
        payload: Mapping[str, object] | None,
        *,
        resource: Resource,
        resend: bool = True,
        accept: str | None = None,
    ) -> requests.Response:
        """Return the response to a signed POST; a payload of None makes it a POST-as-GET (RFC 8555
        §6.3).

        `resend` allows a retry even if the CA may have acted on the request. Without it, a request
        is retried only if the CA cannot have acted on it, and a lost response raises
        `CaUnavailable`. Raises `AcmeError`.
        """
        url = self._with_current_port(url)
        raw = b"" if payload is None else json.dumps(payload).encode()
        headers = {"Content-Type": "application/jose+json"}
        if accept is not None:
            headers["Accept"] = accept
        delays = key_caches.DELAYS if self._key_is_new else ()
        for delay in (*delays, None):
            try:
                return self._with_retries(
                    lambda: self._send_signed(url, raw, resource, headers), resend=resend
                )
            except AcmeError as error:
                refused = key_caches.may_be_refused_key(error)
                if delay is None or not refused or delay > self._left():
                    raise
                self._notify(f"{self.host} may not know the new account key yet", delay)
            self.pause(delay)
        raise AssertionError  # unreachable: the last attempt returns or raises

    def _send_signed(
        self, url: str, payload: bytes, resource: Resource, headers: Mapping[str, str]
    ) -> requests.Response:
        rejected = 0
        while True:
            data = self.signer.sign(payload, url=url, nonce=self._take_nonce())
            try:
                return self._exchange("POST", url, resource, data=data, headers=headers)
            except AcmeError as error:
                if error.type != "badNonce" or rejected == retries.BAD_NONCE_RETRIES:
                    raise
            # The error response carried a fresh nonce (RFC 8555 §6.5), which is next in the pool.
            rejected += 1
            self._notify(f"{self.host} rejected a nonce", 0.0)

    def _take_nonce(self) -> bytes:
        nonces = self._shared.nonces
        if (nonce := nonces.take()) is not None:
            return nonce
        url = self.url("newNonce", Resource.NEW_NONCE)
        for _ in range(_NONCE_ATTEMPTS):
            response = self._with_retries(lambda: self._request_nonce(url), resend=True)
            if (nonce := nonces.take()) is not None:  # another thread may have taken it
                return nonce
            if not has_nonce(response):
                break
        raise BadResponse(f"{self.host} did not return a valid nonce")

    def _request_nonce(self, url: str) -> requests.Response:
        return self._shared.nonces.request(
            lambda method: self._exchange(method, url, Resource.NEW_NONCE)
        )

    def _with_retries(
        self, attempt: Callable[[], requests.Response], *, resend: bool
    ) -> requests.Response:
        deadline = min(self._clock.monotonic() + retries.RETRY_SECONDS, self._deadline)
        for tried in itertools.count():
            try:
                return attempt()
            except AcmeError as error:
                delays = retries.delays(error)
                if tried >= len(delays) or not retries.is_transient(error, resend=resend):
                    raise
                delay = max(delays[tried], error.retry_after or 0.0)
                if self._clock.monotonic() + delay > deadline:
                    if deadline == self._deadline and delay <= retries.RETRY_SECONDS:
                        error.hint = error.hint or MORE_TIME
                    raise
                reason = error.message
            self._notify(reason, delay)
            self.pause(delay)
        raise AssertionError  # unreachable: the last attempt returns or raises

    def _exchange(
        self,
        method: str,
        url: str,
        resource: Resource,
        *,
        timeout: float | None = None,
        data: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request once the rate limiter allows it. Return a successful response; raise an
        error for any other.
        """
        self._require_safe(url, resource)
        self._await_rate_limit(
            resource, min(timeout or retries.RETRY_SECONDS, max(self._left(), 0.0))
        )
        begun = self._clock.monotonic()
        if begun >= self._deadline:
            raise OrderTimeout(
                f"the timeout expired before {resource} could be sent to {self.host}",
                hint=MORE_TIME,
            )
        allowed = min(timeout or self._timeout, self._timeout)
        seconds = min(allowed, self._left())
        try:
            response = self._session.request(
                method, url, seconds=seconds, proxies=self._proxies(url), data=data, headers=headers
            )
        except ResponseLimitExceeded as error:
            host = urlsplit(url).netloc
            raise BadResponse(f"rejected the response of {host} to {resource}: {error}") from error
        except RequestStopped:
            raise Interrupted("stopped while waiting for the CA") from None
        except (requests.RequestException, HTTPError) as error:
            if seconds < allowed and isinstance(error, requests.Timeout):
                raise OrderTimeout(
                    f"{self.host} did not respond to {resource} before the timeout of the order"
                    " expired",
                    hint=MORE_TIME,
                ) from error
            ours = self._clock.now()
            raise connection_error(
                error, url, resource, ours, lambda: self._unverified_time(url)
            ) from error
        took = self._clock.monotonic() - begun
        self._shared.latency = min(self._shared.latency or took, took)
        self._shared.server_time = http_date(response.headers.get("Date", ""))
        self._shared.nonces.keep(response)
        if response.status_code // 100 != 2:
            refusal = error_from(response, resource, self._clock.now(), self._ca)
            self._shared.limiter.record_refusal(resource, refusal, sent=begun)
            raise refusal
        self._shared.limiter.record_success()
        return response

    def _await_rate_limit(self, resource: Resource, longest: float) -> None:
        """Wait as long as the documented rates and the CA's `Retry-After` require. Raises the CA's
        error again if it asked for a delay of more than `longest` seconds.
        """
        limiter = self._shared.limiter
        self._await_retry_after(resource, longest)
        seconds = limiter.reserve(resource)
        # After a stop, only a few cleanup requests follow; they do not wait.
        if seconds and not self._stop.is_set():
            self.pause(seconds)
            self._await_retry_after(resource, longest)

    def _await_retry_after(self, resource: Resource, longest: float) -> None:
        while (hold := self._shared.limiter.hold(resource)) is not None:
            if hold.seconds > longest:
                raise type(hold.error)(
                    f"{resource} was not sent, because the CA asked clients to wait: "
                    f"{hold.error.message}",
                    status=hold.error.status,
                    retry_after=hold.seconds,
                    hint=hold.error.hint,
                )
            self.pause(hold.seconds)

    def _unverified_time(self, url: str) -> datetime | None:
        """Return what time it is, as far as a server that is not trusted, or this program's own
        files, can tell; only to explain an error.
        """
        direct = not self._proxies(url)
        date = unverified_date(url, seconds=CONNECT_TIMEOUT, stop=self._stop) if direct else None
        if date is not None and (theirs := http_date(date)) is not None:
            return theirs
        installed = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
        # No clock can show a time before this file was written.
        return installed if self._clock.now() < installed else None

    def _proxies(self, url: str) -> Mapping[str, str]:
        host, known = urlsplit(url).netloc, self._shared.proxies
        if host not in known:
            known[host] = proxies_for(url, self._endpoint.proxy)
        return known[host]

    def _with_current_port(self, url: str) -> str:
        """Return a stored URL with the current port: a CA inside this process may have had another
        one when the URL was stored.
        """
        if not self._endpoint.moves:
            return url
        return urlsplit(url)._replace(netloc=self.host).geturl()

    def _require_safe(self, url: str, resource: Resource) -> None:
        """Reject a URL without a host, one that downgrades from https to http, and http to any
        other host than this machine.
        """
        ours = urlsplit(self._endpoint.directory_url)
        try:
            theirs = urlsplit(url)
            safe = bool(theirs.hostname) and (
                theirs.scheme == "https"
                or (theirs.scheme == ours.scheme == "http" and is_loopback(theirs.hostname))
            )
        except ValueError:
            safe = False
        if not safe:
            raise BadResponse(f"{self.host} gave a URL for {resource} that is not https")
