"""acme2certifier, an ACME CA with renewal information and profiles that nobody here wrote.

It looks for HTTP-01 at port 80 and nowhere else. So it gets a network of its own, in which nothing
is but loopback: there it may have port 80 and port 53, and certctl is run in there with it. That
takes root. Its packages are in a virtual environment of their own, made by `make tools`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509

from tests.lab.authority import LoggedRequest
from tests.lab.certificates import make_issuer, make_server_certificate
from tests.lab.processes import LabServer, ServerProcess
from tests.lab.programs import program, require

TOOLS = Path(__file__).parents[2] / ".venv" / "acme2certifier"
RECORDING = Path(__file__).with_name("gunicorn_recording.py")
HTTP_PORT = 80
TLS_PORT = 443


def require_acme2certifier() -> None:
    """Skip the running test where acme2certifier, or a network for it, cannot be had."""
    require("ip", "nsenter", "unshare", "curl", "pebble-challtestsrv")
    if not (TOOLS / "bin" / "gunicorn").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("not installed: acme2certifier (make tools)", pytrace=False)
        pytest.skip("not installed: acme2certifier (make tools)")
    tried = subprocess.run(
        [program("unshare"), "--net", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"a network of its own cannot be had: {tried.stderr.strip()}")


class LoopbackNetwork:
    """A network namespace with loopback alone, in which every DNS name is 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        self._holder = ServerProcess(
            [
                *(program("unshare"), "--net", "sh", "-c"),
                f"{program('ip')} link set lo up && echo up && exec sleep infinity",
            ],
            directory=directory,
            ready=lambda: "up" in self._holder.output(),
        )
        self._directory = directory

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that make it run in there."""
        return (program("nsenter"), f"--net=/proc/{self._holder.pid}/ns/net", "--")

    def answers(self, url: str, *options: str) -> bool:
        """Whether something in there answers a GET."""
        return self.succeeds(
            *(program("curl"), "--silent", "--output", os.devnull, "--noproxy", "*"),
            *(*options, url),
        )

    def succeeds(self, *command: str) -> bool:
        """Whether a command that is run in there exits with 0."""
        done = subprocess.run([*self.prefix, *command], capture_output=True, check=False)
        return done.returncode == 0

    def __enter__(self) -> Self:
        self._holder.start()
        management = "127.0.0.1:8055"
        self._names = ServerProcess(
            [
                *self.prefix,
                *(program("pebble-challtestsrv"), "-dns01", "127.0.0.1:53"),
                *("-management", management, "-defaultIPv6", ""),
                *("-http01", "", "-https01", "", "-tlsalpn01", ""),
            ],
            directory=self._directory,
            ready=lambda: self.answers(f"http://{management}/"),
        )
        try:
            self._names.start()
        except BaseException:
            self._holder.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._names.stop()
        self._holder.stop()


@dataclass(kw_only=True)
class Acme2CertifierServer(LabServer):
    """acme2certifier with its OpenSSL handler, ready for a certctl that runs in its network."""

    directory: Path
    network: LoopbackNetwork
    port: int
    profiles: Mapping[str, str] = field(default_factory=dict)
    """Profiles by name, each with the URL of its description."""
    eab_keys: Mapping[str, str] = field(default_factory=dict)
    """Key identifiers with base64url HMAC keys; any makes external account binding required."""
    window: tuple[float, int] = (85.0, 0)
    """When the window of a certificate begins, in percent of its lifetime, and how many seconds it
    is open; 0 is until the certificate expires."""
    http_port: int = HTTP_PORT
    tls_port: int = TLS_PORT

    def __post_init__(self) -> None:
        self._tls = make_server_certificate(self.directory)
        self._issuer = make_issuer(self.directory)
        (self.directory / "issued").mkdir()
        configuration = self.directory / "acme_srv.cfg"
        configuration.write_text(self._configuration())
        self._server = ServerProcess(
            [
                *self.network.prefix,
                *(str(TOOLS / "bin" / "gunicorn"), "--bind", f"127.0.0.1:{self.port}"),
                *("--certfile", str(self._tls.certificate)),
                *("--keyfile", str(self._tls.private_key)),
                *("--threads", "4", "--config", str(RECORDING)),
                "acme2certifier.share.acme2certifier_wsgi:application",
            ],
            directory=self.directory,
            ready=lambda: self.network.answers(
                self.directory_url, "--cacert", str(self._tls.ca_bundle)
            ),
            environment={
                "ACME_SRV_CONFIGFILE": str(configuration),
                "RECORDED_REQUESTS": str(self._recorded),
            },
        )

    @property
    def directory_url(self) -> str:
        """The ACME directory, for `--ca`."""
        return f"https://127.0.0.1:{self.port}/directory"

    @property
    def ca_bundle(self) -> Path:
        """The TLS root of the directory, for `--ca-bundle`; it signs no issued certificate."""
        return self._tls.ca_bundle

    def root(self, number: int = 0) -> bytes:
        """Return the certificate that signs what is issued, in PEM."""
        assert number == 0, "it has one chain"
        return self._issuer.certificate.read_bytes()

    def certificate_status(self, serial: int) -> dict[str, Any]:
        """Return what its CRL says of a certificate: `Status` is `Valid` or `Revoked`."""
        revoked = None
        if self._crl.exists():
            crl = x509.load_pem_x509_crl(self._crl.read_bytes())
            revoked = crl.get_revoked_certificate_by_serial_number(serial)
        return {"Status": "Valid" if revoked is None else "Revoked"}

    def requests(self, since: int = 0) -> list[LoggedRequest]:
        """Return the ACME requests received, without the first `since` of them."""
        return [LoggedRequest(method, path) for method, path, _ in self._records()[since:]]

    def request_count(self) -> int:
        """Return how many ACME requests were received."""
        return len(self.requests())

    def orders(self, since: int = 0) -> int:
        """Return how many orders were placed after the first `since` requests."""
        return len(self.ordered(since))

    def ordered(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the payloads of new orders after the first `since` requests."""
        found = self._records()[since:]
        return [payload for _, path, payload in found if path == "/acme/neworders"]

    @property
    def _recorded(self) -> Path:
        return self.directory / "requests.jsonl"

    def _records(self) -> list[tuple[str, str, Any]]:
        lines = self._recorded.read_text().splitlines() if self._recorded.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    @property
    def _crl(self) -> Path:
        return self.directory / "crl.pem"

    def _configuration(self) -> str:
        begins, seconds = self.window
        binding = ""
        if self.eab_keys:
            keys = self.directory / "eab.json"
            keys.write_text(json.dumps(dict(self.eab_keys)))
            binding = (
                "[EABhandler]\n"
                "eab_handler_module: acme2certifier.eabhandlers.json_handler\n"
                f"key_file: {keys}\n"
            )
        return f"""\
[DEFAULT]
debug: True
[DBhandler]
handler: wsgi
dbfile: {self.directory}/acme2certifier.db
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {self._issuer.private_key}
issuing_ca_cert: {self._issuer.certificate}
issuing_ca_crl: {self._crl}
cert_save_path: {self.directory}/issued
cert_validity_days: 6
[Challenge]
dns_server_list: ["127.0.0.1"]
[Order]
profiles: {json.dumps(dict(self.profiles))}
[Directory]
tos_url: https://ca.example/terms
[Renewalinfo]
renewalthreshold_pctg: {begins}
renewal_window_duration: {seconds or ""}
{binding}"""
