"""Opens a run for an invocation: settings, home directory, progress, and stop signals.

Commands import it; `certctl --help` and `--version` do not.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType

from certctl import config
from certctl.cli.invocation import Invocation
from certctl.dns.loading import provider_names
from certctl.engine.plugins import option_table
from certctl.engine.run import Run
from certctl.library import Untrusted, open_home, services_of
from certctl.model.errors import CertctlError
from certctl.model.events import Event, EventSink
from certctl.output.console import Output, PrintableStream
from certctl.output.json_lines import Lines
from certctl.output.log import Log
from certctl.output.progress import Progress
from certctl.rules.paths import absolute_path
from certctl.rules.settings import OptionTable, Settings
from certctl.rules.variables import candidates, has_no_effect, is_of_provider
from certctl.system.clock import SystemClock


@contextmanager
def open_run(invocation: Invocation, *, untrusted: Untrusted = "refuse") -> Iterator[Run]:
    """Open a run: settings, home directory, progress, records, and stop signals."""
    environment, output = invocation.environment, invocation.output
    home = config.home_directory(
        invocation.home,
        environment.variables,
        directory=environment.directory,
        user_id=environment.user_id,
    )
    if untrusted == "warn" and config.hidden_system_home(
        home, environment.system_home, environment.user_id
    ):
        output.warning(
            f"{home} has no certificates. Those of this system are in {environment.system_home},"
            f" which only root can read: sudo {_typed(invocation.command)}"
        )
    settings = config.load(
        home,
        environment.variables,
        invocation.flags,
        directory=environment.directory,
        options=option_table(),
    )
    _warn_of_variables(invocation, settings)
    stop = threading.Event()
    stores = open_home(home, settings, warn=output.warning, stop=stop, untrusted=untrusted)
    with ExitStack() as stack:
        sinks = [stack.enter_context(Progress(output)).sink, *invocation.sinks]
        if output.json_lines:
            sinks.append(stack.enter_context(Lines(output.stdout)).sink)
        log_file = settings.text("log_file")
        if log_file is not None:
            log = stack.enter_context(
                Log(log_file if log_file == "-" else absolute_path(log_file, environment.directory))
            )
            sinks.append(log.sink)
            stack.push(lambda _kind, error, _trace: _write_error(log, error))
        if output.verbosity > 1:
            stack.enter_context(_log_requests(output))
        stack.enter_context(stopped_by_signals(stop))
        services = services_of(
            stores,
            home,
            settings,
            emit=_to_all(sinks),
            warn=output.warning,
            ask=invocation.ask,
            instruct=invocation.instruct,
            stop=stop,
        )
        if invocation.opened is not None:
            services = replace(services, opened=invocation.opened)
        yield stack.enter_context(Run(services, stop))


def _typed(command: str) -> str:
    """Return a command as it is typed; certbot's have the name of their program."""
    return command if command.startswith("certbot ") else f"certctl {command}"


def _warn_of_variables(invocation: Invocation, settings: Settings) -> None:
    """Warn of variables that look like certctl's; not in runs of cron, which would do so hourly."""
    if invocation.command == "renew" and not invocation.environment.stderr.isatty():
        return
    table, variables = settings.table, invocation.environment.variables
    for each in candidates(variables):
        if not isinstance(table, OptionTable) or table.of_variable(each) is not None:
            continue
        if is_of_provider(each, provider_names()):
            continue
        known = [option.environment for option in table.values() if option.environment]
        invocation.output.warning(has_no_effect(each, known))


def _to_all(sinks: Sequence[EventSink]) -> EventSink:
    def emit(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return emit


def _write_error(log: Log, error: BaseException | None) -> None:
    if isinstance(error, CertctlError):
        log.error(SystemClock().now(), error)


@contextmanager
def _log_requests(output: Output) -> Iterator[None]:
    """Print each request to the CA and its response (`-vv`)."""
    logger, handler = (
        logging.getLogger("certctl.ca"),
        logging.StreamHandler(PrintableStream(output.stderr)),
    )
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def stopped_by_signals(stop: threading.Event | None = None) -> Iterator[threading.Event]:
    """Set the event on SIGINT and SIGTERM; a second SIGINT ends the process as usual."""
    stop = stop or threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def received(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before: Mapping[int, object] = {
        number: signal.signal(number, received) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # returned by signal()
