"""Apache: finds the process that runs, asks it for its virtual hosts, and reloads it.

Apache itself says which virtual hosts there are and where; our scanner finds them at the lines that
it names, and a file where they are not there is not changed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from certctl.model.errors import WebServerFailed, WebServerRefused
from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import Changes, SecureRequest, ServedFiles
from certctl.rules import apache_dump, apache_obstacles, apache_secure
from certctl.rules.apache_copies import existing
from certctl.rules.apache_lines import tls_settings_file
from certctl.rules.apache_secure import PREFIX, Program, is_ours
from certctl.rules.apache_sites import HTTP, HTTPS, Configuration, include_patterns, read
from certctl.rules.configurations import Refused, Unreadable
from certctl.rules.marked_lines import CATCH_ALL
from certctl.rules.marked_sections import restored, tags
from certctl.system.port_holders import holds
from certctl.system.process import Completed, run
from certctl.system.server_processes import (
    ServerProcess,
    environment,
    process,
    processes,
    running_file,
    unit,
)
from certctl.webservers.apache_modules import installed
from certctl.webservers.by_hand import (
    lines_by_hand,
    nothing_changed,
    of_this_machine,
    replaced_note,
    require_alone,
    without_lines,
)
from certctl.webservers.editable import file_bytes, require_editable
from certctl.webservers.server import ServerSystem, WebServer

_PROGRAMS = {"apache2", "httpd", "httpd2", "httpd-prefork", "httpd-worker", "httpd-event"}
_USUAL = {"/usr/sbin/apache2", "/usr/sbin/httpd"}
_ASKS = {"-t", "-v", "-V", "-l", "-L", "-M", "-S", "-h"}
_DUMPS = ("DUMP_INCLUDES", "DUMP_VHOSTS", "DUMP_RUN_CFG", "DUMP_MODULES")
_SECONDS = 30.0
_RELOAD_SECONDS = 15.0
_POLL_SECONDS = 0.05
_CONNECT_SECONDS = 2.0
_LARGEST_OUTPUT = 64 * 1024 * 1024


@dataclass(frozen=True)
class _Stamp:
    """The file with the process id, which Apache writes each time that it loads its files."""

    inode: int
    changed: int


def find(system: ServerSystem) -> Sequence[WebServer]:
    """Return the Apache servers that run here. Raises `WebServerRefused` if each of them is in a
    container, or another place whose files are not those that certctl sees.
    """
    every = {each.pid: each for each in processes() if _is_apache(each)}
    # The program of another user's process must not be run as root.
    owners = {0, os.geteuid()}
    masters = [
        each for each in every.values() if each.parent not in every and each.owners <= owners
    ]
    return [Apache(each, system) for each in of_this_machine("Apache", masters)]


def snippet(names: Sequence[str], files: ServedFiles, *, challenges_only: bool = False) -> str:
    """Return the lines to add by hand."""
    return lines_by_hand("apache", names, files, challenges_only=challenges_only)


def undone(path: str, tag: str, *, last: bool) -> bytes | None:
    """Return the bytes of a file without our lines; None if it does not exist any more."""
    try:
        return _without(file_bytes(path), tag, last=last)
    except Unreadable:
        return None


def edited_by_hand(data: bytes, tag: str) -> bool:
    """Return whether somebody has changed a file with virtual hosts of ours."""
    return tag in tags(data) and existing(data, tag).edited


class Apache:
    """The Apache whose first process is `master`."""

    kind = "apache"
    needs_default_certificate = True

    def __init__(self, master: ServerProcess, system: ServerSystem) -> None:
        self._master = master
        self._system = system
        self._unit = unit(master.pid)
        self._command = (running_file(master), *_given(master.words))
        self._environment = environment(master.pid)
        self.notes: tuple[str, ...] = ()
        if master.executable is None or self._environment is None:
            self._command, self._environment = _unseen(master.words)
            unseen = f"the program of process {master.pid} cannot be read without CAP_SYS_PTRACE"
            self.notes = (f"{unseen}; {self._command[0]} is taken for it",)
        elif master.replaced:
            self.notes = (replaced_note(master, "Apache"),)
        self._version = self._asked_version()

    @property
    def description(self) -> str:
        version = ".".join(map(str, self._version))
        return f"Apache {version} (process {self._master.pid})"

    @property
    def target_options(self) -> dict[str, str]:
        found: dict[str, str] = {}
        root, given = (_option(self._master.words, each) for each in ("-d", "-f"))
        script = _script_of(root)
        if script is not None:
            return {"deploy.apache.binary": script}
        if root is not None or given is not None:
            found["deploy.apache.config"] = self._dump().files[0].path
        executable = self._master.executable
        if executable is not None and executable not in _USUAL:
            found["deploy.apache.binary"] = executable
        return found

    def holds(self, port: int) -> bool | None:
        return holds(port, self._master.pid)

    def plan(self, request: SecureRequest, files: ServedFiles) -> Changes:
        snippet_ = snippet(request.names, files, challenges_only=request.challenges_only)
        try:
            require_alone(HTTP, "Apache", self._master.pid)
            if not request.challenges_only:
                require_alone(HTTPS, "Apache", self._master.pid)
            dump = self._dump()
            now = {each.path: file_bytes(each.path) for each in dump.files}
            used = {tag for data in now.values() for tag in tags(data)}
            last = not (used - {request.tag, CATCH_ALL})
            configuration = _configuration(dump, now, request.tag, last=last)
            program = self._program(configuration)
            edits = apache_secure.plan(configuration, request, program, files)
            files_ = edits.changes.files
            files_ += tuple(without_lines(now, configuration.files, files_))
            require_editable(files_, configuration.includes)
        except (Refused, Unreadable) as error:
            raise nothing_changed(error, snippet_) from error
        different = [each for each in files_ if _now(each.path, link=each.link) != each.final]
        return replace(
            edits.changes,
            files=tuple(different),
            newer=tuple(self._newer_than_load(dump, now)),
        )

    def tls_settings(self) -> bytes:
        return tls_settings_file()

    def names_path(self, prefix: str) -> Sequence[str]:
        try:
            return apache_obstacles.names_files(self._files(), prefix)
        except (Refused, Unreadable):
            return ()

    def reads(self, paths: Collection[str]) -> bool:
        try:
            found = [each.path for each in self._dump().files]
        except Refused:
            return True
        return not {*map(os.path.realpath, found)}.isdisjoint(map(os.path.realpath, paths))

    def host_names(self) -> Sequence[str]:
        try:
            dump = self._dump()
            now = {each.path: file_bytes(each.path) for each in dump.files}
            found = _configuration(dump, now, CATCH_ALL, last=False)
        except (Refused, Unreadable, WebServerFailed):
            return ()
        answering = (each for each in found.hosts if each.on(HTTP))
        return tuple(dict.fromkeys(name for each in answering for name in each.names))

    def obstacles(self, tag: str) -> Sequence[str] | None:
        try:
            return apache_obstacles.obstacles(self._files(), tag)
        except (Refused, Unreadable) as error:
            raise WebServerFailed(str(error), code="webserver.test_failed") from error

    def test(self) -> None:
        done = self._run("-t")
        if done.exit_status != 0:
            raise WebServerFailed(
                f"Apache does not accept its configuration:\n{done.output.strip()}",
                hint=f"See what it says: {self._shown()} -t",
                code="webserver.test_failed",
            )

    def reload(self, *, wait: bool = True) -> None:
        if not self._lives():
            self._start()
            return
        before = {each.pid for each in self._children()}
        stamp = self._stamp()
        try:
            os.kill(self._master.pid, signal.SIGUSR1)
        except OSError as error:
            raise WebServerFailed(
                f"Apache cannot be reloaded: process {self._master.pid}: {error.strerror}"
            ) from error
        deadline = self._system.clock.monotonic() + _RELOAD_SECONDS
        while wait:
            if not self._lives():
                raise WebServerFailed(
                    f"Apache ended when it was to load its configuration (process"
                    f" {self._master.pid})",
                    hint="The reason is in its error log.",
                    code="webserver.ended",
                )
            new = {each.pid for each in self._children()} - before
            if new and (stamp is None or self._stamp() != stamp):
                return
            if self._system.clock.monotonic() > deadline:
                raise WebServerFailed(
                    "Apache has not loaded its configuration: no new process has started",
                    hint="The reason is in its error log.",
                    code="webserver.not_reloaded",
                )
            # Not the run's stop event: a reload that has begun is waited for.
            self._system.clock.wait(threading.Event(), _POLL_SECONDS)

    def _start(self) -> None:
        """Start it again, after it has ended. Raises `WebServerFailed`."""
        if self._unit is not None:
            done = run(("systemctl", "restart", self._unit), environment={}, timeout=_SECONDS)
        else:
            done = self._run("-k", "start")
        deadline = self._system.clock.monotonic() + _RELOAD_SECONDS
        while done.exit_status == 0 and self._system.clock.monotonic() < deadline:
            found = [each for each in processes() if each.words[:1] == self._master.words[:1]]
            masters = [each for each in found if each.pid in {one.parent for one in found}]
            if masters:
                self._master = masters[0]
                return
            self._system.clock.wait(threading.Event(), _POLL_SECONDS)
        raise WebServerFailed(
            f"Apache cannot be started again: {done.output.strip()}",
            hint="Start it, for example with: systemctl start apache2",
            code="webserver.ended",
        )

    def _run(self, *more: str) -> Completed:
        return run(
            (*self._command, *more),
            environment=self._environment or {},
            timeout=_SECONDS,
            limit=_LARGEST_OUTPUT,
            separate_stdout=True,
        )

    def _shown(self) -> str:
        return "apache2ctl" if Path(self._command[0]).name == "apache2" else self._command[0]

    def _asked_version(self) -> tuple[int, ...]:
        done = self._run("-v")
        found = re.search(r"Apache/(\d+(?:\.\d+)+)", done.printed)
        if found is None:
            raise WebServerRefused(
                f"{self._command[0]} -v does not tell the version of Apache",
                hint=f"See what it says: {self._shown()} -v",
            )
        return tuple(int(each) for each in found[1].split(".")[:3])

    def _dump(self) -> apache_dump.Dump:
        """Return what Apache says about its files. Raises `Refused`."""
        done = self._run("-t", *(word for each in _DUMPS for word in ("-D", each)))
        found = apache_dump.parse(done.printed)
        if done.exit_status != 0 or not found.files:
            raise Refused(f"Apache does not tell its virtual hosts: {done.output.strip()[-500:]}")
        return found

    def _files(self) -> dict[str, bytes]:
        return {each.path: file_bytes(each.path) for each in self._dump().files}

    def _program(self, configuration: Configuration) -> Program:
        patterns = tuple(pattern for _, pattern, _ in include_patterns(configuration))
        directories = {str(Path(each.file).parent) for each in configuration.hosts}
        available = {
            each: str(Path(each).with_name("sites-available"))
            for each in directories
            if Path(each).name == "sites-enabled"
            and Path(each).with_name("sites-available").is_dir()
        }
        there: dict[str, bytes] = {}
        for directory in (*directories, *available.values()):
            for path in sorted(Path(directory).glob(f"{PREFIX}*.conf")):
                if not path.is_symlink():
                    there[str(path)] = file_bytes(str(path))
        listens = configuration.listens()
        plain = [each.address for each in listens if each.port == HTTP] or ["*"]
        found = [one for each in plain for one in _reached(each)]
        return Program(
            self._version,
            installed(configuration.dump, patterns),
            tuple(dict.fromkeys(found)) or ("127.0.0.1",),
            available,
            there,
        )

    def _children(self) -> list[ServerProcess]:
        words = self._master.words[:1]
        return [
            each
            for each in processes()
            if each.parent == self._master.pid and each.words[:1] == words
        ]

    def _lives(self) -> bool:
        now = process(self._master.pid)
        return now is not None and abs(now.started - self._master.started) <= 1

    def _pid_file(self) -> Path | None:
        try:
            dump = self._dump()
        except Refused:
            return None
        return Path(dump.server_root, dump.pid_file) if dump.pid_file else None

    def _stamp(self) -> _Stamp | None:
        path = self._pid_file()
        try:
            facts = path.stat() if path is not None else None
        except OSError:
            return None
        return None if facts is None else _Stamp(facts.st_ino, facts.st_mtime_ns)

    def _newer_than_load(self, dump: apache_dump.Dump, now: dict[str, bytes]) -> Iterator[str]:
        path = Path(dump.server_root, dump.pid_file)
        try:
            loaded = path.stat().st_mtime
        except OSError:
            return
        for each in now:
            if Path(each).stat().st_mtime > loaded + 0.5:
                yield each


def _configuration(
    dump: apache_dump.Dump, now: dict[str, bytes], tag: str, *, last: bool
) -> Configuration:
    without: Callable[[bytes], bytes] = lambda data: _without(data, tag, last=last)  # noqa: E731
    return read(dump, now.__getitem__, without, lambda path: is_ours(path, tag, last=last))


def _without(data: bytes, tag: str, *, last: bool) -> bytes:
    data = restored(data, tag)
    return restored(data, CATCH_ALL) if last else data


def _now(path: str, *, link: bool) -> bytes | None:
    if link:
        return os.fsencode(Path(path).readlink()) if Path(path).is_symlink() else None
    return file_bytes(path) if Path(path).exists() else None


def _is_apache(found: ServerProcess) -> bool:
    words = found.words
    if not words or Path(words[0]).name not in _PROGRAMS or not _ASKS.isdisjoint(words):
        return False
    return "-k" not in words or words[words.index("-k") + 1 :][:1] in (("start",), ("restart",))


def _given(words: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a command line that decide which configuration is read."""
    found: list[str] = []
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        flag, value = word[:2], word[2:]
        if flag not in {"-d", "-f", "-C", "-c", "-D"}:
            continue
        if not value:
            value = rest.pop(0) if rest else ""
        if (flag, value) != ("-D", "FOREGROUND"):
            found += [flag, value]
    return tuple(found)


def _option(words: Sequence[str], flag: str) -> str | None:
    given = _given(words)
    return given[given.index(flag) + 1] if flag in given else None


def _script_of(root: str | None) -> str | None:
    """Return Debian's script for one of several Apaches, which knows its environment."""
    suffix = Path(root).name.removeprefix("apache2-") if root else ""
    if not root or not root.startswith("/etc/apache2-"):
        return None
    return shutil.which(f"apache2ctl-{suffix}", path="/usr/local/sbin:/usr/sbin")


def _unseen(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return what to run for a process whose program and environment cannot be read: on Debian the
    script that knows the environment.
    """
    program = Path(words[0])
    if program.name != "apache2":
        return (words[0], *_given(words)), {}
    root = _option(words, "-d")
    script = str(program.with_name("apache2ctl")) if program.is_absolute() else "apache2ctl"
    return (script, *_given(words)), {"APACHE_CONFDIR": root} if root else {}


def _reached(address: str) -> Iterator[str]:
    """Yield the addresses of this machine at which a `Listen` answers."""
    if address not in {"*", "[::]", "0.0.0.0"}:  # noqa: S104 - reads what is written
        yield address.strip("[]")
        return
    for each in ("127.0.0.1", "::1"):
        try:
            with socket.create_connection((each, HTTP), timeout=_CONNECT_SECONDS):
                yield each
        except OSError:
            continue
