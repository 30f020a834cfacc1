"""What `import --check` tries: for each way in which names are validated, a dry run of one renewal.

It goes through the pipeline like `renew --dry-run`, with the accounts and the DNS credentials of
the other client kept in memory: nothing of them is saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from certctl.ca.directories import label, staging_url
from certctl.engine.fulfil import fulfil
from certctl.engine.held import Held
from certctl.engine.order.trial import trial
from certctl.engine.planning import Change
from certctl.engine.run import Run
from certctl.model.ca import Account, AccountKeyType
from certctl.model.errors import CertctlError, Interrupted
from certctl.model.importing import FoundAccount, FoundCertificate, FoundMachine
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Outcome
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.operations.import_check import Checked, told
from certctl.operations.import_choice import Consent, is_settled
from certctl.operations.import_spec import ca_of, choices_of, credentials_name, free_name, spec_of
from certctl.rules.credentials import Profile
from certctl.rules.plan import Plan
from certctl.store.memory.memory_records import MemoryRecords
from certctl.store.records import AccountKeys

MAX_WAYS = 20
"""Dry runs at most: a machine may have a webroot for each of its sites."""


@dataclass(frozen=True)
class Way:
    """How names are validated, and the certificates that are validated so."""

    text: str
    certificates: tuple[FoundCertificate, ...]

    @property
    def subject(self) -> str:
        """The way with the certificate that is tried."""
        more = len(self.certificates) - 1
        others = f" and {more} more" if more else ""
        return f"{self.text}: {self.certificates[0].name}{others}"


def ways(machine: FoundMachine, given: Mapping[str, Value], consent: Consent) -> list[Way]:
    """Return the ways in which the certificates are validated that could be taken over, each with a
    certificate of a CA that has a staging directory first, if there is one.
    """
    found: dict[object, list[FoundCertificate]] = {}
    for client in machine.clients:
        for each in () if client.report_only else client.certificates:
            if each.facts is not None and is_settled(each, given, consent):
                found.setdefault(_key(each, given), []).append(each)
    return [_way(some, given) for some in found.values()]


def _key(found: FoundCertificate, given: Mapping[str, Value]) -> object:
    """Return what is the same for certificates that are validated in the same way."""
    options = {**found.options, **given}
    own = {
        key: value
        for key, value in options.items()
        if key.startswith(("challenge.", "dns.")) and key != "challenge.webroots"
    }
    places = options.get("challenge.webroots", ())
    directories = {str(each).rpartition("=")[2] for each in _texts(places)}
    secrets = None if found.credentials is None else repr(sorted(found.credentials[1].items()))
    return repr(sorted(own.items())), tuple(sorted(directories)), secrets


def _texts(value: Value) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, tuple) else [str(value)]


def _way(some: Sequence[FoundCertificate], given: Mapping[str, Value]) -> Way:
    ordered = sorted(some, key=lambda each: (_staging(each) is None, each.name))
    first = ordered[0]
    options = {**first.options, **given}
    text = str(given.get("challenge.method") or first.method or "the default way")
    places = options.get("challenge.webroots") or options.get("challenge.directory") or ()
    directories = sorted({each.rpartition("=")[2] for each in _texts(places)})
    return Way(" ".join([text, *directories[:3]]), tuple(ordered))


def _staging(found: FoundCertificate) -> str | None:
    return None if found.ca is None else staging_url(found.ca)


def try_ways(
    machine: FoundMachine, given: Mapping[str, Value], consent: Consent, run: Run
) -> list[Checked]:
    """Validate the names of one certificate in each way, at the staging directory of its CA or with
    its account up to validation. A failure is a line, not an error. Nothing is taken over.
    """
    every = ways(machine, given, consent)
    checked: list[Checked] = []
    changes: dict[str, tuple[Way, Change]] = {}
    records = MemoryRecords(run.services.clock, base=run.services.records, stop=run.stop)
    profiles: dict[str, Profile] = {}
    for way in every[:MAX_WAYS]:
        found = way.certificates[0]
        try:
            account = _account(found, machine, given, run)
            lent = account and records.lend(replace(account[0]), AccountKeys(account[1]))
            spec = _spec(found, lent, given, profiles, run)
        except Interrupted:
            raise
        except CertctlError as error:
            checked.append(Checked(way.subject, told(error), problem=True))
            continue
        if spec.name not in changes:
            changes[spec.name] = way, _change(spec, found.csr)
    checked += _carried_out(changes, records, profiles, run)
    left = every[MAX_WAYS:]
    if left:
        names = ", ".join(each.certificates[0].name for each in left[:5])
        text = f"not tried, since {MAX_WAYS} others were: {names}"
        checked.append(Checked(f"{len(left)} more ways", text))
    return checked


def _account(
    found: FoundCertificate, machine: FoundMachine, given: Mapping[str, Value], run: Run
) -> tuple[Account, bytes] | None:
    """Return the account for renewals with its key; None if the dry run needs none. Its CA is asked
    for its URL if the client does not record it. Raises `CertctlError`.
    """
    ca = ca_of(found, given)
    bundle = given.get("ca_bundle")
    for client in machine.clients:
        for each in client.accounts if client.client == found.client else ():
            wanted = given.get("account.id") or found.account_url
            same = each.url == wanted if wanted else each.key_file == found.account_key_file
            if same and each.key is not None and each.key_type is not None:
                return _known(each, ca, None if bundle is None else str(bundle), run), each.key
    return None


def _known(account: FoundAccount, ca: str, bundle: str | None, run: Run) -> Account:
    assert account.key is not None and account.key_type is not None  # noqa: S101, PT018 - for the type checker
    url = account.url
    if url is None and staging_url(ca) is None:
        client = run.client(ca, bundle).with_key(account.key)
        url = client.new_account((), terms_agreed=False, only_existing=True).url
    kind = AccountKeyType(account.key_type)
    return Account("", ca, url or account.key_file, kind, account.contact, ca_bundle=bundle)


def _spec(
    found: FoundCertificate,
    account: Account | None,
    given: Mapping[str, Value],
    profiles: dict[str, Profile],
    run: Run,
) -> CertificateSpec:
    assert found.facts is not None  # noqa: S101 - for the type checker
    credentials = credentials_name(found)
    if found.credentials is not None and credentials is not None:
        provider, values = found.credentials
        profiles[credentials] = Profile(
            credentials, provider, dict(values), found.home, private=True
        )
    ca = ca_of(found, given)
    choices = choices_of(found, ca, account, given, credentials)
    return spec_of(free_name(found, run), found.facts.identifiers, choices, run)


def _change(spec: CertificateSpec, csr: bytes | None) -> Change:
    def plan(_held: Held, run: Run) -> Plan:
        return trial(spec, run)

    return Change(spec.name, plan, dry_run=True, csr=csr)


def _carried_out(
    changes: Mapping[str, tuple[Way, Change]],
    records: MemoryRecords,
    profiles: Mapping[str, Profile],
    run: Run,
) -> list[Checked]:
    if not changes:
        return []
    settings = run.services.settings
    dns = replace(settings.dns, profiles={**settings.dns.profiles, **profiles})
    services = replace(run.services, records=records, settings=replace(settings, dns=dns))
    with Run(services, run.stop) as trial_run:
        wanted = [change for _, change in changes.values()]
        report = fulfil(wanted, trial_run, considered=len(wanted))
    checked = [_checked(changes[each.name][0], each) for each in report.outcomes]
    return checked + [Checked("dry run", told(each), problem=True) for each in report.errors]


def _checked(way: Way, outcome: Outcome) -> Checked:
    if outcome.error is not None:
        return Checked(way.subject, f"the dry run failed: {told(outcome.error)}", problem=True)
    if outcome.action != "dry-run":
        return Checked(way.subject, f"not tried: {outcome.reason}", problem=True)
    first = way.certificates[0]
    if outcome.reason is None:
        text = f"a dry run got a certificate at {label(_staging(first) or '')}, and discarded it"
    else:
        text = f"a dry run validated its names at {label(str(first.ca))}, and was abandoned there"
    return Checked(way.subject, text)
