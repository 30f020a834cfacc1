"""DNS-01 (RFC 8555 §8.4): a provider writes a TXT record below the name, and the solver waits until
all authoritative servers have it.

Also solves dns-account-01 (draft-ietf-acme-dns-account-label), which has a separate record for each
account, and can write dns-persist-01 records: their value is the task's key authorization itself,
and the caller does not clean them up.

All records of an order are written before the wait, and there is one wait for all of them. The
provider calls the API; `certctl.dns` finds the zone and checks the propagation.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.dns.provider_choice import ChosenProviders
from certctl.dns.record_names import NAME_CODE, check_name
from certctl.dns.shared_lookups import DnsLookups
from certctl.dns.system import ProviderSystem
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task, TxtRecord
from certctl.rules import persistent_validation
from certctl.rules.options import Option

NAME = "dns"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: providers declare theirs, and `certctl.rules.options` has the others."""

_DEFAULT_TYPES = (ChallengeType.DNS_01, ChallengeType.DNS_ACCOUNT_01)


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver; each provider is created when its first record is written."""
    return Dns01Solver(challenge, chosen_providers(challenge, system), system)


def chosen_providers(challenge: ChallengeSpec, system: SolverSystem) -> ChosenProviders:
    """Return the providers that write the records of `challenge`, chosen by zone."""
    provider_system = ProviderSystem(
        clock=system.clock,
        stop=system.stop,
        hook_timeout=challenge.hook_timeout,
        instruct=system.instruct,
        directory=system.credentials.directory,
        provider_locks=system.provider_locks,
        proxy=system.proxy,
    )
    return ChosenProviders(challenge, system.credentials, provider_system)


def txt_value(key_authorization: str) -> str:
    """Return the TXT record's value: the digest of the key authorization (RFC 8555 §8.4)."""
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def account_label(account_url: str) -> str:
    """Return the label that precedes `_acme-challenge` in the account's dns-account-01 records
    (draft-ietf-acme-dns-account-label).
    """
    digest = hashlib.sha256(account_url.encode("ascii")).digest()
    return "_" + base64.b32encode(digest[:10]).decode("ascii").lower()


class Dns01Solver:
    """Answers DNS-01 and dns-account-01 challenges through a provider."""

    def __init__(
        self, challenge: ChallengeSpec, provider: ChosenProviders, system: SolverSystem
    ) -> None:
        self._challenge = challenge
        self._provider = provider
        self._lookups = DnsLookups(challenge, system.clock, system.stop)
        self._holders = Holders()

    @property
    def challenge_types(self) -> Sequence[str]:
        chosen = self._challenge.dns_challenge
        # A type that the user set explicitly is the only one: perhaps only its record is delegated.
        return (chosen,) if chosen != ChallengeType.DNS_01 else _DEFAULT_TYPES

    def check(self, identifiers: Sequence[Identifier]) -> None:  # noqa: ARG002 - for all names
        """Raise `UsageError` or `ConfigurationError` if the provider cannot be used."""
        self._provider.require()

    def plan(self, task: Task) -> Placement:
        """Return the record's name, after the CNAMEs of `_acme-challenge`, and its zone.

        A wildcard and its base name have two values at one name. Raises `ChallengeError`.
        """
        if task.identifier.type == IdentifierType.IP:
            raise ChallengeError(
                f"{task.identifier}: {task.type} cannot validate an IP address (RFC 8738 §7)",
                hint="Use HTTP-01 instead: --standalone or --webroot DIR.",
                code="challenge.dns.address",
            )
        queried_name = _record_name(task)
        self._provider.require()
        self._lookups.note_deadline(task)
        name, zone = self._locate(queried_name, task.deadline)
        return Placement(
            solver=NAME,
            certificate=task.certificate,
            identifier=task.identifier.value,
            data={
                "name": name,
                "value": _value(task),
                "zone": zone,
                "domain": task.identifier.base,
                "credentials": self._provider.choose(name, queried_name),
                "token": task.token,
                "key_authorization": task.key_authorization,
            },
        )

    def present(self, placements: Sequence[Placement]) -> None:
        records = _records(placements)
        for each in placements:
            self._holders.hold(_record(each), each.certificate)
        if records:
            self._provider.present(records)

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return once all authoritative servers have all values. Raises `PropagationTimeout`."""
        if not self._challenge.dns_skip_propagation:
            deadline = self._lookups.deadline(placements)
            self._lookups.propagation.wait(_records(placements), deadline)

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: certctl cannot observe queries to the name servers."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        unneeded = [
            each for each in placements if self._holders.release(_record(each), each.certificate)
        ]
        if unneeded:
            self._provider.cleanup(_records(unneeded))

    def close(self) -> None:
        self._lookups.close()

    def _locate(self, name: str, deadline: float | None) -> tuple[str, str]:
        check_name(name)
        try:
            found = self._lookups.zones.locate(name, deadline)
        except ChallengeError as error:
            if not self._challenge.dns_skip_propagation or error.code == NAME_CODE:
                raise
            # --dns-skip-propagation may be set because this machine cannot query the DNS.
            # A provider that needs the zone raises an error.
            return name, ""
        return found.name, found.zone


def _record_name(task: Task) -> str:
    if task.type == ChallengeType.DNS_PERSIST_01:
        return persistent_validation.record_name(task.identifier.base)
    name = f"_acme-challenge.{task.identifier.base}"
    if task.type == ChallengeType.DNS_ACCOUNT_01:
        return f"{account_label(task.account_url)}.{name}"
    return name


def _value(task: Task) -> str:
    if task.type == ChallengeType.DNS_PERSIST_01:
        return task.key_authorization
    return txt_value(task.key_authorization)


def _record(placement: Placement) -> TxtRecord:
    data = placement.data
    # Journal entries of older versions have only the first four.
    return TxtRecord(
        data["name"],
        data["value"],
        data["zone"],
        data["domain"],
        credentials=data.get("credentials", ""),
        token=data.get("token", ""),
        key_authorization=data.get("key_authorization", ""),
    )


def _records(placements: Sequence[Placement]) -> tuple[TxtRecord, ...]:
    return tuple(dict.fromkeys(_record(each) for each in placements))
