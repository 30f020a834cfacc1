"""What was issued, and what is remembered about renewing it.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from certctl.model.ca import RevocationReason
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import KeyType, family

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """What was requested from the CA with one order; compared with the spec at renewal.

    The CA may have ignored a profile that was preferred but not required.
    """

    identifiers: tuple[Identifier, ...]
    key_type: KeyType | None
    ca: str
    profile: str | None = None
    csr_sha256: str | None = None
    profile_required: bool = False
    common_name: str | None = None

    @property
    def subject(self) -> tuple[str, KeyType | None]:
        """The CA, and the key type (None with a signing request)."""
        return self.ca, self.key_type


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
class IssuedCertificate:
    """One certificate of a version: what was requested, and what the CA issued.

    `chain_sha256` is the digest of its chain, None if it was not recorded. `origin` is the client
    that obtained the certificate, None for certctl itself.
    """

    facts: CertificateFacts
    request: Request
    order_url: str | None = None
    account_url: str | None = None
    has_key: bool = True
    chain_sha256: str | None = None
    origin: str | None = None

    @property
    def family(self) -> str:
        """The kind of its key, such as `ecdsa` or `rsa`."""
        return family(self.facts.key_type)


@dataclass(frozen=True)
class Version:
    """A version in the archive: its certificates, one for each key type, of which there is at least
    one. Their PEM files are read from the store when needed.

    Unless they say otherwise, the properties answer for the first certificate.
    """

    name: str
    number: int
    certificates: tuple[IssuedCertificate, ...]
    issued: datetime

    @property
    def first(self) -> IssuedCertificate:
        """The first certificate."""
        return self.certificates[0]

    @property
    def second(self) -> IssuedCertificate | None:
        """The certificate of the other key type; None if there is only one."""
        return self.certificates[1] if len(self.certificates) > 1 else None

    @property
    def parts(self) -> tuple[Version, ...]:
        """The version as if it had one of its certificates alone, for each of them."""
        if len(self.certificates) == 1:
            return (self,)
        return tuple(replace(self, certificates=(each,)) for each in self.certificates)

    @property
    def not_after(self) -> datetime:
        """When the version expires: when the first of its certificates does."""
        return min(each.facts.not_after for each in self.certificates)

    @property
    def keys_sha256(self) -> frozenset[str]:
        """The digests of the public keys of all certificates."""
        return frozenset(each.facts.key_sha256 for each in self.certificates)

    @property
    def facts(self) -> CertificateFacts:
        """The contents of the first certificate."""
        return self.first.facts

    @property
    def request(self) -> Request:
        """What was requested for the first certificate."""
        return self.first.request

    @property
    def order_url(self) -> str | None:
        """The order of the first certificate."""
        return self.first.order_url

    @property
    def account_url(self) -> str | None:
        """The account that ordered the first certificate."""
        return self.first.account_url

    @property
    def has_key(self) -> bool:
        """Whether certctl has the private key of the first certificate."""
        return self.first.has_key

    @property
    def chain_sha256(self) -> str | None:
        """The digest of the first certificate's chain."""
        return self.first.chain_sha256


@dataclass(frozen=True)
class Material:
    """The PEM bytes of a version; `privkey` is None if it was issued from a CSR (`--csr`). `second`
    has those of its second certificate, if there are two.
    """

    cert: bytes
    chain: bytes
    privkey: bytes | None = field(default=None, repr=False)
    second: Material | None = field(default=None, repr=False)

    @property
    def fullchain(self) -> bytes:
        """The certificate followed by its chain."""
        return self.cert + self.chain

    @property
    def combined(self) -> bytes | None:
        """Private key, certificate and chain in one file, for HAProxy; None without a key."""
        return None if self.privkey is None else self.privkey + self.fullchain

    @property
    def parts(self) -> tuple[Material, ...]:
        """What belongs to each certificate, the first one first."""
        if self.second is None:
            return (self,)
        return replace(self, second=None), self.second


@dataclass(frozen=True)
class RenewalInfo:
    """The suggested renewal window (RFC 9773 §4.2), and the time chosen at random in it.

    `withdrawn`: the CA moved a future window into the past, as it does for a certificate that it
    has revoked or is about to revoke.
    """

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
class Attempts:
    """The attempts to obtain a certificate from one CA since the last success.

    `failures` counts consecutive failures; the next attempt is not made before `retry_at`. `ca` is
    None if it was not recorded (format 1); such attempts count for every CA.
    """

    ca: str | None
    failures: int = 0
    last_attempt: datetime | None = None
    last_error: LastError | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class AriState:
    """The queries to a CA for the renewal information of one certificate (RFC 9773).

    `cert_id` is the certificate's CertID, None if it was not recorded (format 1): the current one.
    `ask_at` is when to query again (None: never queried); `unanswered` counts consecutive queries
    that failed.
    """

    cert_id: str | None
    info: RenewalInfo | None = None
    ask_at: datetime | None = None
    unanswered: int = 0


class Afterwards(StrEnum):
    """What happens to a certificate's name after a revocation."""

    REPLACE = "replace"
    DELETE = "delete"
    STOP = "stop"


@dataclass(frozen=True)
class RevocationIntent:
    """A version that is to be revoked at its CA: recorded before anything is done, and kept until
    the CA has revoked it, whatever is interrupted meanwhile.

    `serial`, that of the first certificate, is in lower-case hexadecimal. All certificates of the
    version are revoked. With `REPLACE`, a later version is deployed first.
    """

    version: int
    serial: str
    reason: RevocationReason
    afterwards: Afterwards
    requested: datetime


@dataclass(frozen=True)
class RenewalState:
    """The renewal state of a certificate, kept between runs (`renewal/NAME.json`).

    `attempts` has at most one element for each CA, `ari` for each CertID; `certctl.rules.renewal`
    and `certctl.rules.ari` find and change them. A rollback sets `paused_until`. `revoked` has
    version numbers, `compromised_keys` the digests of public keys that must never be used again.
    `renewed_by_ari` is when a suggested window last caused a renewal. `requested` is when a renewal
    was last requested by hand that has not succeeded yet. `revocations` are still to be done.
    `postponed_until` is when a change or a first certificate is to be ordered, where the CA's rate
    limits leave no room for it before.
    """

    attempts: tuple[Attempts, ...] = ()
    ari: tuple[AriState, ...] = ()
    paused_until: datetime | None = None
    revoked: tuple[int, ...] = ()
    compromised_keys: tuple[str, ...] = ()
    revocations: tuple[RevocationIntent, ...] = ()
    renewed_by_ari: datetime | None = None
    requested: datetime | None = None
    postponed_until: datetime | None = None

    @property
    def latest(self) -> Attempts:
        """The attempts at the CA that was tried last."""
        return max(
            reversed(self.attempts),  # of two at the same time, the one that was added last
            key=lambda each: each.last_attempt or _LONG_AGO,
            default=Attempts(None),
        )

    @property
    def failures(self) -> int:
        """The consecutive failures at the CA that was tried last."""
        return self.latest.failures

    @property
    def last_error(self) -> LastError | None:
        """The last failure at the CA that was tried last."""
        return self.latest.last_error

    @property
    def retry_at(self) -> datetime | None:
        """The time before which the CA that was tried last is not tried again."""
        return self.latest.retry_at


@dataclass(frozen=True)
class RenewalDecision:
    """Whether a certificate is due for renewal, and since or from when (`at`).

    `reason` is a stable word; `why` is a phrase that says why it is, or will be, due. What is due
    while its order window is closed is ordered at `opens`.
    """

    due: bool
    at: datetime | None
    reason: str
    why: str
    opens: datetime | None = None


@dataclass(frozen=True)
class FinishedOrder:
    """What the CA issued for an order, as PEM, with its contents; it waits for the order of the
    other key type.
    """

    facts: CertificateFacts
    cert: str
    chain: str


@dataclass(frozen=True)
class PendingOrder:
    """An order in progress (`pending/NAME/`), saved before newOrder is sent.

    A certificate has at most one for each CA and key type. `url` is None until the CA has returned
    it. `finished` is what was issued for it, while the order of the other key type is in progress.
    """

    request: Request
    account_url: str
    created: datetime
    url: str | None = None
    privkey: bytes | None = field(default=None, repr=False)
    finished: FinishedOrder | None = None

    @property
    def subject(self) -> tuple[str, KeyType | None]:
        """The CA and the key type (None with a signing request) that the order is for."""
        return self.request.subject
