"""The nouns: frozen dataclasses in the words of RFC 8555, of RFC 8738, of RFC 9773 and of X.509.

Standard-library types only, no behaviour beyond what a value can say of itself. All times are UTC
and aware, all durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

Value = str | int | float | bool | tuple[str, ...] | None
"""What an option can hold; a path is a `str`."""


class IdentifierType(StrEnum):
    """RFC 8555 §9.7.7 and RFC 8738 §2."""

    DNS = "dns"
    IP = "ip"


class KeyType(StrEnum):
    """The kinds of key that a certificate can have."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


class AccountKeyType(StrEnum):
    """The kinds of key that an account can have, by their JWS algorithm (RFC 7518 §3.1)."""

    ES256 = "es256"
    ES384 = "es384"
    RS256 = "rs256"


class ChallengeType(StrEnum):
    """The challenge types that a solver of certctl can answer."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"
    DNS_ACCOUNT_01 = "dns-account-01"
    DNS_PERSIST_01 = "dns-persist-01"
    TLS_ALPN_01 = "tls-alpn-01"


class RevocationReason(StrEnum):
    """RFC 5280 §5.3.1, as far as a subscriber may name them."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"

    @property
    def number(self) -> int:
        """The CRLReason that goes over the wire."""
        return {
            RevocationReason.UNSPECIFIED: 0,
            RevocationReason.KEY_COMPROMISE: 1,
            RevocationReason.AFFILIATION_CHANGED: 3,
            RevocationReason.SUPERSEDED: 4,
            RevocationReason.CESSATION_OF_OPERATION: 5,
        }[self]


@dataclass(frozen=True, order=True)
class Identifier:
    """What a certificate speaks for: a DNS name in lower-case A-labels, or an address in its
    canonical form.
    """

    type: IdentifierType
    value: str

    @property
    def wildcard(self) -> bool:
        """Whether this is `*.` and a name."""
        return self.value.startswith("*.")

    @property
    def base(self) -> str:
        """The value without a leading `*.`: the name whose control is proved."""
        return self.value.removeprefix("*.")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Endpoint:
    """How to reach a CA; the ports and the resolver are those of a CA that runs on this machine.

    `moves`: its own port may be another one each time, while the paths of its resources stay.
    """

    directory_url: str
    ca_bundle: str | None = None
    http_port: int | None = None
    tls_alpn_port: int | None = None
    dns: str | None = None
    moves: bool = False


@dataclass(frozen=True)
class Account:
    """An account at a CA (RFC 8555 §7.1.2); `id` is the name of its directory."""

    id: str
    directory_url: str
    url: str
    key_type: AccountKeyType
    contact: tuple[str, ...] = ()
    status: str = "valid"
    terms_of_service: str | None = None
    created: datetime | None = None
    ca_bundle: str | None = None


@dataclass(frozen=True)
class Challenge:
    """One way to prove control of an identifier (RFC 8555 §7.1.5); `error`: the CA's own words.

    Of dns-persist-01 (a draft) `issuers` are the names that the CA goes by, `account_uri` how it
    names the account, if it says so, and `hashed` whether the record names the account by a hash.
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
    """The CA's view of one identifier (RFC 8555 §7.1.4); `identifier` has its `*.` back where
    `wildcard` was set.
    """

    url: str
    identifier: Identifier
    status: str
    challenges: tuple[Challenge, ...] = ()

    def challenge(self, type: str) -> Challenge | None:  # noqa: A002 - RFC 8555's word
        """Return the challenge of that type, or None where the CA offers none."""
        return next((each for each in self.challenges if each.type == type), None)


@dataclass(frozen=True)
class Order:
    """A request for a certificate (RFC 8555 §7.1.3); `retry_after` is seconds, as the last answer
    named them.
    """

    url: str
    status: str
    identifiers: tuple[Identifier, ...]
    authorization_urls: tuple[str, ...]
    finalize_url: str | None = None
    certificate_url: str | None = None
    error: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class ChallengeSpec:
    """How control of the names is proved; `plugin` holds the options of the DNS provider by their
    keys, `dns_options` further ones as KEY=VALUE, none of them a secret.
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
    dns_skip_propagation: bool = False
    dns_propagation_timeout: float = 120
    dns_propagation_quorum: str = "all"
    dns_public_resolvers: tuple[str, ...] = ()
    hook_timeout: float = 300
    plugin: Mapping[str, Value] = field(default_factory=dict, repr=False)


class CopyFormat(StrEnum):
    """In which form a certificate can be copied and exported."""

    FULLCHAIN = "fullchain"
    CERT = "cert"
    CHAIN = "chain"
    PRIVKEY = "privkey"
    COMBINED = "combined"
    PKCS12 = "pkcs12"
    DER = "der"

    @property
    def secret(self) -> bool:
        """Whether it holds the private key."""
        return self in {CopyFormat.PRIVKEY, CopyFormat.COMBINED, CopyFormat.PKCS12}


@dataclass(frozen=True)
class CopySpec:
    """A file to write at each deploy; the owner, the group and the mode are those of a new file of
    ours where they are None. `password_file` holds what a PKCS#12 file is locked with.
    """

    to: str
    format: CopyFormat
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    password_file: str | None = None


@dataclass(frozen=True)
class ServiceAddress:
    """Where a certificate is served: a host (a name or an address; None for this machine), a port,
    and the protocol whose STARTTLS comes first, if any.
    """

    host: str | None
    port: int = 443
    starttls: str | None = None


class OnFailure(StrEnum):
    """What follows where the configuration test or the probe fails after a deploy."""

    KEEP = "keep"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class DeploySpec:
    """What happens around and after an issuance; each part may be absent.

    Hooks and `reload` are shell command lines, `targets` names of deploy targets, `plugin` holds
    their options by key. `verify` says where the certificate must be seen on the wire; where it
    says nothing, it is looked for where its targets listen; without `probe` nowhere. It is looked
    for again for `verify_timeout` seconds.
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
    """What is wanted. `chosen` is what the user chose, and all that the spec's file holds; the
    rest follows from it.
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


@dataclass(frozen=True)
class Request:
    """What was asked of the CA for one version; renewal compares it with the spec.

    A profile that was not required may be missing from what came of it.
    """

    identifiers: tuple[Identifier, ...]
    key_type: KeyType | None
    ca: str
    profile: str | None = None
    csr_sha256: str | None = None
    profile_required: bool = False


@dataclass(frozen=True)
class CertificateFacts:
    """What a leaf certificate says of itself (RFC 5280).

    `serial` is lower-case hexadecimal, as are `sha256`, the digest of the certificate's DER, and
    `key_sha256`, the digest of its SubjectPublicKeyInfo. `ari_id` is the CertID of RFC 9773 §4.1.
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
        """From the first to the last moment of validity."""
        return self.not_after - self.not_before


@dataclass(frozen=True)
class Version:
    """One issued certificate, immutable; its PEM files are fetched from the store when they are
    needed.
    """

    name: str
    number: int
    facts: CertificateFacts
    request: Request
    issued: datetime
    order_url: str | None = None
    account_url: str | None = None
    has_key: bool = True


@dataclass(frozen=True)
class Material:
    """The PEM bytes of a version; `privkey` is None where the key is somebody else's (`--csr`)."""

    cert: bytes
    chain: bytes
    privkey: bytes | None = field(default=None, repr=False)

    @property
    def fullchain(self) -> bytes:
        """Leaf and chain, leaf first."""
        return self.cert + self.chain

    @property
    def combined(self) -> bytes | None:
        """Key, leaf and chain in one file, as HAProxy reads it; None without a key."""
        return None if self.privkey is None else self.privkey + self.fullchain


@dataclass(frozen=True)
class SuggestedWindow:
    """A CA's answer about one certificate (RFC 9773 §4.2); `retry_after` is seconds, already within
    what RFC 9773 §4.3.2 calls reasonable.
    """

    start: datetime
    end: datetime
    retry_after: float
    explanation_url: str | None = None


@dataclass(frozen=True)
class RenewalInfo:
    """What the CA suggests (RFC 9773 §4.2): its window, and the time chosen in it, once.

    `withdrawn`: the CA moved a window that was still to come into the past, as it does where it
    revoked the certificate or is about to.
    """

    cert_id: str
    start: datetime
    end: datetime
    chosen: datetime
    explanation_url: str | None = None
    withdrawn: bool = False


@dataclass(frozen=True)
class LastError:
    """The last failure of a certificate, as `list` shows it and as the next attempt weighs it."""

    code: str
    message: str
    at: datetime
    failure: str
    hint: str | None = None


@dataclass(frozen=True)
class RenewalState:
    """What is remembered between runs about one certificate (`renewal/NAME.json`).

    `failures` in a row, no attempt before `retry_at`. `paused_until` is set by a rollback.
    `revoked` has version numbers, `compromised_keys` digests of public keys that must never be
    used again. Before `ask_ca_at` the CA is not asked for renewal information again (None: it was
    never asked); `unanswered` counts how often in a row it gave none. `renewed_by_ari` is when
    its advice last led to an order.
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
    """What was seen at one address of a service: `sha256` is the digest of the leaf's DER, None
    where none was seen and `error` says why. `chain_length`: how many certificates the server sent.
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
    """What this machine serves (`deployed/NAME.json`): the version wanted live, and the one whose
    deploy held. `verified_at` is when it was last seen on the wire, `copies` are the paths of the
    files that were written for it elsewhere.
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
    """What is, for one certificate, at the moment of reading.

    `waiting` is the version wanted live where another one is: its deploy was refused, and the one
    before was put back, or it was cut off.
    """

    name: str
    live: Version | None
    deployment: Deployment
    renewal_state: RenewalState
    wanted_not_live: Version | None = None

    @property
    def undeployed(self) -> bool:
        """Whether the target is not live, or its deploy has not held yet."""
        wanted = self.deployment.wanted
        if wanted is None:
            return False
        return self.live is None or self.live.number != wanted or self.deployment.deployed != wanted


@dataclass(frozen=True)
class RenewalDecision:
    """Whether a certificate is due; `at` is when it is or becomes so.

    `reason` is a stable word, and `why` a phrase: why it is due, or what will make it so at `at`.
    """

    due: bool
    at: datetime | None
    reason: str
    why: str


@dataclass(frozen=True)
class LastAlert:
    """What alerts told a person of last: when, and which failures, as `NAME CODE` each."""

    at: datetime
    failures: tuple[str, ...]


@dataclass(frozen=True)
class RunHistory:
    """When `renew` ran by itself lately, the oldest first (`run.json`).

    `exit_status` is the latest run's, `succeeded_at` when one last ended with 0; None where that is
    not known. `last_alert` is None if no alert is outstanding.
    """

    runs: tuple[datetime, ...] = ()
    exit_status: int | None = None
    succeeded_at: datetime | None = None
    last_alert: LastAlert | None = None

    @property
    def interval(self) -> timedelta | None:
        """The usual time from one run to the next, as the median; None where it is not known."""
        gaps = sorted(after - before for before, after in pairwise(self.runs))
        return gaps[len(gaps) // 2] if len(gaps) > 1 else None


class LimitedAction(StrEnum):
    """What may be asked of a CA, and counts."""

    ACCOUNT = "account"
    ORDER = "order"
    CERTIFICATE = "certificate"
    FAILURE = "failed_authorization"


@dataclass(frozen=True)
class LedgerEntry:
    """Something that was asked of a CA. `renewal`: there was a certificate for the same names;
    `replaces`: the order said which certificate it replaces (RFC 9773 §5), and the CA took that.
    """

    action: LimitedAction
    at: datetime
    identifiers: tuple[str, ...] = ()
    renewal: bool = False
    replaces: bool = False


@dataclass(frozen=True)
class PendingOrder:
    """An order under way (`pending/NAME/`), on disk before newOrder is sent; `url` once the CA
    named it.
    """

    request: Request
    account_url: str
    created: datetime
    url: str | None = None
    privkey: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PersistentRecord:
    """What a TXT record must allow that proves control for good (dns-persist-01): one of the
    `issuers`, the account by any of its URIs (the preferred one first), for `domain` and with
    `wildcard` for what is below it.
    """

    domain: str
    issuers: tuple[str, ...]
    account_uris: tuple[str, ...]
    wildcard: bool = False


@dataclass(frozen=True)
class Task:
    """What a solver needs to answer one challenge (RFC 8555 §8). `persistent_record` is set for
    dns-persist-01, which has no token.
    """

    identifier: Identifier
    type: str
    token: str
    key_authorization: str
    account_url: str
    certificate: str
    persistent_record: PersistentRecord | None = None


@dataclass(frozen=True)
class Placement:
    """Where an answer stands; plain data, journalled before anything is done so that a later run
    can clean up.
    """

    solver: str
    certificate: str
    identifier: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class Leftover:
    """A journal entry: placements of an earlier run, and how they were made."""

    entry: str
    challenge: ChallengeSpec
    placements: tuple[Placement, ...]


@dataclass(frozen=True)
class OutstandingPostHooks:
    """A journal entry: shell command lines that follow a run whose pre hooks had begun."""

    entry: str
    commands: tuple[str, ...]
    timeout: float


@dataclass(frozen=True)
class TxtRecord:
    """One TXT value in the DNS; `name` is absolute without the trailing dot, `zone` the zone that
    holds it.

    `credentials` names those that it is written with, where they are not the certificate's own.
    `token` and `key_authorization` are what the value proves (RFC 8555 §8.4), where it proves any.
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
    """Where the files of a version lie on this machine; `privkey` and `combined` are None without
    a key of ours.
    """

    live: str
    cert: str
    chain: str
    fullchain: str
    privkey: str | None
    combined: str | None


@dataclass(frozen=True)
class RunFailure:
    """What went wrong in a run; `name` is the certificate's, None where it is no certificate's."""

    name: str | None
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """How a run of `renew` ended that nobody watched, for whoever is to hear of it."""

    at: datetime
    exit_status: int
    considered: int
    failures: tuple[RunFailure, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """What a deploy target gets of one certificate: a version, where its files lie, and what is in
    them.
    """

    version: Version
    files: CertificateFiles
    material: Material = field(repr=False)


class Severity(StrEnum):
    """How much a finding matters: what would fail, what may, and what is good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """What `doctor` found: `code` is a stable word, `subject` what it is about (a name, a file, a
    CA), `fix` what to do or to type next, None where nothing has to be done.
    """

    code: str
    severity: Severity
    subject: str
    message: str
    fix: str | None = None


@dataclass(frozen=True)
class DeployResult:
    """What became of one certificate's deploy; `error` is a `certctl.errors.CertctlError` where it
    failed. `probes` is what was seen on the wire, `rolled_back_to` the version that was put back.
    """

    name: str
    version: int
    deployed: bool
    error: Exception | None = None
    probes: tuple[ProbeResult, ...] = ()
    rolled_back_to: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one certificate in a run; `action` is a stable word (`issued`, `unchanged`,
    `failed`, ...). `incomplete` is the error of names that it was issued without.
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
