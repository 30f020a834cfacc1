"""The nonces of one CA: those that its responses carried, kept for any thread (RFC 8555 §6.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from http import HTTPStatus

import josepy
import requests

from certctl.ca.connection_errors import NEVER_SENT, TLS_FAILED
from certctl.model.errors import AcmeError, CaUnavailable, RateLimited

_REPLAY_NONCE = "Replay-Nonce"
_KEPT = 256


class Nonces:
    """A pool of nonces, the latest used first. Safe for many threads: the deque is."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque(maxlen=_KEPT)
        self._by_get = False

    def take(self) -> bytes | None:
        """Return a nonce that was not used yet, None if there is none."""
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def keep(self, response: requests.Response) -> None:
        """Keep the nonce of a response; errors carry one too (RFC 8555 §6.5.1)."""
        text = response.headers.get(_REPLAY_NONCE, "")
        try:
            nonce = josepy.decode_b64jose(text)
        except josepy.DeserializationError:
            return
        # Its text is signed, so encoding it again must give the same text.
        if nonce and josepy.encode_b64jose(nonce) == text:
            self._kept.append(nonce)

    def request(self, exchange: Callable[[str], requests.Response]) -> requests.Response:
        """Return the response to a request for a nonce, which `exchange` sends and keeps. It is
        sent by HEAD, and by GET to a CA that does not answer HEAD with a nonce; both are standard
        (RFC 8555 §7.2). Raises `AcmeError`.
        """
        if not self._by_get:
            try:
                response = exchange("HEAD")
            except CaUnavailable as error:
                if error.code == NEVER_SENT or error.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            except RateLimited:
                raise
            except AcmeError as error:
                if error.code == TLS_FAILED:
                    raise
            else:
                if has_nonce(response):
                    return response
        response = exchange("GET")
        self._by_get = has_nonce(response)
        return response


def has_nonce(response: requests.Response) -> bool:
    """Return whether a response carries a nonce, valid or not."""
    return _REPLAY_NONCE in response.headers
