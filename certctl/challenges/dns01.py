"""DNS-01 (RFC 8555 §8.4): a TXT record below the name, written by a provider, awaited everywhere.

So is dns-account-01 (draft-ietf-acme-dns-account-label), whose record each account has to itself.
A record of dns-persist-01 can be written in the same way; it is the task's key authorization as it
stands, and whoever asks for it does not clean it up.

All records of an order are written first and awaited once. Which API writes them is the provider's
matter; where they belong and whether they can be seen is decided in `certctl.dns`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from certctl import persistent_validation
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.dns.provider_choice import ChosenProviders
from certctl.dns.shared_lookups import DnsLookups
from certctl.dns.system import ProviderSystem
from certctl.errors import ChallengeError
from certctl.models import ChallengeSpec, ChallengeType, IdentifierType, Placement, Task, TxtRecord
from certctl.options import Option
from certctl.ports import Solver

NAME = "dns"
OPTIONS: tuple[Option, ...] = ()
"""None of its own: those of providers stand beside them, the others in `certctl.options`."""


_USUAL = (ChallengeType.DNS_01, ChallengeType.DNS_ACCOUNT_01)


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver; a provider is made with the first record that it writes."""
    return Dns01Solver(challenge, chosen_providers(challenge, system), system)


def chosen_providers(challenge: ChallengeSpec, system: SolverSystem) -> ChosenProviders:
    """Return what writes the records of such challenges, a provider for each zone."""
    provider_system = ProviderSystem(
        clock=system.clock,
        stop=system.stop,
        hook_timeout=challenge.hook_timeout,
        instruct=system.instruct,
        directory=system.credentials.directory,
        provider_locks=system.provider_locks,
    )
    return ChosenProviders(challenge, system.credentials, provider_system)


def txt_value(key_authorization: str) -> str:
    """Return what the TXT record holds: the digest of the key authorization (RFC 8555 §8.4)."""
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def account_label(account_url: str) -> str:
    """Return the label that an account's records have above `_acme-challenge`, for dns-account-01
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
        self._inquiry = DnsLookups(challenge, system.clock, system.stop)
        self._holders = Holders()

    @property
    def challenge_types(self) -> Sequence[str]:
        chosen = self._challenge.dns_challenge
        # One that was insisted on has a reason, such as a delegation of that record alone.
        return (chosen,) if chosen != ChallengeType.DNS_01 else _USUAL

    def plan(self, task: Task) -> Placement:
        """Return where the record belongs: past the CNAMEs of `_acme-challenge`, in which zone.

        A wildcard and its base have two values at one name. Raises `ChallengeError`.
        """
        if task.identifier.type == IdentifierType.IP:
            raise ChallengeError(
                f"{task.identifier}: {task.type} cannot prove control of an address (RFC 8738 §7)",
                hint="Prove it over HTTP: --standalone or --webroot DIR.",
                code="challenge.dns.address",
            )
        asked = _record_name(task)
        self._provider.require()
        name, zone = self._locate(asked)
        return Placement(
            solver=NAME,
            certificate=task.certificate,
            identifier=task.identifier.value,
            data={
                "name": name,
                "value": _value(task),
                "zone": zone,
                "domain": task.identifier.base,
                "credentials": self._provider.choose(name, asked),
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
        """Return once every authoritative server has every value. Raises `PropagationTimeout`."""
        if not self._challenge.dns_skip_propagation:
            self._inquiry.propagation.wait(_records(placements))

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: who asks the name servers cannot be seen from here."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        unneeded = [
            each for each in placements if self._holders.release(_record(each), each.certificate)
        ]
        if unneeded:
            self._provider.cleanup(_records(unneeded))

    def close(self) -> None:
        self._inquiry.close()

    def _locate(self, name: str) -> tuple[str, str]:
        try:
            found = self._inquiry.zones.locate(name)
        except ChallengeError:
            if not self._challenge.dns_skip_propagation:
                raise
            # Who says that the DNS need not be asked may be on a machine that cannot ask it, with
            # a provider that needs no zone. One that does will say so.
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
    # An entry of an older journal has the first four only.
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
