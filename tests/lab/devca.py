"""certctl's development CA as a process of its own, as `certctl dev-ca serve` starts it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.lab.authority import LoggedRequest
from tests.lab.http import answers, get, get_json, post_json
from tests.lab.ports import free_port, kept_port
from tests.lab.processes import LabServer, ServerProcess


@dataclass(kw_only=True)
class DevCaServer(LabServer):
    """The development CA, ready for `certctl --ca URL --ca-bundle FILE`.

    It tries names at `http_port` and `tls_port` of this machine, and DNS-01 at `dns_server`, or in
    its own zone.
    """

    directory: Path
    dns_server: str | None = None
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=kept_port)
    tls_port: int = field(default_factory=kept_port)

    def __post_init__(self) -> None:
        dns = ("--dns", self.dns_server) if self.dns_server else ()
        self._server = ServerProcess(
            [
                *(sys.executable, "-m", "certctl", "dev-ca", "serve"),
                *("--listen", f"127.0.0.1:{self.port}", "--state", str(self.directory / "state")),
                *("--http-port", str(self.http_port), "--tls-port", str(self.tls_port)),
                *dns,
                *self.arguments,
            ],
            directory=self.directory,
            ready=self._ready,
        )

    @property
    def directory_url(self) -> str:
        return f"{self._base}/directory"

    @property
    def ca_bundle(self) -> Path:
        return self.directory / "state" / "root.pem"

    def root(self, number: int = 0) -> bytes:
        assert number == 0, "its other root belongs to its alternate chains"
        return self.ca_bundle.read_bytes()

    def certificate_status(self, serial: int) -> dict[str, Any]:
        crl = x509.load_der_x509_crl(self.get("/crl/ec"))
        revoked = crl.get_revoked_certificate_by_serial_number(serial)
        return {"Status": "Valid" if revoked is None else "Revoked"}

    def requests(self, since: int = 0) -> list[LoggedRequest]:
        """Return the ACME requests received, without the first `since` of them."""
        found = get_json(f"{self._base}/manage/requests", ca_bundle=self.ca_bundle)["requests"]
        seen = [
            LoggedRequest(each["method"], each["resource"])
            for each in found
            if each["resource"] not in {"crl", "manage", "issuer", ""}
        ]
        return seen[since:]

    def request_count(self) -> int:
        return len(self.requests())

    def orders(self, since: int = 0) -> int:
        return [each.path for each in self.requests(since)].count("new-order")

    def set(self, **settings: object) -> None:
        """Change settings of the CA, written with `_` for `-`."""
        given = {key.replace("_", "-"): value for key, value in settings.items()}
        post_json(f"{self._base}/manage/settings", given, ca_bundle=self.ca_bundle)

    def misbehave(self, **faults: object) -> None:
        """Have these faults and no others, written with `_` for `-`."""
        given = {key.replace("_", "-"): value for key, value in faults.items()}
        post_json(f"{self._base}/manage/faults", given, ca_bundle=self.ca_bundle)

    def get(self, path: str) -> bytes:
        """Return what lies at a path of the server."""
        return get(f"{self._base}{path}", ca_bundle=self.ca_bundle)

    @property
    def _base(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _ready(self) -> bool:
        return self.ca_bundle.exists() and answers(
            f"{self._base}/crl/ecdsa", ca_bundle=self.ca_bundle
        )
