"""Waits between two looks at an order, by the rules of `certctl.rules.polling`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from certctl.ca.network import Network
from certctl.rules.polling import authorizations_check, pause_before_poll


class PollTimer:
    """The waits for one order, up to a deadline; a context manager, so that the order counts among
    those that are waited for.
    """

    def __init__(self, network: Network, deadline: float, *, requests: int = 1) -> None:
        """`deadline` is in terms of the clock's `monotonic`; one look takes `requests`."""
        self._network = network
        self._deadline = deadline
        self._requests = requests
        self._started = network.clock.monotonic()
        self._checked = 0.0

    def __enter__(self) -> Self:
        self._network.polled.add(self._requests)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._network.polled.add(-self._requests)

    def wait(self, asked: float | None) -> bool:
        """Wait until the next look; return False if no time is left for one. `asked` is the CA's
        `Retry-After` in seconds.
        """
        now = self._network.clock.monotonic()
        left = self._deadline - now
        if left <= 0:
            return False
        pause = pause_before_poll(now - self._started, asked, self._network.polled.requests)
        # From one request to the next: what the last one took has passed already.
        own = pause if asked else max(pause - self._network.latency, 0.0)
        self._network.pause(min(own, left))
        return True

    def authorizations_due(self) -> bool:
        """Return whether the order's authorizations should be read too; at most once for each
        check that is due.
        """
        waited = self._network.clock.monotonic() - self._started
        if waited < authorizations_check(self._checked):
            return False
        self._checked = waited
        return True
