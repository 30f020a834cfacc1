"""A TLS connection that is opened while the program is still starting.

A connection to a CA that is far away takes two round trips before the first request can be sent:
as long as it takes to import what sends requests. This module therefore imports none of that, and
what is needed for TLS only once the first round trip is under way.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

_SECONDS = 10.0
"""For connecting, and for the handshake."""

_USABLE_SECONDS = 3.0
"""How long a connection stays usable without a request: some servers close it after five."""


def tls_context(roots: str | None) -> ssl.SSLContext:
    """Return the context that verifies servers with the root certificates in the PEM file `roots`;
    None means the public root certificates and those that this system trusts. Raises OSError if the
    file cannot be read.
    """
    import ssl  # noqa: PLC0415 - see the module

    import certifi  # noqa: PLC0415 - see the module

    context = ssl.create_default_context(cafile=roots or certifi.where())
    if roots is None:
        # Usually a directory, in which OpenSSL looks up a root certificate once it needs it.
        context.set_default_verify_paths()
    return context


class EarlyConnection:
    """A connection to the server of a URL, verified with `roots`, for whoever comes first within a
    few seconds. Without a proxy only. Any error is left to who connects later.
    """

    def __init__(self, url: str, roots: str | None) -> None:
        self.url = url
        self.roots = roots
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 443)
        self._lock = threading.Lock()
        self._socket: ssl.SSLSocket | None = None
        self._opened = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._open, name="early connection", daemon=True)
        self._thread.start()

    def take(self, host: str, port: int) -> ssl.SSLSocket | None:
        """Return the connection, once it is open, if it is to this server and still fresh; None
        from the second call on.
        """
        if (host.strip("[]"), port) != self._address:
            return None
        self._thread.join(_SECONDS)
        with self._lock:
            found, self._socket = self._socket, None
        if found is not None and time.monotonic() - self._opened > _USABLE_SECONDS:
            found.close()
            return None
        return found

    def close(self) -> None:
        """Close the connection if nobody has taken it. Does not wait until it is open."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _open(self) -> None:
        with suppress(OSError, ValueError):
            raw = socket.create_connection(self._address, _SECONDS)
            try:
                context = tls_context(self.roots)
                context.set_alpn_protocols(["http/1.1"])
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened = context.wrap_socket(raw, server_hostname=self._address[0])
            except BaseException:
                raw.close()
                raise
            with self._lock:
                if self._closed:
                    opened.close()
                else:
                    self._socket, self._opened = opened, time.monotonic()
