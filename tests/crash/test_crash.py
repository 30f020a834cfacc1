"""A kill or an error at each call on the home folder and the network, then the promises.

`make crash` tries every point. Without `CRASH_POINTS=all` a few of each kind are tried, spread over
the whole run, so that a mistake that is everywhere is seen by `make test` already.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.crash.points import ERRORS, Ended, Point, certctl, mishap, points
from tests.lab.devca import DevCaServer
from tests.lab.programs import require

# read before the fixture that clears the environment
ALL = os.environ.get("CRASH_POINTS") == "all"
SHARDS = 8 if ALL else 1
SAMPLE = 3

NAME = "crash.example"

HOOK = """#!/bin/sh
echo "$CERTCTL_CERT_VERSION" >> "${CERTCTL_LIVE%/live/*}/deployed.log"
"""

pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True)
class Scenario:
    """A command in a home that is prepared: `arguments`, and those that prepare it."""

    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hook") / "hook"
    path.write_text(HOOK)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def strace() -> None:
    require("strace")
    probe = subprocess.run(
        ["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"strace may trace nothing here: {probe.stderr.strip()}")


def scenario(name: str, hook: Path) -> Scenario:
    issue = ("issue", NAME, "--deploy-hook", str(hook))
    match name:
        case "first issue":
            return Scenario(issue, (("register",),))
        case "renew":
            return Scenario(("renew", "--force", NAME), (issue,))
        case "owed deploy":
            broken = ("issue", NAME, "--deploy-hook", "false")
            mended = ("edit", NAME, "--deploy-hook", str(hook))
            return Scenario(("deploy", NAME), (broken, mended))
    raise ValueError(name)


class Bench:
    """Prepares a home for each point, tries it, and holds certctl to its promises."""

    def __init__(self, folder: Path, authority: DevCaServer, tried: Scenario) -> None:
        self._folder = folder
        self._authority = authority
        self._tried = tried
        self._made = 0
        self.base = folder / "base"
        self.base.mkdir()
        (self.base / "certctl.toml").write_text(
            f'ca = "{authority.directory_url}"\nca_bundle = "{authority.ca_bundle}"\n'
            f"account.agree_tos = true\nchallenge.http_port = {authority.http_port}\n"
        )
        for arguments in tried.before:
            done = certctl(arguments, self.base)
            assert done.status in {0, 4}, done.output
        certctl(tried.arguments, self.copy())  # so that the CA has seen the certificate replaced

    def copy(self) -> Path:
        self._made += 1
        home = self._folder / f"home-{self._made}"
        shutil.copytree(self.base, home, symlinks=True)
        return home

    def points(self) -> list[Point]:
        home = self.copy()
        return points(self._tried.arguments, home, self._folder)

    def attempt(self, point: Point, how: str) -> str:
        """Try one point; return in a word what became of the command."""
        home, before = self.copy(), self._issued()
        versions = len(archived(home))
        ended = mishap(point, how, self._tried.arguments, home)
        about = f"{how} at {point}\n{ended.output}"
        assert "should not have happened" not in ended.output, about
        assert "Traceback" not in ended.output, about
        self._matching(home, about)

        follow_up = self._again(home)
        about = f"{about}\nthen {follow_up.output}"
        assert follow_up.status == 0, about
        self._matching(home, about)
        live = live_version(home)
        assert live is not None, about
        assert leftovers(home) == [], about
        assert str(live) in (home / "deployed.log").read_text().split(), about
        assert self._issued() - before == len(archived(home)) - versions, about
        shutil.rmtree(home)
        return "killed" if ended.status in {-9, 137} else f"exit {ended.status}"

    def _again(self, home: Path) -> Ended:
        """What comes next: cron's run where there is a certificate, else the command again."""
        if live_version(home) is None:
            return certctl(self._tried.arguments, home)
        ended = certctl(("renew",), home)
        if ended.status == 0 and any((home / "pending").glob("*")):
            # Nothing was due any more; what was forced is finished when it is forced again.
            ended = certctl(("renew", "--force", NAME), home)
        return ended

    def _issued(self) -> int:
        """How many certificates the CA has issued."""
        log = json.loads(self._authority.get("/manage/requests"))["requests"]
        return sum(each["resource"] == "finalize" and each["status"] == 200 for each in log)

    def _matching(self, home: Path, about: str) -> None:
        """What is live belongs together."""
        folder = home / "live" / NAME
        if not os.path.lexists(folder):
            assert not archived(self.base), about
            return
        key = load_pem_private_key((folder / "privkey.pem").read_bytes(), None)
        leaf, *chain = x509.load_pem_x509_certificates((folder / "fullchain.pem").read_bytes())
        assert key.public_key() == leaf.public_key(), about
        leaf.verify_directly_issued_by(chain[0])
        cert, rest = (folder / "cert.pem").read_bytes(), (folder / "chain.pem").read_bytes()
        privkey = (folder / "privkey.pem").read_bytes()
        assert (folder / "fullchain.pem").read_bytes() == cert + rest, about
        assert (folder / "combined.pem").read_bytes() == privkey + cert + rest, about


def live_version(home: Path) -> int | None:
    link = home / "live" / NAME
    return int(link.readlink().name) if link.is_symlink() else None


def archived(home: Path) -> list[Path]:
    return [each for each in home.glob(f"archive/{NAME}/*") if each.name.isdigit()]


def leftovers(home: Path) -> list[str]:
    """What should not be there any more: parts of versions, orders under way, placements."""
    found: list[Path] = []
    for pattern in ("pending/*", "journal/*", "archive/*/.*", "live/.*"):
        found += home.glob(pattern)
    found += [each for each in home.rglob("*") if ".tmp" in each.name]
    return sorted(str(each.relative_to(home)) for each in found)


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("how", ["signal=KILL", *(f"error={each}" for each in ERRORS)])
@pytest.mark.parametrize("name", ["first issue", "renew", "owed deploy"])
def test_a_mishap_at_any_point_loses_nothing(
    name: str,
    how: str,
    shard: int,
    strace: None,  # noqa: ARG001 - it skips
    hook: Path,
    devca: DevCaServer,
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, devca, scenario(name, hook))
    chosen = select(bench.points(), how)[shard::SHARDS]

    came_to: Counter[str] = Counter()
    for point in chosen if ALL else spread(chosen, SAMPLE):
        came_to[f"{point.call}: {bench.attempt(point, how)}"] += 1

    print(f"\n{name}, {how}: {sum(came_to.values())} points of {len(chosen)}: {dict(came_to)}")  # noqa: T201
    assert came_to


@pytest.mark.parametrize(
    ("error", "said"), [("ENOLCK", "has no locks"), ("EOPNOTSUPP", "has no locks"), ("EIO", "lock")]
)
def test_a_file_system_without_locks_is_named_and_nothing_is_done(
    error: str,
    said: str,
    strace: None,  # noqa: ARG001 - it skips
    hook: Path,
    devca: DevCaServer,
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, devca, scenario("renew", hook))
    home = bench.copy()

    forced = ("renew", "--force", NAME)
    ended = mishap(Point("flock", 1, "the first lock"), f"error={error}", forced, home)

    assert ended.status == 1
    assert said in ended.output
    assert str(home / "locks") in ended.output
    assert len(archived(home)) == 1


def select(found: Sequence[Point], how: str) -> list[Point]:
    """The points at which a mishap of that kind can happen."""
    kind, _, error = how.partition("=")
    if kind == "signal":
        return list(found)
    return [each for each in found if each.call in ERRORS[error] and "<socket" not in each.what
            and "<TCP" not in each.what]  # fmt: skip


def spread(found: Sequence[Point], count: int) -> list[Point]:
    """So many of them, evenly from the first to the last."""
    if len(found) <= count:
        return list(found)
    step = (len(found) - 1) / (count - 1)
    return [found[round(index * step)] for index in range(count)]
