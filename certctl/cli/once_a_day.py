"""What a run of `renew` by cron or a timer prints: each error and warning once, then once a day.

Failures of certificates are remembered in the home directory (`operations.run_report`). This is
about all else: warnings, and errors for which there is no run, such as those in `certctl.toml`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from certctl import config
from certctl.cli.invocation import Invocation, failed
from certctl.model.errors import CertctlError, Interrupted
from certctl.operations.run_report import REMINDER_INTERVAL
from certctl.output.document import Result
from certctl.store.printed_lines import LineKind, PrintedLines
from certctl.system.clock import SystemClock


def print_once_a_day(invocation: Invocation) -> Callable[[], None]:
    """Have the invocation print each warning, and the error that it may end with, once a day, an
    error on one line. Return what is to be called once there was a run: errors are new from then.
    """
    printed = _printed_lines(invocation)
    if printed is None:
        return lambda: None

    def told(error: CertctlError) -> Result:
        if isinstance(error, Interrupted):
            return failed(error)
        new = printed.add(LineKind.ERROR, f"{error.code} {error.message}")
        return Result(
            errors=(error,),
            exit_status=error.exit_status,
            printed_before=() if new else (error,),
            one_line=True,
        )

    invocation.failed = told
    invocation.warns = lambda message: printed.add(LineKind.WARNING, message)
    return lambda: printed.forget(LineKind.ERROR)


def _printed_lines(invocation: Invocation) -> PrintedLines | None:
    """Return what was printed about the home directory; None if nothing can be remembered."""
    environment = invocation.environment
    try:
        directory = config.state_directory(environment.variables)
    except CertctlError:
        return None
    home = Path(invocation.home or "-")
    with suppress(CertctlError):  # which is what will be printed
        home = config.home_directory(
            invocation.home,
            environment.variables,
            directory=environment.directory,
            user_id=environment.user_id,
        )
    return PrintedLines(directory, str(home), SystemClock().now(), REMINDER_INTERVAL)
