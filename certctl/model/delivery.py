"""How a version gets to the programs that serve it, and the result.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from certctl.model.certificate import LastError, Material, Version
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import ServiceAddress

THIS_MACHINE = "local"
"""The destination of a deployment on this machine."""


@dataclass(frozen=True)
class SavedFile:
    """A file outside the home directory as it was before it was changed; `content` is None if it
    did not exist. `in_place`: it is restored by overwriting it.
    """

    path: str
    content: bytes | None = field(default=None, repr=False)
    mode: int = 0o600
    owner: int = -1
    group: int = -1
    in_place: bool = False


@dataclass(frozen=True)
class InterruptedCopies:
    """A journal entry: the files that were being replaced, in the state from before."""

    entry: str
    files: tuple[SavedFile, ...]


@dataclass(frozen=True)
class ProbeResult:
    """The result of a live check of one address of a service.

    `sha256` is the digest of the DER of the leaf certificate, or None if there was none (see
    `error`). `chain_length` is the number of certificates that the server sent.
    `key` is the only kind of key that the client said it supports, `ecdsa` or `rsa`; None if it
    said so of both.
    """

    service: ServiceAddress
    address: str
    server_name: str
    at: datetime
    sha256: str | None = None
    not_after: datetime | None = None
    error: str | None = None
    chain_length: int = 0
    key: str | None = None


@dataclass(frozen=True)
class Deployment:
    """The deployment of a certificate at one destination, by default this machine
    (`deployed/NAME.json`).

    `wanted` is the version that should be live, `deployed` the last one whose deploy succeeded.
    `verified_at` is when a live check last succeeded, `copies` has the paths of the files written
    outside the home directory. `waiting` is a newer version that becomes the wanted one once its
    deploy window opens.
    """

    wanted: int | None = None
    deployed: int | None = None
    deployed_at: datetime | None = None
    failures: int = 0
    last_error: LastError | None = None
    retry_at: datetime | None = None
    verified_at: datetime | None = None
    copies: tuple[str, ...] = ()
    destination: str = THIS_MACHINE
    waiting: int | None = None


@dataclass(frozen=True)
class CertificateFiles:
    """The paths of a version's files; `privkey` and `combined` are None without a private key.
    `second` has those of its second certificate, if there are two.
    """

    live: str
    cert: str
    chain: str
    fullchain: str
    privkey: str | None
    combined: str | None
    second: CertificateFiles | None = None

    @property
    def parts(self) -> tuple[CertificateFiles, ...]:
        """The paths for each certificate, the first one first."""
        return (self,) if self.second is None else (self, self.second)


@dataclass(frozen=True)
class Delivery:
    """A version handed to a deploy target, with the paths and contents of its files."""

    version: Version
    files: CertificateFiles
    material: Material = field(repr=False)

    @property
    def parts(self) -> tuple[Delivery, ...]:
        """The delivery as if it had one of its certificates alone, for each of them."""
        if self.version.second is None:
            return (self,)
        each = zip(self.version.parts, self.files.parts, self.material.parts, strict=True)
        return tuple(Delivery(version, files, material) for version, files, material in each)


@dataclass(frozen=True)
class DeployResult:
    """The result of deploying a certificate; `error` is a `CertctlError` or None.

    `probes` has the results of the live check, `rolled_back_to` the version restored by a rollback.
    """

    name: str
    version: int
    deployed: bool
    error: Exception | None = None
    probes: tuple[ProbeResult, ...] = ()
    rolled_back_to: int | None = None
