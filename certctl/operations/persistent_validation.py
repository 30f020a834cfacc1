"""Persistent validation records (dns-persist-01, a draft), created once by a DNS provider or by
hand, and checked at every authoritative server.

Their content depends on the account and on the CA. They are not journalled, since they remain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from certctl.ca.directories import label
from certctl.engine.order.account_recovery import with_account
from certctl.engine.order.authorize import other_challenges_hint
from certctl.engine.order.other_cas import prepare_accounts
from certctl.engine.order.steps import OrderContext, order_context
from certctl.engine.preflight import check_validation
from certctl.engine.run import Run
from certctl.engine.specs import at_ca, changed, find, new, new_name
from certctl.model.ca import Account, Challenge, ChallengeType
from certctl.model.errors import ChallengeError, UsageError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.spec import CertificateSpec
from certctl.model.validation import PersistentRecord, Placement, Task
from certctl.model.values import Value
from certctl.rules import persistent_validation

if TYPE_CHECKING:
    from certctl.ca.client import AcmeClient

CODE = "challenge.dns.persist"


@dataclass(frozen=True)
class PersistRequest:
    """The names, and the options by key; with a `dns_provider`, the records are written by it.

    `wildcard` lets the records validate subdomains and wildcards too. `until` is their expiry.
    """

    identifiers: tuple[Identifier, ...]
    given: Mapping[str, Value]
    wildcard: bool = False
    until: datetime | None = None


@dataclass(frozen=True)
class RecordStatus:
    """One record, its name and its text; `state` is `seen`, `written` or `missing`."""

    name: str
    text: str
    domain: str
    state: str
    why: str | None = None


def persist(request: PersistRequest, run: Run) -> tuple[RecordStatus, ...]:
    """Return the records for the names; with a provider, write missing ones and wait for them.

    Raises `ChallengeError` if the CA does not offer dns-persist-01, and what the provider raises.
    """
    _check(request, run)
    spec = _spec(request, run)
    if spec.fallback_cas:
        prepare_accounts([spec], run)
    found = [each for ca in spec.cas for each in _at(at_ca(run, spec, ca), request, run)]
    return tuple(found)


def _at(spec: CertificateSpec, request: PersistRequest, run: Run) -> list[RecordStatus]:
    """Return the records for one CA."""

    def asked(account: Account) -> tuple[OrderContext, list[PersistentRecord]]:
        context = order_context(spec, account, run)
        return context, _records(request, context)

    check_validation(spec, run)
    context, records = with_account(run, spec, spec.account, asked)
    found = [_record_status(each, request, spec, run) for each in records]
    missing = [each for each, state in zip(records, found, strict=True) if state.why is not None]
    if missing and spec.challenge.method == "dns":
        _write(missing, request, context)
        found = [replace(each, state="written", why=None) if each.why else each for each in found]
    return found


def _check(request: PersistRequest, run: Run) -> None:
    for each in request.identifiers:
        if each.type == IdentifierType.IP:
            raise UsageError(f"{each}: an IP address cannot be validated by DNS")
    if request.until is not None and request.until <= run.services.clock.now():
        raise UsageError(
            "the expiry of the record is in the past", hint="For example: --until 2030-01-01"
        )


def _spec(request: PersistRequest, run: Run) -> CertificateSpec:
    """Return a spec with the CA and account of an existing certificate for these names, if any."""
    known = find(run, None, request.identifiers)
    given = dict(request.given)
    if not (given.get("challenge.dns_provider") or given.get("challenge.dns_credentials")):
        given["challenge.method"] = "dns-persist"
    if known is not None:
        return changed(run, known, request.identifiers, given)
    return new(run, new_name(run, None, request.identifiers), request.identifiers, given)


def _records(request: PersistRequest, context: OrderContext) -> list[PersistentRecord]:
    """Return what each name's record must allow; a wildcard and its base name share one."""
    client = context.client
    found: dict[str, PersistentRecord] = {}
    offered = _offers(context)
    for each in request.identifiers:
        record = client.persistent_record(each, offered[each])
        before = found.get(each.base)
        wildcard = record.wildcard or request.wildcard or bool(before and before.wildcard)
        found[each.base] = replace(record, wildcard=wildcard)
    return list(found.values())


def _offers(context: OrderContext) -> dict[Identifier, Challenge]:
    """Return the CA's challenge for each name.

    If the directory does not contain it, an order is placed, and its authorizations deactivated.
    """
    client = context.client
    known = client.persistent_validation_offer()
    if known is not None:
        return dict.fromkeys(context.identifiers, known)
    order = client.new_order(context.identifiers)
    authorizations = client.authorizations(order)
    pending = [each for each in authorizations if each.status == "pending"]
    offers = {
        each.identifier: challenge
        for each in authorizations
        if (challenge := each.challenge(ChallengeType.DNS_PERSIST_01)) is not None
    }
    _give_up([each.url for each in pending], client)
    if not offers:
        types = [challenge.type for each in authorizations for challenge in each.challenges]
        raise _not_offered(context, types)
    # An authorization that is already valid lists only the challenge that was completed; the
    # persistent challenge is the same for all names.
    usual = next(iter(offers.values()))
    return {each: offers.get(each, usual) for each in context.identifiers}


def _give_up(urls: Sequence[str], client: AcmeClient) -> None:
    for url in urls:
        if not client.deactivate(url):
            return


def _not_offered(context: OrderContext, types: Sequence[str]) -> ChallengeError:
    return ChallengeError(
        f"{label(context.spec.ca)} does not offer dns-persist-01 for"
        f" {', '.join(each.value for each in context.identifiers)}",
        hint=other_challenges_hint(
            types, wildcard=any(each.wildcard for each in context.identifiers)
        ),
        code="challenge.not_offered",
    )


def _record_status(
    record: PersistentRecord, request: PersistRequest, spec: CertificateSpec, run: Run
) -> RecordStatus:
    """Return the record with its state at the authoritative servers."""
    status = RecordStatus(
        persistent_validation.record_name(record.domain),
        persistent_validation.text_of(record, request.until),
        record.domain,
        "seen",
    )
    challenge = replace(
        run.challenge(spec), method="dns-persist", dns_propagation_timeout=0.0, plugin={}
    )
    solver = run.solver(challenge)
    placement = solver.plan(_task(record, "", spec.name))
    try:
        solver.wait([placement])
    except ChallengeError as error:
        if error.code != CODE:
            raise
        return replace(status, state="missing", why=error.message)
    return status


def _write(
    records: Sequence[PersistentRecord], request: PersistRequest, context: OrderContext
) -> None:
    """Write the records by the provider, and wait until every authoritative server has them."""
    run, spec = context.run, context.spec
    solver = run.solver(run.challenge(spec))
    placements: list[Placement] = [
        solver.plan(_task(each, persistent_validation.text_of(each, request.until), spec.name))
        for each in records
    ]
    solver.present(placements)
    solver.wait(placements)


def _task(record: PersistentRecord, text: str, certificate: str) -> Task:
    return Task(
        identifier=Identifier(IdentifierType.DNS, record.domain),
        type=ChallengeType.DNS_PERSIST_01,
        token="",
        key_authorization=text,
        account_url="",
        certificate=certificate,
        persistent_record=record,
    )
