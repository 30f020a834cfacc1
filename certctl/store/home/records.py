"""Converts the dataclasses of `certctl.model` to JSON objects and back, field by field: these are
public formats.

One function for each direction. A reader raises `StoreCorrupt` with the file and the field in it.
No secret is written here: keys are in PEM files, and a challenge's secret options are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from certctl.model.ca import Account, AccountKeyType, LedgerEntry, LimitedAction
from certctl.model.certificate import (
    CertificateFacts,
    LastError,
    PendingOrder,
    RenewalInfo,
    RenewalState,
    Request,
    Version,
)
from certctl.model.delivery import Deployment, SavedFile
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.spec import ChallengeSpec, KeyType
from certctl.model.validation import CleanupState, Placement
from certctl.model.values import Value
from certctl.store.home.documents import Fields, Json, corrupt, timestamp

_Enum = TypeVar("_Enum", bound=StrEnum)


def from_account(account: Account) -> Json:
    """`accounts/CA/ID/account.json`."""
    return {
        "directory_url": account.directory_url,
        "url": account.url,
        "key_type": account.key_type.value,
        "contact": list(account.contact),
        "status": account.status,
        "terms_of_service": account.terms_of_service,
        "created": timestamp(account.created),
        "ca_bundle": account.ca_bundle,
        "key_changed": timestamp(account.key_changed),
    }


def to_account(id: str, fields: Fields) -> Account:  # noqa: A002 - as in `Account`
    """An account; `id` is the name of its directory."""
    return Account(
        id=id,
        directory_url=fields.string("directory_url"),
        url=fields.string("url"),
        key_type=_enum(AccountKeyType, fields, "key_type"),
        contact=fields.strings("contact"),
        status=fields.string("status"),
        terms_of_service=fields.string_or_none("terms_of_service"),
        created=fields.time_or_none("created"),
        ca_bundle=fields.string_or_none("ca_bundle"),
        key_changed=fields.time_or_none("key_changed"),
    )


def from_version(version: Version) -> Json:
    """`archive/NAME/NUMBER/issued.json`."""
    facts = version.facts
    return {
        "name": version.name,
        "number": version.number,
        "issued": timestamp(version.issued),
        "has_key": version.has_key,
        "order_url": version.order_url,
        "account_url": version.account_url,
        "chain_sha256": version.chain_sha256,
        "request": _from_request(version.request),
        "certificate": {
            "identifiers": _from_identifiers(facts.identifiers),
            "not_before": timestamp(facts.not_before),
            "not_after": timestamp(facts.not_after),
            "serial": facts.serial,
            "sha256": facts.sha256,
            "issuer": facts.issuer,
            "key_type": facts.key_type,
            "key_sha256": facts.key_sha256,
            "ari_id": facts.ari_id,
        },
    }


def to_version(fields: Fields) -> Version:
    """One issued certificate."""
    facts = fields.object("certificate")
    return Version(
        name=fields.string("name"),
        number=fields.integer("number"),
        facts=CertificateFacts(
            identifiers=_to_identifiers(facts),
            not_before=facts.time("not_before"),
            not_after=facts.time("not_after"),
            serial=facts.string("serial"),
            sha256=facts.string("sha256"),
            issuer=facts.string("issuer"),
            key_type=facts.string("key_type"),
            key_sha256=facts.string("key_sha256"),
            ari_id=facts.string_or_none("ari_id"),
        ),
        request=_to_request(fields.object("request")),
        issued=fields.time("issued"),
        order_url=fields.string_or_none("order_url"),
        account_url=fields.string_or_none("account_url"),
        has_key=fields.boolean("has_key"),
        chain_sha256=fields.string_or_none("chain_sha256"),
    )


def from_renewal_state(renewal_state: RenewalState) -> Json:
    """The renewal state in `renewal/NAME.json`."""
    return {
        "failures": renewal_state.failures,
        "last_attempt": timestamp(renewal_state.last_attempt),
        "last_error": _from_error(renewal_state.last_error),
        "retry_at": timestamp(renewal_state.retry_at),
        "paused_until": timestamp(renewal_state.paused_until),
        "revoked": list(renewal_state.revoked),
        "compromised_keys": list(renewal_state.compromised_keys),
        "renewal_info": _from_renewal_info(renewal_state.renewal_info),
        "ask_ca_at": timestamp(renewal_state.ask_ca_at),
        "unanswered": renewal_state.unanswered,
        "renewed_on_advice": timestamp(renewal_state.renewed_by_ari),
    }


def to_renewal_state(fields: Fields) -> RenewalState:
    """The renewal state; most fields are missing for a deleted certificate."""
    return RenewalState(
        failures=fields.integer_or_none("failures") or 0,
        last_attempt=fields.time_or_none("last_attempt"),
        last_error=_to_error(fields.object_or_none("last_error")),
        retry_at=fields.time_or_none("retry_at"),
        paused_until=fields.time_or_none("paused_until"),
        revoked=fields.integers("revoked"),
        compromised_keys=fields.strings("compromised_keys"),
        renewal_info=_to_renewal_info(fields.object_or_none("renewal_info")),
        ask_ca_at=fields.time_or_none("ask_ca_at"),
        unanswered=fields.integer_or_none("unanswered") or 0,
        renewed_by_ari=fields.time_or_none("renewed_on_advice"),
    )


def from_deployment(deployment: Deployment) -> Json:
    """`deployed/NAME.json`."""
    return {
        "target": deployment.wanted,
        "deployed": deployment.deployed,
        "deployed_at": timestamp(deployment.deployed_at),
        "failures": deployment.failures,
        "last_error": _from_error(deployment.last_error),
        "retry_at": timestamp(deployment.retry_at),
        "verified_at": timestamp(deployment.verified_at),
        "copies": list(deployment.copies),
    }


def to_deployment(fields: Fields) -> Deployment:
    """The deployment state."""
    return Deployment(
        wanted=fields.integer_or_none("target"),
        deployed=fields.integer_or_none("deployed"),
        deployed_at=fields.time_or_none("deployed_at"),
        failures=fields.integer("failures"),
        last_error=_to_error(fields.object_or_none("last_error")),
        retry_at=fields.time_or_none("retry_at"),
        verified_at=fields.time_or_none("verified_at"),
        copies=fields.strings("copies") if "copies" in fields.values else (),
    )


def from_ledger_entry(entry: LedgerEntry) -> Json:
    """An entry of `accounts/CA/ID/ledger.json`."""
    return {
        "what": entry.action.value,
        "at": timestamp(entry.at),
        "identifiers": list(entry.identifiers),
        "renewal": entry.renewal,
        "replaces": entry.replaces,
    }


def to_ledger_entry(fields: Fields) -> LedgerEntry:
    """An entry of the ledger."""
    return LedgerEntry(
        action=_enum(LimitedAction, fields, "what"),
        at=fields.time("at"),
        identifiers=fields.strings("identifiers"),
        renewal=fields.boolean("renewal"),
        replaces=fields.boolean("replaces"),
    )


def from_pending(pending: PendingOrder) -> Json:
    """`pending/NAME/order.json`; the key is in a file of its own."""
    return {
        "request": _from_request(pending.request),
        "account_url": pending.account_url,
        "created": timestamp(pending.created),
        "url": pending.url,
    }


def to_pending(fields: Fields, privkey: bytes | None) -> PendingOrder:
    """A pending order."""
    return PendingOrder(
        request=_to_request(fields.object("request")),
        account_url=fields.string("account_url"),
        created=fields.time("created"),
        url=fields.string_or_none("url"),
        privkey=privkey,
    )


def from_placements(placements: Iterable[Placement]) -> list[Json]:
    """The placements of a journal entry."""
    return [
        {
            "solver": each.solver,
            "certificate": each.certificate,
            "identifier": each.identifier,
            "data": dict(each.data),
        }
        for each in placements
    ]


def to_placements(fields: Fields) -> tuple[Placement, ...]:
    """Placements of challenge responses."""
    return tuple(
        Placement(
            solver=each.string("solver"),
            certificate=each.string("certificate"),
            identifier=each.string("identifier"),
            data={key: each.object("data").string(key) for key in each.object("data").values},
        )
        for each in fields.objects("placements")
    )


def from_saved_files(files: Iterable[SavedFile]) -> list[Json]:
    """The files of a journal entry, their contents in base64."""
    return [
        {
            "path": each.path,
            "content": None if each.content is None else base64.b64encode(each.content).decode(),
            "mode": each.mode,
            "owner": each.owner,
            "group": each.group,
            "in_place": each.in_place,
        }
        for each in files
    ]


def to_saved_files(fields: Fields) -> tuple[SavedFile, ...]:
    """Files as they were before they were changed."""
    return tuple(
        SavedFile(
            path=each.string("path"),
            content=_decoded(each, "content"),
            mode=each.integer("mode"),
            owner=each.integer("owner"),
            group=each.integer("group"),
            in_place=each.boolean("in_place"),
        )
        for each in fields.objects("files")
    )


def _decoded(fields: Fields, key: str) -> bytes | None:
    text = fields.string_or_none(key)
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except ValueError:
        raise fields.invalid(key, "base64") from None


def from_cleanup(state: CleanupState) -> Json:
    """The failed attempts to remove the placements of a journal entry."""
    return {
        "failures": state.failures,
        "since": timestamp(state.since),
        "retry_at": timestamp(state.retry_at),
        "error": state.error,
    }


def to_cleanup(fields: Fields) -> CleanupState:
    """The failed attempts to remove the placements; none if the field is missing."""
    found = fields.object_or_none("cleanup")
    if found is None:
        return CleanupState()
    return CleanupState(
        failures=found.integer("failures"),
        since=found.time_or_none("since"),
        retry_at=found.time_or_none("retry_at"),
        error=found.string("error"),
    )


def from_challenge(challenge: ChallengeSpec, secrets: Iterable[str]) -> Json:
    """The challenge settings of a journal entry, without the options in `secrets`."""
    hidden = set(secrets)
    return {
        "method": challenge.method,
        "http_address": challenge.http_address,
        "http_port": challenge.http_port,
        "tls_alpn_address": challenge.tls_alpn_address,
        "tls_alpn_port": challenge.tls_alpn_port,
        "webroots": list(challenge.webroots),
        "directory": challenge.directory,
        "http_hook": challenge.http_hook,
        "http_cleanup_hook": challenge.http_cleanup_hook,
        "http_hook_protocol": challenge.http_hook_protocol,
        "dns_provider": challenge.dns_provider,
        "dns_challenge": challenge.dns_challenge,
        "dns_credentials": challenge.dns_credentials,
        "dns_options": list(challenge.dns_options),
        "dns_resolver": challenge.dns_resolver,
        "dns_follow_cname": challenge.dns_follow_cname,
        "dns_skip_propagation": challenge.dns_skip_propagation,
        "dns_propagation_timeout": challenge.dns_propagation_timeout,
        "dns_propagation_quorum": challenge.dns_propagation_quorum,
        "dns_public_resolvers": list(challenge.dns_public_resolvers),
        "hook_timeout": challenge.hook_timeout,
        "plugin": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in challenge.plugin.items()
            if key not in hidden
        },
    }


def to_challenge(fields: Fields, secrets: Mapping[str, Value]) -> ChallengeSpec:
    """The challenge settings of a journal entry; `secrets` has the options that were left out."""
    return ChallengeSpec(
        method=fields.string("method"),
        http_address=fields.string_or_none("http_address"),
        http_port=fields.integer("http_port"),
        tls_alpn_address=fields.string_or_none("tls_alpn_address"),
        tls_alpn_port=fields.integer("tls_alpn_port"),
        webroots=fields.strings("webroots"),
        directory=fields.string_or_none("directory"),
        http_hook=fields.string_or_none("http_hook"),
        http_cleanup_hook=fields.string_or_none("http_cleanup_hook"),
        http_hook_protocol=fields.string_or_none("http_hook_protocol"),
        dns_provider=fields.string_or_none("dns_provider"),
        dns_challenge=fields.string("dns_challenge"),
        dns_credentials=fields.string_or_none("dns_credentials"),
        dns_options=fields.strings("dns_options"),
        dns_resolver=fields.string_or_none("dns_resolver"),
        dns_follow_cname=fields.boolean("dns_follow_cname", default=True),
        dns_skip_propagation=fields.boolean("dns_skip_propagation"),
        dns_propagation_timeout=fields.number("dns_propagation_timeout"),
        dns_propagation_quorum=fields.string("dns_propagation_quorum"),
        dns_public_resolvers=fields.strings("dns_public_resolvers"),
        hook_timeout=fields.number("hook_timeout"),
        plugin={**_to_values(fields.object("plugin")), **secrets},
    )


def _to_values(fields: Fields) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for key, value in fields.values.items():
        match value:
            case list():
                values[key] = fields.strings(key)
            case None | str() | int() | float() | bool():
                values[key] = value
            case _:
                raise fields.invalid(key, "a value or a list of strings")
    return values


def _from_request(request: Request) -> Json:
    return {
        "identifiers": _from_identifiers(request.identifiers),
        "key_type": None if request.key_type is None else request.key_type.value,
        "ca": request.ca,
        "profile": request.profile,
        "csr_sha256": request.csr_sha256,
        "profile_required": request.profile_required,
        "common_name": request.common_name,
    }


def _to_request(fields: Fields) -> Request:
    key_type = None
    if fields.string_or_none("key_type") is not None:
        key_type = _enum(KeyType, fields, "key_type")
    return Request(
        identifiers=_to_identifiers(fields),
        key_type=key_type,
        ca=fields.string("ca"),
        profile=fields.string_or_none("profile"),
        csr_sha256=fields.string_or_none("csr_sha256"),
        # If the field is missing, that is no reason to issue a new certificate.
        profile_required="profile_required" not in fields.values
        or fields.boolean("profile_required"),
        common_name=fields.string_or_none("common_name"),
    )


def _from_identifiers(identifiers: Iterable[Identifier]) -> list[Json]:
    return [{"type": each.type.value, "value": each.value} for each in identifiers]


def _to_identifiers(fields: Fields) -> tuple[Identifier, ...]:
    return tuple(
        Identifier(_enum(IdentifierType, each, "type"), each.string("value"))
        for each in fields.objects("identifiers")
    )


def _from_error(error: LastError | None) -> Json | None:
    if error is None:
        return None
    return {
        "code": error.code,
        "message": error.message,
        "at": timestamp(error.at),
        "failure": error.failure,
        "hint": error.hint,
    }


def _to_error(fields: Fields | None) -> LastError | None:
    if fields is None:
        return None
    return LastError(
        code=fields.string("code"),
        message=fields.string("message"),
        at=fields.time("at"),
        failure=fields.string("failure"),
        hint=fields.string_or_none("hint"),
    )


def _from_renewal_info(info: RenewalInfo | None) -> Json | None:
    if info is None:
        return None
    return {
        "cert_id": info.cert_id,
        "start": timestamp(info.start),
        "end": timestamp(info.end),
        "chosen": timestamp(info.chosen),
        "explanation_url": info.explanation_url,
        "withdrawn": info.withdrawn,
    }


def _to_renewal_info(fields: Fields | None) -> RenewalInfo | None:
    if fields is None:
        return None
    return RenewalInfo(
        cert_id=fields.string("cert_id"),
        start=fields.time("start"),
        end=fields.time("end"),
        chosen=fields.time("chosen"),
        explanation_url=fields.string_or_none("explanation_url"),
        withdrawn=fields.boolean("withdrawn"),
    )


def _enum(words: type[_Enum], fields: Fields, key: str) -> _Enum:
    try:
        return words(fields.string(key))
    except ValueError:
        raise corrupt(
            fields.where, f"{key} must be one of {', '.join(each.value for each in words)}"
        ) from None
