"""Print, and write, the CAA records that pin the CA, the account and the validation method of a
certificate. Records of others are never removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.ca.directories import as_typed, label, staging_url
from certctl.challenges.dns01 import chosen_providers
from certctl.challenges.system import SolverSystem
from certctl.deploy.probe import ProbeSystem, probe
from certctl.dns.caa import Property, relevant_set
from certctl.dns.hosts import look_up
from certctl.dns.resolver import Resolver
from certctl.dns.zones import Zones
from certctl.engine.current import summary_of
from certctl.engine.order.accounts import choose_account
from certctl.engine.run import Run
from certctl.engine.specs import at_ca, changed, find, load, new
from certctl.model.errors import CertctlError, ConfigurationError, UsageError
from certctl.model.events import Event
from certctl.model.identifiers import IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import certificate_name, default_certificate_name, parse_identifier
from certctl.model.spec import CertificateSpec, ServiceAddress
from certctl.model.values import Value
from certctl.rules.caa_records import (
    CaaRecord,
    Pin,
    is_restricted,
    looser,
    missing,
    pinning,
    topmost,
)
from certctl.system.proxy import proxy_from

_TTL = 3600
_CODE = "dns.caa"


@dataclass(frozen=True)
class CaaChange:
    """The records to add at a name, those that it has, and those of our CAs that permit more."""

    name: str
    add: tuple[CaaRecord, ...]
    own: tuple[CaaRecord, ...]
    looser: tuple[CaaRecord, ...]


@dataclass(frozen=True)
class CaaResult:
    """The changes by name; `written` is whether they were made. `problem`: why they were not."""

    certificate: str
    changes: tuple[CaaChange, ...]
    written: bool = False
    problem: CertctlError | None = None


def pin_caa(
    run: Run, text: str, given: Mapping[str, Value], *, write: bool, force: bool = False
) -> CaaResult:
    """Return the records that are missing for a certificate, or for a domain name with these
    options; with `write`, add them with its DNS provider.

    With `force`, a certificate that is served and would be shut out is no obstacle. Raises
    `ConfigurationError` if there is no account, or if the CA does not publish its issuer name, and
    `ChallengeError` if the DNS gives no answer.
    """
    spec, writer = _specs(run, text, given)
    pins = _pins(spec, run)
    challenge = run.challenge(writer)
    endpoint = run.endpoint(spec.ca, spec.ca_bundle)
    resolver = Resolver(challenge.dns_resolver or endpoint.dns, run.stop)
    names = [each for each in spec.identifiers if each.type is IdentifierType.DNS]
    if not names:
        raise UsageError(
            f"{spec.name} has no domain names, and only those have CAA records",
            hint="CAs validate IP addresses without them.",
        )
    wild = {each.base for each in names if each.wildcard}
    changes = [
        _change(each, pins, resolver, wildcard=any(_covers(each, base) for base in wild))
        for each in topmost([each.base for each in names])
    ]
    result = CaaResult(spec.name, tuple(changes))
    if not write or not any(each.add for each in changes):
        return result
    try:
        for each in changes:
            if each.add and not force and not is_restricted(each.own):
                _require_ours(each, writer, run)
        _write(changes, writer, resolver, run)
    except CertctlError as error:
        return CaaResult(spec.name, tuple(changes), problem=error)
    return CaaResult(spec.name, tuple(changes), written=True)


def _specs(
    run: Run, text: str, given: Mapping[str, Value]
) -> tuple[CertificateSpec, CertificateSpec]:
    """Return the certificate, and the certificate with the options for writing: a DNS provider that
    writes CAA records need not be how the certificate is validated.
    """
    if text in run.services.records.names():
        existing: CertificateSpec | None = load(run, text)
    else:
        existing = find(run, None, (parse_identifier(text),))
    if existing is not None:
        return existing, changed(run, existing, existing.identifiers, given)
    identifier = parse_identifier(text)
    name = certificate_name(default_certificate_name((identifier,), ()))
    spec = new(run, name, (identifier,), given)
    return spec, spec


def _covers(name: str, base: str) -> bool:
    return base == name or base.endswith(f".{name}")


# What is wanted


def _pins(spec: CertificateSpec, run: Run) -> list[Pin]:
    """Return what to permit: each CA of the certificate, and its staging directory if this home
    directory has an account there.
    """
    found = [pin for ca in spec.cas for pin in _pins_of(at_ca(run, spec, ca), run)]
    return list(dict.fromkeys(found))


def _pins_of(spec: CertificateSpec, run: Run) -> list[Pin]:
    method = run.solver(run.challenge(spec)).challenge_types[0]
    account = choose_account(run, spec.ca, spec.account)
    if account is None:
        raise ConfigurationError(
            f"the records name the account at {label(spec.ca)}, and there is none yet",
            hint=f"Register one: certctl register --ca {as_typed(spec.ca)}",
            code=f"{_CODE}.no_account",
        )
    pins = [Pin(_issuer(spec.ca, spec.ca_bundle, run), account.url, method)]
    staging = staging_url(spec.ca)
    if staging is not None and staging != spec.ca:
        other = choose_account(run, staging, None)
        if other is not None:
            pins.append(Pin(_issuer(staging, None, run), other.url, method))
    return pins


def _issuer(ca: str, bundle: str | None, run: Run) -> str:
    identities = run.client(ca, bundle).directory.caa_identities
    if not identities:
        raise ConfigurationError(
            f"{label(ca)} does not publish its issuer name for CAA records",
            hint="Look it up in the CA's documentation, and write the records by hand.",
            code=f"{_CODE}.no_issuer",
        )
    return identities[0].lower()


def _change(name: str, pins: Sequence[Pin], resolver: Resolver, *, wildcard: bool) -> CaaChange:
    aliases = look_up(name, resolver).aliases
    if aliases:
        raise ConfigurationError(
            f"{name} is an alias of {aliases[-1]}, and can have no CAA records of its own",
            hint=f"The records of {aliases[-1]} count for it. Whoever runs its zone can add them.",
            code=f"{_CODE}.alias",
        )
    where, found = relevant_set(name, resolver)
    records = tuple(_record(each) for each in found)
    own = records if where == name else ()
    add = missing(pinning(pins, wildcard=wildcard), own, () if own else records)
    return CaaChange(name, tuple(add), own, tuple(looser(records, pins)))


def _record(found: Property) -> CaaRecord:
    return CaaRecord(found.flags, found.tag, found.value)


# Writing


def _require_ours(change: CaaChange, spec: CertificateSpec, run: Run) -> None:
    """Raise `ConfigurationError` if a certificate is served for the name that certctl does not
    manage: its issuer, or its account there, could not issue any more.
    """
    if is_restricted([each for each in change.add if each.value not in _values(change)]):
        return  # repeated from above: who could issue until now still can
    ours = {
        each.facts.sha256
        for name in run.services.records.find(change.name)
        for version in summary_of(name, run.services).versions.values()
        for each in version.certificates
    }
    services = [each for each in spec.deploy.verify if each.starttls is None]
    system = ProbeSystem(run.services.clock, run.stop, _discard, timeout=0.0, name=spec.name)
    for service in services or [ServiceAddress(change.name)]:
        for seen in probe(service, [change.name], None, system):
            if seen.sha256 is not None and seen.sha256 not in ours:
                raise ConfigurationError(
                    f"{change.name} is served at {seen.address} with a certificate that certctl"
                    " does not manage; the records would keep its issuer from renewing it",
                    hint="Replace that certificate first, add a record for its issuer, or write"
                    " the records anyway with --force.",
                    code=f"{_CODE}.served",
                )


def _values(change: CaaChange) -> set[str]:
    """Return the values that pin: those with an account."""
    return {each.value for each in change.add if "accounturi=" in each.value}


def _discard(_event: Event) -> None:
    """Ignore an event."""


def _write(
    changes: Sequence[CaaChange], spec: CertificateSpec, resolver: Resolver, run: Run
) -> None:
    zones = Zones(resolver, run.services.clock, follow=False)
    services = run.services
    system = SolverSystem(
        clock=services.clock,
        stop=run.stop,
        credentials=services.settings.dns,
        instruct=services.instruct,
        proxy=proxy_from(services.settings),
    )
    providers = chosen_providers(run.challenge(spec), system)
    for change in changes:
        if not change.add:
            continue
        writer = providers.caa_writer(change.name)
        if writer is None:
            raise ConfigurationError(
                f"the DNS provider of {change.name} cannot write CAA records",
                hint="Add the records above by hand. rfc2136 can write them (--dns rfc2136).",
                code=f"{_CODE}.provider",
            )
        zone = zones.locate(f"_acme-challenge.{change.name}").zone
        data = [(each.flags, each.tag, each.value) for each in change.add]
        writer.add_caa(zone, change.name, data, ttl=_TTL)
