"""Real validation of http-01 (RFC 8555 §8.3), at one host and port for all names."""

from __future__ import annotations

import http.client
from typing import Any

from tests.lab.scripted_ca.problems import document

TIMEOUT = 5  # seconds


def http01(host: str, port: int, name: str, token: str, expected: str) -> dict[str, Any] | None:
    """Fetches the token with `name` in the Host header. Returns None if the response is the key
    authorization, a problem document otherwise."""
    path = f"/.well-known/acme-challenge/{token}"
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers={"Host": f"[{name}]" if ":" in name else name})
        response = connection.getresponse()
        body = response.read(len(expected) + 100).decode("latin-1").rstrip()
    except (OSError, http.client.HTTPException) as error:
        return document("connection", f"{name}: {error}")
    finally:
        connection.close()
    if response.status != 200 or body != expected:
        return document("unauthorized", f"{name}: status {response.status}, body {body!r}")
    return None
