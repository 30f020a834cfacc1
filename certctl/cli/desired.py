"""The desired state that a command was given, as a plan, and the consent to a plan."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.reports import require_confirmation
from certctl.engine.run import Run
from certctl.model.errors import UsageError
from certctl.operations.desired import read_desired_state
from certctl.operations.forecast import Forecast
from certctl.operations.plan import Prune, plan_desired
from certctl.output.plan import forecast_lines
from certctl.output.times import Times

_LONGEST = 64 * 1024 * 1024


def forecast_of(
    invocation: Invocation, source: str, run: Run, prune: bool, prune_limit: int | None
) -> Forecast:
    """Return what would be done with the desired state in `source`. Raises as `plan_desired` and
    `read_desired_state` do.
    """
    if prune_limit is not None and not prune:
        raise UsageError("--prune-limit has no effect without --prune")
    environment = invocation.environment

    def standard_input() -> str:
        binary = getattr(environment.stdin, "buffer", None)
        if binary is None:
            return environment.stdin.read(_LONGEST)
        raw: bytes = binary.read(_LONGEST)
        return raw.decode("utf-8-sig")

    wish = read_desired_state(source, environment.directory, run, standard_input)
    return plan_desired(wish, run, Prune(prune_limit) if prune else None)


def require_agreement(invocation: Invocation, forecast: Forecast, question: str) -> None:
    """Show a plan, and return if the user agrees to it, or did so with `--yes`. Raises as
    `require_confirmation` does.
    """
    output = invocation.output
    asks = invocation.interactive and not invocation.yes
    if asks or not output.quiet:
        times = Times(local=output.terminal)
        output.show(forecast_lines(forecast, times, everything=not output.terminal))
    require_confirmation(invocation, question, None)
