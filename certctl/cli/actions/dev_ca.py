"""What `certctl dev-ca` does."""

from __future__ import annotations

import ipaddress
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from certctl import config
from certctl.cli.invocation import Invocation
from certctl.devca import authority, faults, jws, lookups, settings
from certctl.devca.endpoint import announced, lock_state, zone_server
from certctl.devca.problems import Problem
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings
from certctl.model.ca import Endpoint
from certctl.model.errors import CertctlError, UsageError
from certctl.model.text import whole_number
from certctl.output.document import Json, Result
from certctl.rules.paths import absolute_path
from certctl.system.clock import SystemClock
from certctl.system.secrets import read_secret
from certctl.system.trust import refuse_path

_DIRECTORY = "dev-ca"


def serve(invocation: Invocation, /, listen: str, state: str | None, **given: Any) -> None:
    """Run the CA until it is stopped by Ctrl-C or SIGTERM."""
    directory = _state_directory(invocation, state)
    address = _address(listen)
    settings = _settings(invocation, given)
    output = invocation.output
    with ExitStack() as stack:
        stop = stack.enter_context(_stopped_by_signals())
        stack.enter_context(lock_state(directory, timeout=0))
        ca = stack.enter_context(
            DevCa(directory, listen=address, settings=settings, report=output.warning)
        )
        dns = settings.dns
        if dns is None:
            dns = stack.enter_context(zone_server(ca.zone, directory)).address
        root = str(ca.tls_ca_bundle)
        endpoint = Endpoint(ca.directory_url, root, settings.http_port, settings.tls_alpn_port, dns)
        stack.enter_context(announced(endpoint, directory))
        data: dict[str, Json] = {
            "directory_url": ca.directory_url,
            "root": root,
            "http_port": settings.http_port,
            "tls_alpn_port": settings.tls_alpn_port,
            "dns": dns,
            "state": str(directory),
        }
        lines = _usage(ca.directory_url, root, settings.http_port, dns)
        output.finish("dev-ca serve", Result(data, lines))
        stop.wait()


def root(invocation: Invocation, state: str | None) -> Result:
    """Print the root certificate of the CA."""
    path, pem = root_of(invocation, state)
    text = pem.decode("ascii").rstrip("\n")
    if invocation.output.terminal and not (invocation.quiet or invocation.json):
        invocation.output.write_error(_how_to_trust(path))
    return Result({"root": str(path), "pem": f"{text}\n"}, [text])


def root_of(invocation: Invocation, state: str | None) -> tuple[Path, bytes]:
    """Return the file of the root, and its content; it is created if it is missing."""
    found = existing_root(invocation, state)
    if found is not None:
        return found
    directory = _state_directory(invocation, state)
    with lock_state(directory, timeout=10):
        pem = authority.open_authority(directory, SystemClock().now()).root_pem
    return directory / authority.ROOT_FILE, pem


def existing_root(invocation: Invocation, state: str | None) -> tuple[Path, bytes] | None:
    """Return the file of the root, and its content; None if there is none."""
    directory = _state_directory(invocation, state)
    refuse_path(directory.absolute())
    pem = authority.read_root(directory)
    return None if pem is None else (directory / authority.ROOT_FILE, pem)


def _state_directory(invocation: Invocation, given: str | None) -> Path:
    environment = invocation.environment
    if given:
        return absolute_path(given, environment.directory)
    home = config.home_directory(
        invocation.home,
        environment.variables,
        directory=environment.directory,
        user_id=environment.user_id,
    )
    return home / _DIRECTORY


def _settings(invocation: Invocation, given: dict[str, Any]) -> DevCaSettings:
    directory = invocation.environment.directory
    found = settings.DevCaSettings(
        http_port=given["http_port"],
        tls_alpn_port=given["tls_port"],
        validate_at=_numeric(given["validate_at"]),
        dns=_resolver(given["dns"]),
        challenge_types=settings.parse_challenge_types(given["challenge"]),
        dns_persist_form=given["dns_persist"],
        lifetime=settings.parse_duration(given["lifetime"]) if given["lifetime"] else None,
        eab_keys=dict(_eab_key(each, directory) for each in given["eab"]),
    )
    if given["profiles"]:
        found.profiles |= settings.load_profiles(absolute_path(given["profiles"], directory))
    for each in given["fault"]:
        name, _, value = each.partition("=")
        if name == "processing":
            found.processing = settings.parse_processing(value)
        else:
            found.faults = faults.parse_fault(each, found.faults)
    return found


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    number = whole_number(port)
    if not (colon and host and number is not None and number < 65536):
        raise UsageError(
            f"{text!r} is not an address with a port",
            hint="Give ADDRESS:PORT, such as 127.0.0.1:14000 or [::1]:14000.",
        )
    return host.removeprefix("[").removesuffix("]"), number


def _resolver(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        lookups.split(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not the address of a DNS resolver",
            hint="Give ADDRESS or ADDRESS:PORT, such as 192.0.2.53 or [2001:db8::53]:5353.",
        ) from None
    return text


def _numeric(text: str) -> str | None:
    if text == "names":
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError(
            f"{text!r} is not an IP address", hint="Give an address such as 127.0.0.1, or 'names'."
        ) from None


def _eab_key(text: str, directory: Path) -> tuple[str, bytes]:
    kid, equals, name = text.partition("=")
    if not (kid and equals and name):
        raise UsageError(
            f"{text!r} is not KID=FILE", hint="Give a key ID and a file: --eab kid-1=hmac.key"
        )
    path = Path(directory, name)
    try:
        return kid, jws.decode(read_secret(path).strip().rstrip("="), "the HMAC key")
    except Problem:
        raise UsageError(f"{path} does not contain a key in base64url") from None


def _usage(directory: str, root_file: str, http_port: int, dns: str) -> Sequence[str]:
    url, root = shlex.quote(directory), shlex.quote(root_file)
    return (
        "The development CA is ready. Its certificates are not publicly trusted.",
        f"  directory  {directory}",
        f"  root       {root_file}",
        f"  HTTP-01    validated on port {http_port} of this machine, for all names",
        f"  DNS-01     validated by the DNS server {dns}",
        "",
        "certctl:",
        f"  certctl issue example.com --ca {url} --ca-bundle {root} \\",
        f"      --agree-tos --http-port {http_port}",
        "certbot:",
        f"  REQUESTS_CA_BUNDLE={root} certbot certonly --standalone -d example.com \\",
        f"      --server {url} --http-01-port {http_port}",
        "lego:",
        f"  LEGO_CA_CERTIFICATES={root} lego --server {url} --email you@example.com \\",
        f"      --http --http.port :{http_port} --domains example.com run",
        "",
        "Press Ctrl-C to stop the CA.",
    )


def _how_to_trust(path: Path) -> str:
    shown = shlex.quote(str(path))
    return (
        "Trust this root on development machines only:\n"
        "its key can impersonate any site to them.\n"
        f"  curl:      curl --cacert {shown} https://example.com/\n"
        f"  Python:    SSL_CERT_FILE={shown}\n"
        f"  requests:  REQUESTS_CA_BUNDLE={shown}\n"
        f"  Node.js:   NODE_EXTRA_CA_CERTS={shown}\n"
        "  browsers and the system (Linux): certctl dev-ca install\n"
        "  macOS:     sudo security add-trusted-cert -d -r trustRoot \\\n"
        f"                 -k /Library/Keychains/System.keychain {shown}\n"
        "\n"
    )


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set the event on SIGINT and SIGTERM, the normal way to end this command."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        raise CertctlError("the development CA can run in the main thread only")

    def received(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, received) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
