"""JSON requests (POST) to simple provider APIs, with retries, and errors translated by
`certctl.dns.api_errors`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import urlsplit

from certctl.dns.api_errors import ProviderError, with_retries
from certctl.model.ca import Proxy
from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock
from certctl.version import VERSION

SECONDS = 30.0
"""How many seconds one request may take in total, including the response."""


@dataclass(frozen=True)
class Api:
    """The API of `provider` at `url`; `roots` is a PEM file of root certificates, None for the
    public ones and those that this system trusts.
    """

    provider: str
    url: str
    clock: Clock
    user: tuple[str, str] | None = field(default=None, repr=False)
    roots: str | None = None
    proxy: Proxy = field(default_factory=Proxy)

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` if the URL is not a valid http or https URL."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable or parts.username or parts.password:
            raise ConfigurationError(
                f"the URL of the DNS provider {self.provider} is not an http or https URL, or"
                " contains a password",
                hint=f"See its options: certctl dns show {self.provider}",
                code="configuration.value",
            )

    def post(
        self,
        path: str,
        document: Mapping[str, object],
        stop: threading.Event,
        *,
        subject: str,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON object of the response; empty if the response is not a JSON object.

        Raises `ProviderError`, naming `subject`, and `Interrupted`.
        """
        found: dict[str, Any] = {}
        secrets = [*(headers or {}).values(), *((self.user[1],) if self.user else ())]

        def attempt() -> None:
            from certctl.system.http import RequestFailed, post_json  # noqa: PLC0415 - slow to import

            try:
                answer = post_json(
                    f"{self.url.rstrip('/')}{path}",
                    document,
                    headers={"User-Agent": f"certctl/{VERSION}", **(headers or {})},
                    user=self.user,
                    seconds=SECONDS,
                    roots=self.roots,
                    proxy=self.proxy,
                )
            except RequestFailed as error:
                host = urlsplit(self.url).netloc
                raise ProviderError(self.provider, subject, f"{host}: {error}") from None
            if not 200 <= answer.status < 300:
                raise ProviderError.from_status(
                    answer.status,
                    answer.reason,
                    answer.body,
                    self.provider,
                    subject,
                    secrets,
                    retry_after=answer.retry_after,
                )
            found.update(_object(answer.body))

        with_retries(attempt, clock=self.clock, stop=stop)
        return found


def _object(body: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
