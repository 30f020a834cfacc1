"""When a CA is asked again whether it has validated or issued (RFC 8555 §7.4, §7.5.1).

Pure. The CA's `Retry-After` decides where there is one. Without it, an order is looked at often
enough that little time is lost once the CA is done, and the longer it has taken already, the less
often. Many orders at once are each looked at less often, so that their number does not raise the
rate of requests.
"""

from __future__ import annotations

LEAST_PAUSE = 0.3
"""Seconds between two looks at a single order that has just begun to wait."""

LOOKS_PER_SECOND = 50.0
"""The rate at which all orders that wait for a CA are looked at together."""

LONGEST_ASKED = 60.0
"""Seconds. A CA that asks for more is still asked this often: one asks for a day for what takes
seconds, and one request a minute is no load.
"""

_SOONEST = LEAST_PAUSE / 64
_FIRST_SHARE = 1 / 16
_TENTH, _TENTH_UP_TO = 1 / 10, 5.0
_FOR_HOURS, _FOR_HOURS_UP_TO = 1 / 120, 60.0

_FIRST_CHECK, _LATER, _AT_LEAST_EVERY = 1.25, 4.0, 30.0


def pause_before_poll(waited: float, asked: float | None, requests: int) -> float:
    """Return the seconds from one look at an order to the next.

    `waited` is how long the order has been waited for, `asked` the CA's `Retry-After` in seconds if
    it sent one, `requests` how many requests all orders of this process that wait for the CA need
    for one look.

    A CA close by may be done in milliseconds, so the first looks at a few orders follow after 5 ms
    and then each after twice the time; those at many after a sixteenth of the usual pause, an
    eighth, a quarter and a half. The pause then grows to a tenth of the time waited, up to 5 s, and
    after ten minutes to a hundred-and-twentieth, up to a minute.
    """
    shared = requests / LOOKS_PER_SECOND
    if asked:
        return max(min(asked, LONGEST_ASKED), shared)
    usual = max(LEAST_PAUSE, shared)
    late = max(min(waited * _TENTH, _TENTH_UP_TO), min(waited * _FOR_HOURS, _FOR_HOURS_UP_TO))
    return max(min(max(_SOONEST, shared * _FIRST_SHARE, waited), usual), late)


def authorizations_check(checked: float) -> float:
    """Return after how many seconds of waiting an order's authorizations are read, where the order
    itself stays pending: some CAs leave it so although an authorization has failed.

    `checked` is how long it had been waited for at the last such check, 0 before the first.
    """
    return max(_FIRST_CHECK, min(checked * _LATER, checked + _AT_LEAST_EVERY))
