"""A certificate's row, as `list` shows it, and as it is saved so that nothing need be read again.

A row is saved with the renewal state, by whoever has just read everything that it is made of, and
is valid until a time, or until one of the files that it was made from changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from certctl.ca.directories import ca_kind, label
from certctl.model.certificate import LastError, RenewalDecision, Version
from certctl.model.errors import CertctlError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import WindowKind, WindowWait
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import decide
from certctl.rules.renewal_windows import deployment_opens
from certctl.rules.service_address import format_service
from certctl.store.records import ListRow


@dataclass(frozen=True)
class LiveVersion:
    """What a row contains about the live version; `second` is its second certificate, if there are
    two. `not_after` is when the first of them expires.
    """

    number: int
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str
    issuer: str
    key_type: str
    names: tuple[str, ...]
    second: LiveVersion | None = None


@dataclass(frozen=True)
class CertificateView:
    """One certificate as shown to users; times are UTC, `problem` is why it could not be read.
    `names` are those asked for, which the live version may not have. `failures` and
    `deploy_failures` count consecutive failures. `has_target`: something on this machine is told of
    a new version, or given a copy of it, or checked for it. `key_type` is that of the live version,
    or the one asked for; of two, separated by a comma. `ca` and `ca_url` are of the CA that issued
    the live version if it is one of the certificate's, else of its first; `cas` are the URLs of
    all, in their order. Before `retry_at` nothing that failed is tried again. `places` is what it
    is deployed to or checked at, such as `nginx`, `copy /etc/app/key.pem` and `localhost:8443`.

    `state` is one word: `valid`, `due`, `expired`, `revoked`, `damaged`, `missing`, `failing`,
    `undeployed`, `waiting`, `stopped` or `unreadable`. `waits` says for which window. `damage` is
    what is wrong with the live files.
    """

    name: str
    state: str
    names: tuple[str, ...] = ()
    ca: str = ""
    public: bool = True
    live: LiveVersion | None = None
    seconds_left: float | None = None
    renews_at: datetime | None = None
    due: bool = False
    why: str = ""
    deployed: bool = False
    deployed_version: int | None = None
    verified_at: datetime | None = None
    failures: int = 0
    deploy_failures: int = 0
    last_error: LastError | None = None
    damage: str | None = None
    problem: CertctlError | None = None
    autorenew: bool = True
    has_target: bool = True
    ca_url: str = ""
    challenge: str = ""
    dns_provider: str | None = None
    profile: str | None = None
    managed_by: str | None = None
    groups: tuple[str, ...] = ()
    key_type: str | None = None
    retry_at: datetime | None = None
    places: tuple[str, ...] = ()
    cas: tuple[str, ...] = ()
    waits: WindowWait | None = None

    @property
    def first_ca(self) -> str:
        """The directory URL of the CA that the next renewal asks first."""
        return self.cas[0] if self.cas else self.ca_url

    @property
    def fallback(self) -> bool:
        """Whether a CA issued the live version that is not the first of the certificate's."""
        return self.ca_url != self.first_ca

    @property
    def failing(self) -> bool:
        """Whether something about the certificate failed, or is wrong, and is not mended yet."""
        return (
            self.state in _WRONG
            or self.problem is not None
            or self.damage is not None
            or bool(self.failures or self.deploy_failures)
        )


_WRONG = frozenset({"expired", "revoked", "damaged", "failing", "unreadable"})


def row_of(
    spec: CertificateSpec, status: CertificateStatus, now: datetime
) -> tuple[CertificateView, datetime | None]:
    """Return a certificate's row, and until when it is valid (except for the time left) if no file
    changes; None if it can change at any time.
    """
    decision = decide(spec, status, now)
    return _view(spec, status, decision, now), _valid_until(status, decision, now)


def row_to_save(spec: CertificateSpec, status: CertificateStatus, now: datetime) -> ListRow | None:
    """Return the row that is saved with a renewal state, None if it is not worth it: it could
    change at any time, or depends on more than the live version.
    """
    if status.live is None or status.wanted_not_live is not None:
        return None
    view, until = row_of(spec, status, now)
    return None if until is None else ListRow(to_saved(view), until)


def to_saved(view: CertificateView) -> dict[str, object]:
    """Return a row as plain JSON, without the time left."""
    live = view.live
    if live is None:
        raise ValueError("a certificate without a version has no row to save")
    at = view.renews_at
    return {
        "state": view.state,
        "names": view.names,
        "ca": view.ca,
        "public": view.public,
        "live": _live_to_saved(live),
        "renews_at": None if at is None else at.isoformat(),
        "why": view.why,
        "deployed": view.deployed,
        "deployed_version": view.deployed_version,
        "verified_at": view.verified_at.isoformat() if view.verified_at else None,
        "autorenew": view.autorenew,
        "has_target": view.has_target,
        "ca_url": view.ca_url,
        "challenge": view.challenge,
        "dns_provider": view.dns_provider,
        "profile": view.profile,
        "managed_by": view.managed_by,
        "groups": view.groups,
        "key_type": view.key_type,
        "places": view.places,
        "cas": view.cas,
    }


def from_saved(
    name: str, row: Mapping[str, Any] | None, now: datetime
) -> tuple[CertificateView, datetime] | None:
    """Return the row that `to_saved` made, and until when it is valid; None if there is no
    readable one.
    """
    if row is None:
        return None
    try:
        live = _live_from_saved(row["live"])
        at, seen = row["renews_at"], row["verified_at"]
        view = CertificateView(
            name=name,
            state=row["state"],
            names=tuple(row["names"]),
            ca=row["ca"],
            public=row["public"],
            live=live,
            seconds_left=(live.not_after - now).total_seconds(),
            renews_at=None if at is None else datetime.fromisoformat(at),
            why=row["why"],
            deployed=row["deployed"],
            deployed_version=row["deployed_version"],
            verified_at=None if seen is None else datetime.fromisoformat(seen),
            autorenew=row["autorenew"],
            has_target=row["has_target"],
            ca_url=row["ca_url"],
            challenge=row["challenge"],
            dns_provider=row["dns_provider"],
            profile=row["profile"],
            managed_by=row["managed_by"],
            groups=tuple(row["groups"]),
            key_type=row["key_type"],
            places=tuple(row["places"]),
            cas=tuple(row["cas"]),
        )
        return view, datetime.fromisoformat(row["until"])
    except (KeyError, TypeError, ValueError):
        return None


def _live_to_saved(live: LiveVersion) -> list[object]:
    second = [] if live.second is None else [_live_to_saved(live.second)]
    return [
        live.number,
        live.not_before.isoformat(),
        live.not_after.isoformat(),
        live.serial,
        live.sha256,
        live.issuer,
        live.key_type,
        live.names,
        *second,
    ]


def _live_from_saved(values: Sequence[Any]) -> LiveVersion:
    number, not_before, not_after, serial, sha256, issuer, key_type, names, *second = values
    return LiveVersion(
        number,
        datetime.fromisoformat(not_before),
        datetime.fromisoformat(not_after),
        serial,
        sha256,
        issuer,
        key_type,
        tuple(names),
        _live_from_saved(second[0]) if second else None,
    )


def _view(
    spec: CertificateSpec, status: CertificateStatus, decision: RenewalDecision, now: datetime
) -> CertificateView:
    live = status.live
    ca = live.request.ca if live and live.request.ca in spec.cas else spec.ca
    return CertificateView(
        name=spec.name,
        state=_state(spec, status, decision, now),
        names=tuple(each.value for each in spec.identifiers),
        ca=label(ca),
        public=ca_kind(live.request.ca if live else spec.ca) == "public",
        live=_live(live) if live else None,
        seconds_left=(live.not_after - now).total_seconds() if live else None,
        renews_at=decision.at,
        due=decision.due,
        why=decision.why,
        deployed=live is not None and not status.undeployed,
        deployed_version=status.deployment.deployed,
        verified_at=status.deployment.verified_at if not status.undeployed else None,
        failures=status.renewal_state.failures,
        deploy_failures=status.deployment.failures,
        last_error=status.renewal_state.last_error or status.deployment.last_error,
        damage=status.damage,
        autorenew=spec.autorenew,
        has_target=_has_target(spec),
        ca_url=ca,
        challenge=spec.challenge.method,
        dns_provider=spec.challenge.dns_provider,
        profile=spec.required_profile or spec.profile,
        managed_by=spec.managed_by,
        groups=spec.groups,
        key_type=_key_type(spec, live),
        retry_at=_retry_at(status, now),
        places=_places(spec),
        cas=spec.cas,
        waits=_waits(spec, status, decision, now),
    )


def _key_type(spec: CertificateSpec, live: Version | None) -> str:
    if live is None:
        return ",".join(spec.key_types)
    return ",".join(each.facts.key_type for each in live.certificates)


def _waits(
    spec: CertificateSpec, status: CertificateStatus, decision: RenewalDecision, now: datetime
) -> WindowWait | None:
    """Return what waits for a window: a deployment, or else an order."""
    if status.waiting is not None and spec.autorenew:
        number, opens = status.waiting.number, deployment_opens(spec, status, now)
        return WindowWait(WindowKind.DEPLOY, opens or now, spec.deploy_window, number)
    if decision.opens is not None:
        return WindowWait(WindowKind.ORDER, decision.opens, spec.order_window)
    return None


def _places(spec: CertificateSpec) -> tuple[str, ...]:
    deploy = spec.deploy
    commands = {"reload command": deploy.reload, "deploy hook": deploy.deploy_hook}
    hooks = [what for what, command in commands.items() if command]
    copies = [f"copy {each.to}" for each in deploy.copies]
    services = [format_service(each) for each in deploy.verify]
    return tuple(dict.fromkeys((*deploy.targets, *services, *copies, *hooks)))


def _retry_at(status: CertificateStatus, now: datetime) -> datetime | None:
    """Return when what failed is tried again; None if nothing has to be waited for."""
    renewal, deployment = status.renewal_state, status.deployment
    times = [
        each.retry_at
        for each in (renewal, deployment)
        if each.failures and each.retry_at is not None and each.retry_at > now
    ]
    return min(times, default=None)


def _valid_until(
    status: CertificateStatus, decision: RenewalDecision, now: datetime
) -> datetime | None:
    """Return until when a row is valid (except for the time left) if no file changes."""
    live, renewal_state = status.live, status.renewal_state
    failed = renewal_state.last_error or status.deployment.last_error
    if live is None or decision.due or failed or status.damage or status.waiting:
        return None
    pauses = renewal_state.paused_until, renewal_state.postponed_until
    moments = (decision.at, live.not_after, *pauses)
    return min((each for each in moments if each is not None and each > now), default=None)


def _has_target(spec: CertificateSpec) -> bool:
    deploy = spec.deploy
    return bool(
        deploy.targets or deploy.copies or deploy.verify or deploy.deploy_hook or deploy.reload
    )


def _live(version: Version) -> LiveVersion:
    facts = version.facts
    second = None if version.second is None else _live(version.parts[1])
    return LiveVersion(
        version.number,
        facts.not_before,
        version.not_after,
        facts.serial,
        facts.sha256,
        facts.issuer,
        facts.key_type,
        tuple(each.value for each in facts.identifiers),
        second,
    )


def _state(
    spec: CertificateSpec, status: CertificateStatus, decision: RenewalDecision, now: datetime
) -> str:
    """Return the most important state: what affects visitors first, then what needs attention."""
    live = status.live
    if live is None:
        return "missing"
    if live.not_after <= now:
        return "expired"
    if live.number in status.renewal_state.revoked:
        return "revoked"
    if status.damage is not None:
        return "damaged"
    if status.renewal_state.failures:
        return "failing"
    return "undeployed" if status.undeployed else _good_state(spec, status, decision, now)


def _good_state(
    spec: CertificateSpec, status: CertificateStatus, decision: RenewalDecision, now: datetime
) -> str:
    if decision.reason == "stopped":
        return "stopped"
    if _waits(spec, status, decision, now) is not None:
        return "waiting"
    return "due" if decision.due else "valid"
