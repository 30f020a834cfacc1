"""HAProxy: reads key and chain from one file, `live/NAME/combined.pem` or a copy of it.

`--haproxy-certificates` copies it into a directory that HAProxy loads as a whole, or to one file.
`--haproxy-socket` updates the certificate through the runtime API: no reload, and no connection is
closed. The API only changes the running process, so the file on disk is written as well.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

from certctl.deploy.system import TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.errors import ConfigurationError, HookFailed
from certctl.model.ports import DeployTarget
from certctl.model.spec import FAMILIES, CopyFormat, CopySpec, ServiceAddress
from certctl.model.text import printable, whole_number
from certctl.model.values import Value
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.haproxy.config",
        Kind.PATH,
        "/etc/haproxy/haproxy.cfg",
        "Configuration of the HAProxy to deploy to: a file or a directory.",
        flag="--haproxy-config",
        in_spec=True,
        variable="CERTCTL_HAPROXY_CONFIG",
    ),
    Option(
        "deploy.haproxy.certificates",
        Kind.PATH,
        None,
        "Copy key and chain to one file: its path, or a directory from which HAProxy loads it.",
        flag="--haproxy-certificates",
        metavar="PATH",
        in_spec=True,
        variable="CERTCTL_HAPROXY_CERTIFICATES",
    ),
    Option(
        "deploy.haproxy.socket",
        Kind.PATH,
        None,
        "HAProxy's runtime socket (level admin), to update certificates without a reload.",
        flag="--haproxy-socket",
        in_spec=True,
        variable="CERTCTL_HAPROXY_SOCKET",
    ),
    Option(
        "deploy.haproxy.pid_file",
        Kind.PATH,
        None,
        "The PID file of HAProxy's master process, if the system does not start it.",
        flag="--haproxy-pid-file",
        in_spec=True,
        variable="CERTCTL_HAPROXY_PID_FILE",
    ),
    Option(
        "deploy.haproxy.binary",
        Kind.PATH,
        None,
        "The haproxy program, if it is not in PATH.",
        flag="--haproxy-binary",
        in_spec=True,
        variable="CERTCTL_HAPROXY_BINARY",
    ),
)

DEFAULT_PID_FILE = "/run/haproxy.pid"

_FLAGS = {each.key.rpartition(".")[2]: str(each.flag) for each in OPTIONS}
_BIND = re.compile(r"^\s*bind\s+(\S+)(?=.*\sssl\b)", re.MULTILINE)
_ANSWER_LIMIT = 1 << 20
_SOCKET_TIMEOUT = 10.0
_WORKER_TIMEOUTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds to wait for a new worker after each reload request."""

_POLL_INTERVAL = 0.02
_UNKNOWN = ("not referenced", "doesn't exist", "not used")


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if HAProxy or its configuration is missing."""

    def given(key: str) -> str | None:
        return text(settings, f"deploy.haproxy.{key}")

    config = given("config") or str(OPTIONS[0].default)
    program = system.program("haproxy", given=given("binary"), flag=_FLAGS["binary"])
    system.file(config, _FLAGS["config"])
    return Haproxy(
        (program, "-f", config),
        Path(config),
        system,
        certificates=given("certificates"),
        runtime=given("socket"),
        pid_file=given("pid_file"),
    )


class Haproxy:
    """A HAProxy; `command` is the program with its configuration."""

    def __init__(
        self,
        command: Sequence[str],
        config: Path,
        system: TargetSystem,
        *,
        certificates: str | None,
        runtime: str | None,
        pid_file: str | None,
    ) -> None:
        self._command = command
        self._config = config
        self._system = system
        self._certificates = certificates
        self._runtime = runtime
        self._pid_file = pid_file

    def copies(self, delivery: Delivery) -> Sequence[CopySpec]:
        if self._certificates is None:
            return ()
        second = delivery.version.second
        first = CopySpec(self._file(delivery), CopyFormat.COMBINED)
        if second is None:
            return (first,)
        return first, replace(first, to=self._second(first.to, second.family), key=second.family)

    def test(self) -> None:
        self._system.test(*self._command, "-c", "-q")

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        if self._runtime is not None and self._update_running(self._runtime, deliveries):
            return
        service = None if self._pid_file else self._system.service("haproxy")
        if service is not None:
            self._replace_worker(DEFAULT_PID_FILE, lambda: self._system.reload(*service))
            return
        pid_file = self._pid_file or DEFAULT_PID_FILE
        pid = self._system.pid(pid_file)
        if _is_master(pid) is False:
            raise ConfigurationError(
                f"HAProxy cannot be reloaded: process {pid} ({pid_file}) is not a master process",
                hint="Start HAProxy with -W, or deploy with --haproxy-socket or --reload COMMAND.",
                code="deploy.not_running",
            )
        send_signal = partial(self._system.signal, signal.SIGUSR2, pid_file, _FLAGS["pid_file"])
        self._replace_worker(pid_file, send_signal)

    def names_path(self, path: str) -> bool:
        return any(f"{path}/" in text for text in self._texts())

    def _texts(self) -> list[str]:
        """Return the contents of its configuration files."""
        files = sorted(self._config.glob("*.cfg")) if self._config.is_dir() else [self._config]
        return [_text(each) for each in files]

    def services(self) -> Sequence[ServiceAddress]:
        addresses = [address for text in self._texts() for address in _BIND.findall(text)]
        ports = sorted({port for address in addresses for port in _ports(address)})
        return [ServiceAddress(None, port) for port in ports or [443]]

    def _file(self, delivery: Delivery) -> str:
        """Return the file from which HAProxy loads a certificate."""
        if self._certificates is None:
            return str(delivery.files.combined)
        path = Path(self._certificates)
        if path.is_dir():
            return str(path / f"{delivery.version.name}.pem")
        return str(path)

    def _update_running(self, runtime: str, deliveries: Sequence[Delivery]) -> bool:
        """Update the running process; return False if a reload is required: for a file that it has
        not loaded yet, or one that is gone. Raises `HookFailed`.
        """
        files = [file for each in deliveries for file in self._files(each)]
        wanted = {name for name, _ in files}
        gone = {
            former
            for each in deliveries
            for family in FAMILIES
            if (former := self._second(self._file(each), family)) not in wanted
        }
        if gone.intersection(_send(runtime, "show ssl cert\n").split()):
            return False
        return _update_certificates(runtime, files)

    def _files(self, delivery: Delivery) -> list[tuple[str, bytes]]:
        """Return the files from which HAProxy loads the certificates, with their contents."""
        first, second = self._file(delivery), delivery.version.second
        names = [first] if second is None else [first, self._second(first, second.family)]
        return [
            (name, each.material.combined or b"")
            for name, each in zip(names, delivery.parts, strict=True)
        ]

    def _second(self, first: str, family: str) -> str:
        """Return the file for the second certificate: in `live` it has its own directory, a copy
        has the kind of key in its name.
        """
        path = Path(first)
        if self._certificates is None:
            return str(path.parent / family / path.name)
        return str(path.with_name(f"{path.stem}.{family}{path.suffix}"))

    def _replace_worker(self, pid_file: str, request_reload: Callable[[], None]) -> None:
        """Request a reload and wait until the master process has started a new worker, if its
        workers can be listed.

        A master that is already reloading may ignore the request, so it is repeated. The intervals
        grow, because loading may also be slow. Raises `HookFailed`.
        """
        master, clock = self._system.pid(pid_file), self._system.hooks.clock
        before = _children(master) if _is_master(master) is not False else None
        if before is None:
            request_reload()
            return
        stop = self._system.hooks.stop or Event()
        for seconds in _WORKER_TIMEOUTS:
            request_reload()
            until = clock.monotonic() + seconds
            while clock.monotonic() < until:
                if (_children(master) or before) - before or clock.wait(stop, _POLL_INTERVAL):
                    return
        raise HookFailed(
            f"the reload failed: HAProxy's master process ({master}) did not start a new worker",
            hint="See HAProxy's log for the reason.",
        )


def _is_master(pid: int | None) -> bool | None:
    """Return whether a process is a HAProxy master; None if that cannot be determined, for instance
    while it re-executes itself.
    """
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return any(each.startswith(b"-W") for each in arguments) if any(arguments) else None


def _children(pid: int | None) -> frozenset[int] | None:
    """Return the process IDs of a process's children; None if they cannot be listed."""
    try:
        return frozenset(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except (OSError, ValueError):
        return None


def _update_certificates(runtime: str, certificates: Iterable[tuple[str, bytes]]) -> bool:
    """Update certificates through the runtime API; return False if HAProxy has not loaded one of
    the files yet, in which case a reload is required. Raises `HookFailed`.
    """
    for file, combined in certificates:
        payload = combined.replace(b"\n\n", b"\n").decode("ascii")
        answer = _send(runtime, f"set ssl cert {file} <<\n{payload}\n")
        if any(phrase in answer for phrase in _UNKNOWN):
            return False
        if "Transaction" not in answer:
            raise _rejected(file, answer)
        answer = _send(runtime, f"commit ssl cert {file}\n")
        if "Success" not in answer:
            _send(runtime, f"abort ssl cert {file}\n")
            raise _rejected(file, answer)
    return True


def _send(runtime: str, command: str) -> str:
    """Send a command to the runtime socket and return the answer. Raises `HookFailed`."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SOCKET_TIMEOUT)
            connection.connect(runtime)
            connection.sendall(command.encode("ascii"))
            connection.shutdown(socket.SHUT_WR)
            while (part := connection.recv(65536)) and len(answer) < _ANSWER_LIMIT:
                answer += part
    except OSError as error:
        raise HookFailed(
            f"HAProxy does not answer at its runtime socket {runtime}: {error.strerror or error}",
            hint=f"Check that it runs with this line: stats socket {runtime} level admin",
            code="deploy.not_running",
        ) from error
    return answer.decode("utf-8", errors="replace").strip()


def _rejected(file: str, answer: str) -> HookFailed:
    reason = printable(answer, 300)
    return HookFailed(
        f"HAProxy rejected {file} at its runtime socket: {reason or 'no reason was given'}",
        hint="Check that the socket has `level admin`.",
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ports(addresses: str) -> list[int]:
    """Return the ports in the address list of `bind`, such as `:443,[::]:8443`."""
    found = (each.rpartition(":")[2] for each in addresses.split(","))
    ports = (whole_number(each) for each in found)
    return [each for each in ports if each is not None]
