"""How a hook that places answers is called: certctl's way, and those of other clients, whose hooks
therefore run unchanged.

Plain rules from answers to arguments and environment. Who runs the command is not known here. Where
a protocol wants arguments, they are arguments of the process, and no shell ever reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from certctl.errors import ConfigurationError
from certctl.models import ChallengeType


class HookProtocol(StrEnum):
    """Whose hook it is; `-chain`: all answers in one call; `-raw`: lego's with EXEC_MODE=RAW."""

    CERTCTL = "certctl"
    CERTBOT = "certbot"
    DEHYDRATED = "dehydrated"
    DEHYDRATED_CHAIN = "dehydrated-chain"
    LEGO = "lego"
    LEGO_RAW = "lego-raw"
    UACME = "uacme"


class HookAction(StrEnum):
    """What the hook has to do; certctl's own words for it."""

    PRESENT = "present"
    CLEANUP = "cleanup"


@dataclass(frozen=True)
class HookAnswer:
    """An answer to place or to remove: `value` is what a TXT record or a file has to hold, `record`
    where the record stands, and `facts` are certctl's own variables.
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
        """What errors call it: the record's name, or the domain."""
        return self.record or self.domain


@dataclass(frozen=True)
class HookCall:
    """One call, for the answers of these positions; `environment` is added to a clean one."""

    positions: tuple[int, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


DNS_PROTOCOLS = tuple(HookProtocol)
"""The protocols that can place TXT records."""

HTTP_PROTOCOLS = (
    HookProtocol.CERTCTL,
    HookProtocol.CERTBOT,
    HookProtocol.DEHYDRATED,
    HookProtocol.DEHYDRATED_CHAIN,
    HookProtocol.UACME,
)
"""The protocols that can place what HTTP-01 asks for."""

NEED_RECORD_NAME = frozenset({HookProtocol.CERTCTL, HookProtocol.LEGO})
"""The protocols that say where the record stands; the others leave that to the hook, which knows
`_acme-challenge.DOMAIN` only.
"""

_TWO_COMMANDS = frozenset({HookProtocol.CERTCTL, HookProtocol.CERTBOT})

_DEHYDRATED = MappingProxyType(
    {HookAction.PRESENT: "deploy_challenge", HookAction.CLEANUP: "clean_challenge"}
)
# A solver is not told whether the CA was content, and hooks do the same for `done` and `failed`.
_UACME = MappingProxyType({HookAction.PRESENT: "begin", HookAction.CLEANUP: "done"})


def chosen_protocol(given: object, cleanup_hook: str | None) -> HookProtocol:
    """Return the protocol that was chosen, or that two commands imply. Raises `ConfigurationError`
    for two commands where the protocol has one.
    """
    if given is None:
        return HookProtocol.CERTBOT if cleanup_hook else HookProtocol.CERTCTL
    protocol = HookProtocol(str(given))
    if cleanup_hook and protocol not in _TWO_COMMANDS:
        raise ConfigurationError(
            f"a hook of {protocol} both places answers and removes them: it is one command",
            hint="Leave the cleanup hook out.",
        )
    return protocol


def hook_calls(
    protocol: HookProtocol, action: HookAction, answers: Sequence[HookAnswer]
) -> tuple[HookCall, ...]:
    """Return the calls that place or remove the answers, in their order."""
    if not answers:
        return ()
    if protocol is HookProtocol.DEHYDRATED_CHAIN:
        words = [word for each in answers for word in _dehydrated_words(each)]
        return (
            HookCall(
                tuple(range(len(answers))),
                (_DEHYDRATED[action], *words),
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
            return (_DEHYDRATED[action], *_dehydrated_words(answer))
        case HookProtocol.LEGO:
            return (action.value, f"{answer.record}.", answer.value)
        case HookProtocol.LEGO_RAW:
            return (action.value, "--", answer.domain, answer.token, answer.key_authorization)
        case HookProtocol.UACME:
            return (_UACME[action], answer.challenge, answer.domain, answer.token, answer.value)
    return ()


def _dehydrated_words(answer: HookAnswer) -> tuple[str, str, str]:
    return answer.domain, answer.token, answer.value


def _environment(answers: Sequence[HookAnswer], index: int) -> Mapping[str, str]:
    """Return certctl's own variables, and those that certbot and dehydrated set."""
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
