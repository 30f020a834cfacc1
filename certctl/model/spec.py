"""The desired state of a certificate: what is requested, how it is validated and deployed.

Frozen dataclasses of standard-library types. All times are timezone-aware UTC, all durations are
in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum

from certctl.model.ca import ChallengeType
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.values import Value


class KeyType(StrEnum):
    """Key types for certificates."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"

    @property
    def family(self) -> str:
        """The kind of key, `ecdsa` or `rsa`; a certificate has at most one of each."""
        return family(self)


FAMILIES = ("ecdsa", "rsa")
"""The kinds of keys of which a certificate can have one each."""


def family(key_type: str) -> str:
    """Return the kind of a key: `rsa` of `rsa-2048`."""
    return key_type.partition("-")[0]


SHORTEST_CHAIN = "shortest"
"""The preferred chain that stands for the one with the fewest certificates."""


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
    directory: str | None = None
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

    `key` is the kind of key of the certificate that is copied, if there are two: `ecdsa` or `rsa`;
    None is the first. Owner, group and mode are those of any newly created file if None.
    `password_file` contains the password of a PKCS#12 file, and `encryption` says how that file is
    encrypted. A file that cannot be replaced, such as a mount point, is overwritten `in_place`.
    """

    to: str
    format: CopyFormat
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    password_file: str | None = None
    encryption: Pkcs12Encryption | None = None
    in_place: bool = False
    key: str | None = None


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
    lineage: str | None = None
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

    `chosen` has the user's own choices, which are all the settings that the spec file contains; the
    other fields are those choices combined with the defaults. `managed_by` is the owner of the
    desired state that the spec comes from, `groups` are those that it belongs to there, and
    `applied` is the digest of what was applied last. `origin` is the client that the certificate
    was imported from. All are empty for a certificate of `issue`. With a `second_key_type`, there
    are two certificates for the same names, which are one unit. `ca` is the CA that is asked first,
    `fallback_cas` those that are asked while the ones before them are out of service. `renew`
    orders and deploys it only in `order_window` and `deploy_window`, without any at any time
    (`certctl.rules.windows`).
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
    managed_by: str | None = None
    groups: tuple[str, ...] = ()
    applied: str | None = None
    origin: str | None = None
    second_key_type: KeyType | None = None
    fallback_cas: tuple[str, ...] = ()
    order_window: tuple[str, ...] = ()
    deploy_window: tuple[str, ...] = ()

    @property
    def has_windows(self) -> bool:
        """Whether it is ordered or deployed only at some times."""
        return bool(self.order_window or self.deploy_window)

    @property
    def key_types(self) -> tuple[KeyType, ...]:
        """The key types, one or two; the files of the first are in `live/NAME` itself."""
        first, second = self.key_type, self.second_key_type
        return (first,) if second is None else (first, second)

    @property
    def cas(self) -> tuple[str, ...]:
        """All its CAs, in the order in which they are asked."""
        return (self.ca, *self.fallback_cas)

    def at(self, ca: str) -> CertificateSpec:
        """Return the spec as one of its CAs is asked for it."""
        return self if self.cas == (ca,) else replace(self, ca=ca, fallback_cas=())
