"""The nouns that rules are about: a wish, the version that came of it, and what else is known."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from certctl.model.certificate import (
    AriState,
    Attempts,
    CertificateFacts,
    IssuedCertificate,
    LastError,
    RenewalInfo,
    RenewalState,
    Version,
)
from certctl.model.delivery import Deployment
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.model.values import Value
from certctl.rules.renewal import request_of
from certctl.rules.settings import Settings
from certctl.rules.spec import resolve

ISSUED = datetime(2026, 1, 1, 12, tzinfo=UTC)
CA = "https://ca.example/directory"


def days(number: float) -> timedelta:
    return timedelta(days=number)


LIFETIME = days(90)


def wanted(
    names: str = "example.com", chosen: Mapping[str, Value] | None = None
) -> CertificateSpec:
    return resolve(
        "example.com", parse_identifiers([names]), {"ca": CA, **(chosen or {})}, Settings()
    )


def issued(spec: CertificateSpec, lifetime: timedelta = LIFETIME, number: int = 1) -> Version:
    """The version that an order for `spec` gave on `ISSUED`."""
    facts = CertificateFacts(
        identifiers=spec.identifiers,
        not_before=ISSUED,
        not_after=ISSUED + lifetime,
        serial="01",
        sha256="11" * 32,
        issuer="CN=An Issuer",
        key_type=spec.key_type.value,
        key_sha256="22" * 32,
    )
    return Version(spec.name, number, (IssuedCertificate(facts, request_of(spec)),), ISSUED)


def with_first(version: Version, **changes: Any) -> Version:
    """The version with another first certificate."""
    certificates = (replace(version.first, **changes), *version.certificates[1:])
    return replace(version, certificates=certificates)


def with_facts(version: Version, **changes: Any) -> Version:
    """The version with other contents of its certificate."""
    return with_first(version, facts=replace(version.facts, **changes))


def tried(
    failures: int = 0,
    last_attempt: datetime | None = None,
    last_error: LastError | None = None,
    retry_at: datetime | None = None,
    **others: Any,
) -> RenewalState:
    """A renewal state with attempts at `CA`."""
    attempts = Attempts(CA, failures, last_attempt, last_error, retry_at)
    return RenewalState(attempts=(attempts,), **others)


def asked(
    cert_id: str | None,
    info: RenewalInfo | None = None,
    ask_at: datetime | None = None,
    unanswered: int = 0,
    **others: Any,
) -> RenewalState:
    """A renewal state with queries about one certificate."""
    return RenewalState(ari=(AriState(cert_id, info, ask_at, unanswered),), **others)


def status(
    live: Version | None,
    renewal_state: RenewalState | None = None,
    deployment: Deployment | None = None,
) -> CertificateStatus:
    """A live version that is deployed, unless said otherwise."""
    number = live.number if live else None
    return CertificateStatus(
        name="example.com",
        live=live,
        deployments=(deployment or Deployment(wanted=number, deployed=number),),
        renewal_state=renewal_state or RenewalState(),
    )


SPEC = wanted()
LIVE = issued(SPEC)
