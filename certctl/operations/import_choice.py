"""What other clients have on this machine, and which of their certificates are taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from certctl.ca.directories import KNOWN_CAS, ca_kind
from certctl.importers.loading import look
from certctl.importers.tree import Tree
from certctl.model.errors import UsageError
from certctl.model.importing import (
    FoundCertificate,
    FoundClient,
    FoundMachine,
    Question,
    Readiness,
)
from certctl.model.values import Value

_WAYS = frozenset({"--webroot", "--standalone", "--dns", "--tls-alpn", "--dns-credentials"})
_DEPLOYMENT = frozenset({"--deploy", "--deploy-hook", "--copy"})
_ACCOUNT = frozenset({"--agree-tos", "--account"})


def find_machine(root: Path, place: str | None) -> FoundMachine:
    """Return what other clients have below `root`, or only in the directory `place`. Changes
    nothing and asks no CA.
    """
    known = {each.url.split("/")[2]: each.url for each in KNOWN_CAS if "://" in each.url}
    machine = look(Tree(root), known, place)
    return replace(machine, clients=tuple(_asked(each, machine) for each in machine.clients))


def _asked(client: FoundClient, machine: FoundMachine) -> FoundClient:
    """Return the client with the questions that schedules and containers raise."""
    certificates = []
    for each in client.certificates:
        questions, notes, why = list(each.questions), list(each.notes), each.why
        for schedule in machine.schedules:
            orders = any(f" {word} " in f" {schedule.command} " for word in ("certonly", "run"))
            named = each.facts is not None and any(
                one.value in schedule.command for one in each.facts.identifiers
            )
            if schedule.client == client.client == "certbot" and orders and named:
                questions.append(
                    Question(
                        f"{schedule.where} runs certbot to get it again, which would make a second"
                        " one",
                        "remove that line",
                    )
                )
        if machine.mounts and not client.report_only:
            questions.append(
                Question(
                    f"a container sees these files, and would not find certctl's: "
                    f"{machine.mounts[0]}",
                    "--copy fullchain:PATH --copy privkey:PATH with the paths that it reads",
                )
            )
        if each.ca is not None and ca_kind(each.ca) == "staging":
            notes.append("its CA is for tests: --all leaves it out")
        if client.untrusted is not None and why is None:
            why = (
                f"{client.untrusted}, who could change what certctl would run as root; make root"
                " its owner first"
            )
        readiness = Readiness.TO_SETTLE if questions else Readiness.READY
        certificates.append(
            replace(
                each,
                questions=tuple(questions),
                notes=tuple(notes),
                why=why,
                readiness=Readiness.NOT_MOVED if why is not None else readiness,
            )
        )
    return replace(client, certificates=tuple(certificates))


def choose(
    machine: FoundMachine, names: Sequence[str], given: Mapping[str, Value], *, agreed: bool
) -> list[FoundCertificate]:
    """Return the certificates to take over: those that are named, or all that are ready.

    `given` has the options that settle questions. Raises `UsageError` for a name that two clients
    have or nobody has, and for a question that is not settled.
    """
    everything = [each for client in machine.clients for each in client.certificates]
    if not names:
        return [
            each
            for each in everything
            if each.readiness is Readiness.READY and not _is_staging(each)
        ]
    return [_ready(_named(everything, name), given, agreed=agreed) for name in dict.fromkeys(names)]


def _is_staging(found: FoundCertificate) -> bool:
    return found.ca is not None and ca_kind(found.ca) == "staging"


def _named(found: Sequence[FoundCertificate], name: str) -> FoundCertificate:
    matching = [each for each in found if name in (each.name, each.id)]
    if not matching:
        known = ", ".join(each.name for each in found[:10]) or "none"
        raise UsageError(
            f"no other client has a certificate named {name}; known: {known}",
            hint="See all of them with: certctl import",
            code="usage.unknown_certificate",
        )
    if len(matching) > 1:
        raise UsageError(
            f"several clients have a certificate named {name}",
            hint=f"Name one of them: {', '.join(each.id for each in matching)}",
            code="usage.name",
        )
    return matching[0]


def _ready(
    found: FoundCertificate, given: Mapping[str, Value], *, agreed: bool
) -> FoundCertificate:
    """Return the certificate if it can be taken over. Raises `UsageError`."""
    if found.why is not None and not found.by_name:
        raise UsageError(
            f"{found.name} is not moved: {found.why}", name=found.name, code="import.not_moved"
        )
    left = [each for each in found.questions if not _settles(each, given, agreed=agreed)]
    if left:
        raise UsageError(
            f"{found.name}: {'; '.join(each.message for each in left)}",
            hint=f"Settle that first: {'; '.join(each.option for each in left)}",
            name=found.name,
            code="import.to_settle",
        )
    return found


def is_settled(found: FoundCertificate, given: Mapping[str, Value], *, agreed: bool) -> bool:
    """Return whether a certificate could be taken over with these options."""
    settled = all(_settles(each, given, agreed=agreed) for each in found.questions)
    return found.why is None and settled


def _settles(question: Question, given: Mapping[str, Value], *, agreed: bool) -> bool:
    flags = {word.strip(",") for word in question.option.split() if word.startswith("--")}
    if flags & _ACCOUNT:
        return agreed or "account.id" in given
    if "--key-group" in flags:
        return "key_group" in given
    if "--ca" in flags:
        return "ca" in given
    if flags & _WAYS:
        return any(key.startswith(("challenge.", "dns.")) for key in given)
    if flags & _DEPLOYMENT:
        return any(key.startswith("deploy.") for key in given)
    return False
