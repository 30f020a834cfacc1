"""Plain HTTP requests to servers that tests started: no proxies, no redirects, short limits; and
the smallest of such servers.
"""

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 10.0


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler], port: int) -> Iterator[None]:
    """Run a web server at a port of this machine, in threads."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class UnexpectedStatus(OSError):
    """An answer other than 2xx, with its status and body."""

    def __init__(self, url: str, status: int, body: bytes) -> None:
        super().__init__(f"{url} answered {status}: {body[:200]!r}")
        self.status = status
        self.body = body


def get(url: str, *, ca_bundle: Path | None = None) -> bytes:
    """Return the body at `url`, trusting `ca_bundle` alone. Raises `OSError`."""
    return _open(urllib.request.Request(url), ca_bundle)


def get_json(url: str, *, ca_bundle: Path | None = None) -> dict[str, Any]:
    """Return the JSON object at `url`. Raises `OSError`."""
    found = json.loads(get(url, ca_bundle=ca_bundle))
    assert isinstance(found, dict)
    return found


def post_json(url: str, document: object, *, ca_bundle: Path | None = None) -> bytes:
    """Post `document` and return the answer's body. Raises `OSError`."""
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    return _open(urllib.request.Request(url, data=body, headers=headers, method="POST"), ca_bundle)


def answers(url: str, *, ca_bundle: Path | None = None) -> bool:
    """Return whether a server answers at `url`, with whatever status."""
    try:
        get(url, ca_bundle=ca_bundle)
    except UnexpectedStatus:
        return True
    except OSError:
        return False
    return True


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _open(request: urllib.request.Request, ca_bundle: Path | None) -> bytes:
    routes: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if ca_bundle is not None:
        context = ssl.create_default_context(cafile=ca_bundle)
        routes.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*routes).open(request, timeout=TIMEOUT_SECONDS) as answer:
            body = answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise UnexpectedStatus(request.full_url, refusal.code, refusal.read()) from None
    assert isinstance(body, bytes)
    return body
