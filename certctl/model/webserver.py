"""What `certctl secure` asks of a web server, and what it changes in its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value


@dataclass(frozen=True)
class SecureRequest:
    """What is asked for: the names, and the choices. `tag`: the certificate's name, which marks
    every line.

    `served`: the names that are served with our lines for TLS already, and must stay so.
    `redirect`: the names whose requests at port 80 are redirected to HTTPS, in a block in front of
    which nothing terminates TLS; `always_redirect`: in every block. `challenges`: whether
    lines that answer challenges are added; `challenges_only`: nothing but these.
    """

    tag: str
    names: tuple[str, ...]
    served: tuple[str, ...] = ()
    redirect: frozenset[str] = frozenset()
    always_redirect: bool = False
    hsts: bool = False
    challenges: bool = True
    challenges_only: bool = False


@dataclass(frozen=True)
class ServedFiles:
    """The paths that the added lines name."""

    challenges: str
    fullchain: str
    privkey: str
    tls_settings: str
    default_certificate: str = ""
    """A certificate without names, with its key, for a server that cannot refuse a handshake
    without one.
    """
    second: tuple[str, str] | None = None
    """Chain and key of the second certificate, if there are two."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Chain and key of each certificate."""
        first = (self.fullchain, self.privkey)
        return (first,) if self.second is None else (first, self.second)


@dataclass(frozen=True)
class SiteView:
    """A server block or virtual host: where it is, which of the names it answers for, and what it
    does: `proxy`, `redirect` or `files`.
    """

    where: str
    names: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class FileChange:
    """A file of the configuration: its bytes without our lines, with the lines that answer
    challenges, and with all lines; None where it does not exist yet.

    `link`: it is a symbolic link, and the bytes are its target. `shared`: a file of ours that all
    certificates need, so that it goes with the last one.
    """

    path: str
    source: bytes | None
    first: bytes | None
    final: bytes
    link: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Endpoint:
    """An address and a port of this machine at which a name is answered."""

    address: str
    port: int
    name: str


@dataclass(frozen=True)
class Changes:
    """Everything that would be changed, the blocks concerned, the endpoints to check before and
    after TLS is added, and notes for the user to read first. `newer`: the files that were changed
    after the server had loaded them, so that its next reload activates that change too.
    """

    files: tuple[FileChange, ...]
    sites: tuple[SiteView, ...]
    http: tuple[Endpoint, ...]
    https: tuple[Endpoint, ...]
    notes: tuple[str, ...]
    newer: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangedFile:
    """A file that `secure` changed: where it is, the copy from before ("" if it did not exist), and
    the SHA-256 of what was written. `link` and `shared` are those of its `FileChange`. `left`: the
    SHA-256 of what else a run leaves there if it is killed.
    """

    path: str
    backup: str
    sha256: str
    link: bool = False
    shared: bool = False
    left: tuple[str, ...] = ()

    def is_as_written(self, sha256: str) -> bool:
        """Whether contents with this digest are ours, so that nobody else has changed the file."""
        return sha256 in {self.sha256, *self.left}

    @property
    def created(self) -> bool:
        """Whether it is a file of ours."""
        return not self.backup


@dataclass(frozen=True)
class SecuredSite:
    """What the home directory remembers of one `secure`, so that it can be undone, and so that
    another run without options changes nothing. `tls`: there are lines for TLS too. `redirect`:
    what was asked for, None if certctl decided; `redirected`: the names that are redirected.
    `loaded`: the server has loaded all of it; a run that was killed may have left this undone.
    `challenge`: how the certificate was validated before, None if there was none.
    """

    name: str
    server: str
    names: tuple[str, ...]
    files: tuple[ChangedFile, ...]
    tls: bool = True
    redirect: bool | None = None
    redirected: tuple[str, ...] = ()
    hsts: bool = False
    loaded: bool = True
    challenge: Mapping[str, Value] | None = None
