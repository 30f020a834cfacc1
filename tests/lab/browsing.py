"""What visitors of a web server see: pages, and certificates that nobody has to believe."""

import http.client
import socket
import ssl
from contextlib import closing, suppress
from dataclasses import dataclass

from cryptography import x509


@dataclass(frozen=True)
class Answer:
    """What a server answered: status, where it sends the visitor, and the text."""

    status: int
    text: str = ""
    location: str = ""


def ask(name: str, path: str = "/", *, tls: bool = False, address: str = "127.0.0.1") -> Answer:
    """Ask for a page as a visitor of `name` does, without believing any certificate."""
    tcp = socket.create_connection((address, 443 if tls else 80), timeout=10)
    with closing(http.client.HTTPConnection(name)) as connection:
        connection.sock = context().wrap_socket(tcp, server_hostname=name) if tls else tcp
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        shown = text.strip() if response.status == 200 else ""
        return Answer(response.status, shown, response.getheader("Location") or "")


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def names_served(name: str, address: str = "127.0.0.1") -> list[str] | None:
    """Return the names of the certificate presented for `name`, None where TLS is refused."""
    with suppress(OSError), socket.create_connection((address, 443), timeout=10) as tcp:
        with context().wrap_socket(tcp, server_hostname=name) as tls:
            data = tls.getpeercert(binary_form=True)
        assert data is not None
        found = x509.load_der_x509_certificate(data).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        return sorted(found.value.get_values_for_type(x509.DNSName))
    return None
