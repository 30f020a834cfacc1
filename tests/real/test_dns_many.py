"""Many certificates of one zone in one run: one wait for all, and no record is lost or left."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certctl.model.events import ChallengesPresented
from certctl.rules.response_batches import MAX_VALUES
from tests.lab.bind import BindSecondary, BindServer
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.real.driver import Host, host, names

ZONE = "many.test"
PRESENTED = ChallengesPresented.kind
CERTIFICATES = [f"n{number}.{ZONE}" for number in range(20)]


@dataclass(frozen=True)
class Site:
    """A home that wants wildcards with their bases, a primary, and a secondary that lags behind."""

    here: Host
    primary: BindServer
    secondary: BindSecondary
    pebble: PebbleServer
    before: list[str]

    def all_are_written(self) -> bool:
        return len(self.primary.dump(ZONE)) == len(self.before) + 2 * len(CERTIFICATES)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require("named", "pebble")
    for each in ("primary", "secondary", "pebble"):
        (tmp_path / each).mkdir()
    primary = BindServer(
        directory=tmp_path / "primary",
        zones={ZONE: f'_acme-challenge.{CERTIFICATES[0]}. 300 TXT "theirs"'},
        secondary_host="127.0.0.2",
        query_log=True,
    )
    with (
        primary,
        primary.secondary(tmp_path / "secondary") as secondary,
        PebbleServer(directory=tmp_path / "pebble", dns_server=primary.address) as pebble,
    ):
        here = host(
            tmp_path,
            pebble,
            f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{primary.address}"\n'
            f'dns.rfc2136.server = "{primary.address}"\n'
            f'dns.rfc2136.key_file = "{primary.keyfile}"\njobs = 4\n',
        )
        specs = here.home / "certificates"
        specs.mkdir(mode=0o700)
        for name in CERTIFICATES:
            (specs / f"{name}.toml").write_text(f'version = 1\nnames = ["{name}", "*.{name}"]\n')
        yield Site(here, primary, secondary, pebble, primary.dump(ZONE))


def test_wildcards_with_their_bases_wait_together_and_leave_the_zone_as_it_was(site: Site) -> None:
    with site.here.begin("renew") as running:
        # With four jobs: those that wait for the secondary are not counted.
        wait_until(site.all_are_written, "all records are there", seconds=60)
        told = [each.path for each in site.pebble.requests() if each.path.startswith("/chalZ")]
        site.secondary.catch_up()
        finished = running.finish()

    assert finished.exit_status == 0, finished
    assert told == []
    assert site.primary.dump(ZONE) == site.before
    assert [names(site.here.leaf(name)) for name in CERTIFICATES] == [
        sorted([name, f"*.{name}"]) for name in CERTIFICATES
    ]
    assert site.here.leftovers() == []
    # certctl looks for the zone's servers once; Pebble does not.
    assert site.primary.output().count(f"query: {ZONE} IN NS ") == 1


def test_after_a_kill_in_the_midst_of_many_the_next_run_removes_all_records_and_goes_on(
    site: Site,
) -> None:
    with site.here.begin("renew") as running:
        wait_until(site.all_are_written, "all records are there", seconds=60)
        running.signal(signal.SIGKILL)
        running.finish()
    assert site.all_are_written()

    with (site.here.home / "certctl.toml").open("a") as settings:
        settings.write('challenge.dns_propagation_quorum = "1"\n')  # the secondary stays behind

    finished = site.here.certctl("renew")

    assert finished.exit_status == 0, finished
    assert site.primary.dump(ZONE) == site.before
    assert {site.here.version(name) for name in CERTIFICATES} == {1}
    assert site.here.leftovers() == []


def test_names_that_are_all_delegated_to_one_name_are_validated_in_batches(tmp_path: Path) -> None:
    require("named", "pebble")
    for each in ("primary", "pebble"):
        (tmp_path / each).mkdir()
    count = 3 * MAX_VALUES - 2
    target = f"all.{ZONE}"
    delegated = [f"d{number}.{ZONE}" for number in range(count)]
    aliases = f"$GENERATE 0-{count - 1} _acme-challenge.d$.{ZONE}. 300 CNAME {target}."
    primary = BindServer(directory=tmp_path / "primary", zones={ZONE: aliases})
    with (
        primary,
        PebbleServer(directory=tmp_path / "pebble", dns_server=primary.address) as pebble,
    ):
        here = host(
            tmp_path,
            pebble,
            f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{primary.address}"\n'
            f'dns.rfc2136.server = "{primary.address}"\n'
            f'dns.rfc2136.key_file = "{primary.keyfile}"\n',
        )
        before = primary.dump(ZONE)
        done = here.certctl("issue", *delegated, "--json-lines")
        after = primary.dump(ZONE)

    events = [json.loads(line) for line in done.stdout.splitlines()]
    sizes = [len(each["facts"]["identifiers"]) for each in events if each.get("kind") == PRESENTED]
    assert done.exit_status == 0, done
    assert sizes == [MAX_VALUES, MAX_VALUES, MAX_VALUES - 2]
    assert len(names(here.leaf(delegated[0]))) == count
    assert after == before
