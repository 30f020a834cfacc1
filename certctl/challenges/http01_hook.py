"""HTTP-01 (RFC 8555 §8.3) by somebody's own command, which puts the answer where a web server shows
it: certctl's own protocol, or a hook of another client, unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.challenges.http01 import check_task, placement
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.errors import ConfigurationError
from certctl.hook_protocols import HookAction, HookAnswer, chosen_protocol
from certctl.models import ChallengeSpec, ChallengeType, Placement, Task
from certctl.names import parse_identifier
from certctl.options import Option
from certctl.ports import Solver
from certctl.system.answer_hooks import AnswerHooks, HookSettings

NAME = "http-hook"
OPTIONS: tuple[Option, ...] = ()
"""None of its own: the settings named `challenge.*` stand in `certctl.options`."""

_CODE = "challenge.http.hook"


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver with the spec's command. Raises `ConfigurationError` where there is none."""
    hook, cleanup_hook = challenge.http_hook, challenge.http_cleanup_hook
    if not hook:
        raise ConfigurationError(
            "no command is given that places answers", hint="Give one with --http-hook COMMAND."
        )
    manner = HookSettings(
        "the HTTP hook",
        _CODE,
        "Run the command by hand with the variables CERTCTL_HTTP_* set",
        challenge.hook_timeout,
    )
    protocol = chosen_protocol(challenge.http_hook_protocol, cleanup_hook)
    return HttpHookSolver(AnswerHooks(hook, cleanup_hook, protocol, manner, system.stop))


class HttpHookSolver:
    """Answers HTTP-01 challenges through a command."""

    def __init__(self, hooks: AnswerHooks) -> None:
        self._hooks = hooks
        self._holders = Holders()

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.HTTP_01,)

    def plan(self, task: Task) -> Placement:
        check_task(task)
        return placement(NAME, task)

    def present(self, placements: Sequence[Placement]) -> None:
        """Run the command for each answer, in order. Raises `ChallengeError`, and `Interrupted`."""
        for each in placements:
            self._holders.hold(each.data["token"], each.certificate)
        self._hooks.present([hook_answer(HookAction.PRESENT, each) for each in placements])

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return at once: what the command has placed is there."""

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: who asks the web server cannot be seen from here."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        self._hooks.cleanup(
            [
                hook_answer(HookAction.CLEANUP, each)
                for each in placements
                if self._holders.release(each.data["token"], each.certificate)
            ]
        )

    def close(self) -> None:
        """Nothing is held open."""


def hook_answer(action: HookAction, placed: Placement) -> HookAnswer:
    """Return what a hook is told of an answer."""
    domain = parse_identifier(placed.identifier).base
    token, key_authorization = placed.data["token"], placed.data["key_authorization"]
    return HookAnswer(
        ChallengeType.HTTP_01,
        domain,
        token,
        key_authorization,
        key_authorization,
        facts=(
            ("CERTCTL_HTTP_ACTION", action.value),
            ("CERTCTL_HTTP_DOMAIN", domain),
            ("CERTCTL_HTTP_TOKEN", token),
            ("CERTCTL_HTTP_ANSWER", key_authorization),
        ),
    )
