"""Sites that a TLS-terminating server of a test serves: names, with the files of each, by SNI.

What every such server has in common: a configuration that can be broken and mended, and a port.
"""

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests.lab.certificates import make_server_certificate
from tests.lab.processes import ServerProcess, wait_until

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Site:
    """A name, and the directory with `fullchain.pem`, `privkey.pem` and `combined.pem` for it; the
    directory `second` has those with another kind of key, if there are two.
    """

    name: str
    directory: Path
    second: Path | None = None

    @property
    def halves(self) -> tuple["Site", ...]:
        """The site with each of its certificates."""
        first = Site(self.name, self.directory)
        return (first,) if self.second is None else (first, Site(self.name, self.second))

    @property
    def fullchain(self) -> Path:
        return self.directory / "fullchain.pem"

    @property
    def privkey(self) -> Path:
        return self.directory / "privkey.pem"

    @property
    def combined(self) -> Path:
        return self.directory / "combined.pem"


@dataclass(frozen=True)
class Front:
    """A server that terminates TLS for its sites at one address and one port.

    `config` is what it was started with. `spoil` makes it one that the server refuses, `mend` makes
    it good again; neither tells the server.
    """

    config: Path
    port: int
    process: ServerProcess
    mistake: str = "this is a mistake"

    def spoil(self) -> None:
        self.config.write_text(f"{self.config.read_text()}\n{self.mistake}\n")

    def mend(self) -> None:
        self.config.write_text(self.config.read_text().replace(f"\n{self.mistake}\n", ""))

    def served(self, name: str) -> x509.Certificate:
        """The leaf that is shown to who asks for `name`, whoever issued it."""
        return leaf_at(self.port, name)

    def comes_to_serve(self, name: str, leaf: x509.Certificate) -> bool:
        """Whether `leaf` is shown to who asks for `name`, or soon is: after a graceful reload a
        process that is about to end may take a last connection, or reset it.
        """

        def shown() -> bool:
            with contextlib.suppress(ConnectionError):
                return self.served(name) == leaf
            return False

        with contextlib.suppress(TimeoutError):
            wait_until(shown, f"the certificate of {name}")
            return True
        return False


def leaf_at(port: int, name: str) -> x509.Certificate:
    """Return the leaf that is shown at a port of this machine to who asks for `name`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def listens(port: int) -> bool:
    """Whether somebody takes connections at a port of this machine."""
    with socket.socket() as plain:
        plain.settimeout(1)
        return plain.connect_ex((HOST, port)) == 0


def made_up_site(directory: Path, name: str) -> Site:
    """Make a site with a certificate of a root of its own; the directory is made."""
    directory.mkdir(parents=True, exist_ok=True)
    files = make_server_certificate(directory, (name,))
    site = Site(name, directory)
    key, chain = (path.read_bytes() for path in (files.private_key, files.certificate))
    chain += files.ca_bundle.read_bytes()
    site.fullchain.write_bytes(chain)
    for path, data in ((site.privkey, key), (site.combined, key + chain)):
        path.touch(mode=0o600)
        path.write_bytes(data)
    return site
