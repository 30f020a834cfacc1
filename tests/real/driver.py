"""certctl as a user runs it: a process with a home directory whose certctl.toml names a CA.

Says what became of a command and what lies on disk; what should have become of it is for tests.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lab.authority import AcmeServer
from tests.support.command import Finished, certctl

LONGEST_SECONDS = 60.0
"""For one command; a command that takes longer hangs."""


STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Host:
    """A home directory of its own, and the CA that its certctl.toml names.

    `prefix` is a command that starts every process, such as nsenter.
    """

    home: Path
    authority: AcmeServer
    prefix: tuple[str, ...] = ()

    def certctl(self, *arguments: str, **context: Any) -> Finished:
        """Run a command to its end; `surroundings` as in `Running`."""
        with self.begin(*arguments, **context) as running:
            return running.finish()

    def begin(self, *arguments: str, **context: Any) -> "Running":
        """Start a command and return at once."""
        return Running(arguments, self.home, **{"prefix": self.prefix, **context})

    def issue(self, *arguments: str, **context: Any) -> None:
        """Issue a certificate; fails unless that succeeds without a warning."""
        finished = self.certctl("issue", *arguments, **context)
        assert (finished.exit_status, finished.stderr) == (0, ""), finished

    def given(self, *arguments: str) -> None:
        """Issue a certificate that is there before the test begins: quicker, in this process."""
        finished = certctl("issue", *arguments, home=self.home)
        assert (finished.exit_status, finished.stderr) == (0, ""), finished

    def add_specs(self, count: int, lines: str = "", prefix: str = "by-hand") -> list[str]:
        """Write specs as a person may, for `renew` to obtain; return the certificates' names."""
        made = [f"{prefix}-{number}.example" for number in range(count)]
        directory = self.home / "certificates"
        directory.mkdir(mode=0o700, exist_ok=True)
        for name in made:
            (directory / f"{name}.toml").write_text(f'version = 1\nnames = ["{name}"]\n{lines}\n')
        return made

    def show(self, name: str) -> Any:
        """Return what `show --json` says of a certificate."""
        finished = certctl("show", name, "--json", home=self.home)
        assert finished.exit_status == 0, finished
        return finished.json()["data"]

    def live(self, name: str, file: str = "fullchain.pem") -> Path:
        """Return the path of a live file, as a proxy's configuration has it."""
        return self.home / "live" / name / file

    def leaf(self, name: str) -> x509.Certificate:
        """Return the live certificate."""
        return x509.load_pem_x509_certificate(self.live(name).read_bytes())

    def version(self, name: str) -> int:
        """Return the number of the live version."""
        return int((self.home / "live" / name).readlink().name)

    def status(self, certificate: x509.Certificate) -> str:
        """Return what the CA says of a certificate: `Valid` or `Revoked`."""
        return str(self.authority.certificate_status(certificate.serial_number)["Status"])

    def leftovers(self) -> list[str]:
        """Return what an order that has ended should not have left: placements, orders, parts."""
        found = [
            *self.home.glob("journal/*"),
            *self.home.glob("pending/*"),
            *self.home.glob("archive/*/.*"),
            *self.home.glob("live/.*"),
        ]
        return sorted(str(path.relative_to(self.home)) for path in found)


class Running:
    """A certctl process that was started; leaving its context ends it, however that went.

    `variables` are added to the environment; `umask` is that of the process; `prefix` is a command
    that starts it, such as setpriv; `directory` is where it starts.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path | None,
        *,
        variables: Mapping[str, str] | None = None,
        umask: int = -1,
        prefix: Sequence[str] = (),
        directory: Path | None = None,
    ) -> None:
        own = {} if home is None else {"CERTCTL_HOME": str(home)}
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "certctl", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **own, **(variables or {})},
            umask=umask,
            cwd=directory,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def finish(self) -> Finished:
        """Return what it came to, once it has ended. Raises `subprocess.TimeoutExpired`."""
        stdout, stderr = self._process.communicate(timeout=LONGEST_SECONDS)
        return Finished(self._process.returncode, stdout, stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is not None:
            return
        # In good order first: a hook of its own would outlive it otherwise.
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def host(directory: Path, authority: AcmeServer, settings: str = "") -> Host:
    """Make a home directory below `directory`: terms agreed to, HTTP-01 where the CA looks for it.

    `settings` are further lines of certctl.toml, the first ones of no table.
    """
    home = directory / "home"
    home.mkdir(mode=0o711)
    (home / "certctl.toml").write_text(
        f'ca = "{authority.directory_url}"\nca_bundle = "{authority.ca_bundle}"\n'
        f"account.agree_tos = true\nchallenge.http_port = {authority.http_port}\n{settings}\n"
    )
    return Host(home, authority)


def names(certificate: x509.Certificate) -> list[str]:
    """Return the names that a certificate speaks for, as text, sorted."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return sorted(str(each.value) for each in extension.value)


def public_key(certificate: x509.Certificate) -> bytes:
    """Return the public key that a certificate is for, in DER."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_free(port: int) -> bool:
    """Whether nobody listens at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def openssl(*arguments: str | Path, stdin: str = "") -> str:
    """Return what an openssl command prints, on both streams; raises where it fails."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def script(path: Path, text: str) -> Path:
    """Write an executable that Python or a shell runs, by its first line."""
    path.write_text(text)
    path.chmod(0o755)
    return path
