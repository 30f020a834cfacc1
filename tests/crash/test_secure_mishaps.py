"""A kill or an error at each call of `certctl secure` and of its `--undo`, with nginx and Apache.

Whatever happens, the server's own test accepts what is left, the server answers, and starts again,
as at the next boot. The next run finishes it, and `--undo` gives every byte back.

`CRASH_POINTS=all` tries every point; without it one for each server, command and mishap, which
together are spread over the whole run.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from tests.crash.forked import Forked
from tests.crash.points import ERRORS, Ended, Point, certctl, mishap, points
from tests.lab.browsing import Answer, ask, names_served
from tests.lab.machine import HOME, Machine
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require_strace
from tests.lab.securing import (
    ca_options,
    host,
    listens,
    local_ca,
    local_dns,
    site,
    stop_servers,
    web_machine,
)

ALL = os.environ.get("CRASH_POINTS") == "all"
KILL = "signal=KILL"
MISHAPS = (KILL, *(f"error={each}" for each in ERRORS))
NAME = "one.example"
UNDO = ("secure", "--undo", NAME, "--yes")
PAGES = b"<Directory /srv/www>\n    Require all granted\n</Directory>\n"
HELLO = Answer(200, "hello")

pytestmark = pytest.mark.timeout(3600)


@dataclass
class Bench:
    """A machine with a server and a certificate that is validated by a webroot: each command finds
    it as it was.
    """

    machine: Machine
    server: str
    scratch: Path
    forked: Forked
    ca: PebbleServer
    original: dict[str, bytes] = field(default_factory=dict)
    _kept: dict[str, Path] = field(default_factory=dict)
    _points: dict[Sequence[str], Sequence[Point]] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """The server's configuration, as seen from outside."""
        return self.machine.nginx if self.server == "nginx" else self.machine.apache

    @property
    def read(self) -> Callable[[], dict[str, bytes]]:
        return self.machine.files if self.server == "nginx" else self.machine.apache_files

    @cached_property
    def secure(self) -> Sequence[str]:
        return ("secure", NAME, *ca_options(self.ca), "--yes", "--no-schedule")

    def prepare(self) -> None:
        if self.server == "nginx":
            self.machine.configure({"conf.d/a.conf": site("root /srv/www;")})
        else:
            files = {"sites-available/a.conf": host("DocumentRoot /srv/www")}
            self.machine.configure_apache({"conf-enabled/pages.conf": PAGES, **files})
        self.start()
        way = ("--webroot", "/srv/www", *ca_options(self.ca), "--agree-tos")
        self.run(("issue", NAME, *way))
        self._keep("before")
        self.original = self.read()
        self.run(self.secure)
        self._keep("secured")

    def start(self) -> None:
        if self.server == "nginx":
            self.machine.start_nginx()
        else:
            self.machine.start_apache()
        wait_until(lambda: listens("127.0.0.1", 80), "the server")

    def _keep(self, name: str) -> None:
        self._kept[name] = self.scratch / name
        shutil.copytree(self.directory, self._kept[name], symlinks=True)
        self.machine.run("cp", "-a", str(HOME), f"{HOME}-{name}")

    def reset(self, name: str = "before") -> None:
        """Have home, configuration and server as they were kept."""
        stop_servers(self.machine)
        self.machine.run("sh", "-c", f"rm -rf {HOME} && cp -a {HOME}-{name} {HOME}")
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self._kept[name], self.directory, symlinks=True, dirs_exist_ok=True)
        self.start()

    def run(self, arguments: Sequence[str]) -> None:
        ended = certctl(arguments, HOME, forked=self.forked)
        assert ended.status == 0, (arguments, ended.output)

    def points(self, arguments: Sequence[str], state: str) -> Sequence[Point]:
        """The calls of a command, which are found out once for all its mishaps."""
        if arguments not in self._points:
            self.reset(state)
            self._points[arguments] = [
                each
                for each in points(
                    arguments,
                    HOME,
                    self.scratch,
                    forked=self.forked,
                    places=("/etc/nginx/", "/etc/apache2/"),
                )
                if not each.on_network
            ]
        return self._points[arguments]

    def attempt(self, arguments: Sequence[str], how: str, state: str = "before") -> int:
        """Let a mishap happen at calls of a command; return how many calls there are."""
        found = struck(self.points(arguments, state), how)
        for number, point in enumerate(found if ALL else self.sample(found, arguments, how)):
            self.reset(state)
            ended = mishap(point, how, arguments, HOME, forked=self.forked)
            if ended.missed:
                continue
            about = f"{how} at {point}\n{ended.output}"
            assert "Traceback" not in ended.output, about
            assert "internal error" not in ended.output, about
            self.check(ended, how, about)
            self.finish((number + len(how)) % 2 == 0, about)
        return len(found)

    def check(self, ended: Ended, how: str, about: str) -> None:
        """What is left loads, answers, and loads at the next boot."""
        test = ("nginx", "-t") if self.server == "nginx" else ("apache2ctl", "-t")
        tested = self.machine.run(*test)
        assert tested.returncode == 0, (about, tested.stderr)
        assert ask(NAME).status in {200, 301}, about
        if how != KILL and ended.status != 0:
            # An error is dealt with: nothing is left of a half-done run.
            assert self.read() == self.original or names_served(NAME) == [NAME], about
        stop_servers(self.machine)
        self.start()
        assert ask(NAME).status in {200, 301}, about

    def finish(self, again: bool, about: str) -> None:
        """The next run finishes it, or takes it back; then all is as it was."""
        if again:
            done = certctl(self.secure, HOME, forked=self.forked)
            assert done.status == 0, f"{about}\nthen {done.output}"
            assert names_served(NAME) == [NAME], about
        undone = certctl(UNDO, HOME, forked=self.forked)
        nothing = "has changed nothing for" in undone.output
        assert undone.status == 0 or (nothing and not again), f"{about}\nthen {undone.output}"
        assert "had been changed since" not in undone.output, f"{about}\nthen {undone.output}"
        left = self.read()
        assert sorted(left) == sorted(self.original), about
        assert left == self.original, about
        assert ask(NAME) == HELLO, about
        assert names_served(NAME) is None, about

    def sample(self, found: Sequence[Point], arguments: Sequence[str], how: str) -> Sequence[Point]:
        """One of the points: another part of the run for each mishap, server and command."""
        part = MISHAPS.index(how) + 2 * (self.server == "apache") + (arguments == UNDO)
        at = (2 * (part % len(MISHAPS)) + 1) * len(found) // (2 * len(MISHAPS))
        return found[at : at + 1]


def struck(every: Sequence[Point], how: str) -> Sequence[Point]:
    """The calls at which a mishap happens. A kill at a sync leaves what one at the call after it
    does. The errors take turns, since a call that fails is dealt with alike whatever the error is.
    """
    if how == KILL:
        return [each for each in every if each.call not in ("fsync", "fdatasync")]
    found = []
    for number, each in enumerate(every):
        possible = [error for error in MISHAPS[1:] if each.can(error)]
        if possible and possible[number % len(possible)] == how:
            found.append(each)
    return found


@pytest.fixture(scope="module")
def dns_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChallengeTestServer]:
    require_strace()
    with local_dns(tmp_path_factory.mktemp("dns"), "nginx", "apache2") as server:
        yield server


@pytest.fixture(scope="module", params=["nginx", "apache"])
def bench(
    request: pytest.FixtureRequest,
    dns_here: ChallengeTestServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """What is prepared once for each server."""
    scratch = tmp_path_factory.mktemp("bench")
    with (
        local_ca(tmp_path_factory.mktemp("ca"), dns_here) as ca,
        web_machine(tmp_path_factory.mktemp("machine")) as machine,
        Forked(scratch, {}, prefix=machine.prefix) as forked,
    ):
        made = Bench(machine, request.param, scratch, forked, ca)
        made.prepare()
        yield made


@pytest.mark.parametrize("how", MISHAPS)
def test_a_mishap_of_secure_leaves_a_server_that_loads(bench: Bench, how: str) -> None:
    assert bench.attempt(bench.secure, how) > 0


@pytest.mark.parametrize("how", MISHAPS)
def test_a_mishap_of_undo_leaves_a_server_that_loads(bench: Bench, how: str) -> None:
    assert bench.attempt(UNDO, how, "secured") > 0
