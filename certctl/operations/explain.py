"""Why a certificate is renewed when it is: every fact that the decision rests on, with its time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certctl.ari import renewal_info_for
from certctl.models import CertificateStatus, Deployment, RenewalDecision, RenewalState, Version
from certctl.operations.rate_limit_forecast import usage_for
from certctl.operations.run import Run
from certctl.operations.specs import load, require
from certctl.rate_limits import Usage
from certctl.renewal import decide, interval_too_long, latest_renewal, renewal_time


@dataclass(frozen=True)
class Fact:
    """Something that has a part in the decision. `key` is a stable word, `at` its time, if any."""

    key: str
    at: datetime | None
    words: str


@dataclass(frozen=True)
class Explanation:
    """A decision with its facts, in the order of the rules."""

    name: str
    decision: RenewalDecision
    facts: tuple[Fact, ...]


def explain(run: Run, name: str) -> Explanation:
    """Return why and when a certificate is renewed. Asks nobody, and changes nothing. Raises
    `UnknownCertificate`.
    """
    require(run, (name,))
    spec, status = load(run, name), run.services.store.status(name)
    now, history = run.services.clock.now(), run.services.store.history()
    decision = decide(spec, status, now, history.interval or now - now)
    facts: list[Fact] = []
    if status.renewal_state.paused_until is not None and status.renewal_state.paused_until > now:
        facts.append(
            Fact("pause", status.renewal_state.paused_until, "until then a rollback pauses it")
        )
    if status.live is not None:
        facts += _of_the_ca(status.live, status.renewal_state, now)
        facts += _of_the_lifetime(status.live)
    facts += _of_attempts(status)
    facts += [_of_a_limit(each) for each in usage_for(spec, status, run)]
    if history.runs:
        facts.append(Fact("last_run", history.runs[-1], "`renew` last ran by itself"))
    if history.interval is not None:
        hours = history.interval.total_seconds() / 3600
        facts.append(Fact("interval", None, f"`renew` usually runs every {hours:.1f} hours"))
        if status.live is not None and interval_too_long(
            status.live, status.renewal_state, history.interval
        ):
            facts.append(Fact("interval_too_long", None, "that is too seldom for this certificate"))
    return Explanation(name, decision, tuple(facts))


def _of_the_ca(live: Version, renewal_state: RenewalState, now: datetime) -> list[Fact]:
    info = renewal_info_for(live, renewal_state)
    facts: list[Fact] = []
    if info is not None:
        facts += [
            Fact("window_start", info.start, "the window begins that its CA names (RFC 9773)"),
            Fact("chosen", info.chosen, "the time chosen in that window, once"),
            Fact("window_end", info.end, "the window ends"),
        ]
        if info.explanation_url:
            facts.append(Fact("explanation", None, f"its CA explains: {info.explanation_url}"))
        if info.withdrawn:
            facts.append(Fact("withdrawn", None, "the CA moved that window into the past"))
    elif renewal_state.ask_ca_at is None:
        facts.append(Fact("no_renewal_info", None, "its CA has not been asked for advice yet"))
    elif renewal_state.unanswered:
        facts.append(
            Fact(
                "no_renewal_info",
                None,
                f"its CA gave no advice {renewal_state.unanswered} times in a row",
            )
        )
    else:
        facts.append(Fact("no_renewal_info", None, "its CA gives no advice: the lifetime decides"))
    if renewal_state.ask_ca_at is not None and now < renewal_state.ask_ca_at < live.facts.not_after:
        facts.append(Fact("ask_again", renewal_state.ask_ca_at, "its CA is asked again"))
    if renewal_state.renewed_by_ari is not None:
        facts.append(
            Fact("renewed_on_advice", renewal_state.renewed_by_ari, "it was last renewed on advice")
        )
    return facts


def _of_the_lifetime(live: Version) -> list[Fact]:
    return [
        Fact("schedule", renewal_time(live), "without advice, it would be renewed from then on"),
        Fact(
            "latest_renewal",
            latest_renewal(live),
            "a sixth of its lifetime is left; no advice beats that",
        ),
        Fact("expires", live.facts.not_after, "it expires"),
    ]


def _of_a_limit(usage: Usage) -> Fact:
    words = f"its CA's limits: {usage} are used"
    if usage.available_at is not None:
        return Fact("limit", usage.available_at, f"{words}; there is room again then")
    return Fact("limit", None, words)


def _of_attempts(status: CertificateStatus) -> list[Fact]:
    facts = _of_failures("order", "the last attempt", status.renewal_state)
    if status.undeployed:
        facts.append(Fact("undeployed", None, "its deploy is owed"))
        facts += _of_failures("deploy", "the last deploy", status.deployment)
    return facts


def _of_failures(key: str, what: str, renewal_state: RenewalState | Deployment) -> list[Fact]:
    error = renewal_state.last_error
    if error is None:
        return []
    times = f"{renewal_state.failures} times in a row" if renewal_state.failures > 1 else "once"
    facts = [
        Fact(
            f"{key}_failed", error.at, f"{what} failed, {times} ({error.failure}): {error.message}"
        )
    ]
    if renewal_state.retry_at is not None:
        facts.append(Fact(f"{key}_retry", renewal_state.retry_at, "not tried again before"))
    return facts
