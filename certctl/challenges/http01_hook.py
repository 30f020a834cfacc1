"""HTTP-01 (RFC 8555 §8.3) with a user's command that makes a web server serve the answer.

The command follows certctl's hook protocol, or that of another ACME client.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.challenges.http01 import check_task, placement
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.model.ca import ChallengeType
from certctl.model.errors import ConfigurationError
from certctl.model.identifiers import Identifier
from certctl.model.names import parse_identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task
from certctl.rules.hook_protocols import HookAction, HookAnswer, chosen_protocol
from certctl.rules.options import Option
from certctl.system.answer_hooks import AnswerHooks, HookSettings

NAME = "http-hook"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: the settings named `challenge.*` are in `certctl.rules.options`."""

_CODE = "challenge.http.hook"


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:
    """Return a solver with the spec's command. Raises `ConfigurationError` if there is none."""
    hook, cleanup_hook = challenge.http_hook, challenge.http_cleanup_hook
    if not hook:
        raise ConfigurationError(
            "the challenge method http-hook needs a command",
            hint="Set it with --http-hook COMMAND.",
        )
    manner = HookSettings(
        "the HTTP hook",
        _CODE,
        "Run the command by hand with the variables CERTCTL_HTTP_* set",
        challenge.hook_timeout,
        ("--http-hook", "--http-cleanup-hook"),
    )
    protocol = chosen_protocol(challenge.http_hook_protocol, cleanup_hook)
    return HttpHookSolver(AnswerHooks(hook, cleanup_hook, protocol, manner, system.stop))


class HttpHookSolver:
    """Answers HTTP-01 challenges by running a command."""

    def __init__(self, hooks: AnswerHooks) -> None:
        self._hooks = hooks
        self._holders = Holders()

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.HTTP_01,)

    def check(self, identifiers: Sequence[Identifier]) -> None:  # noqa: ARG002 - for all names
        """Raise `ConfigurationError` if the command cannot start."""
        self._hooks.require_runnable()

    def plan(self, task: Task) -> Placement:
        check_task(task)
        return placement(NAME, task)

    def present(self, placements: Sequence[Placement]) -> None:
        """Run the command for each answer, in order. Raises `ChallengeError` and `Interrupted`."""
        for each in placements:
            self._holders.hold(each.data["token"], each.certificate)
        self._hooks.present([hook_answer(HookAction.PRESENT, each) for each in placements])

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return at once: the answer is served when the command has ended."""

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: certctl cannot observe requests to the web server."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        self._hooks.cleanup(
            [
                hook_answer(HookAction.CLEANUP, each)
                for each in placements
                if self._holders.release(each.data["token"], each.certificate)
            ]
        )

    def close(self) -> None:
        """Do nothing: no resources are held."""


def hook_answer(action: HookAction, placed: Placement) -> HookAnswer:
    """Return what a hook is passed for an answer."""
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
