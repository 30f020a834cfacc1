"""A configuration of gunicorn that writes down the ACME requests of the application it serves.

gunicorn reads it by its path, in an environment of its own: nothing else of the tests is imported.
A line of JSON each in the file that `RECORDED_REQUESTS` names: method, path, payload.
"""

import base64
import io
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def post_worker_init(worker: Any) -> None:
    """Put the recording in front of the application, once it is loaded."""
    application: Application = worker.wsgi

    def recorded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        line = json.dumps([environ["REQUEST_METHOD"], environ["PATH_INFO"], _payload(body)])
        with open(os.environ["RECORDED_REQUESTS"], "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{line}\n")
        return application(environ, start_response)

    worker.wsgi = recorded


def _payload(body: bytes) -> Any:
    """Return the payload of a signed request (RFC 7515), None where there is none."""
    try:
        encoded = json.loads(body)["payload"]
        return json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, LookupError, TypeError):
        return None
