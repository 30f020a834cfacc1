"""Opens a run for an invocation: settings, home directory, progress, and stop signals.

Commands import it; `certctl --help` and `--version` do not.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from certctl import config
from certctl.ca.directories import DEV
from certctl.cli.invocation import Invocation
from certctl.engine.plugins import option_table
from certctl.engine.run import Run
from certctl.engine.services import Services
from certctl.model.ca import Endpoint
from certctl.model.errors import CertctlError
from certctl.model.events import Event, EventSink
from certctl.output.console import Output, PrintableStream
from certctl.output.json_lines import Lines
from certctl.output.log import Log
from certctl.output.progress import Progress
from certctl.rules.paths import absolute_path
from certctl.store.home.audit import Audit
from certctl.store.home.local import LocalStore
from certctl.store.home.tree import LocalTree
from certctl.system.clock import SystemClock


@contextmanager
def open_run(
    invocation: Invocation, *, untrusted: Literal["refuse", "warn", "ignore"] = "refuse"
) -> Iterator[Run]:
    """Open a run: settings, home directory, progress, records, and stop signals.

    `untrusted` is what to do if another user could have written the home directory: raise
    `ConfigurationError`, warn (commands that only read), or nothing (`doctor`, which reports it).
    """
    environment, output = invocation.environment, invocation.output
    home = config.home_directory(
        invocation.home,
        environment.variables,
        directory=environment.directory,
        user_id=environment.user_id,
    )
    settings = config.load(
        home,
        environment.variables,
        invocation.flags,
        directory=environment.directory,
        options=option_table(),
    )
    clock, stop = SystemClock(), threading.Event()
    store = LocalStore(home, settings, clock, stop=stop, warn=output.warning)
    if untrusted == "refuse":
        store.trust.require()
    elif untrusted == "warn":
        for _, problem in store.trust.problems():
            output.warning(f"{problem.message}. To correct this, run: {problem.hint}")
    with ExitStack() as stack:
        sinks = [Audit(home, output.warning).sink, stack.enter_context(Progress(output)).sink]
        if output.json_lines:
            sinks.append(stack.enter_context(Lines(output.stdout)).sink)
        log_file = settings.text("log_file")
        if log_file is not None:
            log = stack.enter_context(
                Log(log_file if log_file == "-" else absolute_path(log_file, environment.directory))
            )
            sinks.append(log.sink)
            stack.push(lambda _kind, error, _trace: _write_error(log, clock, error))
        if output.verbosity > 1:
            stack.enter_context(_log_requests(output))
        stack.enter_context(stopped_by_signals(stop))
        services = Services(
            store=store,
            tree=LocalTree(home),
            clock=clock,
            settings=settings,
            emit=_to_all(sinks),
            ask=invocation.ask,
            instruct=invocation.instruct,
            endpoints={DEV: lambda: _dev_ca(home, stop)},
        )
        yield stack.enter_context(Run(services, stop))


def _dev_ca(home: Path, stop: threading.Event) -> AbstractContextManager[Endpoint]:
    """Start the development CA of the home directory inside this process."""
    from certctl.devca.endpoint import dev_endpoint  # noqa: PLC0415 - heavy, and for `dev` only

    return dev_endpoint(home, stop=stop)


def _to_all(sinks: Sequence[EventSink]) -> EventSink:
    def emit(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return emit


def _write_error(log: Log, clock: SystemClock, error: BaseException | None) -> None:
    if isinstance(error, CertctlError):
        log.error(clock.now(), error)


@contextmanager
def _log_requests(output: Output) -> Iterator[None]:
    """Print each request to the CA and its response (`-vv`)."""
    import logging  # noqa: PLC0415 - slow to import, and for -vv only

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
