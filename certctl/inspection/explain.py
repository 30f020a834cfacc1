"""Explain when and why a certificate is renewed: every fact behind the decision, with its time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from certctl.ca.directories import label
from certctl.engine.current import current_state_of
from certctl.engine.order.rate_limits import usage_for
from certctl.engine.run import Run
from certctl.engine.specs import at_ca, load, require
from certctl.model.certificate import RenewalDecision, RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.ari import ari_state
from certctl.rules.fallback_ca import asked_from
from certctl.rules.rate_limits import Usage
from certctl.rules.renewal import decide, latest_renewal, renewal_time
from certctl.rules.renewal_windows import (
    deployment_opens,
    runs_too_rare,
    too_rare_text,
    window_too_rare,
)


@dataclass(frozen=True)
class Fact:
    """A fact that the decision depends on. `key` is stable; `at` is its time, if it has one."""

    key: str
    at: datetime | None
    text: str


@dataclass(frozen=True)
class Explanation:
    """A decision with its facts, in the order of the rules."""

    name: str
    decision: RenewalDecision
    facts: tuple[Fact, ...]


def explain(run: Run, name: str) -> Explanation:
    """Return when and why a certificate is renewed. Queries no CA and changes nothing. Raises
    `UnknownCertificate`.
    """
    require(run, (name,))
    spec, status = load(run, name), current_state_of(name, run.services)
    now, history = run.services.clock.now(), run.services.machine.history()
    decision = decide(spec, status, now, history.interval or now - now)
    facts: list[Fact] = []
    if status.renewal_state.paused_until is not None and status.renewal_state.paused_until > now:
        facts.append(
            Fact(
                "pause",
                status.renewal_state.paused_until,
                "renewal is paused until then (rollback)",
            )
        )
    current = status.current
    if status.live is not None and current is not None:
        if spec.autorenew:
            facts += _window_facts(spec, status, decision, now)
            facts += _ari_facts_of_each(current, status.renewal_state, now)
            facts += _lifetime_facts(current)
        else:
            turn_on = f"to turn renewal on: certctl edit {name} --autorenew"
            facts.append(Fact("stopped", None, turn_on))
        facts.append(Fact("expires", status.live.not_after, "it expires"))
    facts += [
        Fact("revocation", each.requested, f"version {each.version} is to be revoked; not done yet")
        for each in status.renewal_state.revocations
    ]
    facts += _ca_facts(spec, status, now)
    facts += _attempt_facts(status)
    for ca in spec.cas:
        facts += [_limit_fact(each) for each in usage_for(at_ca(run, spec, ca), status, run)]
    if history.runs:
        facts.append(Fact("last_run", history.runs[-1], "last unattended run of `renew`"))
    if history.interval is not None:
        hours = history.interval.total_seconds() / 3600
        facts.append(Fact("interval", None, f"`renew` usually runs every {hours:.1f} hours"))
        if status.current is not None and runs_too_rare(
            spec, status.current, status.renewal_state, history.interval, now
        ):
            facts.append(Fact("interval_too_long", None, "that is too rare for this certificate"))
    return Explanation(name, decision, tuple(facts))


def _window_facts(
    spec: CertificateSpec, status: CertificateStatus, decision: RenewalDecision, now: datetime
) -> list[Fact]:
    """Return the windows, what waits for them, and what is wrong with them."""
    facts: list[Fact] = []
    for key, texts in (("order_window", spec.order_window), ("deploy_window", spec.deploy_window)):
        if texts:
            facts.append(Fact(key, None, f"{key.replace('_', ' ')}: {', '.join(texts)}"))
    if decision.opens is not None:
        facts.append(Fact("order_opens", decision.opens, "its order window opens"))
    opens = deployment_opens(spec, status, now)
    if status.waiting is not None:
        number = status.waiting.number
        text = f"version {number} waits for its deploy window"
        if opens is None:
            text = f"version {number} is deployed by the next run of `renew`"
        facts.append(Fact("deploy_opens", opens, text))
    rare = window_too_rare(spec, status.live, now) if status.live is not None else None
    if rare is not None:
        facts.append(Fact("window_too_rare", None, too_rare_text(rare)))
    return facts


def _ari_facts_of_each(live: Version, renewal_state: RenewalState, now: datetime) -> list[Fact]:
    """Return what is known of the window of each certificate, with its key if there are two."""
    if live.second is None:
        return _ari_facts(live, renewal_state, now)
    facts = {
        fact if fact.key == "renewed_by_ari" else replace(fact, text=f"{fact.text} ({key})"): None
        for key, part in ((each.facts.key_type, each) for each in live.parts)
        for fact in _ari_facts(part, renewal_state, now)
    }
    return list(facts)


def _ari_facts(live: Version, renewal_state: RenewalState, now: datetime) -> list[Fact]:
    asked = ari_state(live, renewal_state)
    info = asked.info
    facts: list[Fact] = []
    if info is not None:
        facts += [
            Fact("window_start", info.start, "start of the window suggested by its CA (ARI)"),
            Fact("chosen", info.chosen, "randomly chosen renewal time in that window"),
            Fact("window_end", info.end, "end of the window"),
        ]
        if info.explanation_url:
            facts.append(
                Fact("explanation", None, f"explanation by its CA: {info.explanation_url}")
            )
        if info.withdrawn:
            facts.append(Fact("withdrawn", None, "its CA moved that window into the past"))
    elif asked.ask_at is None:
        facts.append(
            Fact("no_renewal_info", None, "its CA has not been queried for a window (ARI) yet")
        )
    elif asked.unanswered:
        facts.append(
            Fact(
                "no_renewal_info",
                None,
                f"ARI queries to its CA failed {asked.unanswered} times in a row",
            )
        )
    else:
        facts.append(
            Fact("no_renewal_info", None, "its CA does not support ARI: the lifetime decides")
        )
    if asked.ask_at is not None and now < asked.ask_at < live.facts.not_after:
        facts.append(Fact("next_ari_query", asked.ask_at, "next ARI query to its CA"))
    if renewal_state.renewed_by_ari is not None:
        facts.append(
            Fact("renewed_by_ari", renewal_state.renewed_by_ari, "last renewed because of ARI")
        )
    return facts


def _lifetime_facts(live: Version) -> list[Fact]:
    return [
        Fact("without_ari", renewal_time(live), "renewal time without ARI"),
        Fact(
            "latest_renewal",
            latest_renewal(live),
            "a sixth of its lifetime is left: it is renewed then even if ARI suggests later",
        ),
    ]


def _limit_fact(usage: Usage) -> Fact:
    text = f"rate limit of its CA: {usage} used"
    if usage.available_at is not None:
        return Fact("limit", usage.available_at, f"{text}; more are possible from then on")
    return Fact("limit", None, text)


def _ca_facts(spec: CertificateSpec, status: CertificateStatus, now: datetime) -> list[Fact]:
    """Return in which order several CAs are asked, from when the next one is, and what those said
    that were not tried last.
    """
    if not spec.fallback_cas:
        return []
    order = ", then ".join(label(each) for each in spec.cas)
    facts = [Fact("cas", None, f"its CAs in their order: {order}")]
    if status.live is not None and spec.autorenew:
        text = "the next CA is asked from then on, while those before it are out of service"
        facts.append(Fact("next_ca", asked_from(spec, status, now), text))
    state = status.renewal_state
    for each in state.attempts:
        error = each.last_error
        if each.ca not in spec.cas or error is None or each == state.latest:
            continue
        if each.failures:
            text = f"the last attempt at {label(each.ca)} failed: {error.message}"
            facts.append(Fact("other_failed", error.at, text))
        else:
            text = f"{label(each.ca)} was out of service, so that another CA was asked: "
            facts.append(Fact("out_of_service", error.at, f"{text}{error.message}"))
    return facts


def _attempt_facts(status: CertificateStatus) -> list[Fact]:
    facts = _failure_facts("order", "the last attempt", status.renewal_state)
    if status.undeployed:
        facts.append(Fact("undeployed", None, "its deployment is pending"))
        facts += _failure_facts("deploy", "the last deployment", status.deployment)
    return facts


def _failure_facts(key: str, what: str, state: RenewalState | Deployment) -> list[Fact]:
    error = state.last_error
    if error is None:
        return []
    times = f"{state.failures} times in a row" if state.failures > 1 else "once"
    facts = [
        Fact(
            f"{key}_failed", error.at, f"{what} failed, {times} ({error.failure}): {error.message}"
        )
    ]
    if state.retry_at is not None:
        facts.append(Fact(f"{key}_retry", state.retry_at, "not tried again before that time"))
    return facts
