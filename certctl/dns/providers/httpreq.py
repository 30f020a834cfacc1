"""TXT records with a user's HTTP service: POST requests to /present and /cleanup, as in lego's
`httpreq` provider.

The requests contain `fqdn` and `value`, or in raw mode `domain`, `token` and `keyAuth`; any 2xx
status is a success.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.dns.api_requests import Api
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError, ConfigurationError
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules.options import Kind, Option
from certctl.system.secrets import read_secret

OPTIONS: tuple[Option, ...] = (
    Option(
        "dns.httpreq.endpoint",
        Kind.TEXT,
        None,
        "URL of the service; /present and /cleanup are appended.",
        flag="--httpreq-endpoint",
        metavar="URL",
        in_spec=True,
        variable="CERTCTL_HTTPREQ_ENDPOINT",
    ),
    Option(
        "dns.httpreq.mode",
        Kind.CHOICE,
        "default",
        "What is sent: the record's name and value, or (raw) the domain, token and key"
        " authorization.",
        flag="--httpreq-mode",
        choices=("default", "raw"),
        in_spec=True,
        variable="CERTCTL_HTTPREQ_MODE",
    ),
    Option(
        "dns.httpreq.username",
        Kind.TEXT,
        None,
        "User name for the service.",
        flag="--httpreq-username",
        metavar="NAME",
        in_spec=True,
        variable="CERTCTL_HTTPREQ_USERNAME",
    ),
    Option(
        "dns.httpreq.password",
        Kind.TEXT,
        None,
        "Password for the service, if there is no password file.",
        secret=True,
        in_spec=True,
        in_file=False,
        variable="CERTCTL_HTTPREQ_PASSWORD",
    ),
    Option(
        "dns.httpreq.password_file",
        Kind.PATH,
        None,
        "File with the password for the service; other users must not be able to read it.",
        flag="--httpreq-password-file",
        in_spec=True,
        variable="CERTCTL_HTTPREQ_PASSWORD_FILE",
    ),
    Option(
        "dns.httpreq.ca_bundle",
        Kind.PATH,
        None,
        "PEM file with the root certificates to trust for the service.",
        flag="--httpreq-ca-bundle",
        in_spec=True,
        variable="CERTCTL_HTTPREQ_CA_BUNDLE",
    ),
)


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
    """Return the provider. Raises `ConfigurationError` for a missing URL or password."""
    endpoint = settings.get("dns.httpreq.endpoint")
    if not endpoint:
        raise ConfigurationError(
            "the DNS provider httpreq needs the URL of a service",
            hint="Set it with --httpreq-endpoint URL.",
        )
    roots = settings.get("dns.httpreq.ca_bundle")
    api = Api(
        "httpreq",
        str(endpoint),
        system.clock,
        user=_user(settings),
        roots=str(roots) if roots else None,
        proxy=system.proxy,
    )
    return HttpreqProvider(api, raw=settings.get("dns.httpreq.mode") == "raw", system=system)


class HttpreqProvider:
    """Sends one request to the service for each record, in order."""

    def __init__(self, api: Api, *, raw: bool, system: ProviderSystem) -> None:
        self._api = api
        self._raw = raw
        self._system = system

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Have the service write each record. Raises `ChallengeError` at the first failure."""
        for each in records:
            self._api.post("/present", self._message(each), self._system.stop, subject=each.name)

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Have the service remove each record, continuing after an error; raises the first error.

        An interrupted run cleans up too: only the time limits end these requests.
        """
        failures: list[ChallengeError] = []
        for each in records:
            try:
                self._api.post(
                    "/cleanup", self._message(each), threading.Event(), subject=each.name
                )
            except ChallengeError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _message(self, record: TxtRecord) -> dict[str, str]:
        if not self._raw:
            return {"fqdn": f"{record.name}.", "value": record.value}
        return {
            "domain": record.domain,
            "token": record.token,
            "keyAuth": record.key_authorization,
        }


def _user(settings: Mapping[str, Value]) -> tuple[str, str] | None:
    name = settings.get("dns.httpreq.username")
    if not name:
        return None
    file = settings.get("dns.httpreq.password_file")
    password = read_secret(Path(str(file))) if file else settings.get("dns.httpreq.password")
    if not password:
        raise ConfigurationError(
            f"the password of {name} for the DNS provider httpreq is missing",
            hint="Set --httpreq-password-file, or CERTCTL_HTTPREQ_PASSWORD.",
        )
    return str(name), str(password)
