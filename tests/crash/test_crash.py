"""A kill or an error at each call on the home directory and the network, then the promises.

`make crash` tries every point. Without `CRASH_POINTS=all` a few of each kind are tried, spread over
the whole run, so that a mistake that is everywhere is seen by `make test` already.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.crash.points import ERRORS, LOST, Ended, Point, certctl, mishap, points
from tests.lab.devca import DevCaServer
from tests.lab.programs import require_strace

# read before the fixture that clears the environment
ALL = os.environ.get("CRASH_POINTS") == "all"
SHARDS = 8 if ALL else 1
SAMPLE = 3
SCENARIOS = ("first issue", "two keys", "renew", "pending deployment", "parallel renewals")
MISHAPS = ("signal=KILL", *(f"error={each}" for each in (*ERRORS, LOST)))

NAME = "crash.example"
NAMES = tuple(f"crash{number}.example" for number in range(4))

HOOK = """#!/bin/sh
echo "$CERTCTL_CERT_NAME $CERTCTL_CERT_VERSION" >> "${CERTCTL_LIVE%/live/*}/deployed.log"
"""

pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True)
class Scenario:
    """A command in a home that is prepared: `arguments`, and those that prepare it.

    `wanted` is then put into the spec of each of the `names`, as a person does who edits it.
    """

    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    names: tuple[str, ...] = (NAME,)
    wanted: str = ""

    @property
    def parallel(self) -> bool:
        """Whether the work is done in several threads."""
        return len(self.names) > 1


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hook") / "hook"
    path.write_text(HOOK)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def strace() -> None:
    require_strace()


def scenario(name: str, hook: Path) -> Scenario:
    issue = ("issue", NAME, "--deploy-hook", str(hook))
    match name:
        case "first issue":
            return Scenario(issue, (("register",),))
        case "two keys":
            both = ("--key-type", "ecdsa-p256", "--key-type", "rsa-2048")
            return Scenario(("renew", "--force", NAME), ((*issue, *both),))
        case "renew":
            return Scenario(("renew", "--force", NAME), (issue,))
        case "pending deployment":
            broken = ("issue", NAME, "--deploy-hook", "false")
            mended = ("edit", NAME, "--deploy-hook", str(hook))
            return Scenario(("deploy", NAME), (broken, mended))
        case "parallel renewals":
            issued = tuple(("issue", each, "--deploy-hook", str(hook)) for each in NAMES)
            another_key = 'key_type = "ecdsa-p384"\n'
            return Scenario(("renew", "--jobs", "4"), issued, NAMES, another_key)
    raise ValueError(name)


Benches = Callable[[str], "Bench"]
"""Gives the bench of a scenario, by its name; prepared once for all its mishaps."""


@pytest.fixture(scope="module")
def benches(
    strace: None,  # noqa: ARG001 - it skips
    hook: Path,
    devca: DevCaServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Benches:
    @cache
    def bench(name: str) -> Bench:
        return Bench(tmp_path_factory.mktemp("bench"), devca, scenario(name, hook))

    return bench


class Bench:
    """Prepares a home for each point, tries it, and holds certctl to its promises."""

    def __init__(self, directory: Path, authority: DevCaServer, tried: Scenario) -> None:
        self._directory = directory
        self._authority = authority
        self._tried = tried
        self._made = 0
        self.base = directory / "base"
        self.base.mkdir()
        (self.base / "certctl.toml").write_text(
            f'ca = "{authority.directory_url}"\nca_bundle = "{authority.ca_bundle}"\n'
            f"account.agree_tos = true\nchallenge.http_port = {authority.http_port}\n"
        )
        for arguments in tried.before:
            done = certctl(arguments, self.base)
            assert done.status in {0, 4}, done.output
        for each in tried.names if tried.wanted else ():
            spec = self.base / "certificates" / f"{each}.toml"
            spec.write_text(tried.wanted + spec.read_text())
        certctl(tried.arguments, self.copy())  # so that the CA has seen the certificate replaced

    def copy(self) -> Path:
        self._made += 1
        home = self._directory / f"home-{self._made}"
        shutil.copytree(self.base, home, symlinks=True)
        return home

    @cached_property
    def points(self) -> list[Point]:
        """Where something could go wrong."""
        home = self.copy()
        return points(self._tried.arguments, home, self._directory, threads=self._tried.parallel)

    def attempt(self, point: Point, how: str) -> str:
        """Try one point; return in a word what became of the command."""
        home, before = self.copy(), self._issued()
        versions = certificates(home)
        ended = mishap(point, how, self._tried.arguments, home, threads=self._tried.parallel)
        about = f"{how} at {point}\n{ended.output}"
        if ended.missed:
            shutil.rmtree(home)
            return "missed"
        assert "internal error in certctl" not in ended.output, about
        assert "Traceback" not in ended.output, about
        self._matching(home, about)

        killed = ended.status in {-9, 137}
        follow_up = self._again(home, patient=killed)
        about = f"{about}\nthen {follow_up.output}"
        assert follow_up.status == 0, about
        self._matching(home, about)
        assert leftovers(home) == [], about
        deployed = (home / "deployed.log").read_text().splitlines()
        for name in self._tried.names:
            assert f"{name} {live_version(home, name)}" in deployed, about
        assert self._issued() - before == certificates(home) - versions, about
        if self._tried.parallel:
            assert {live_version(home, each) for each in self._tried.names} == {2}, about
        shutil.rmtree(home)
        return "killed" if killed else f"exit {ended.status}"

    def _again(self, home: Path, *, patient: bool) -> Ended:
        """What comes next: cron's run where there is a certificate, else the command again.

        After a kill that is all. After an error what failed waits for its time, unless it is
        forced; the hook may have been what failed, since its calls are counted too.
        """
        names = self._tried.names
        if any(live_version(home, each) is None for each in names):
            return certctl(self._tried.arguments, home)
        ended = certctl(("renew",), home)
        if patient and ended.status != 0:
            return ended
        waits = ended.status != 0
        late = [each for each in names if self._is_late(home, each, waits=waits)]
        if late:
            # Nothing was due any more; what was forced is finished when it is forced again.
            ended = certctl(("renew", "--force", *late), home)
        if waits and (not late or ended.status in {0, 4}):
            ended = certctl(("deploy", *names), home)
        return ended

    def _is_late(self, home: Path, name: str, *, waits: bool) -> bool:
        if (home / "pending" / name).exists():
            return True
        return waits and self._tried.parallel and live_version(home, name) == 1

    def _issued(self) -> int:
        """How many certificates the CA has issued."""
        log = json.loads(self._authority.get("/manage/requests"))["requests"]
        return sum(each["resource"] == "finalize" and each["status"] == 200 for each in log)

    def _matching(self, home: Path, about: str) -> None:
        """What is live belongs together."""
        for name in self._tried.names:
            if os.path.lexists(home / "live" / name):
                assert_matching(home / "live" / name, about)
                if (home / "live" / name / "rsa").exists():
                    assert_matching(home / "live" / name / "rsa", about)
            else:
                assert not archived(self.base), about


def assert_matching(directory: Path, about: str) -> None:
    """The files of a live version belong together."""
    key = load_pem_private_key((directory / "privkey.pem").read_bytes(), None)
    leaf, *chain = x509.load_pem_x509_certificates((directory / "fullchain.pem").read_bytes())
    assert key.public_key() == leaf.public_key(), about
    leaf.verify_directly_issued_by(chain[0])
    cert, rest = (directory / "cert.pem").read_bytes(), (directory / "chain.pem").read_bytes()
    privkey = (directory / "privkey.pem").read_bytes()
    assert (directory / "fullchain.pem").read_bytes() == cert + rest, about
    assert (directory / "combined.pem").read_bytes() == privkey + cert + rest, about


def live_version(home: Path, name: str) -> int | None:
    link = home / "live" / name
    return int(link.readlink().name) if link.is_symlink() else None


def archived(home: Path) -> list[Path]:
    return [each for each in home.glob("archive/*/*") if each.name.isdigit()]


def certificates(home: Path) -> int:
    """How many certificates the versions have: one for each key."""
    below = [each / "rsa" for each in archived(home)]
    return len(archived(home)) + sum(each.is_dir() for each in below)


def leftovers(home: Path) -> list[str]:
    """What should not be there any more: parts of versions, orders under way, placements."""
    found: list[Path] = []
    for pattern in ("pending/*", "journal/*", "archive/*/.*", "live/.*"):
        found += home.glob(pattern)
    found += [each for each in home.rglob("*") if ".tmp" in each.name]
    return sorted(str(each.relative_to(home)) for each in found)


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in SCENARIOS
        for how in MISHAPS
        if not (name == "pending deployment" and how == f"error={LOST}")  # it asks nobody
    ],
)
def test_a_mishap_at_any_point_loses_nothing(
    name: str,
    how: str,
    shard: int,
    benches: Benches,
) -> None:
    bench = benches(name)
    chosen = [each for each in bench.points if each.can(how)][shard::SHARDS]

    came_to: Counter[str] = Counter()
    for point in chosen if ALL else spread(chosen, SAMPLE):
        came_to[f"{point.call}: {bench.attempt(point, how)}"] += 1

    print(f"\n{name}, {how}: {sum(came_to.values())} points of {len(chosen)}: {dict(came_to)}")  # noqa: T201
    assert came_to


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("ENOLCK", "does not support locks"),
        ("EOPNOTSUPP", "does not support locks"),
        ("EIO", "lock"),
    ],
)
def test_a_file_system_without_locks_is_named_and_nothing_is_done(
    error: str,
    said: str,
    benches: Benches,
) -> None:
    home = benches("renew").copy()

    forced = ("renew", "--force", NAME)
    ended = mishap(Point("flock", 1, "the first lock"), f"error={error}", forced, home)

    assert ended.status == 1
    assert said in ended.output
    assert str(home / "locks") in ended.output
    assert len(archived(home)) == 1


def spread(found: Sequence[Point], count: int) -> list[Point]:
    """So many of them, evenly from the first to the last."""
    if len(found) <= count:
        return list(found)
    step = (len(found) - 1) / (count - 1)
    return [found[round(index * step)] for index in range(count)]
