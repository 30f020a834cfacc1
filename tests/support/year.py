"""A year of hourly runs of `renew` for a fleet of certificates: the rules of certctl over its
records in memory, and a CA that answers as Let's Encrypt documents it, limits included.

Nothing is signed and nothing waits, so that a year passes in seconds. What the engine does with a
plan is done here in a few lines: an order is asked of the CA, and its result recorded.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from certctl.ca.documented_limits import documented_limits, registered_domains
from certctl.model.ca import LedgerEntry, LimitedAction, SuggestedWindow
from certctl.model.certificate import (
    CertificateFacts,
    IssuedCertificate,
    RenewalState,
    Version,
)
from certctl.model.delivery import Deployment
from certctl.model.errors import CaUnavailable, CertctlError, RateLimited
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.model.values import Value
from certctl.rules.ari import after_answer, after_no_answer
from certctl.rules.current_state import current_state
from certctl.rules.plan import Activate, AskRenewalInfo, Deploy, Order, Wanted, plan
from certctl.rules.rate_limits import Limit, counted_towards, order_for
from certctl.rules.renewal import after_failure, after_success, request_of, with_wanted
from certctl.rules.renewal_windows import deployment_opens, next_action, window_is_closed
from certctl.rules.settings import Settings
from certctl.rules.spec import resolve
from certctl.store.memory.memory_records import MemoryRecords
from certctl.store.records import Changes, NextAction, Stored, Subject
from tests.lab.clock import SteerableClock

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2027, 2, 10, 12, 17, tzinfo=UTC)
LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

LIFETIMES = (160 * HOUR, 45 * DAY, 64 * DAY, 90 * DAY)
"""Those of today and of the plan: 64 days from February 2027, 45 from 2028, and the short ones."""

_REUSED = ((45 * DAY, 7 * HOUR), (64 * DAY, 10 * DAY), (timedelta.max, 30 * DAY))
"""For how long a validation is used again, up to a lifetime."""

_NEW_ON_A_DAY = 7
"""New names below one registered domain on a day: at most 50 a week are allowed."""


@dataclass(frozen=True)
class Year:
    """What a CA does in the year, and which windows its certificates have."""

    lifetime: timedelta
    reuse: timedelta = 30 * DAY
    ari: bool = True
    ari_retry_after: timedelta = timedelta(hours=6)
    outages: tuple[tuple[datetime, datetime], ...] = ()
    windows: dict[str, Value] = field(default_factory=dict)


@dataclass
class Figures:
    """What came of the year: `late` are certificates that expired while they were served, `least`
    is the smallest part of a lifetime that was left of one that was served.
    """

    orders: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    failed: int = 0
    late: int = 0
    least: float = 1.0
    outside: int = 0
    most_in_an_hour: int = 0

    def __str__(self) -> str:
        requests = ", ".join(f"{count} {what}" for what, count in sorted(self.requests.items()))
        return (
            f"{self.orders} certificates, {sum(self.requests.values())} requests ({requests});"
            f" {self.failed} failed in outages, {self.refused} above a limit, {self.late} late,"
            f" at least {self.least:.0%} of a lifetime left, {self.outside} outside a window,"
            f" at most {self.most_in_an_hour} orders in an hour"
        )


class DocumentedCa:
    """Issues, validates again what is older than `reuse`, and refuses what is above a limit: each
    limit is a bucket that refills steadily.
    """

    def __init__(self, year: Year, figures: Figures) -> None:
        self._year = year
        self._figures = figures
        self._domain = registered_domains()
        self._limits = documented_limits(LETSENCRYPT).limits
        self._empty_at: dict[tuple[Limit, str], datetime] = {}
        self._validated: dict[str, datetime] = {}
        self._serial = 0

    def is_down(self, now: datetime) -> bool:
        return any(start <= now < end for start, end in self._year.outages)

    def suggested(self, version: Version, now: datetime) -> SuggestedWindow:
        self._ask("renewal information", now)
        facts = version.facts
        middle = facts.not_after - facts.lifetime / (2 if facts.lifetime < 10 * DAY else 3)
        half = facts.lifetime * 0.02
        return SuggestedWindow(
            middle - half, middle + half, retry_after=self._year.ari_retry_after.total_seconds()
        )

    def issue(self, spec: CertificateSpec, entry: LedgerEntry, now: datetime) -> Version:
        self._ask("new order", now)
        self._take(entry, now)
        for name in (each.value for each in spec.identifiers):
            valid_until = self._validated.get(name, now) + self._year.reuse
            self._ask("authorization", now)
            if name not in self._validated or valid_until <= now:
                self._ask("challenge", now)
                self._ask("authorization", now)
                self._validated[name] = now
        for what in ("finalize", "order", "certificate"):
            self._ask(what, now)
        self._take(replace(entry, action=LimitedAction.CERTIFICATE), now)
        self._serial += 1
        start = now - HOUR  # Let's Encrypt dates certificates back
        facts = CertificateFacts(
            identifiers=spec.identifiers,
            not_before=start,
            not_after=start + self._year.lifetime,
            serial=f"{self._serial:x}",
            sha256=f"{self._serial:064x}",
            issuer="CN=Simulated",
            key_type=spec.key_type.value,
            key_sha256=f"{self._serial:064x}",
            ari_id=f"a.{self._serial}" if self._year.ari else None,
        )
        url = f"https://ca.example/order/{self._serial}"
        issued = IssuedCertificate(facts, request_of(spec), order_url=url)
        return Version(spec.name, 0, (issued,), now)

    def _ask(self, what: str, now: datetime) -> None:
        if self.is_down(now):
            raise CaUnavailable("out of service", hint=None)
        self._figures.requests[what] += 1

    def _take(self, entry: LedgerEntry, now: datetime) -> None:
        """Take what an entry counts as; raise `RateLimited` if a bucket is empty."""
        full_again: dict[tuple[Limit, str], datetime] = {}
        for key in counted_towards(self._limits, entry, self._domain):
            limit = key[0]
            step = limit.window / limit.count
            at = max(self._empty_at.get(key, now), now) + step
            if at - now > limit.window:
                self._figures.refused += 1
                raise RateLimited(
                    f"too many {limit.name}", retry_after=(at - now - limit.window).total_seconds()
                )
            full_again[key] = at
        self._empty_at |= full_again


class Fleet:
    """Certificates, of which a few are new on each day until there are `count`; in groups of names
    below one registered domain.
    """

    def __init__(self, count: int, year: Year, seed: int) -> None:
        self._year = year
        self._random = Random(seed)
        self.figures = Figures()
        self._ca = DocumentedCa(year, self.figures)
        self._clock = SteerableClock(START)
        self._records = MemoryRecords(self._clock)
        self._versions: defaultdict[str, dict[int, Version]] = defaultdict(dict)
        self._deployed: dict[str, tuple[int | None, Deployment]] = {}
        self._due: list[tuple[datetime, str]] = []
        self._in_hour = 0
        domains = max(1, count // 50)
        for number in range(count):
            domain, place = number % domains, number // domains
            born = START + DAY * (place // _NEW_ON_A_DAY) + self._random.random() * DAY
            heapq.heappush(self._due, (born, f"n{number}.fleet{domain}.example"))

    def run(self, length: timedelta) -> Figures:
        end = START + length
        now = START
        while now < end:
            self._clock.set(now)
            self._in_hour = 0
            again: list[str] = []
            while self._due and self._due[0][0] <= now:
                again.append(heapq.heappop(self._due)[1])
            for name in again:
                at = self._renew(name, now)
                self._watch(name, now)
                heapq.heappush(self._due, (max(at or end, now + timedelta(seconds=1)), name))
            self.figures.most_in_an_hour = max(self.figures.most_in_an_hour, self._in_hour)
            now += HOUR
        for name in self._versions:
            self._watch(name, end)
        return self.figures

    def _renew(self, name: str, now: datetime) -> datetime | None:
        """What a run does with a certificate; return when it has something to do again."""
        lease = self._records.lease(Subject(name), wait=0)
        stored = self._records.read(name) or Stored(name)
        spec = stored.spec or self._new_spec(name)
        state = self._renewed(spec, stored.renewal_state, stored.saved_at, now)
        at = next_action(spec, self._status(name, state, now, now), now)
        changes = Changes(spec=spec, renewal_state=state, next_action=NextAction(at))
        self._records.write(name, changes, expect=stored.gen, token=lease.token)
        lease.release()
        return at

    def _renewed(
        self, spec: CertificateSpec, state: RenewalState, saved_at: datetime | None, now: datetime
    ) -> RenewalState:
        """Carry out the plan; return the renewal state afterwards."""
        name, wanted = spec.name, Wanted(spec, spec, interval=HOUR)
        status = self._status(name, state, saved_at, now)
        found = plan(wanted, status, now)
        if found.step(AskRenewalInfo) is not None and status.current is not None:
            state = self._asked(status.current, status.renewal_state, now)
            status = self._status(name, state, now, now)
            found = plan(wanted, status, now)
        state = status.renewal_state
        for step in found.steps:
            match step:
                case Order():
                    state, live = self._order(step, status, now)
                    if not live:
                        break
                case Activate():
                    self._make_live(spec, step.version.number, status, now)
                case Deploy():
                    number, deployment = self._deployed[name]
                    waiting = deployment.waiting
                    self._deployed[name] = number, Deployment(number, number, now, waiting=waiting)
        return state

    def _order(
        self, step: Order, status: CertificateStatus, now: datetime
    ) -> tuple[RenewalState, bool]:
        """Order a version; return the renewal state, and whether one became live."""
        name, spec, state = status.name, step.spec, status.renewal_state
        try:
            version = self._ca.issue(spec, order_for(spec, status, now), now)
        except CertctlError as error:
            self.figures.failed += not isinstance(error, RateLimited)
            facts = status.live.facts if status.live is not None else None
            return after_failure(state, spec.ca, error, now, facts), False
        self.figures.orders += 1
        self._in_hour += 1
        number = max(self._versions[name], default=0) + 1
        version = replace(version, number=number)
        self._versions[name][number] = version
        state = self._asked(version, after_success(state, spec.ca, now, by_ari=step.by_ari), now)
        if deployment_opens(spec, status, now) is None or step.at_once:
            self._make_live(spec, number, status, now)
            return state, True
        live, deployment = self._deployed[name]
        self._deployed[name] = live, replace(deployment, waiting=number)
        return state, False

    def _make_live(
        self, spec: CertificateSpec, number: int, status: CertificateStatus, now: datetime
    ) -> None:
        closed = window_is_closed(spec.deploy_window, now)
        self.figures.outside += closed and status.live is not None
        self._watch(spec.name, now)
        _, deployment = self._deployed.get(spec.name, (None, Deployment()))
        self._deployed[spec.name] = number, with_wanted(deployment, number)

    def _asked(self, version: Version, state: RenewalState, now: datetime) -> RenewalState:
        if version.facts.ari_id is None:
            return state
        try:
            window = self._ca.suggested(version, now)
        except CaUnavailable:
            return after_no_answer(state, version, now, permanent=False, retry_after=None)
        return after_answer(state, version, window, now, self._random)

    def _watch(self, name: str, now: datetime) -> None:
        """Note how much is left of what is served."""
        live, _ = self._deployed.get(name, (None, Deployment()))
        if live is None:
            return
        facts = self._versions[name][live].facts
        self.figures.late += facts.not_after <= now
        self.figures.least = min(self.figures.least, (facts.not_after - now) / facts.lifetime)

    def _new_spec(self, name: str) -> CertificateSpec:
        chosen = {"ca": LETSENCRYPT, **self._year.windows}
        return resolve(name, parse_identifiers([name]), chosen, Settings())

    def _status(
        self, name: str, state: RenewalState, saved_at: datetime | None, now: datetime
    ) -> CertificateStatus:
        live, deployment = self._deployed.get(name, (None, None))
        deployments = () if deployment is None else (deployment,)
        versions = self._versions[name]
        return current_state(name, versions, state, saved_at, live, deployments, now)


def random_outages(
    seed: int, count: int, longest: timedelta
) -> tuple[tuple[datetime, datetime], ...]:
    """Outages of an hour up to `longest`, over a year."""
    random = Random(seed)
    starts = [START + random.random() * 365 * DAY for _ in range(count)]
    return tuple((each, each + HOUR + random.random() * (longest - HOUR)) for each in starts)


def year_of(lifetime: timedelta, *, ari: bool, windows: bool, outages: bool, seed: int = 1) -> Year:
    """The year of a lifetime: the time for which a validation is used again is that of the plan of
    Let's Encrypt.
    """
    reuse = (
        timedelta(hours=7)
        if lifetime <= 45 * DAY
        else 10 * DAY
        if lifetime <= 64 * DAY
        else 30 * DAY
    )
    nights = ("22:00-02:00 America/New_York",)
    if lifetime > 10 * DAY:
        nights = ("Mon-Fri 02:00-05:00 Europe/Berlin",)
    longest = min(lifetime / 6, 4 * DAY)
    return Year(
        lifetime,
        reuse=reuse,
        ari=ari,
        outages=random_outages(seed, 14, longest) if outages else (),
        windows={"order_window": nights, "deploy_window": nights} if windows else {},
    )
