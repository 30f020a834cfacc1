"""The nouns that rules are about: a wish, the version that came of it, and what else is known."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from certctl.model.certificate import CertificateFacts, RenewalState, Version
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
    return Version(spec.name, number, facts, request_of(spec), ISSUED)


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
        deployment=deployment or Deployment(wanted=number, deployed=number),
        renewal_state=renewal_state or RenewalState(),
    )


SPEC = wanted()
LIVE = issued(SPEC)
