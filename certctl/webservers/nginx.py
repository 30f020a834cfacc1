"""nginx: finds the process that runs, reads its configuration, and reloads it.

crossplane decides which server blocks there are. Where in a file they are is what our own scanner
of bytes says, since crossplane knows lines only; both must agree before a file is changed.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
import shlex
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from certctl.model.errors import WebServerFailed, WebServerRefused
from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import Changes, SecureRequest, ServedFiles
from certctl.rules import nginx_obstacles, nginx_secure
from certctl.rules.configurations import Refused, Unreadable
from certctl.rules.marked_lines import CATCH_ALL, restored, tags
from certctl.rules.nginx_command import global_directives, option
from certctl.rules.nginx_lines import Program, tls_settings_file
from certctl.rules.nginx_sites import HTTP, HTTPS, Configuration, Server, read
from certctl.system.port_holders import holds
from certctl.system.process import run
from certctl.system.server_processes import ServerProcess, process, processes, running_file
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

_MASTER = "nginx: master process "
_WORKER = "nginx: worker process"
_SECONDS = 30.0
_RELOAD_SECONDS = 15.0
_POLL_SECONDS = 0.05
_TITLE_SECONDS = 2.0


@dataclass(frozen=True)
class _Build:
    """What `nginx -V` says: version, modules, and the paths that were built in."""

    text: str
    program: Program
    prefix: str
    configuration: str


def find(system: ServerSystem) -> Sequence[WebServer]:
    """Return the nginx servers that run here. Raises `WebServerRefused` if each of them is in a
    container, or another place whose files are not those that certctl sees.
    """
    masters = _masters()
    deadline = system.clock.monotonic() + _TITLE_SECONDS
    # A worker that has just been forked has the title of its parent for a moment.
    while not {each.parent for each in masters}.isdisjoint(each.pid for each in masters):
        if system.clock.monotonic() > deadline:
            break  # two of them, while the program is being replaced
        system.clock.wait(system.stop, _POLL_SECONDS)
        masters = _masters()
    return [Nginx(each, system) for each in of_this_machine("nginx", masters)]


def _masters() -> list[ServerProcess]:
    # The program of another user's process must not be run as root.
    owners = {0, os.geteuid()}
    return [
        each for each in processes() if each.title.startswith(_MASTER) and each.owners <= owners
    ]


def snippet(names: Sequence[str], files: ServedFiles, *, challenges_only: bool = False) -> str:
    """Return the lines to add by hand."""
    return lines_by_hand("nginx", names, files, challenges_only=challenges_only)


def undone(path: str, tag: str, *, last: bool) -> bytes | None:
    """Return the bytes of a file without our lines; None if it does not exist any more."""
    try:
        return _without(file_bytes(path), tag, last=last)
    except Unreadable:
        return None


def edited_by_hand(data: bytes, tag: str) -> bool:
    """Return False: nginx needs no file of ours."""
    del data, tag
    return False


class Nginx:
    """The nginx whose master process is `master`."""

    kind = "nginx"

    def __init__(self, master: ServerProcess, system: ServerSystem) -> None:
        self._master = master
        self._system = system
        self._command = running_file(master)
        self.notes: tuple[str, ...] = ()
        words = master.title.removeprefix(_MASTER).split(" ")
        if master.executable is None:
            self._command = words[0]
            unseen = f"the program of process {master.pid} cannot be read without CAP_SYS_PTRACE"
            self.notes = (f"{unseen}; {words[0]} is taken for it",)
        elif master.replaced:
            self.notes = (replaced_note(master, "nginx"),)
        self._build = _build(self._command)
        self._prefix = option(words, "-p")
        if self._prefix is not None and master.directory is not None:
            self._prefix = str(Path(master.directory, self._prefix))
        self._given = option(words, "-c")
        self._directives = global_directives(words)
        prefix = self._prefix or self._build.prefix
        self.configuration_file = os.path.normpath(
            Path(prefix, self._given or self._build.configuration)
        )

    @property
    def description(self) -> str:
        version = ".".join(map(str, self._build.program.version))
        return f"nginx {version} (process {self._master.pid}, {self.configuration_file})"

    @property
    def target_options(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self._given is not None:
            found["deploy.nginx.config"] = self.configuration_file
        if self._prefix is not None:
            found["deploy.nginx.prefix"] = self._prefix
        if self._directives:
            found["deploy.nginx.directives"] = self._directives
        usual = {"/usr/sbin/nginx", "/usr/bin/nginx", "nginx"}
        if self._master.executable is not None and self._master.executable not in usual:
            found["deploy.nginx.binary"] = self._master.executable
        return found

    @property
    def needs_default_certificate(self) -> bool:
        return False

    def holds(self, port: int) -> bool | None:
        return holds(port, self._master.pid)

    def plan(self, request: SecureRequest, files: ServedFiles) -> Changes:
        snippet_ = snippet(request.names, files, challenges_only=request.challenges_only)
        try:
            require_alone(HTTP, "nginx", self._master.pid)
            current = self._read()
            _require_agreement(current, self.configuration_file)
            last = not (_every_tag(current) - {request.tag, CATCH_ALL})
            base = self._read(lambda data: _without(data, request.tag, last=last))
            edits = nginx_secure.plan(base, request, self._build.program, files)
            found = edits.changes.files
            found += tuple(without_lines(current.files, base.files, found))
            require_editable(found, base.includes)
            if edits.new_places:
                require_alone(HTTPS, "nginx", self._master.pid)
        except (Refused, Unreadable) as error:
            raise nothing_changed(error, snippet_) from error
        return replace(
            edits.changes,
            files=tuple(each for each in found if current.files[each.path] != each.final),
            newer=tuple(self._newer_than_workers(current)),
        )

    def tls_settings(self) -> bytes:
        return tls_settings_file()

    def names_path(self, prefix: str) -> Sequence[str]:
        try:
            found = self._read()
        except Unreadable:
            return ()
        lines = nginx_obstacles.names_files(found, prefix)
        return [f"{each.file}:{each.directive.line}" for each in lines]

    def reads(self, paths: Collection[str]) -> bool:
        try:
            found = self._read().files
        except Unreadable:
            return True
        return not {*map(os.path.realpath, found)}.isdisjoint(map(os.path.realpath, paths))

    def host_names(self) -> Sequence[str]:
        try:
            found = self._read()
        except Unreadable:
            return ()
        answering = (each for each in found.servers if each.on(HTTP))
        return tuple(dict.fromkeys(name for each in answering for name in each.names))

    def obstacles(self, tag: str) -> Sequence[str] | None:
        try:
            return nginx_obstacles.obstacles(self._read(), tag)
        except Unreadable as error:
            raise WebServerFailed(str(error), code="webserver.test_failed") from error

    def test(self) -> None:
        done = run((*self._words(), "-t", "-q"), environment={}, timeout=_SECONDS)
        if done.exit_status != 0:
            raise WebServerFailed(
                f"nginx does not accept its configuration:\n{done.output.strip()}",
                hint=f"See what it says: {shlex.join(self._words())} -t",
                code="webserver.test_failed",
            )

    def reload(self, *, wait: bool = True) -> None:
        before = {each.pid for each in self._workers()}
        try:
            os.kill(self._master.pid, signal.SIGHUP)
        except OSError as error:
            raise WebServerFailed(
                f"nginx cannot be reloaded: process {self._master.pid}: {error.strerror}"
            ) from error
        deadline = self._system.clock.monotonic() + _RELOAD_SECONDS
        while wait:
            self._require_master()
            workers = {each.pid for each in self._workers()}
            if workers and not workers & before:
                return
            if self._system.clock.monotonic() > deadline:
                raise WebServerFailed(
                    "nginx keeps its old configuration: no new worker process has started",
                    hint="The reason is in its error log.",
                    code="webserver.not_reloaded",
                )
            # Not the run's stop event: a reload that has begun is waited for.
            self._system.clock.wait(threading.Event(), _POLL_SECONDS)

    def _words(self) -> tuple[str, ...]:
        words = [self._command]
        for flag, value in (
            ("-p", self._prefix),
            ("-c", self._given and self.configuration_file),
            ("-g", self._directives),
        ):
            words += [flag, value] if value else []
        return tuple(words)

    def _workers(self) -> list[ServerProcess]:
        return [
            each
            for each in processes()
            if each.parent == self._master.pid
            and each.title.startswith(_WORKER)
            and "shutting down" not in each.title
        ]

    def _require_master(self) -> None:
        now = process(self._master.pid)
        if now is None or abs(now.started - self._master.started) > 1:
            raise WebServerFailed(
                f"nginx ended: its master process {self._master.pid} is gone",
                hint="Start it again, for example with: systemctl start nginx",
                code="webserver.ended",
            )

    def _read(self, changed: Callable[[bytes], bytes] = bytes) -> Configuration:
        return read(self.configuration_file, lambda path: changed(file_bytes(path)), _matching)

    def _newer_than_workers(self, configuration: Configuration) -> Iterator[str]:
        started = max((each.started for each in self._workers()), default=None)
        for path in configuration.files if started is not None else ():
            changed = Path(path).stat().st_mtime
            if started is not None and changed > started + 0.5:
                yield path


def _build(command: str) -> _Build:
    """Return what a program says about itself. Raises `WebServerRefused`."""
    done = run((command, "-V"), environment={}, timeout=_SECONDS)
    version = re.search(r"nginx/(\d+(?:\.\d+)+)", done.output) or re.search(
        r"nginx version: \S+?/(\d+(?:\.\d+)+)", done.output
    )
    if done.exit_status != 0 or version is None:
        raise WebServerRefused(
            f"{command} -V does not tell the version of nginx, which decides what it accepts",
            hint=f"See what it says: {command} -V",
        )
    arguments = dict(re.findall(r"--([\w-]+)=('[^']*'|\S+)", done.output))
    prefix = arguments.get("prefix", "/usr/local/nginx").strip("'")
    program = Program(
        tuple(int(each) for each in version[1].split(".")[:3]),
        frozenset(re.findall(r"--without-(\w+)_module", done.output)),
        frozenset(re.findall(r"--with-(\w+)_module", done.output)),
    )
    configuration = arguments.get("conf-path", "conf/nginx.conf").strip("'")
    return _Build(done.output, program, prefix, str(Path(prefix, configuration)))


def _matching(pattern: str) -> Sequence[str]:
    """Return the files of an `include`, as nginx finds them."""
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern), key=os.fsencode)  # noqa: PTH207 - as nginx, not pathlib
    return (pattern,)


def _without(data: bytes, tag: str, *, last: bool) -> bytes:
    data = restored(data, tag)
    return restored(data, CATCH_ALL) if last else data


def _every_tag(configuration: Configuration) -> set[str]:
    return {tag for data in configuration.files.values() for tag in tags(data)}


def _require_agreement(configuration: Configuration, main: str) -> None:
    """Raise `Refused` unless crossplane sees the same server blocks, names and addresses."""
    ours = [_described(each) for each in configuration.servers]
    theirs = list(_by_crossplane(main))
    if ours == theirs:
        return
    pairs = itertools.zip_longest(ours, theirs)
    where, line = next((mine or other or (main, 1))[:2] for mine, other in pairs if mine != other)
    raise Refused(
        f"two readers of the configuration disagree about the server block at {where}:{line}"
    )


_Described = tuple[str, int, tuple[tuple[str, ...], ...], tuple[str, ...]]


def _described(server: Server) -> _Described:
    listens = [
        tuple(word.decode("utf-8", "replace") for word in line.directive.arguments)
        for line in server.having(b"listen")
    ]
    names = [
        word.decode("utf-8", "replace")
        for line in server.having(b"server_name")
        for word in line.directive.arguments
    ]
    return (
        os.path.normpath(server.file),
        server.directive.line,
        tuple(listens),
        tuple(names),
    )


def _by_crossplane(main: str) -> Iterator[_Described]:
    import crossplane  # noqa: PLC0415 - for this command only

    payload = crossplane.parse(main, comments=False, check_ctx=False, check_args=False)
    if payload["status"] != "ok":
        first = payload["errors"][0]
        raise Refused(f"{first['file']} cannot be read: {first['error']}")
    files: Sequence[Mapping[str, Any]] = payload["config"]

    def expanded(file: str, block: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        for each in block:
            if "includes" in each:
                for index in each["includes"]:
                    yield from expanded(files[index]["file"], files[index]["parsed"])
            else:
                yield file, each

    for file, http in expanded(files[0]["file"], files[0]["parsed"]):
        if http["directive"] != "http":
            continue
        for where, server in expanded(file, http.get("block", ())):
            if server["directive"] != "server" or "block" not in server:
                continue
            inner = [each for _, each in expanded(where, server["block"])]
            yield (
                os.path.normpath(where),
                server["line"],
                tuple(tuple(each["args"]) for each in inner if each["directive"] == "listen"),
                tuple(
                    name
                    for each in inner
                    if each["directive"] == "server_name"
                    for name in each["args"]
                ),
            )
