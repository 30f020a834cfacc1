"""Calling conventions for challenge hooks: certctl's own, and those of other ACME clients, whose
hook scripts run unchanged.

Computes arguments and environment; the caller runs the command. Arguments are passed to the process
and never go through a shell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType

from certctl.model.ca import ChallengeType
from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass


class HookProtocol(StrEnum):
    """The client that a hook was written for.

    `-chain`: all challenges in one call. `-raw`: as lego calls a hook with EXEC_MODE=RAW.
    """

    CERTCTL = "certctl"
    CERTBOT = "certbot"
    DEHYDRATED = "dehydrated"
    DEHYDRATED_CHAIN = "dehydrated-chain"
    LEGO = "lego"
    LEGO_RAW = "lego-raw"
    UACME = "uacme"


class HookAction(StrEnum):
    """What the hook has to do, as in certctl's own protocol."""

    PRESENT = "present"
    CLEANUP = "cleanup"


@dataclass(frozen=True)
class HookAnswer:
    """A challenge response to place or remove.

    `value` is the content of the TXT record or file, `record` the name of the TXT record, and
    `facts` has the variables of certctl's own protocol.
    """

    challenge: str
    domain: str
    token: str
    value: str
    key_authorization: str
    record: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def subject(self) -> str:
        """What error messages call it: the record name or the domain."""
        return self.record or self.domain


@dataclass(frozen=True)
class HookCall:
    """One call of the hook, for the responses at `positions`; `environment` is set in addition."""

    positions: tuple[int, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


DNS_PROTOCOLS = tuple(HookProtocol)
"""The protocols for DNS challenges."""

HTTP_PROTOCOLS = (
    HookProtocol.CERTCTL,
    HookProtocol.CERTBOT,
    HookProtocol.DEHYDRATED,
    HookProtocol.DEHYDRATED_CHAIN,
    HookProtocol.UACME,
)
"""The protocols for HTTP-01."""

NEED_RECORD_NAME = frozenset({HookProtocol.CERTCTL, HookProtocol.LEGO})
"""The protocols that pass the record name; hooks of the others derive `_acme-challenge.DOMAIN`."""

_TWO_COMMANDS = frozenset({HookProtocol.CERTCTL, HookProtocol.CERTBOT})

_DEHYDRATED = MappingProxyType(
    {HookAction.PRESENT: "deploy_challenge", HookAction.CLEANUP: "clean_challenge"}
)
# A solver does not know the outcome, and hooks do the same for `done` and `failed`.
_UACME = MappingProxyType({HookAction.PRESENT: "begin", HookAction.CLEANUP: "done"})


def chosen_protocol(given: object, cleanup_hook: str | None) -> HookProtocol:
    """Return the protocol that was given, or the default. Raises `ConfigurationError` for a cleanup
    hook if the protocol has only one command.
    """
    if given is None:
        return HookProtocol.CERTBOT if cleanup_hook else HookProtocol.CERTCTL
    protocol = HookProtocol(str(given))
    if cleanup_hook and protocol not in _TWO_COMMANDS:
        raise ConfigurationError(
            f"the hook protocol {protocol} and a cleanup hook cannot be combined: its hooks also do"
            " the cleanup",
            hint="Remove the cleanup hook.",
        )
    return protocol


def hook_calls(
    protocol: HookProtocol, action: HookAction, answers: Sequence[HookAnswer]
) -> tuple[HookCall, ...]:
    """Return the calls that place or remove the responses, in order."""
    if not answers:
        return ()
    if protocol is HookProtocol.DEHYDRATED_CHAIN:
        arguments = [argument for each in answers for argument in _dehydrated_arguments(each)]
        return (
            HookCall(
                tuple(range(len(answers))),
                (_DEHYDRATED[action], *arguments),
                _environment(answers, len(answers) - 1),
            ),
        )
    return tuple(
        HookCall((index,), _arguments(protocol, action, each), _environment(answers, index))
        for index, each in enumerate(answers)
    )


def _arguments(protocol: HookProtocol, action: HookAction, answer: HookAnswer) -> tuple[str, ...]:
    match protocol:
        case HookProtocol.CERTCTL:
            return (action.value,)
        case HookProtocol.DEHYDRATED:
            return (_DEHYDRATED[action], *_dehydrated_arguments(answer))
        case HookProtocol.LEGO:
            return (action.value, f"{answer.record}.", answer.value)
        case HookProtocol.LEGO_RAW:
            return (action.value, "--", answer.domain, answer.token, answer.key_authorization)
        case HookProtocol.UACME:
            return (_UACME[action], answer.challenge, answer.domain, answer.token, answer.value)
    return ()


def _dehydrated_arguments(answer: HookAnswer) -> tuple[str, str, str]:
    return answer.domain, answer.token, answer.value


def _environment(answers: Sequence[HookAnswer], index: int) -> Mapping[str, str]:
    """Return the variables of certctl, certbot and dehydrated."""
    answer = answers[index]
    domains = [each.domain for each in answers]
    variables = {
        **dict(answer.facts),
        "CERTBOT_DOMAIN": answer.domain,
        "CERTBOT_IDENTIFIER": answer.domain,
        "CERTBOT_VALIDATION": answer.value,
        "CERTBOT_REMAINING_CHALLENGES": str(len(answers) - index - 1),
        "CERTBOT_ALL_DOMAINS": ",".join(domains),
        "CERTBOT_ALL_IDENTIFIERS": ",".join(domains),
        "CHALLENGETYPE": answer.challenge,
        "altnames": " ".join(dict.fromkeys(domains)),
    }
    if answer.challenge == ChallengeType.HTTP_01:
        variables["CERTBOT_TOKEN"] = answer.token
    return variables
