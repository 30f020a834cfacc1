"""The data model: frozen dataclasses named after RFC 8555, RFC 8738, RFC 9773 and X.509.

Standard-library types only; methods compute from the value alone. All times are timezone-aware UTC,
all durations are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

Value = str | int | float | bool | tuple[str, ...] | None
"""The value of an option; a path is a `str`."""


class IdentifierType(StrEnum):
    """RFC 8555 §9.7.7 and RFC 8738 §2."""

    DNS = "dns"
    IP = "ip"


class KeyType(StrEnum):
    """Key types for certificates."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


class AccountKeyType(StrEnum):
    """Key types for accounts, by JWS algorithm (RFC 7518 §3.1)."""

    ES256 = "es256"
    ES384 = "es384"
    RS256 = "rs256"


class ChallengeType(StrEnum):
    """Challenge types that certctl supports."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"
    DNS_ACCOUNT_01 = "dns-account-01"
    DNS_PERSIST_01 = "dns-persist-01"
    TLS_ALPN_01 = "tls-alpn-01"


class RevocationReason(StrEnum):
    """The reasons of RFC 5280 §5.3.1 that a subscriber may give."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"

    @property
    def number(self) -> int:
        """The numeric CRLReason."""
        return {
            RevocationReason.UNSPECIFIED: 0,
            RevocationReason.KEY_COMPROMISE: 1,
            RevocationReason.AFFILIATION_CHANGED: 3,
            RevocationReason.SUPERSEDED: 4,
            RevocationReason.CESSATION_OF_OPERATION: 5,
        }[self]


@dataclass(frozen=True, order=True)
class Identifier:
    """A DNS name (lower-case A-labels) or an IP address (canonical form) of a certificate."""

    type: IdentifierType
    value: str

    @property
    def wildcard(self) -> bool:
        """Whether this is a wildcard name (`*.example.com`)."""
        return self.value.startswith("*.")

    @property
    def base(self) -> str:
        """The value without a leading `*.`: the name that the CA validates."""
        return self.value.removeprefix("*.")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Proxy:
    """The proxy that is set: its URL, `direct` for none, None for the environment's; and
    `USER:PASSWORD`.
    """

    url: str | None = None
    credentials: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Endpoint:
    """How to reach a CA; the ports and the resolver are set only for a CA on this machine.

    `moves`: the CA may listen on a different port each time; the paths of its URLs stay the same.
    """

    directory_url: str
    ca_bundle: str | None = None
    http_port: int | None = None
    tls_alpn_port: int | None = None
    dns: str | None = None
    moves: bool = False
    proxy: Proxy = field(default_factory=Proxy)


@dataclass(frozen=True)
class Account:
    """An account at a CA (RFC 8555 §7.1.2); `id` is the name of its directory in the store.

    `key_changed` is when its key was last changed, None if it has its first one.
    """

    id: str
    directory_url: str
    url: str
    key_type: AccountKeyType
    contact: tuple[str, ...] = ()
    status: str = "valid"
    terms_of_service: str | None = None
    created: datetime | None = None
    ca_bundle: str | None = None
    key_changed: datetime | None = None


@dataclass(frozen=True)
class Challenge:
    """A challenge of an authorization (RFC 8555 §7.1.5); `error` is the CA's explanation.

    The last three fields are for dns-persist-01 (a draft): the CA's issuer domain names, the
    account URI if the CA states one, and whether the record names the account by a hash.
    """

    type: str
    url: str
    status: str
    token: str | None = None
    error: str | None = None
    issuers: tuple[str, ...] = ()
    account_uri: str | None = None
    hashed: bool = False


@dataclass(frozen=True)
class Authorization:
    """An authorization for one identifier (RFC 8555 §7.1.4).

    `identifier` includes the `*.` that the CA reports separately, as `wildcard`.
    """

    url: str
    identifier: Identifier
    status: str
    challenges: tuple[Challenge, ...] = ()

    def challenge(self, type: str) -> Challenge | None:  # noqa: A002 - RFC 8555's word
        """Return the challenge of that type, or None if the CA does not offer it."""
        return next((each for each in self.challenges if each.type == type), None)


@dataclass(frozen=True)
class Order:
    """An ACME order (RFC 8555 §7.1.3); `retry_after` is in seconds, from the last response."""

    url: str
    status: str
    identifiers: tuple[Identifier, ...]
    authorization_urls: tuple[str, ...]
    finalize_url: str | None = None
    certificate_url: str | None = None
    error: str | None = None
    error_type: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class ChallengeSpec:
    """How the names of a certificate are validated.

    `plugin` has the options of the DNS provider by key; `dns_options` has those given as KEY=VALUE,
    none of which is a secret.
    """

    method: str
    http_address: str | None = None
    http_port: int = 80
    tls_alpn_address: str | None = None
    tls_alpn_port: int = 443
    webroots: tuple[str, ...] = ()
    http_hook: str | None = None
    http_cleanup_hook: str | None = None
    http_hook_protocol: str | None = None
    dns_provider: str | None = None
    dns_challenge: str = ChallengeType.DNS_01
    dns_credentials: str | None = None
    dns_options: tuple[str, ...] = ()
    dns_resolver: str | None = None
    dns_follow_cname: bool = True
    dns_skip_propagation: bool = False
    dns_propagation_timeout: float = 120
    dns_propagation_quorum: str = "all"
    dns_public_resolvers: tuple[str, ...] = ()
    hook_timeout: float = 300
    plugin: Mapping[str, Value] = field(default_factory=dict, repr=False)


class CopyFormat(StrEnum):
    """File formats for copies and exports of a certificate."""

    FULLCHAIN = "fullchain"
    CERT = "cert"
    CHAIN = "chain"
    PRIVKEY = "privkey"
    COMBINED = "combined"
    PKCS12 = "pkcs12"
    DER = "der"

    @property
    def secret(self) -> bool:
        """Whether the file contains the private key."""
        return self in {CopyFormat.PRIVKEY, CopyFormat.COMBINED, CopyFormat.PKCS12}


class Pkcs12Encryption(StrEnum):
    """How a PKCS#12 file is encrypted: `LEGACY` is for programs that do not read the modern one."""

    MODERN = "modern"
    LEGACY = "legacy"


@dataclass(frozen=True)
class CopySpec:
    """A file to write at each deploy.

    Owner, group and mode are those of any newly created file if None. `password_file` contains the
    password of a PKCS#12 file, and `encryption` says how that file is encrypted. A file that cannot
    be replaced, such as a mount point, is overwritten `in_place`.
    """

    to: str
    format: CopyFormat
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    password_file: str | None = None
    encryption: Pkcs12Encryption | None = None
    in_place: bool = False


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
class ServiceAddress:
    """Where a certificate is served: host (name or address; None for this machine) and port.

    `starttls` is the protocol in which TLS is started, if it does not start at once.
    """

    host: str | None
    port: int = 443
    starttls: str | None = None


class OnFailure(StrEnum):
    """What to do if a configuration test, a reload or the live check fails."""

    KEEP = "keep"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class DeploySpec:
    """Hooks, copies, reloads and live checks of a certificate; each part is optional.

    Hooks and `reload` are shell command lines; `targets` are the names of deploy targets and
    `plugin` has their options by key. The live check connects to `verify`, or if that is empty to
    the addresses on which the targets listen; it retries for `verify_timeout` seconds. `probe`
    turns it off.
    """

    pre_hook: str | None = None
    deploy_hook: str | None = None
    post_hook: str | None = None
    reload: str | None = None
    hook_timeout: float = 300
    targets: tuple[str, ...] = ()
    copies: tuple[CopySpec, ...] = ()
    verify: tuple[ServiceAddress, ...] = ()
    probe: bool = True
    verify_timeout: float = 30
    on_failure: OnFailure = OnFailure.KEEP
    plugin: Mapping[str, Value] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class CertificateSpec:
    """The desired state of a certificate.

    `chosen` has the user's own choices, which are all that the spec file contains; the other fields
    are those choices combined with the defaults.
    """

    name: str
    identifiers: tuple[Identifier, ...]
    ca: str
    ca_bundle: str | None
    account: str | None
    key_type: KeyType
    reuse_key: bool
    profile: str | None
    required_profile: str | None
    preferred_chain: str | None
    csr: str | None
    autorenew: bool
    allow_subset: bool
    key_group: str | None
    key_mode: int | None
    challenge: ChallengeSpec
    deploy: DeploySpec
    chosen: Mapping[str, Value] = field(default_factory=dict, repr=False)
    common_name: str | None = None


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
class SuggestedWindow:
    """The renewal window that a CA suggested (RFC 9773 §4.2).

    `retry_after` is in seconds, already clamped as RFC 9773 §4.3.2 recommends.
    """

    start: datetime
    end: datetime
    retry_after: float
    explanation_url: str | None = None


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
class ProbeResult:
    """The result of a live check of one address of a service.

    `sha256` is the digest of the DER of the leaf certificate, or None if there was none (see
    `error`). `chain_length` is the number of certificates that the server sent.
    """

    service: ServiceAddress
    address: str
    server_name: str
    at: datetime
    sha256: str | None = None
    not_after: datetime | None = None
    error: str | None = None
    chain_length: int = 0


@dataclass(frozen=True)
class Deployment:
    """The deployment of a certificate on this machine (`deployed/NAME.json`).

    `wanted` is the version that should be live, `deployed` the last one whose deploy succeeded.
    `verified_at` is when a live check last succeeded, `copies` has the paths of the files written
    outside the home directory.
    """

    wanted: int | None = None
    deployed: int | None = None
    deployed_at: datetime | None = None
    failures: int = 0
    last_error: LastError | None = None
    retry_at: datetime | None = None
    verified_at: datetime | None = None
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class CertificateStatus:
    """The current state of a certificate.

    `wanted_not_live` is the wanted version if another one is live: because its deploy failed and
    was rolled back, or because the run was interrupted. `damage` says what is wrong with the files
    of the live version, None if they are intact.
    """

    name: str
    live: Version | None
    deployment: Deployment
    renewal_state: RenewalState
    wanted_not_live: Version | None = None
    damage: str | None = None

    @property
    def undeployed(self) -> bool:
        """Whether the wanted version is not live or not deployed yet."""
        wanted = self.deployment.wanted
        if wanted is None:
            return False
        return self.live is None or self.live.number != wanted or self.deployment.deployed != wanted


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
class LastAlert:
    """The last alert that was sent: when, and about which failures, each as `NAME CODE`."""

    at: datetime
    failures: tuple[str, ...]


@dataclass(frozen=True)
class RunHistory:
    """The recent scheduled runs of `renew`, the oldest first (`run.json`).

    `exit_status` is that of the latest run and `succeeded_at` the time of the latest success, None
    if unknown. `last_alert` is None if no failure is outstanding that an alert was sent about.
    `latest_in_future` is the latest run that a wrong clock has dated in the future; it is not among
    `runs`.
    """

    runs: tuple[datetime, ...] = ()
    exit_status: int | None = None
    succeeded_at: datetime | None = None
    last_alert: LastAlert | None = None
    latest_in_future: datetime | None = None

    @property
    def interval(self) -> timedelta | None:
        """The median time between runs, of two the shorter; None if there are too few."""
        gaps = sorted(after - before for before, after in pairwise(self.runs))
        return gaps[(len(gaps) - 1) // 2] if len(gaps) > 1 else None


class LimitedAction(StrEnum):
    """What a CA's rate limits count."""

    ACCOUNT = "account"
    ORDER = "order"
    CERTIFICATE = "certificate"
    FAILURE = "failed_authorization"


@dataclass(frozen=True)
class LedgerEntry:
    """An action that counts against a CA's rate limits.

    `renewal`: a certificate for the same names existed. `replaces`: the CA accepted the order as a
    replacement of a certificate (RFC 9773 §5).
    """

    action: LimitedAction
    at: datetime
    identifiers: tuple[str, ...] = ()
    renewal: bool = False
    replaces: bool = False


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


@dataclass(frozen=True)
class PersistentRecord:
    """What the TXT record of a persistent validation (dns-persist-01) must allow.

    It must name one of the `issuers` and the account, by any of `account_uris` (preferred first),
    for `domain`, and with `wildcard` also for its subdomains.
    """

    domain: str
    issuers: tuple[str, ...]
    account_uris: tuple[str, ...]
    wildcard: bool = False


@dataclass(frozen=True)
class Task:
    """What a solver needs to complete a challenge (RFC 8555 §8). `persistent_record` is set for
    dns-persist-01, which has no token. `deadline` is when the order is given up, as a time of the
    clock's `monotonic`.
    """

    identifier: Identifier
    type: str
    token: str
    key_authorization: str
    account_url: str
    certificate: str
    persistent_record: PersistentRecord | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Placement:
    """Where a challenge response is placed.

    Plain data, written to the journal before the response is placed, so that a later run can clean
    up.
    """

    solver: str
    certificate: str
    identifier: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class CleanupState:
    """The failed attempts to remove a response: how many, since when, when the next one is due, and
    the last error.
    """

    failures: int = 0
    since: datetime | None = None
    retry_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True)
class Leftover:
    """A journal entry: placements of an earlier run, the settings needed to remove them, and the
    attempts to do so that failed.
    """

    entry: str
    challenge: ChallengeSpec
    placements: tuple[Placement, ...]
    state: CleanupState = CleanupState()


@dataclass(frozen=True)
class TemporaryFile:
    """A temporary file or directory that a killed process left; `name` is the certificate that it
    belongs to, None if it belongs to none.
    """

    path: str
    name: str | None = None


@dataclass(frozen=True)
class OutstandingPostHooks:
    """A journal entry: post hooks that must run because their pre hooks were started."""

    entry: str
    commands: tuple[str, ...]
    timeout: float


@dataclass(frozen=True)
class TxtRecord:
    """One TXT value; `name` is absolute without the trailing dot, `zone` is the zone that has it.

    `credentials` is the name of the credentials to write it with, if not those of the certificate.
    `token` and `key_authorization` are those of the challenge (RFC 8555 §8.4), empty if the value
    is not derived from one.
    """

    name: str
    value: str
    zone: str
    domain: str
    credentials: str = ""
    token: str = ""
    key_authorization: str = ""


@dataclass(frozen=True)
class CertificateFiles:
    """The paths of a version's files; `privkey` and `combined` are None without a private key."""

    live: str
    cert: str
    chain: str
    fullchain: str
    privkey: str | None
    combined: str | None


@dataclass(frozen=True)
class RunFailure:
    """A failure in a run; `name` is that of the certificate, None if it concerns none."""

    name: str | None
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """The result of a scheduled run of `renew`, for alerts."""

    at: datetime
    exit_status: int
    considered: int
    failures: tuple[RunFailure, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """A version handed to a deploy target, with the paths and contents of its files."""

    version: Version
    files: CertificateFiles
    material: Material = field(repr=False)


class Severity(StrEnum):
    """Severity of a finding: something will fail, something may fail, or for information."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """A finding of `doctor`: a stable `code`, and its `subject` (a name, a file, a CA).

    `fix` says what to do or type next; None if nothing has to be done.
    """

    code: str
    severity: Severity
    subject: str
    message: str
    fix: str | None = None


@dataclass(frozen=True)
class DeployResult:
    """The result of deploying a certificate; `error` is a `certctl.errors.CertctlError` or None.

    `probes` has the results of the live check, `rolled_back_to` the version restored by a rollback.
    """

    name: str
    version: int
    deployed: bool
    error: Exception | None = None
    probes: tuple[ProbeResult, ...] = ()
    rolled_back_to: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a run for one certificate; `action` is a stable word (`issued`, `failed` …).

    `incomplete` is the error that names what the certificate was issued without.
    """

    name: str
    action: str
    names: tuple[str, ...] = ()
    version: Version | None = None
    deploy: DeployResult | None = None
    error: Exception | None = None
    incomplete: Exception | None = None
    reason: str | None = None
    renews_at: datetime | None = None
