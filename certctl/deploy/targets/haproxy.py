"""HAProxy: wants key and chain in one file, `live/NAME/combined.pem` or a copy of it.

With `--haproxy-certificates` the copy goes to a directory that HAProxy loads whole, or to one file.
With `--haproxy-socket` the certificate is changed by the runtime API: no reload, and no connection
is closed. The API changes what is in memory only; the file on disk is written as well.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event

from certctl.deploy.system import TargetSystem, text
from certctl.errors import ConfigurationError, HookFailed
from certctl.models import CopyFormat, CopySpec, Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.haproxy.config",
        Kind.PATH,
        "/etc/haproxy/haproxy.cfg",
        "Configuration of the HAProxy to deploy to, a file or a directory.",
        flag="--haproxy-config",
        in_spec=True,
        variable="CERTCTL_HAPROXY_CONFIG",
    ),
    Option(
        "deploy.haproxy.certificates",
        Kind.PATH,
        None,
        "Where to copy key and chain to, in one file: a directory that HAProxy loads, or the file.",
        flag="--haproxy-certificates",
        metavar="PATH",
        in_spec=True,
        variable="CERTCTL_HAPROXY_CERTIFICATES",
    ),
    Option(
        "deploy.haproxy.socket",
        Kind.PATH,
        None,
        "HAProxy's runtime socket, of level admin: certificates are changed there, with no reload.",
        flag="--haproxy-socket",
        in_spec=True,
        variable="CERTCTL_HAPROXY_SOCKET",
    ),
    Option(
        "deploy.haproxy.pid_file",
        Kind.PATH,
        None,
        "File with the number of HAProxy's master process, where the system does not start it.",
        flag="--haproxy-pid-file",
        in_spec=True,
        variable="CERTCTL_HAPROXY_PID_FILE",
    ),
    Option(
        "deploy.haproxy.binary",
        Kind.PATH,
        None,
        "The haproxy program, where it is in no directory of PATH.",
        flag="--haproxy-binary",
        in_spec=True,
        variable="CERTCTL_HAPROXY_BINARY",
    ),
)

USUAL_PID_FILE = "/run/haproxy.pid"

_FLAGS = {each.key.rpartition(".")[2]: str(each.flag) for each in OPTIONS}
_BIND = re.compile(r"^\s*bind\s+(\S+)(?=.*\sssl\b)", re.MULTILINE)
_ANSWER_LIMIT = 1 << 20
_SECONDS = 10.0
_PATIENCE = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds in which a new worker should begin, each time that the master is asked."""

_LOOK_EVERY = 0.02
_UNKNOWN = ("not referenced", "doesn't exist", "not used")


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where HAProxy or its configuration is not
    there.
    """

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
    """A HAProxy, tested by `command`."""

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
        return (CopySpec(self._file(delivery), CopyFormat.COMBINED),)

    def test(self) -> None:
        self._system.test(*self._command, "-c", "-q")

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        if self._runtime is not None and _changed(
            self._runtime, [(self._file(each), each) for each in deliveries]
        ):
            return
        service = None if self._pid_file else self._system.service("haproxy")
        if service is not None:
            self._renew_worker(USUAL_PID_FILE, lambda: self._system.reload(*service))
            return
        pid_file = self._pid_file or USUAL_PID_FILE
        pid = self._system.pid(pid_file)
        if _is_master(pid) is False:
            raise ConfigurationError(
                f"process {pid} of {pid_file} is no master of HAProxy, which alone can reload it",
                hint="Start HAProxy with -W, or deploy with --haproxy-socket or --reload COMMAND.",
                code="deploy.not_running",
            )
        signal_it = partial(self._system.signal, signal.SIGUSR2, pid_file, _FLAGS["pid_file"])
        self._renew_worker(pid_file, signal_it)

    def services(self) -> Sequence[ServiceAddress]:
        files = sorted(self._config.glob("*.cfg")) if self._config.is_dir() else [self._config]
        places = [place for file in files for place in _BIND.findall(_text(file))]
        ports = sorted({port for place in places for port in _ports(place)})
        return [ServiceAddress(None, port) for port in ports or [443]]

    def _file(self, delivery: Delivery) -> str:
        """Return the file that HAProxy knows a certificate by."""
        if self._certificates is None:
            return str(delivery.files.combined)
        place = Path(self._certificates)
        if place.is_dir():
            return str(place / f"{delivery.version.name}.pem")
        return str(place)

    def _renew_worker(self, pid_file: str, ask: Callable[[], None]) -> None:
        """Have the master read its files again; return once it has begun a new worker, as far as
        that can be seen.

        What comes while the master is reloading already may be lost on it, so it is asked again,
        less and less often: it may also take long to load. Raises `HookFailed`.
        """
        master, clock = self._system.pid(pid_file), self._system.hooks.clock
        before = _children(master) if _is_master(master) is not False else None
        if before is None:
            ask()
            return
        stop = self._system.hooks.stop or Event()
        for seconds in _PATIENCE:
            ask()
            until = clock.monotonic() + seconds
            while clock.monotonic() < until:
                if (_children(master) or before) - before or clock.wait(stop, _LOOK_EVERY):
                    return
        raise HookFailed(
            f"the reload failed: HAProxy's master (process {master}) has begun no new worker",
            hint="Its log says why.",
        )


def _is_master(pid: int | None) -> bool | None:
    """Return whether a process is one that starts workers; None where that cannot be told, as in
    the moment in which it begins anew.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return any(word.startswith(b"-W") for word in words) if any(words) else None


def _children(pid: int | None) -> frozenset[int] | None:
    """Return the children of a process; None where that cannot be told."""
    try:
        return frozenset(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except (OSError, ValueError):
        return None


def _changed(runtime: str, certificates: Iterable[tuple[str, Delivery]]) -> bool:
    """Change certificates by the runtime API; return False where HAProxy has not loaded one of the
    files yet, so that only a reload can help. Raises `HookFailed`.
    """
    for file, delivery in certificates:
        payload = (delivery.material.combined or b"").replace(b"\n\n", b"\n").decode("ascii")
        said = _asked(runtime, f"set ssl cert {file} <<\n{payload}\n")
        if any(words in said for words in _UNKNOWN):
            return False
        if "Transaction" not in said:
            raise _refused(file, said)
        said = _asked(runtime, f"commit ssl cert {file}\n")
        if "Success" not in said:
            _asked(runtime, f"abort ssl cert {file}\n")
            raise _refused(file, said)
    return True


def _asked(runtime: str, command: str) -> str:
    """Return what HAProxy answers at its runtime socket. Raises `HookFailed`."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(runtime)
            connection.sendall(command.encode("ascii"))
            connection.shutdown(socket.SHUT_WR)
            while (part := connection.recv(65536)) and len(answer) < _ANSWER_LIMIT:
                answer += part
    except OSError as error:
        raise HookFailed(
            f"HAProxy cannot be asked at {runtime}: {error.strerror or error}",
            hint=f"Is it running, with `stats socket {runtime} level admin`?",
            code="deploy.not_running",
        ) from error
    return answer.decode("utf-8", errors="replace").strip()


def _refused(file: str, said: str) -> HookFailed:
    words = " ".join("".join(c if c.isprintable() else " " for c in said).split())[:300]
    return HookFailed(
        f"HAProxy does not take {file} at its runtime socket: {words or 'it says nothing'}",
        hint="The socket must be of level admin.",
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ports(place: str) -> list[int]:
    """Return the ports of `bind`'s address list, such as `:443,[::]:8443`."""
    found = (each.rpartition(":")[2] for each in place.split(","))
    return [int(each) for each in found if each.isdigit()]
