"""Many certificates of one zone in one run: one wait for all, and no record is lost or left."""

from pathlib import Path

from tests.lab.bind import BindServer
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.real.driver import host, names

ZONE = "many.test"
CERTIFICATES = [f"n{number}.{ZONE}" for number in range(20)]


def test_wildcards_with_their_bases_wait_together_and_leave_the_zone_as_it_was(
    tmp_path: Path,
) -> None:
    require("named", "pebble")
    for each in ("primary", "secondary", "pebble"):
        (tmp_path / each).mkdir()
    primary = BindServer(
        folder=tmp_path / "primary",
        zones={ZONE: f'_acme-challenge.{CERTIFICATES[0]}. 300 TXT "theirs"'},
        secondary_host="127.0.0.2",
        query_log=True,
    )
    with (
        primary,
        primary.secondary(tmp_path / "secondary") as secondary,
        PebbleServer(folder=tmp_path / "pebble", dns_server=primary.address) as pebble,
    ):
        before = primary.dump(ZONE)
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

        with here.begin("renew") as running:
            # With four jobs: those that wait for the secondary are not counted.
            everything = len(before) + 2 * len(CERTIFICATES)
            wait_until(
                lambda: len(primary.dump(ZONE)) == everything, "all records are there", seconds=60
            )
            told = [each.path for each in pebble.requests() if each.path.startswith("/chalZ")]
            secondary.catch_up()
            finished = running.finish()

        assert finished.exit_status == 0, finished
        assert told == []
        assert primary.dump(ZONE) == before
        assert [names(here.leaf(name)) for name in CERTIFICATES] == [
            sorted([name, f"*.{name}"]) for name in CERTIFICATES
        ]
        assert here.leftovers() == []
        # certctl looks for the zone's servers once; Pebble does not.
        assert primary.output().count(f"query: {ZONE} IN NS ") == 1
