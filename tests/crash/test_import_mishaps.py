"""A kill, a full disk or another error at each call of a hand-over, of its undoing, and of the next
run that finishes one: one client orders, and the paths that servers know lead to a key and a
certificate that belong together.

`CRASH_POINTS=all` tries every point; without it one for each client and mishap, which together are
spread over the whole run.
"""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certctl.model.spec import KeyType
from certctl.rules.keys import generate_key
from tests.crash.forked import Forked
from tests.crash.points import Ended, Point, certctl, mishap, points
from tests.lab.devca import DevCaServer
from tests.lab.programs import require_strace
from tests.support.foreign_homes import unpack

ALL = os.environ.get("CRASH_POINTS") == "all"
KILL = "signal=KILL"
ERRORS = ("error=ENOSPC", "error=EIO", "error=EACCES")
MISHAPS = (KILL, *ERRORS)
PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"
CRON = "/etc/cron.d"
"""Where crontabs are; a directory of the test is mounted there."""

NOT_CONCERNED = (
    *("/etc/systemd/system", "/usr/lib/systemd/system", "/etc/nginx", "/etc/apache2"),
    *("/etc/postfix", "/etc/dovecot", "/etc/postgresql", "/etc/haproxy"),
)
"""What else an import reads of a machine; here it finds nothing there, and makes fewer calls."""

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="the clients' homes belong to root"),
]


@dataclass(frozen=True)
class Client:
    """A client's home below a home of certctl, with one certificate that is taken over; `orders`
    says whether the client renews it.
    """

    name: str
    certificate: str
    directory: str
    full_chain: str
    key: str
    orders: Callable[[Path], bool]
    options: tuple[str, ...] = ()


def is_there(path: str) -> Callable[[Path], bool]:
    return lambda home: (home / path).exists()


def has_line(path: str, text: str) -> Callable[[Path], bool]:
    return lambda home: any(
        text in line and not line.startswith("#") for line in (home / path).read_text().splitlines()
    )


NAME = "versions.example.org"
CLIENTS = [
    Client(
        "certbot",
        NAME,
        "letsencrypt",
        f"letsencrypt/live/{NAME}/fullchain.pem",
        f"letsencrypt/live/{NAME}/privkey.pem",
        is_there(f"letsencrypt/renewal/{NAME}.conf"),
    ),
    Client(
        "acme.sh",
        "sa.example.org",
        "acme",
        "acme/sa.example.org_ecc/fullchain.cer",
        "acme/sa.example.org_ecc/sa.example.org.key",
        is_there("acme/sa.example.org_ecc/sa.example.org.conf"),
        ("--standalone",),
    ),
    Client(
        "dehydrated",
        "sa.example.org",
        "dehydrated",
        "dehydrated/certs/sa.example.org/fullchain.pem",
        "dehydrated/certs/sa.example.org/privkey.pem",
        has_line("dehydrated/domains.txt", "sa.example.org"),
    ),
    Client(
        "lego",
        "web.example.org",
        "lego",
        "lego/certificates/web.example.org.crt",
        "lego/certificates/web.example.org.key",
        has_line("cron.d/client", "web.example.org"),
    ),
    Client(
        "uacme",
        "sa.example.org",
        "uacme",
        "uacme/sa.example.org/cert.pem",
        "uacme/private/sa.example.org/key.pem",
        has_line("cron.d/client", "sa.example.org"),
    ),
]


def make_home(client: Client, base: Path, scratch: Path, directory_url: str) -> None:
    """Put the client's home below `base`, as if a CA on this machine had been used."""
    homes = {
        "certbot": ("certbot5-conf-extra-files", "etc/letsencrypt"),
        "acme.sh": ("acmesh3.1", "root/.acme.sh"),
        "dehydrated": ("dehydrated0.7.0-debian", "var/lib/dehydrated"),
        "lego": ("lego4.9-debian", "var/lib/lego"),
        "uacme": ("uacme1.7.4", "etc/ssl/uacme"),
    }
    case, place = homes[client.name]
    home = base / client.directory
    shutil.copytree(unpack(case, scratch) / place, home, symlinks=True)
    (base / "cron.d").mkdir()
    public, own = (each.removeprefix("https://") for each in (PUBLIC, directory_url))
    if client.name in ("certbot", "acme.sh"):
        accounts = home / ("accounts" if client.name == "certbot" else "ca")
        (accounts / own).parent.mkdir(parents=True)
        (accounts / public).rename(accounts / own)
        for conf in home.rglob("*.conf"):
            conf.write_text(conf.read_text().replace(PUBLIC, directory_url))
    elif client.name == "dehydrated":
        old, new = (
            base64.urlsafe_b64encode(f"{each}\n".encode()) for each in (PUBLIC, directory_url)
        )
        (home / "accounts" / old.decode().rstrip("=")).rename(
            home / "accounts" / new.decode().rstrip("=")
        )
        for account in home.glob("accounts/*/account_key.pem"):  # RSA keys take seconds to check
            account.write_bytes(generate_key(KeyType.ECDSA_P256))
        (home / "config").write_text(f"CA={directory_url}\nWELLKNOWN={base}\n")
        (home / "domains.txt").write_text("# ours\nsa.example.org\nother.example.org\n")
    elif client.name == "lego":
        host = own.partition("/")[0]
        named = host.replace(":", "_")  # as lego names directories
        (home / "accounts" / public.partition("/")[0]).rename(home / "accounts" / named)
        for account in home.glob("accounts/*/*/account.json"):
            account.write_text(account.read_text().replace(public.partition("/")[0], host))
        document = home / "certificates/web.example.org.json"
        document.write_text(
            json.dumps({"domain": "web.example.org", "certUrl": f"https://{host}/cert/1"})
        )


def crontab(client: Client, home: Path, directory_url: str) -> None:
    """Write the line that runs a client which records its own settings nowhere."""
    line = {
        "certbot": f"certbot -q renew --config-dir {home}/letsencrypt",
        "lego": f"lego --server {directory_url} --path {home}/lego -m ops@example.org"
        f" -d {client.certificate} --http --http.webroot {home} renew",
        "uacme": f"uacme -a {directory_url} -c {home}/uacme -h /usr/bin/true issue"
        f" {client.certificate} www.{client.certificate}",
    }.get(client.name)
    if line is not None:
        (home / "cron.d/client").write_text(f"0 3 * * * root {line}\n")


class Bench:
    """A home of certctl with one of another client inside, and a CA on this machine."""

    def __init__(
        self, client: Client, directory: Path, authority: DevCaServer, forked: Forked
    ) -> None:
        require_strace()
        self.forked = forked
        self.client, self._directory, self._authority = client, directory, authority
        self._home = directory / "home"
        self._prepared: dict[object, Path] = {}
        self._points: dict[tuple[str, ...], Sequence[Point]] = {}
        self.base = directory / "base"
        self.base.mkdir(mode=0o711)
        make_home(client, self.base, directory / "unpacked", authority.directory_url)
        assert certctl(("schedule", "external"), self.base).status == 0
        if client.name == "uacme":  # its account is nowhere recorded, so the CA must know the key
            key = self.base / "uacme/private/key.pem"
            bundle = ("--ca-bundle", str(authority.ca_bundle))
            done = certctl(
                ("register", "--ca", authority.directory_url, "--agree-tos", *bundle), self.base
            )
            assert done.status == 0, done.output
            (new,) = self.base.glob("accounts/*/*/key.pem")
            key.write_bytes(new.read_bytes())

    def home(
        self,
        *before: Sequence[str],
        interrupted: tuple[Point, Sequence[str]] | None = None,
    ) -> Path:
        """A copy of the homes, in which commands have been run, and one was killed at a point.

        It is always at the same path, which the files name: so each is prepared only once.
        """
        shutil.rmtree(self._home, ignore_errors=True)
        key = (before, interrupted)
        if key not in self._prepared:
            self._prepare(self._home, before, interrupted)
            kept = self._directory / f"prepared-{len(self._prepared)}"
            shutil.copytree(self._home, kept, symlinks=True)
            self._prepared[key] = kept
        else:
            shutil.copytree(self._prepared[key], self._home, symlinks=True)
        return self._home

    def _prepare(
        self,
        home: Path,
        before: Sequence[Sequence[str]],
        interrupted: tuple[Point, Sequence[str]] | None,
    ) -> None:
        shutil.copytree(self.base, home, symlinks=True)
        crontab(self.client, home, self._authority.directory_url)
        if self.client.name == "dehydrated":
            config = home / "dehydrated/config"
            config.write_text(f"BASEDIR={home}/dehydrated\n{config.read_text()}")
        for each in before:
            self.run(each, home)
        if interrupted is not None:
            point, arguments = interrupted
            self.strike(point, KILL, arguments, home)

    def run(self, arguments: Sequence[str], home: Path) -> None:
        ended = certctl(self._with_home(arguments, home), home, forked=self.forked)
        assert ended.status == 0, (arguments, ended.output)

    def strike(self, point: Point, how: str, arguments: Sequence[str], home: Path) -> Ended:
        """Run a command with a mishap at one of its calls."""
        return mishap(point, how, self._with_home(arguments, home), home, forked=self.forked)

    def _with_home(self, arguments: Sequence[str], home: Path) -> Sequence[str]:
        return [each.replace("HOME", str(home)) for each in arguments]

    @property
    def importing(self) -> Sequence[str]:
        place = f"HOME/{self.client.directory}"
        bundle = ("--ca-bundle", str(self._authority.ca_bundle))
        name = self.client.certificate
        return ("import", name, "--from", place, "--yes", *bundle, *self.client.options)

    @property
    def undoing(self) -> Sequence[str]:
        return ("import", "--undo", self.client.certificate, "--yes")

    def points(
        self,
        arguments: Sequence[str],
        before: Sequence[Sequence[str]] = (),
        interrupted: tuple[Point, Sequence[str]] | None = None,
    ) -> Sequence[Point]:
        """The calls of a command, which are found out once for all its mishaps."""
        if tuple(arguments) not in self._points:
            home = self.home(*before, interrupted=interrupted)
            self._points[tuple(arguments)] = points(
                self._with_home(arguments, home),
                home,
                self._directory,
                forked=self.forked,
                places=(f"{CRON}/",),
            )
        return self._points[tuple(arguments)]

    def attempt(
        self,
        arguments: Sequence[str],
        how: str,
        *before: Sequence[str],
        interrupted: tuple[Point, Sequence[str]] | None = None,
    ) -> int:
        """Let a mishap happen at calls of a command, and the next run finish; the number of calls.
        `interrupted`: a command that was killed at a point before.
        """
        every = self.points(arguments, before, interrupted)
        found = struck(every, how)
        for point in found if ALL else self.sample(found, how):
            home = self.home(*before, interrupted=interrupted)
            ended = self.strike(point, how, arguments, home)
            about = f"{how} at {point}\n{ended.output}"
            self.check(home, about)
            followed = certctl(("renew",), home, forked=self.forked)
            about = f"{about}\nthen {followed.output}"
            assert followed.status == 0, about
            self.check(home, about)
            assert self.client.orders(home) != self.ours(home), about
            unfinished = home / "imported" / "unfinished"
            assert not unfinished.is_dir() or not list(unfinished.iterdir()), about
            assert self.leftovers(home) == [], about
        return len(found)

    def sample(self, found: Sequence[Point], how: str) -> Sequence[Point]:
        """One of the points: another part of the run for each mishap, and for each client."""
        part = (MISHAPS.index(how) + CLIENTS.index(self.client)) % len(MISHAPS)
        at = (2 * part + 1) * len(found) // (2 * len(MISHAPS))
        return found[at : at + 1]

    def leftovers(self, home: Path) -> list[Path]:
        """Temporary files in the client's directories, and a lock that would stop it for ever."""
        places = [home / self.client.directory, home / "cron.d"]
        locks = [home / self.client.directory / each for each in ("lock", ".certbot.lock")]
        return [
            *(found for place in places for found in place.rglob(".new-*")),
            *(each for each in locks if each.exists()),
        ]

    def ours(self, home: Path) -> bool:
        return (home / "certificates" / f"{self.client.certificate}.toml").exists()

    def check(self, home: Path, about: str) -> None:
        """Never do both order, and what servers read belongs together."""
        assert not (self.client.orders(home) and self.ours(home)), about
        key = load_pem_private_key((home / self.client.key).read_bytes(), None)
        leaf = x509.load_pem_x509_certificate((home / self.client.full_chain).read_bytes())
        assert key.public_key() == leaf.public_key(), about


def struck(every: Sequence[Point], how: str) -> Sequence[Point]:
    """The calls at which a mishap happens. A kill at a sync leaves what one at the call after it
    does. The errors take turns, since a call that fails is dealt with alike whatever the error is.
    """
    if how == KILL:
        return [each for each in every if each.call not in ("fsync", "fdatasync")]
    found = []
    for number, each in enumerate(every):
        possible = [error for error in ERRORS if each.can(error)]
        if possible and possible[number % len(possible)] == how:
            found.append(each)
    return found


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    """What runs commands, each with the crontabs of its home."""
    nothing = tmp_path_factory.mktemp("nothing")
    hidden = {each: str(nothing) for each in NOT_CONCERNED if Path(each).is_dir()}
    with Forked(tmp_path_factory.mktemp("forked"), {CRON: "{home}/cron.d", **hidden}) as found:
        yield found


@pytest.fixture(scope="module", params=CLIENTS, ids=[each.name for each in CLIENTS])
def bench(
    request: pytest.FixtureRequest,
    devca: DevCaServer,
    tmp_path_factory: pytest.TempPathFactory,
    forked: Forked,
) -> Bench:
    """What is prepared once for each client."""
    return Bench(request.param, tmp_path_factory.mktemp("bench"), devca, forked)


@pytest.mark.parametrize("how", MISHAPS)
def test_a_mishap_while_importing_leaves_one_client_in_charge(bench: Bench, how: str) -> None:
    assert bench.attempt(bench.importing, how) > 0


@pytest.mark.parametrize("how", MISHAPS)
def test_a_mishap_while_undoing_leaves_one_client_in_charge(bench: Bench, how: str) -> None:
    assert bench.attempt(bench.undoing, how, bench.importing) > 0


def test_a_kill_while_the_next_run_finishes_a_hand_over_leaves_it_to_the_one_after(
    bench: Bench,
) -> None:
    linking = [
        each
        for each in bench.points(bench.importing)
        if each.call == "symlink" and f"/{bench.client.directory}/" in each.what
    ]

    assert bench.attempt(("renew",), KILL, interrupted=(linking[0], bench.importing)) > 0


@pytest.mark.parametrize("how", MISHAPS)
def test_a_mishap_while_turning_the_client_off_leaves_that_to_the_next_try(
    devca: DevCaServer, tmp_path: Path, forked: Forked, how: str
) -> None:
    bench = Bench(CLIENTS[0], tmp_path, devca, forked)
    finishing = ("import", "--finish", "--from", "HOME/letsencrypt", "--yes")
    found = struck(bench.points(finishing, [bench.importing]), how)
    for point in found if ALL else bench.sample(found, how):
        home = bench.home(bench.importing)
        line = (home / "cron.d/client").read_text()
        bench.strike(point, how, finishing, home)

        bench.run(finishing, home)
        off = sorted(each.name for each in (home / "cron.d").iterdir())
        bench.run(bench.undoing, home)

        assert off == [".client.imported"], point
        assert (home / "cron.d/client").read_text() == line, point
        assert bench.client.orders(home), point
