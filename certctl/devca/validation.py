"""Validates challenges (RFC 8555 §8.3, §8.4, RFC 8737).

A failure raises `Problem` with the reason for the client. Time and size are limited, since the
server being validated is not trusted.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from cryptography import x509

from certctl.devca import jws, persistent_validation
from certctl.devca.persistent_validation import RequiredRecord
from certctl.devca.problems import Problem
from certctl.devca.settings import DevCaSettings
from certctl.devca.zone import MockZone
from certctl.model.lazy_dataclass import dataclass

SECONDS = 10.0
REDIRECTS = 10
BODY_BYTES = 1024
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
ALPN = "acme-tls/1"


@dataclass(frozen=True)
class ValidationTask:
    """A challenge to validate for a name or an IP address, with `wildcard` for the names below it.
    The account has the URL `account_url` and a key with this thumbprint.
    """

    challenge: Mapping[str, Any]
    name: str
    wildcard: bool
    thumbprint: str
    account_url: str

    @property
    def token(self) -> str:
        """RFC 8555 §8.1; empty if the challenge has none."""
        return str(self.challenge.get("token", ""))

    @property
    def key_authorization(self) -> str:
        """RFC 8555 §8.1."""
        return jws.key_authorization(self.token, self.thumbprint)


@dataclass(frozen=True)
class Validator:
    """Validates challenges according to the settings. TXT records come from `zone` if no resolver
    is set. `now` returns seconds since 1970.
    """

    settings: DevCaSettings
    zone: MockZone
    now: Callable[[], float]

    def check(self, task: ValidationTask) -> None:
        """Validate one challenge; raises `Problem` if that fails."""
        name, expected = task.name, task.key_authorization
        match task.challenge["type"]:
            case "http-01":
                self._http01(name, task.token, expected)
            case "dns-01":
                self._dns01(f"_acme-challenge.{name}", expected)
            case "dns-account-01":
                label = _account_label(task.account_url)
                self._dns01(f"{label}._acme-challenge.{name}", expected)
            case "dns-persist-01":
                self._dns_persist01(task)
            case "tls-alpn-01":
                self._tls_alpn01(name, expected)
            case kind:
                raise Problem("malformed", f"challenges of type {kind} are not supported")

    # HTTP-01

    def _http01(self, name: str, token: str, expected: str) -> None:
        host = f"[{name}]" if ":" in name else name
        url = f"http://{host}/.well-known/acme-challenge/{token}"
        deadline = time.monotonic() + SECONDS
        seen: list[str] = []
        while True:
            if url in seen or len(seen) > REDIRECTS:
                raise Problem("connection", f"{url}: too many redirects, or a redirect loop")
            seen.append(url)
            status, location, body = self._fetch(url, deadline)
            if status in (301, 302, 303, 307, 308) and location:
                url = _redirected(url, location)
                continue
            break
        if status != 200:
            raise Problem("unauthorized", f"{url} returned status {status}")
        if body.rstrip() != expected.encode():
            shown = body[:80].decode("ascii", "replace")
            raise Problem(
                "unauthorized", f"{url} returned {shown!r}, not the key authorization {expected}"
            )

    def _fetch(self, url: str, deadline: float) -> tuple[int, str | None, bytes]:
        try:
            parts = urlsplit(url)
            host, given = parts.hostname or "", parts.port
        except ValueError:
            raise Problem("connection", f"{url:.200}: not a valid URL") from None
        secure = parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not host:
            raise Problem("connection", f"{url:.200}: redirects must be to http or https")
        # 80 and 443 are mapped to this machine's ports; like public CAs, follow no other port
        usual = self.settings.tls_alpn_port if secure else self.settings.http_port
        allowed = {None, 443 if secure else 80, usual}
        if given not in allowed:
            raise Problem("connection", f"{url:.200}: redirects must be to port 80 or 443")
        with _as_problems(url, deadline), self._connected(host, usual, deadline) as plain:
            raw = plain
            if secure:
                raw = _unverified().wrap_socket(plain, server_hostname=host)
            connection = http.client.HTTPConnection(host, usual)
            connection.sock = raw
            # the socket's timeout applies to each read, so a deadline for all of them is needed
            with _deadline(raw, deadline), raw:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                headers = {"Host": parts.netloc, "User-Agent": "certctl-dev-ca validator"}
                connection.request("GET", target, headers={**headers, "Connection": "close"})
                response = connection.getresponse()
                body = response.read(BODY_BYTES + 1)
                location = response.getheader("Location")
                response.close()
        if len(body) > BODY_BYTES:
            raise Problem(
                "unauthorized", f"{url:.200}: the response has more than {BODY_BYTES} bytes"
            )
        return response.status, location, body

    # DNS-01, dns-account-01

    def _dns01(self, record: str, expected: str) -> None:
        wanted = jws.encode(hashlib.sha256(expected.encode()).digest())
        values = self._txt(record)
        if not values:
            raise Problem("unauthorized", f"there is no TXT record at {record}")
        if wanted not in values:
            shown = ", ".join(repr(each[:60]) for each in values[:5])
            raise Problem("unauthorized", f"the TXT record at {record} has {shown}, not {wanted!r}")

    def _dns_persist01(self, task: ValidationTask) -> None:
        accounts = persistent_validation.account_uris(
            str(task.challenge["form"]), task.name, task.thumbprint, task.account_url
        )
        wanted = RequiredRecord(task.name, task.wildcard, accounts, self.now())
        persistent_validation.check(self._txt(f"{persistent_validation.LABEL}.{task.name}"), wanted)

    def _txt(self, record: str) -> list[str]:
        if self.settings.dns is None:
            return self.zone.values(record)
        from certctl.devca import lookups  # noqa: PLC0415 - dnspython is slow to import

        return lookups.txt(self.settings.dns, record)

    # TLS-ALPN-01

    def _tls_alpn01(self, name: str, expected: str) -> None:
        context = _unverified()
        context.set_alpn_protocols([ALPN])
        # RFC 8738 §6: the server name for an address is its reverse name
        shown = _reverse(name) or name
        deadline = time.monotonic() + SECONDS
        port = self.settings.tls_alpn_port
        with (
            _as_problems(f"{name}, port {port}", deadline),
            self._connected(name, port, deadline) as plain,
            _deadline(plain, deadline),
            context.wrap_socket(plain, server_hostname=shown) as secured,
        ):
            protocol, der = secured.selected_alpn_protocol(), secured.getpeercert(binary_form=True)
        if protocol != ALPN:
            raise Problem("unauthorized", f"{name} does not speak {ALPN}")
        _check_certificate(der or b"", name, hashlib.sha256(expected.encode()).digest())

    # addresses

    @contextmanager
    def _connected(self, host: str, port: int, deadline: float) -> Iterator[socket.socket]:
        addresses = self._addresses(host)
        for position, address in enumerate(addresses):
            left = max(0.01, deadline - time.monotonic())
            try:
                connection = socket.create_connection((address, port), left)
            except OSError as error:
                if position + 1 == len(addresses):
                    cause = error.strerror or "timed out"
                    message = f"{host} ({address}, port {port}): {cause}"
                    raise Problem("connection", message) from None
                continue
            with connection:
                yield connection
            return

    def _addresses(self, host: str) -> list[str]:
        if self.settings.validate_at is not None:
            return [self.settings.validate_at]
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        if self.settings.dns is not None:
            from certctl.devca import lookups  # noqa: PLC0415 - dnspython is slow to import

            return lookups.addresses(self.settings.dns, host)
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Problem("dns", f"{host}: {error.strerror}") from None
        return list(dict.fromkeys(str(each[4][0]) for each in found))


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise Problem("connection", f"{url}: redirected to an invalid URL") from None


@contextmanager
def _as_problems(what: str, deadline: float) -> Iterator[None]:
    """Convert connection errors into problems for the client."""
    try:
        yield
    except Problem:
        raise
    except ssl.SSLError as error:
        raise Problem("tls", f"{what}: {error.reason or 'TLS failed'}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline
        cause = "timed out" if late else str(error) or type(error).__name__
        raise Problem("connection", f"{what}: {cause:.200}") from None


@contextmanager
def _deadline(connection: socket.socket, deadline: float) -> Iterator[None]:
    """Shut down a connection at the deadline, even during a read or write."""

    def end() -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # already closed

    timer = threading.Timer(max(0.01, deadline - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _unverified() -> ssl.SSLContext:
    """Return a TLS context that accepts any certificate; its contents are checked separately."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _account_label(account_url: str) -> str:
    """draft-ietf-acme-dns-account-label: the first ten octets of the digest, in base32."""
    octets = hashlib.sha256(account_url.encode()).digest()[:10]
    return f"_{base64.b32encode(octets).decode().lower()}"


def _reverse(name: str) -> str | None:
    try:
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return None


def _check_certificate(der: bytes, name: str, digest: bytes) -> None:
    """RFC 8737 §3: self-signed, exactly this name, and the digest in a critical extension."""
    try:
        found = x509.load_der_x509_certificate(der)
        found.verify_directly_issued_by(found)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        extension = found.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except x509.ExtensionNotFound:
        raise Problem("unauthorized", f"{name}: the certificate lacks an extension") from None
    except Exception as error:  # noqa: BLE001 - the library raises any exception for a malicious one
        why = f"not self-signed, or unreadable ({type(error).__name__})"
        raise Problem("unauthorized", f"{name}: the certificate is {why}") from None
    values = [str(each.value).lower() for each in names]
    if values != [name]:
        raise Problem("unauthorized", f"the certificate is for {values!r:.200}, not for {name}")
    value = extension.value
    octets = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    if not extension.critical or octets != b"\x04\x20" + digest:
        raise Problem(
            "unauthorized", f"{name}: acmeIdentifier is not critical, or has the wrong digest"
        )
