"""What was issued, and what is remembered about renewing it.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime, timedelta

from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import KeyType


@dataclass(frozen=True)
class Request:
    """What was requested from the CA for one version; compared with the spec at renewal.

    The CA may have ignored a profile that was preferred but not required.
    """

    identifiers: tuple[Identifier, ...]
    key_type: KeyType | None
    ca: str
    profile: str | None = None
    csr_sha256: str | None = None
    profile_required: bool = False
    common_name: str | None = None


@dataclass(frozen=True)
class CertificateFacts:
    """The contents of a leaf certificate (RFC 5280).

    `serial`, `sha256` (the digest of the DER) and `key_sha256` (the digest of the
    SubjectPublicKeyInfo) are lower-case hexadecimal. `ari_id` is the CertID of RFC 9773 §4.1.
    """

    identifiers: tuple[Identifier, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str
    issuer: str
    key_type: str
    key_sha256: str
    ari_id: str | None = None

    @property
    def lifetime(self) -> timedelta:
        """The length of the validity period."""
        return self.not_after - self.not_before


@dataclass(frozen=True)
class Version:
    """An issued certificate in the archive; its PEM files are read from the store when needed.

    `chain_sha256` is the digest of its chain, None for a version of which it was not recorded.
    """

    name: str
    number: int
    facts: CertificateFacts
    request: Request
    issued: datetime
    order_url: str | None = None
    account_url: str | None = None
    has_key: bool = True
    chain_sha256: str | None = None


@dataclass(frozen=True)
class Material:
    """The PEM bytes of a version; `privkey` is None if it was issued from a CSR (`--csr`)."""

    cert: bytes
    chain: bytes
    privkey: bytes | None = field(default=None, repr=False)

    @property
    def fullchain(self) -> bytes:
        """The certificate followed by its chain."""
        return self.cert + self.chain

    @property
    def combined(self) -> bytes | None:
        """Private key, certificate and chain in one file, for HAProxy; None without a key."""
        return None if self.privkey is None else self.privkey + self.fullchain


@dataclass(frozen=True)
class RenewalInfo:
    """The suggested renewal window (RFC 9773 §4.2), and the time chosen at random in it.

    `withdrawn`: the CA moved a future window into the past, as it does for a certificate that it
    has revoked or is about to revoke.
    """

    cert_id: str
    start: datetime
    end: datetime
    chosen: datetime
    explanation_url: str | None = None
    withdrawn: bool = False


@dataclass(frozen=True)
class LastError:
    """The last failure of a certificate, shown by `list` and used to schedule the next attempt."""

    code: str
    message: str
    at: datetime
    failure: str
    hint: str | None = None


@dataclass(frozen=True)
class RenewalState:
    """The renewal state of a certificate, kept between runs (`renewal/NAME.json`).

    `failures` counts consecutive failures; the next attempt is not made before `retry_at`. A
    rollback sets `paused_until`. `revoked` has version numbers, `compromised_keys` the digests of
    public keys that must never be used again. `ask_ca_at` is when to query renewal information
    again (None: never queried), `unanswered` counts consecutive queries that failed, and
    `renewed_by_ari` is when a suggested window last caused a renewal.
    """

    failures: int = 0
    last_attempt: datetime | None = None
    last_error: LastError | None = None
    retry_at: datetime | None = None
    paused_until: datetime | None = None
    revoked: tuple[int, ...] = ()
    compromised_keys: tuple[str, ...] = ()
    renewal_info: RenewalInfo | None = None
    ask_ca_at: datetime | None = None
    unanswered: int = 0
    renewed_by_ari: datetime | None = None


@dataclass(frozen=True)
class RenewalDecision:
    """Whether a certificate is due for renewal, and since or from when (`at`).

    `reason` is a stable word; `why` is a phrase that says why it is, or will be, due.
    """

    due: bool
    at: datetime | None
    reason: str
    why: str


@dataclass(frozen=True)
class PendingOrder:
    """An order in progress (`pending/NAME/`), saved before newOrder is sent.

    `url` is None until the CA has returned it.
    """

    request: Request
    account_url: str
    created: datetime
    url: str | None = None
    privkey: bytes | None = field(default=None, repr=False)
