"""The development CA: an ACME server (RFC 8555, 8737, 8738, 9773) on this machine.

    with DevCa(None, settings=DevCaSettings(http_port=8080)) as ca:
        client = SomeAcmeClient(ca.directory_url, trusting=ca.tls_ca_bundle)

It is not suitable as a public CA: it validates names wherever its settings say, and its issuers'
names state that they are for development.
"""

from __future__ import annotations

import contextlib
import random
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from certctl.devca import authority
from certctl.devca.authorizations import record_validation
from certctl.devca.kept_port import KeptPort
from certctl.devca.listener import Listener
from certctl.devca.log import RequestLog
from certctl.devca.problems import Problem
from certctl.devca.records import Account, Authorization, Records
from certctl.devca.service import Service
from certctl.devca.settings import DevCaSettings
from certctl.devca.state import State
from certctl.devca.validation import ValidationTask, Validator
from certctl.devca.zone import MockZone
from certctl.model.errors import ConfigurationError
from certctl.model.ports import Clock
from certctl.system.clock import SystemClock
from certctl.system.files import PRIVATE_DIRECTORY, ensure_directory, write_atomic

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_PORT_FILE = "port"
_VALIDATIONS = 64


class DevCa:
    """A context manager that runs a CA.

    `state` is the directory where keys and records are stored, None to keep them in memory. Port 0
    in `listen` is any free port; with a `state`, the same one each time if it is free. `report` is
    called with internal errors; `random_source` decides which requests get a fault.
    """

    def __init__(
        self,
        state: Path | None,
        *,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        settings: DevCaSettings | None = None,
        clock: Clock | None = None,
        report: Callable[[str], None] | None = None,
        random_source: random.Random | None = None,
    ) -> None:
        self.settings = settings or DevCaSettings()
        self.zone = MockZone()
        self.internal_errors: list[str] = []
        self._directory = state
        self._listen = listen
        self._clock = clock or SystemClock()
        self._on_error = report
        self._random = random_source or random.Random()  # noqa: S311 - not used for secrets
        self._stack = ExitStack()
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory."""
        return f"{self.base_url}/directory"

    @property
    def base_url(self) -> str:
        """The URL prefix of all resources."""
        host = self._listen[0]
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._listener.port

    @property
    def root_pem(self) -> bytes:
        """The root of the issued certificates and of the server's own certificate."""
        return self._authority.root_pem

    @property
    def rsa_root_pem(self) -> bytes:
        """The root of the alternate chains."""
        return self._authority.rsa_root_pem

    @property
    def tls_ca_bundle(self) -> Path:
        """The file with the root certificate, for clients to trust the server."""
        return self._bundle

    def server_files(self, directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
        """Sign a certificate for names and addresses without an order. Write its chain and its key
        into a directory, and return their paths.
        """
        return self._authority.server_files(directory, names, self._clock.now())

    @property
    def requests(self) -> RequestLog:
        """The log of requests."""
        return self._service.log

    # starting

    def _start(self, stack: ExitStack) -> None:
        if self._directory is not None:
            ensure_directory(self._directory, PRIVATE_DIRECTORY)
        records = Records(None if self._directory is None else self._directory / "records.sqlite3")
        stack.callback(records.close)
        self._authority = authority.open_authority(self._directory, self._clock.now())
        state = State(
            settings=self.settings,
            records=records,
            authority=self._authority,
            clock=self._clock,
            zone=self.zone,
            validate=self._validate,
        )
        self._state = state
        self._service = Service(state, self._random, self._report)
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certctl-dev-ca-")))
        self._bundle = (self._directory or files) / authority.ROOT_FILE
        if self._directory is None:
            write_atomic(self._bundle, self.root_pem, 0o644)
        self._workers = ThreadPoolExecutor(_VALIDATIONS, thread_name_prefix="dev-ca-validation")
        stack.callback(self._workers.shutdown, wait=True, cancel_futures=True)
        stack.callback(self._stopping.set)
        self._stopping.clear()
        self._listener = self._bound(self._tls(files))
        stack.callback(self._listener.stop)
        self._listener.start()
        self._resume(records)

    def _tls(self, directory: Path) -> ssl.SSLContext:
        names = dict.fromkeys([*LOOPBACK_NAMES, self._listen[0]])
        anywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
        shown = [name for name in names if name not in anywhere]
        chain, key = self.server_files(directory, shown)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        return context

    def _bound(self, context: ssl.SSLContext) -> Listener:
        host, port = self._listen
        kept = KeptPort(self._directory / _PORT_FILE) if self._directory and not port else None
        problem: OSError | None = None
        for each in kept.candidates(self._random) if kept else [port]:
            try:
                found = Listener((host, each), context, self._service.answer, self._report)
            except OSError as error:
                problem = error
                continue
            if kept:
                kept.keep(found.port)
            return found
        cause = problem.strerror if problem else "no port is free"
        raise ConfigurationError(
            f"the development CA cannot listen on {host}, port {port}: {cause}",
            hint="Choose another one with --listen ADDRESS:PORT. Port 0 is any free port.",
        )

    def _report(self, text: str) -> None:
        self.internal_errors.append(text)
        if self._on_error is not None:
            self._on_error(text)

    # validating

    def _validate(self, identifier: str, kind: str) -> None:
        with contextlib.suppress(RuntimeError):  # shutting down: resumed after a restart
            self._workers.submit(self._run_validation, identifier, kind)

    def _resume(self, records: Records) -> None:
        """Resume the validations that were interrupted in an earlier process."""
        for found in records.all(Authorization):
            for each in found.challenges:
                if each["status"] == "processing":
                    self._validate(found.id, each["type"])

    def _run_validation(self, identifier: str, kind: str) -> None:
        records = self._state.records
        with records.transaction():
            found = records.get(Authorization, identifier)
            account = records.get(Account, found.account) if found else None
        if found is None or account is None:
            return
        if self._stopping.wait(self.settings.validation_seconds):
            return
        challenge = next(each for each in found.challenges if each["type"] == kind)
        problem: Problem | None = None
        try:
            task = ValidationTask(
                challenge,
                found.identifier["value"],
                found.wildcard,
                account.thumbprint,
                found.account_url,
            )
            Validator(self.settings, self.zone, self._state.now).check(task)
        except Problem as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - the challenge must not stay in processing
            self._report(f"validation of {found.identifier}: {error!r}")
            problem = Problem("serverInternal", "internal error during validation")
        record_validation(self._state, identifier, kind, problem)
