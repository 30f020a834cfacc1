"""Pebble, an ACME CA for tests, and the DNS server through which it sees the names it validates.

Both are the real programs on loopback ports. Pebble forgets everything when it stops, and makes
new roots at each start. It offers neither ARI nor profiles, and sends no Retry-After.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.authority import LoggedRequest
from tests.lab.certificates import make_server_certificate
from tests.lab.http import answers, get, get_json, post_json
from tests.lab.ports import free_port, kept_port
from tests.lab.processes import LabServer, ServerProcess
from tests.lab.programs import program

_REQUEST_LINE = re.compile(r"(GET|HEAD|POST) (/\S*) -> calling handler\(\)")


@dataclass(kw_only=True)
class ChallengeTestServer(LabServer):
    """pebble-challtestsrv as a DNS server: every name is 127.0.0.1 until told otherwise.

    Names are given without a final dot. Changes hold until they are cleared, so tests that share
    a server use names of their own.
    """

    directory: Path
    default_ipv6: str = ""
    dns_port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._server = ServerProcess(
            [
                program("pebble-challtestsrv"),
                *("-dns01", self.dns_address),
                *("-management", f"127.0.0.1:{self.management_port}"),
                *("-defaultIPv6", self.default_ipv6),
                # Its own challenge responders stay off: certctl's are what is tested.
                *("-http01", "", "-https01", "", "-tlsalpn01", ""),
            ],
            directory=self.directory,
            ready=self._ready,
        )

    @property
    def dns_address(self) -> str:
        """Where it answers DNS, as `host:port`."""
        return f"127.0.0.1:{self.dns_port}"

    def set_a(self, name: str, addresses: Sequence[str]) -> None:
        """Answer A queries for `name` with `addresses`."""
        self._manage("clear-a", host=name)
        self._manage("add-a", host=name, addresses=list(addresses))

    def set_aaaa(self, name: str, addresses: Sequence[str]) -> None:
        """Answer AAAA queries for `name` with `addresses`."""
        self._manage("clear-aaaa", host=name)
        self._manage("add-aaaa", host=name, addresses=list(addresses))

    def set_cname(self, name: str, target: str) -> None:
        """Make `name` an alias of `target`."""
        self._manage("set-cname", host=name, target=target)

    def clear_cname(self, name: str) -> None:
        """Take the alias away."""
        self._manage("clear-cname", host=name)

    def add_txt(self, name: str, value: str) -> None:
        """Add one TXT value at `name`, beside those that are there."""
        self._manage("set-txt", host=f"{name}.", value=value)

    def clear_txt(self, name: str) -> None:
        """Remove all TXT values at `name`."""
        self._manage("clear-txt", host=f"{name}.")

    def set_servfail(self, name: str) -> None:
        """Answer every query for `name` with SERVFAIL."""
        self._manage("set-servfail", host=name)

    def clear_servfail(self, name: str) -> None:
        """Answer queries for `name` again."""
        self._manage("clear-servfail", host=name)

    def dns_queries(self, name: str) -> list[dict[str, Any]]:
        """Return the questions asked about `name` so far, as the server recorded them."""
        found = json.loads(self._manage("dns-request-history", host=f"{name}.") or b"null") or []
        return [dict(entry["Question"]) for entry in found]

    def _manage(self, verb: str, **facts: object) -> bytes:
        return post_json(f"http://127.0.0.1:{self.management_port}/{verb}", facts)

    def _ready(self) -> bool:
        try:
            self._manage("dns-request-history", host="ready.invalid.")
        except OSError:
            return False
        # DNS is opened before management.
        return True


@dataclass(kw_only=True)
class PebbleServer(LabServer):
    """Pebble with a TLS certificate of its own, ready for `certctl --ca URL --ca-bundle FILE`.

    Validation goes to `http_port` and `tls_port` of whatever the names resolve to at `dns_server`
    (`host:port`; the system's resolver without one). Each port is free until a solver listens.
    """

    directory: Path
    dns_server: str | None = None
    nonce_reject: int = 0
    """Percentage of good nonces that are refused with badNonce."""
    sleep_seconds: int = 0
    """Validation waits a random whole number of seconds below this; 0 or 1 is no wait."""
    eab_keys: Mapping[str, str] = field(default_factory=dict)
    """Key identifiers with base64url HMAC keys; any makes external account binding required."""
    strict: bool = False
    alternate_roots: int = 0
    chain_length: int = 1
    """Intermediates in the chain."""
    authz_reuse: int = 0
    """Percentage of new orders that get the account's valid authorizations again."""
    always_valid: bool = False
    """Challenges succeed without being looked at."""
    blocked_domains: Sequence[str] = ()
    validity_seconds: int = 0
    """Lifetime of certificates; 0 is Pebble's own, five years."""
    port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=kept_port)
    tls_port: int = field(default_factory=kept_port)

    def __post_init__(self) -> None:
        self._tls = make_server_certificate(self.directory)
        config = self.directory / "pebble.json"
        config.write_text(json.dumps({"pebble": self._configuration()}, indent=2))
        self._server = ServerProcess(
            [program("pebble"), "-config", str(config), *self._flags()],
            directory=self.directory,
            ready=self._ready,
            environment=self._environment(),
        )

    @property
    def directory_url(self) -> str:
        """The ACME directory, for `--ca`."""
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def ca_bundle(self) -> Path:
        """The TLS root of the directory, for `--ca-bundle`; it signs no issued certificate."""
        return self._tls.ca_bundle

    def root(self, number: int = 0) -> bytes:
        """Return a root certificate of the CA in PEM: 0 is the default chain's."""
        return get(f"{self._management}/roots/{number}", ca_bundle=self.ca_bundle)

    def intermediate(self, number: int = 0) -> bytes:
        """Return an issuing certificate of the CA in PEM: 0 is the default chain's."""
        return get(f"{self._management}/intermediates/{number}", ca_bundle=self.ca_bundle)

    def certificate_status(self, serial: int) -> dict[str, Any]:
        """Return what Pebble knows of a certificate: `Status` is `Valid` or `Revoked`."""
        digits = f"{serial:x}"
        whole_bytes = digits.zfill(len(digits) + len(digits) % 2)
        return get_json(
            f"{self._management}/cert-status-by-serial/{whole_bytes}", ca_bundle=self.ca_bundle
        )

    def requests(self, since: int = 0) -> list[LoggedRequest]:
        """Return the ACME requests received, without the first `since` of them.

        Complete as soon as an answer has arrived: Pebble logs a request before it answers.
        """
        found = _REQUEST_LINE.findall(self._server.output())
        return [LoggedRequest(method, path) for method, path in found[since:]]

    def request_count(self) -> int:
        """Return how many ACME requests were received; a mark for `requests(since=...)`."""
        return len(self.requests())

    def orders(self, since: int = 0) -> int:
        return [each.path for each in self.requests(since)].count("/order-plz")

    @property
    def _management(self) -> str:
        return f"https://127.0.0.1:{self.management_port}"

    def _ready(self) -> bool:
        # The management interface first: asking it leaves no trace in the request log.
        return answers(f"{self._management}/roots/0", ca_bundle=self.ca_bundle) and answers(
            f"https://127.0.0.1:{self.port}/", ca_bundle=self.ca_bundle
        )

    def _configuration(self) -> dict[str, object]:
        return {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(self._tls.certificate),
            "privateKey": str(self._tls.private_key),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(self.eab_keys),
            "externalAccountMACKeys": dict(self.eab_keys),
            "domainBlocklist": list(self.blocked_domains),
            "certificateValidityPeriod": self.validity_seconds,
        }

    def _flags(self) -> list[str]:
        flags = ["-dnsserver", self.dns_server] if self.dns_server else []
        return [*flags, "-strict"] if self.strict else flags

    def _environment(self) -> dict[str, str]:
        wait = (
            {"PEBBLE_VA_SLEEPTIME": str(self.sleep_seconds)}
            if self.sleep_seconds
            else {"PEBBLE_VA_NOSLEEP": "1"}
        )
        return wait | {
            "PEBBLE_WFE_NONCEREJECT": str(self.nonce_reject),
            "PEBBLE_AUTHZREUSE": str(self.authz_reuse),
            "PEBBLE_ALTERNATE_ROOTS": str(self.alternate_roots),
            "PEBBLE_CHAIN_LENGTH": str(self.chain_length),
            "PEBBLE_VA_ALWAYS_VALID": "1" if self.always_valid else "0",
        }
