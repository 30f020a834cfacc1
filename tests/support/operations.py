"""A machine with a home directory, its clock and a scripted CA, for tests of the operations.

What the command line does before an operation begins (settings, a store, a run) is done here the
same way; all else is the real thing. The clock is steered, so that months pass at once, and the
CA's clock goes with it. What has to be killed runs as a process of its own, by the real clock.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certctl import config
from certctl.engine.plugins import option_table
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.engine.services import Services
from certctl.model.ca import Endpoint
from certctl.model.certificate import Version
from certctl.model.events import Event
from certctl.model.names import parse_identifiers
from certctl.model.ports import EndpointFactory
from certctl.model.status import CertificateStatus
from certctl.model.values import Value
from certctl.operations.issue import IssueRequest, issue
from certctl.operations.renew import RenewRequest, renew
from certctl.rules.settings import Settings
from certctl.rules.spec import with_absolute_paths
from certctl.store.home.tree import LocalTree
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.lab.scripted_ca.faults import calls
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import Finished
from tests.support.local_store import LocalStore

CERTCTL = (sys.executable, "-m", "certctl")

KILLED_BEFORE_RENAME = """
import os, signal, sys
path, *arguments = sys.argv[1:]
directory, name = os.path.split(path)
def look(happens, facts):
    if happens != "os.rename" or not os.path.isdir(directory):
        return
    what, where = os.fspath(facts[1]), facts[-1]
    within = os.path.dirname(what) if where < 0 else where
    if os.path.basename(what) == name and os.path.samestat(os.stat(within), os.stat(directory)):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
from certctl.cli.main import main
sys.exit(main(arguments))
"""
"""A program: certctl, killed just before it gives something its name (by `os.rename`)."""


FORKED = """
import json, os, sys
import certctl.ca.client, certctl.challenges.http01_standalone, certctl.operations.issue
from certctl.cli.main import main
children = []
for arguments in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        os._exit(main(arguments))
    children.append(child)
ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(json.dumps(ends), file=sys.stderr)
"""
"""A program: many processes of certctl at once, which share the work of starting."""


def _short_nap(seconds: float) -> None:
    """Let other threads, such as the CA's validation, get on while the clock is moved."""
    time.sleep(min(max(seconds, 0.0), 0.002))


@dataclass
class Machine:
    """One home directory, and the CA that its commands are told to use.

    `flags` go with every command, as if typed; `environment` has its variables. A question is
    answered by `answer`, where None stands for nobody at the terminal, once `on_question` returns.
    """

    home: Path
    ca: ScriptedCA
    clock: SteerableClock = field(
        default_factory=lambda: SteerableClock(datetime.now(UTC), on_wait=_short_nap)
    )
    port: int = field(default_factory=free_port)
    flags: dict[str, Value] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, EndpointFactory] = field(default_factory=dict)
    answer: bool | None = None
    on_question: Callable[[], object] = field(default=lambda: None)
    questions: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.ca.validate_http01 = ("127.0.0.1", self.port)
        self.flags = {
            "ca": self.ca.directory_url,
            "ca_bundle": str(self.ca.ca_bundle),
            "account.agree_tos": True,
            "challenge.http_address": "127.0.0.1",
            "challenge.http_port": self.port,
            **self.flags,
        }

    # -- what commands do

    def settings(self, options: Mapping[str, Value] | None = None) -> Settings:
        """The settings of a command: those of the home directory, the environment and the flags."""
        flags = {**self.flags, **(options or {})}
        return config.load(
            self.home, self.environment, flags, directory=self.home, options=option_table()
        )

    def services(self, options: Mapping[str, Value] | None = None) -> Services:
        settings = self.settings(options)
        store = LocalStore(self.home, settings, self.clock, stop=self.stop)
        return Services(
            records=store.records,
            machine=store.machine,
            tree=LocalTree(self.home),
            clock=self.clock,
            settings=settings,
            emit=self.events.append,
            ask=self._ask,
            endpoints=self.endpoints,
        )

    @contextmanager
    def run(self, options: Mapping[str, Value] | None = None) -> Iterator[Run]:
        """A run of one command with these options, given as flags."""
        with Run(self.services(options), self.stop) as run:
            yield run

    def issue(
        self, *names: str, options: Mapping[str, Value] | None = None, **request: Any
    ) -> Report:
        """`certctl issue`; `options` are flags by key, `request` the rest of `IssueRequest`."""
        table = option_table()
        flags = {**self.flags, **(options or {})}
        given = {key: value for key, value in flags.items() if table[key].in_spec}
        with self.run(options) as run:
            return issue(
                IssueRequest(
                    parse_identifiers(names),
                    given=with_absolute_paths(given, table, str(self.home)),
                    **request,
                ),
                run,
            )

    def renew(self, *names: str, **request: Any) -> Report:
        """`certctl renew`, as cron runs it: without any flags."""
        flags, self.flags = self.flags, {}
        try:
            with self.run() as run:
                return renew(RenewRequest(names, **request), run)
        finally:
            self.flags = flags

    def _ask(self, question: str) -> bool | None:
        self.questions.append(question)
        self.on_question()
        return self.answer

    # -- time

    def pass_time(self, duration: timedelta) -> None:
        """Let time pass, here and at the CA."""
        self.clock.advance(duration.total_seconds())
        self.ca.backdated = timedelta(hours=1) - (self.clock.now() - datetime.now(UTC))

    # -- what there is

    @property
    def store(self) -> LocalStore:
        flags, self.flags = self.flags, {}
        try:
            return LocalStore(self.home, self.settings(), self.clock)
        finally:
            self.flags = flags

    def status(self, name: str) -> CertificateStatus:
        return self.store.status(name)

    def live(self, name: str) -> Version:
        """The live version, which must be there."""
        live = self.status(name).live
        assert live is not None
        return live

    def spec_file(self, name: str) -> Path:
        return self.home / "certificates" / f"{name}.toml"

    def happened(self, kind: str) -> list[Any]:
        """The events of one kind, in their order."""
        return [event for event in self.events if event.kind == kind]

    # -- processes

    def arguments(self, command: str, *arguments: str) -> list[str]:
        """The words of a command; `issue` and `register` are told the CA, others find it."""
        words = [command, *arguments]
        if command in {"issue", "register"}:
            words += ["--ca", self.ca.directory_url, "--ca-bundle", str(self.ca.ca_bundle)]
            words += ["--agree-tos"]
        if command == "issue":
            words += ["--http-address", "127.0.0.1", "--http-port", str(self.port)]
        return words

    def start(self, *arguments: str, program: tuple[str, ...] = CERTCTL) -> subprocess.Popen[str]:
        """Start certctl as a process; the caller waits for it."""
        return self._start(*program, *self.arguments(*arguments))

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment, "CERTCTL_HOME": str(self.home)},
        )

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Wait for a process that `start` gave; what it wrote down lies in our past then."""
        stdout, stderr = process.communicate(timeout=60)
        self.clock.set(max(self.clock.now(), datetime.now(UTC)))
        return Finished(process.returncode, stdout, stderr)

    def command(self, *arguments: str) -> Finished:
        """Run certctl as a process to its end."""
        return self.finish(self.start(*arguments))

    def at_once(self, commands: Sequence[Sequence[str]]) -> list[int]:
        """Run certctl in a process for each command, all at once; return their exit statuses."""
        words = json.dumps([self.arguments(*command) for command in commands])
        # A word of its command line is by what one certctl knows another that has the port.
        done = self.finish(self._start(sys.executable, "-c", FORKED, words, "certctl"))
        statuses: list[int] = json.loads(done.stderr.splitlines()[-1])
        return statuses

    def killed_at(
        self, resource: str, *arguments: str, after_processing: bool = True, after: int = 0
    ) -> None:
        """Run certctl as a process, killed when the CA has done (or has) its request for
        `resource`, and before it gets an answer.
        """
        started = threading.Event()
        processes: list[subprocess.Popen[str]] = []

        def kill() -> None:
            started.wait(30)
            processes[0].kill()
            processes[0].wait(30)

        self.ca.script(resource, calls(kill, after_processing=after_processing), after=after)
        processes.append(self.start(*arguments))
        started.set()
        assert self.finish(processes[0]).exit_status == -signal.SIGKILL

    def killed_before_rename(self, path: str, *arguments: str) -> None:
        """Run certctl as a process, killed just before something is renamed to `path`, which is
        relative to the home directory.
        """
        program = (sys.executable, "-c", KILLED_BEFORE_RENAME, str(self.home / path))
        done = self.finish(self.start(*arguments, program=program))
        assert done.exit_status == -signal.SIGKILL, done.stderr


def codes(report: Report) -> list[str]:
    """The codes of everything that went wrong."""
    return [error.code for error in report.all_errors]


def lines(path: Path) -> list[str]:
    """The lines of a file; none where there is no file."""
    return path.read_text().splitlines() if path.exists() else []


def noting(path: Path, word: str = "$CERTCTL_CERT_NAME") -> str:
    """A hook that writes a line into a file."""
    return f'echo "{word}" >> {path}'


def executable(path: Path, script: str) -> None:
    """Write a shell script for a directory of hooks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def key_matches(version_directory: Path) -> bool:
    """Whether the key of a version belongs to its certificate, by other code than ours."""
    key = load_pem_private_key((version_directory / "privkey.pem").read_bytes(), None)
    leaf = x509.load_pem_x509_certificate((version_directory / "cert.pem").read_bytes())
    return key.public_key() == leaf.public_key()


def reached_at(ca: ScriptedCA) -> EndpointFactory:
    """What makes a CA of the table be the scripted one."""

    @contextmanager
    def endpoint() -> Iterator[Endpoint]:
        yield Endpoint(ca.directory_url, str(ca.ca_bundle))

    return endpoint
