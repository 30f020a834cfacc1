"""What other clients have on this machine, and which of their certificates are taken over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from certctl.ca.directories import KNOWN_CAS, ca_kind
from certctl.importers.loading import importers, look
from certctl.importers.schedules import words_of
from certctl.importers.tree import Tree
from certctl.model.errors import CertctlError, UsageError
from certctl.model.importing import (
    FoundCertificate,
    FoundClient,
    FoundMachine,
    FoundSchedule,
    Question,
    Readiness,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import MESSAGE, printable, quoted
from certctl.model.values import Value
from certctl.rules.option import Option
from certctl.rules.settings import Settings, check
from certctl.system.trust import user_name

_WAYS = frozenset(
    {"--webroot", "--standalone", "--dns", "--tls-alpn", "--dns-credentials", "--http-hook"}
)
_DEPLOYMENT = frozenset({"--deploy", "--deploy-hook", "--copy"})
_AS_ROOT = "--yes-run-as-root"
_ORDERING = frozenset({"certonly", "run", "-d", "--domain", "--domains", "--nginx", "--apache"})
_SETTLED_BY = (
    (frozenset({"--key-group"}), ("key_group",)),
    (frozenset({"--ca"}), ("ca",)),
    (_WAYS, ("challenge.", "dns.")),
    (_DEPLOYMENT, ("deploy.",)),
)
"""Options that settle a question, with the keys of their settings, or what those begin with."""
_OTHER_SUBCOMMANDS = frozenset(
    {"renew", "certificates", "delete", "revoke", "reconfigure", "install", "enhance", "rollback"}
)
_PLACE = "usage.directory"
_OF_A_MACHINE = ("etc", "var", "root", "home", "usr", "opt", "srv", "data")
_ACCOUNT = frozenset({"--agree-tos", "--account"})


_PATHS: Mapping[str, Callable[[str], str]] = {
    "challenge.directory": str,
    "challenge.webroots": lambda text: text.rpartition("=")[2],
    "deploy.copy": lambda text: text.partition(":")[2],
}
"""The settings that are paths, with how each is found in the text."""


@dataclass(frozen=True)
class Consent:
    """What the user has agreed to: the CA's terms of service, and that certctl does as root what
    another user has configured.
    """

    terms: bool = False
    as_root: bool = False


def find_machine(
    root: Path, place: str | None, table: Mapping[str, Option] | None = None
) -> FoundMachine:
    """Return what other clients have below `root`, or only in the directory `place`. Changes
    nothing and asks no CA. `table` has the settings.

    Raises `UsageError` for a directory that cannot be what the user means.
    """
    table = Settings().table if table is None else table
    known = {each.url.split("/")[2]: each.url for each in KNOWN_CAS if "://" in each.url}
    tree = Tree(root)
    _require_files(root)
    if place is not None:
        _require_files(tree.real(place))
    machine = look(tree, known, place)
    _require_home(machine, root, place)
    return replace(machine, clients=tuple(_asked(each, machine, table) for each in machine.clients))


def _require_files(directory: Path) -> None:
    """Raise `UsageError` unless this is a directory with something in it that can be read."""
    shown = quoted(str(directory))
    try:
        is_empty = not any(directory.iterdir())
    except FileNotFoundError:
        raise UsageError(f"{shown} does not exist", code=_PLACE) from None
    except NotADirectoryError:
        raise UsageError(
            f"{shown} is not a directory",
            hint="Give the directory in which the other client keeps its files.",
            code=_PLACE,
        ) from None
    except (OSError, ValueError) as error:
        denied = isinstance(error, PermissionError)
        if denied and os.geteuid() == 0:
            return  # the owner may read it, as on NFS: it is read with the owner's permissions
        hint = "Run certctl import as root." if denied else None
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{shown} cannot be read: {why}", hint=hint, code=_PLACE) from None
    if is_empty:
        raise UsageError(f"{shown} is empty", code=_PLACE)


def _require_home(machine: FoundMachine, root: Path, place: str | None) -> None:
    """Raise `UsageError` if a directory was given in which no client has its files, and which is no
    machine's either.
    """
    if machine.clients:
        return
    if place is not None:
        names = ", ".join(each.NAME for each in importers())
        raise UsageError(
            f"{quoted(place)} is not the home of an ACME client that certctl knows ({names})",
            hint="Give the client's own directory, such as /etc/letsencrypt, /root/.acme.sh,"
            " /etc/dehydrated, /var/lib/lego or /etc/ssl/uacme; or look everywhere: certctl import",
            code=_PLACE,
        )
    if not any((root / each).is_dir() for each in _OF_A_MACHINE):
        raise UsageError(
            f"{quoted(str(root))} does not have the files of a machine (etc, var, root …)",
            hint="To read one client's own directory, give it as: certctl import --from DIR",
            code=_PLACE,
        )


def _asked(client: FoundClient, machine: FoundMachine, table: Mapping[str, Option]) -> FoundClient:
    """Return the client with the questions that schedules, containers and owners raise."""
    certificates = []
    for each in client.certificates:
        unusable = _unusable(each.options, table)
        questions = (*each.questions, *unusable.values(), *_questions(each, client, machine))
        notes, why = list(each.notes), each.why
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
                options={key: each.options[key] for key in each.options if key not in unusable},
                questions=tuple(
                    Question(_said(one.message), _said(one.option), one.setting)
                    for one in questions
                ),
                notes=tuple(_said(one) for one in notes),
                why=why and _said(why),
                readiness=Readiness.NOT_MOVED if why is not None else readiness,
            )
        )
    return replace(
        client,
        certificates=tuple(certificates),
        problems=tuple(_said(each) for each in client.problems),
        notes=tuple(_said(each) for each in client.notes),
        keep=tuple(_said(each) for each in client.keep),
        untrusted=client.untrusted and _said(client.untrusted),
    )


def _said(text: str) -> str:
    """Return a text with words of the client's files as one line that can be printed."""
    return printable(text, MESSAGE)


def _unusable(options: Mapping[str, Value], table: Mapping[str, Option]) -> dict[str, Question]:
    """Return the options with values that certctl does not take, each with a question."""
    found: dict[str, Question] = {}
    for key, value in options.items():
        option = table.get(key)
        problem = None if option is None else _problem(option, value)
        if option is not None and problem is not None:
            wanted = f"{option.flag} {option.metavar or option.kind.value}"
            found[key] = Question(f"its {key} is {problem}", wanted, key)
    return found


def _problem(option: Option, value: Value) -> str | None:
    texts = [
        each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)
    ]
    if any("\N{REPLACEMENT CHARACTER}" in each for each in texts):
        return "damaged, or not UTF-8"
    if option.key in _PATHS:
        places = [_PATHS[option.key](each) for each in texts]
        relative = [each for each in places if not each.startswith("/")]
        if relative:
            return f"relative to an unknown directory ({quoted(relative[0])})"
    if any("\n" in each for each in texts):
        return "a script of several lines; write it to a file"
    try:
        check(option, value)
    except CertctlError as error:
        return f"not usable: {error.message.removeprefix(f'{option.key}: ')}"
    return None


def _questions(
    found: FoundCertificate, client: FoundClient, machine: FoundMachine
) -> Iterator[Question]:
    if found.client == "certbot":
        for schedule in machine.schedules:
            if _orders_again(schedule, found):
                yield Question(
                    f"{schedule.where} runs certbot to get it again, which would make a second one",
                    "remove that line",
                )
    if machine.mounts and not client.report_only:
        yield Question(
            f"a container sees these files, and would not find certctl's: {machine.mounts[0]}",
            "--copy fullchain:PATH --copy privkey:PATH with the paths that it reads",
        )
    if found.owner is not None and not client.report_only:
        yield from _questions_of_owner(found, user_name(found.owner))


def _orders_again(schedule: FoundSchedule, found: FoundCertificate) -> bool:
    """Return whether a schedule makes certbot order a certificate by its names: `run` is what
    certbot does without a subcommand.
    """
    if schedule.client != found.client or found.facts is None:
        return False
    words = set(words_of(schedule.command))
    if words & _OTHER_SUBCOMMANDS or not words & _ORDERING:
        return False
    names = {found.name, *(each.value for each in found.facts.identifiers)}
    named = "|".join(re.escape(each) for each in names)
    return re.search(rf"(?<![\w.*-])(?:{named})(?![\w-]|\.\w)", schedule.command) is not None


def _questions_of_owner(found: FoundCertificate, owner: str) -> Iterator[Question]:
    for each in commands_as_root(found):
        yield Question(f"the user {owner} chose what certctl would do as root: {each}", _AS_ROOT)
    copied = found.options.get("deploy.copy", ())
    copies_key = isinstance(copied, tuple) and any(each.startswith("privkey:") for each in copied)
    if found.material is not None and found.material.privkey is not None and not copies_key:
        yield Question(
            f"its private key belongs to the user {owner}, whose programs could not read certctl's",
            "--key-group GROUP with a group of that user, or --copy privkey:PATH",
        )


def commands_as_root(found: FoundCertificate) -> list[str]:
    """Return what the configuration of a certificate would make certctl do as root: the commands
    that it would run, and the places to which it would write.
    """
    done = []
    for key, value in sorted(found.options.items()):
        if key.endswith(("hook", "reload")):
            done.append(f"run {value}")
        elif key == "challenge.webroots" and isinstance(value, tuple):
            done += [f"write to {each.rpartition('=')[2]}" for each in value]
        elif key == "deploy.copy" and isinstance(value, tuple):
            done += [f"write to {each.partition(':')[2].partition(',')[0]}" for each in value]
        elif key == "challenge.directory":
            done.append(f"write to {value}")
    return done


def choose(
    machine: FoundMachine, names: Sequence[str], given: Mapping[str, Value], consent: Consent
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
    return [
        _ready(named_certificate(machine, name), given, consent) for name in dict.fromkeys(names)
    ]


def _is_staging(found: FoundCertificate) -> bool:
    return found.ca is not None and ca_kind(found.ca) == "staging"


def named_certificate(machine: FoundMachine, name: str) -> FoundCertificate:
    """Return the certificate that `name` or `client:name` names. Raises `UsageError`."""
    found = [each for client in machine.clients for each in client.certificates]
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
    found: FoundCertificate, given: Mapping[str, Value], consent: Consent
) -> FoundCertificate:
    """Return the certificate if it can be taken over. Raises `UsageError`."""
    if found.why is not None and not found.by_name:
        raise UsageError(
            f"{found.name} is not moved: {found.why}", name=found.name, code="import.not_moved"
        )
    left = [each for each in found.questions if not _settles(each, given, consent)]
    if left:
        options = dict.fromkeys(each.option for each in left)
        raise UsageError(
            f"{found.name}: {'; '.join(each.message for each in left)}",
            hint=f"Settle that first: {'; '.join(options)}",
            name=found.name,
            code="import.to_settle",
        )
    return found


def is_settled(found: FoundCertificate, given: Mapping[str, Value], consent: Consent) -> bool:
    """Return whether a certificate could be taken over with these options."""
    settled = all(_settles(each, given, consent) for each in found.questions)
    return found.why is None and settled


def _settles(question: Question, given: Mapping[str, Value], consent: Consent) -> bool:
    if question.setting is not None:
        return question.setting in given
    if not question.option.startswith("--"):
        return False  # something that a person has to do
    flags = {word.strip(",") for word in question.option.split() if word.startswith("--")}
    if _AS_ROOT in flags:
        return consent.as_root
    if flags & _ACCOUNT:
        return consent.terms or "account.id" in given
    settled_by = next((prefixes for some, prefixes in _SETTLED_BY if flags & some), ())
    return any(
        key == each or (each.endswith(".") and key.startswith(each))
        for key in given
        for each in settled_by
    )
