"""How hooks that place answers are called: certctl's way, and those of other clients."""

import pytest

from certctl.challenges import http01_hook
from certctl.dns.loading import provider_options
from certctl.model.ca import ChallengeType
from certctl.model.errors import ConfigurationError
from certctl.model.validation import Placement
from certctl.rules.hook_protocols import (
    HookAction,
    HookAnswer,
    HookProtocol,
    chosen_protocol,
    hook_calls,
)
from certctl.rules.options import OPTIONS

ONE = HookAnswer(
    "dns-01",
    "a.example",
    "token-1",
    "value-1",
    "token-1.thumbprint",
    "_acme-challenge.a.example",
    facts=(("CERTCTL_DNS_NAME", "_acme-challenge.a.example"),),
)
TWO = HookAnswer(
    "dns-01", "b.example", "token-2", "value-2", "token-2.thumbprint", "alias.dns.example"
)


@pytest.mark.parametrize(
    ("protocol", "present", "cleanup"),
    [
        ("certctl", ["present"], ["cleanup"]),
        ("certbot", [], []),
        (
            "dehydrated",
            ["deploy_challenge", "b.example", "token-2", "value-2"],
            ["clean_challenge", "b.example", "token-2", "value-2"],
        ),
        (
            "lego",
            ["present", "alias.dns.example.", "value-2"],
            ["cleanup", "alias.dns.example.", "value-2"],
        ),
        (
            "lego-raw",
            ["present", "--", "b.example", "token-2", "token-2.thumbprint"],
            ["cleanup", "--", "b.example", "token-2", "token-2.thumbprint"],
        ),
        (
            "uacme",
            ["begin", "dns-01", "b.example", "token-2", "value-2"],
            ["done", "dns-01", "b.example", "token-2", "value-2"],
        ),
    ],
)
def test_each_protocol_has_its_arguments(
    protocol: str, present: list[str], cleanup: list[str]
) -> None:
    chosen = HookProtocol(protocol)

    placed = hook_calls(chosen, HookAction.PRESENT, [ONE, TWO])
    removed = hook_calls(chosen, HookAction.CLEANUP, [ONE, TWO])

    assert [call.positions for call in placed] == [(0,), (1,)]
    assert list(placed[1].arguments) == present
    assert list(removed[1].arguments) == cleanup


def test_a_chained_hook_is_called_once_for_all() -> None:
    (call,) = hook_calls(HookProtocol.DEHYDRATED_CHAIN, HookAction.PRESENT, [ONE, TWO])

    assert call.positions == (0, 1)
    assert list(call.arguments) == [
        *("deploy_challenge", "a.example", "token-1", "value-1"),
        *("b.example", "token-2", "value-2"),
    ]


@pytest.mark.parametrize("protocol", HookProtocol)
def test_without_answers_nobody_is_called(protocol: HookProtocol) -> None:
    assert hook_calls(protocol, HookAction.PRESENT, []) == ()


def test_the_environment_has_certctls_variables_and_those_of_others() -> None:
    first, _ = hook_calls(HookProtocol.CERTBOT, HookAction.PRESENT, [ONE, TWO])

    assert first.environment == {
        "CERTCTL_DNS_NAME": "_acme-challenge.a.example",
        "CERTBOT_DOMAIN": "a.example",
        "CERTBOT_IDENTIFIER": "a.example",
        "CERTBOT_VALIDATION": "value-1",
        "CERTBOT_REMAINING_CHALLENGES": "1",
        "CERTBOT_ALL_DOMAINS": "a.example,b.example",
        "CERTBOT_ALL_IDENTIFIERS": "a.example,b.example",
        "CHALLENGETYPE": "dns-01",
        "altnames": "a.example b.example",
    }


@pytest.mark.parametrize(
    ("given", "cleanup_hook", "protocol"),
    [
        (None, None, HookProtocol.CERTCTL),
        (None, "cleanup", HookProtocol.CERTBOT),
        ("certctl", "cleanup", HookProtocol.CERTCTL),
        ("uacme", None, HookProtocol.UACME),
    ],
)
def test_two_commands_imply_certbots_protocol_by_default(
    given: str | None, cleanup_hook: str | None, protocol: HookProtocol
) -> None:
    assert chosen_protocol(given, cleanup_hook) is protocol


def test_a_second_command_is_rejected_if_the_protocol_has_only_one() -> None:
    with pytest.raises(ConfigurationError, match="protocol dehydrated and a cleanup hook"):
        chosen_protocol("dehydrated", "cleanup")


def test_no_variable_of_the_http_hook_is_an_options_variable() -> None:
    placed = Placement(
        "http-hook", "a", "a.example", {"token": "t", "key_authorization": "t.thumbprint"}
    )
    answer = http01_hook.hook_answer(HookAction.PRESENT, placed)
    (call,) = hook_calls(HookProtocol.CERTCTL, HookAction.PRESENT, [answer])

    assert answer.challenge == ChallengeType.HTTP_01
    assert call.environment["CERTBOT_TOKEN"] == "t"
    options = (*OPTIONS, *provider_options())
    assert call.environment.keys().isdisjoint(each.environment for each in options)
