"""A kill at each call of a hand-over and of its undoing: one client orders, and the paths that
servers know lead to a key and a certificate that belong together.

`CRASH_POINTS=all` tries every point; without it a few, spread over the whole run.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.crash.points import Point, certctl, mishap, points
from tests.lab.devca import DevCaServer
from tests.lab.programs import require_strace
from tests.support.foreign_homes import unpack

ALL = os.environ.get("CRASH_POINTS") == "all"
SAMPLE = 3
NAME = "versions.example.org"
PUBLIC = "acme-v02.api.letsencrypt.org"

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="certbot's home belongs to root"),
]


class Bench:
    """A home of certctl with one of certbot inside, and a CA on this machine."""

    def __init__(self, directory: Path, authority: DevCaServer, *, undo: bool) -> None:
        require_strace()
        self._directory, self._undo, self._made = directory, undo, 0
        self._authority = authority
        self.base = directory / "base"
        self.base.mkdir(mode=0o711)
        unpacked = unpack("certbot5-conf-extra-files", directory / "unpacked")
        letsencrypt = self.base / "letsencrypt"
        shutil.copytree(unpacked / "etc/letsencrypt", letsencrypt, symlinks=True)
        place = authority.directory_url.removeprefix("https://")
        accounts = letsencrypt / "accounts" / place
        accounts.parent.mkdir(parents=True)
        (letsencrypt / "accounts" / PUBLIC / "directory").rename(accounts)
        conf = letsencrypt / "renewal" / f"{NAME}.conf"
        text = conf.read_text().replace(f"https://{PUBLIC}/directory", authority.directory_url)
        conf.write_text(text)
        assert certctl(("schedule", "external"), self.base).status == 0

    def home(self) -> Path:
        """A copy of the homes, with the certificate taken over if that is to be undone."""
        self._made += 1
        home = self._directory / f"home-{self._made}"
        shutil.copytree(self.base, home, symlinks=True)
        if self._undo:
            self.take(home)
        return home

    def take(self, home: Path) -> None:
        done = certctl(self.importing(home), home)
        assert done.status == 0, done.output

    def importing(self, home: Path) -> Sequence[str]:
        bundle = ("--ca-bundle", str(self._authority.ca_bundle))
        return ("import", NAME, "--from", str(home / "letsencrypt"), "--yes", *bundle)

    def arguments(self, home: Path) -> Sequence[str]:
        return ("import", "--undo", NAME, "--yes") if self._undo else self.importing(home)

    @cached_property
    def points(self) -> Sequence[Point]:
        """The calls of the command."""
        home = self.home()
        found = points(self.arguments(home), home, self._directory)
        shutil.rmtree(home)
        return found

    def attempt(self, number: int, of: int) -> None:
        """Kill the command at one of its calls, and let the next run finish."""
        found = self.points
        chosen = found if ALL else found[number * len(found) // of :: max(len(found), 1)]
        for point in chosen:
            home = self.home()
            ended = mishap(point, "signal=KILL", self.arguments(home), home)
            about = f"kill at {point}\n{ended.output}"
            check(home, about)
            followed = certctl(("renew",), home)
            about = f"{about}\nthen {followed.output}"
            assert followed.status == 0, about
            check(home, about)
            assert certbot_orders(home) != certctl_orders(home), about
            unfinished = home / "imported" / "unfinished"
            assert not unfinished.is_dir() or not list(unfinished.iterdir()), about
            assert not list((home / "letsencrypt").rglob(".new-*")), about
            shutil.rmtree(home)


@pytest.fixture(scope="module")
def benches(
    devca: DevCaServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], Bench]:
    """What is prepared once for importing, and once for its undoing."""
    return cache(lambda undo: Bench(tmp_path_factory.mktemp("bench"), devca, undo=undo))


@pytest.mark.parametrize("number", range(1 if ALL else SAMPLE))
@pytest.mark.parametrize("undo", [False, True], ids=["import", "undo"])
def test_a_kill_leaves_one_client_in_charge(
    benches: Callable[[bool], Bench], undo: bool, number: int
) -> None:
    benches(undo).attempt(number, SAMPLE)


def certbot_orders(home: Path) -> bool:
    return (home / "letsencrypt/renewal" / f"{NAME}.conf").exists()


def certctl_orders(home: Path) -> bool:
    return (home / "certificates" / f"{NAME}.toml").exists()


def check(home: Path, about: str) -> None:
    """Never do both order, and what servers read belongs together."""
    assert not (certbot_orders(home) and certctl_orders(home)), about
    live = home / "letsencrypt/live" / NAME
    key = load_pem_private_key((live / "privkey.pem").read_bytes(), None)
    leaf = x509.load_pem_x509_certificate((live / "fullchain.pem").read_bytes())
    assert key.public_key() == leaf.public_key(), about
