"""Moving in: certbot issues, certctl takes over and renews by the paths that servers know, and
gives back, and certbot renews again. The CA is Pebble.
"""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.lab.devca import DevCaServer
from tests.lab.pebble import PebbleServer
from tests.lab.programs import require
from tests.support.command import Finished, certctl

CERTBOT = Path(sys.executable).with_name("certbot")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="certbot's home belongs to root")


@dataclass
class Machine:
    """certbot's home and certctl's, and a CA that both use."""

    directory: Path
    ca: PebbleServer | DevCaServer

    @property
    def letsencrypt(self) -> Path:
        return self.directory / "letsencrypt"

    @property
    def home(self) -> Path:
        return self.directory / "certctl"

    def certbot(self, *arguments: str) -> str:
        """Run certbot to its end; return what it printed."""
        directories = {"config": self.letsencrypt}
        directories |= {each: self.directory / each for each in ("work", "logs")}
        done = subprocess.run(
            [
                str(CERTBOT),
                *arguments,
                *(["--no-random-sleep-on-renew"] if arguments[0] == "renew" else []),
                "--non-interactive",
                *(f"--{name}-dir={path}" for name, path in directories.items()),
            ],
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(self.ca.ca_bundle)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def issue(self, name: str, *arguments: str) -> None:
        """Let certbot issue a certificate."""
        self.certbot(
            *("certonly", "--standalone", "-d", name, "--agree-tos"),
            *("--register-unsafely-without-email", f"--server={self.ca.directory_url}"),
            f"--http-01-port={self.ca.http_port}",
            *arguments,
        )

    def certctl(self, *arguments: str) -> Finished:
        """Run certctl, as on a machine where something runs `renew`."""
        return certctl(*arguments, home=self.home)

    def take(self, *arguments: str) -> Finished:
        """Import from certbot's home."""
        bundle = ("--ca-bundle", str(self.ca.ca_bundle), "--yes")
        return self.certctl("import", *arguments, "--from", str(self.letsencrypt), *bundle)

    def served(self, name: str) -> int:
        """The serial of what a server reads that knows certbot's paths."""
        live = self.letsencrypt / "live" / name
        leaf = x509.load_pem_x509_certificate((live / "fullchain.pem").read_bytes())
        return leaf.serial_number

    def requested(self, resource: str) -> int:
        """How often a resource of the CA was asked for."""
        return sum(resource in each.path for each in self.ca.requests())

    def registrations(self) -> int:
        return self.requested("sign-me-up")


@pytest.fixture
def with_renewal_info(tmp_path: Path) -> Iterator[Machine]:
    """The same with a CA that offers ARI, and validates no name twice."""
    (tmp_path / "ca").mkdir()
    with DevCaServer(directory=tmp_path / "ca") as ca:
        ca.set(reuse_authorizations=True)
        found = Machine(tmp_path, ca)
        found.home.mkdir(mode=0o711)
        assert found.certctl("schedule", "external").exit_status == 0
        yield found


@pytest.fixture
def machine(tmp_path: Path, pebble: PebbleServer) -> Machine:
    require("pebble")
    found = Machine(tmp_path, pebble)
    found.home.mkdir(mode=0o711)
    assert found.certctl("schedule", "external").exit_status == 0
    return found


def test_a_certificate_moves_in_is_renewed_by_its_old_path_and_moves_out_again(
    machine: Machine,
) -> None:
    name, hooked = "moving.example.test", machine.directory / "hooked"
    machine.issue(name, "--deploy-hook", f'echo "$RENEWED_LINEAGE" >> {hooked}')
    hooked.unlink(missing_ok=True)
    first, accounts = machine.served(name), machine.registrations()

    taken = machine.take(name)

    assert (taken.exit_status, taken.stderr) == (0, "")
    assert machine.served(name) == first
    assert not hooked.exists()
    assert "No renewals were attempted" in machine.certbot("renew")

    renewed = machine.certctl("renew", name, "--force")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    second = machine.served(name)
    assert second != first
    assert hooked.read_text() == f"{machine.letsencrypt}/live/{name}\n"
    assert machine.registrations() == accounts

    undone = machine.certctl("import", "--undo", name, "--yes")

    assert (undone.exit_status, undone.stderr) == (0, "")
    assert machine.served(name) == second
    assert machine.certctl("list", "--json").json()["data"]["certificates"] == []
    machine.certbot("renew", "--force-renewal")
    assert machine.served(name) not in (first, second)
    assert numbers(machine.letsencrypt / "archive" / name) == [1, 2, 3]


@pytest.mark.parametrize("tried", [False, True], ids=["at once", "after a dry run"])
def test_the_first_renewal_says_what_it_replaces_and_validates_nothing_again(
    with_renewal_info: Machine, *, tried: bool
) -> None:
    machine, name = with_renewal_info, "replaced.example.test"
    assert isinstance(machine.ca, DevCaServer)
    machine.issue(name)
    looked = machine.certctl("import", "--from", str(machine.letsencrypt), "--json")
    (found,) = looked.json()["data"]["certificates"]
    machine.take(name)
    if tried:
        assert machine.certctl("renew", name, "--dry-run").exit_status == 0
    first, *_ = orders(machine.ca, name)
    asked = [machine.requested(each) for each in ("new-account", "challenge")]

    renewed = machine.certctl("renew", name, "--force")

    (*_, last) = orders(machine.ca, name)
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert last["account"] == first["account"]
    assert last["replaces"] == found["certificate"]["ari_id"]
    assert [machine.requested(each) for each in ("new-account", "challenge")] == asked


def orders(ca: DevCaServer, name: str) -> list[dict[str, Any]]:
    """The orders for a name at the development CA, the oldest first."""
    file = ca.directory / "state" / "records.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("select body from records where kind = 'order' order by number")
        found = [json.loads(body) for (body,) in rows]
    return [each for each in found if each["identifiers"][0]["value"] == name]


def test_a_look_changes_nothing(machine: Machine) -> None:
    machine.issue("look.example.test")
    before = contents(machine.letsencrypt)

    looked = machine.certctl("import", "--from", str(machine.letsencrypt), "--json")

    (found,) = looked.json()["data"]["certificates"]
    assert (looked.exit_status, found["name"], found["state"]) == (0, "look.example.test", "ready")
    assert contents(machine.letsencrypt) == before
    assert sorted(each.name for each in machine.home.iterdir()) == ["run.json"]


def test_undoing_at_once_leaves_certbots_home_as_it_was(machine: Machine) -> None:
    machine.issue("back.example.test")
    before = contents(machine.letsencrypt)

    machine.take("back.example.test")
    machine.certctl("import", "--undo", "back.example.test", "--yes")

    assert contents(machine.letsencrypt) == before


def test_the_other_certificates_stay_with_certbot(machine: Machine) -> None:
    machine.issue("one.example.test")
    machine.issue("two.example.test")

    machine.take("one.example.test")
    machine.certbot("renew", "--force-renewal")

    assert numbers(machine.letsencrypt / "archive" / "one.example.test") == [1]
    assert numbers(machine.letsencrypt / "archive" / "two.example.test") == [1, 2]


def test_nothing_is_taken_over_while_nobody_would_renew_it(machine: Machine) -> None:
    machine.issue("nobody.example.test")
    before = contents(machine.letsencrypt)
    machine.certctl("schedule", "external", "--undo")

    refused = machine.take("nobody.example.test")

    assert refused.exit_status == 2
    assert "nothing runs certctl renew yet" in refused.stderr
    assert contents(machine.letsencrypt) == before


def test_a_server_that_refuses_the_files_gets_the_old_ones_back(machine: Machine) -> None:
    machine.issue("refused.example.test")
    before = contents(machine.letsencrypt)
    once = machine.directory / "once"
    nginx = machine.directory / "nginx"
    nginx.write_text(
        f"#!/bin/sh\nif [ -e {once} ]; then echo broken >&2; exit 1; fi\ntouch {once}\n"
    )
    nginx.chmod(0o755)

    refused = machine.take(
        "refused.example.test", "--deploy", "nginx", "--nginx-binary", str(nginx)
    )

    assert refused.exit_status != 0
    assert "broken" in refused.stderr
    assert contents(machine.letsencrypt) == before
    assert machine.certctl("list", "--json").json()["data"]["certificates"] == []


def test_while_certbot_runs_nothing_is_touched(machine: Machine) -> None:
    machine.issue("busy.example.test")
    before = contents(machine.letsencrypt)
    script = (
        "import fcntl, sys\n"
        f"file = open({str(machine.letsencrypt / '.certbot.lock')!r}, 'w')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        busy = machine.take("busy.example.test", "--lock-timeout", "1")
        holder.communicate()

    assert (busy.exit_status, "certbot is running" in busy.stderr) == (5, True)
    (machine.letsencrypt / ".certbot.lock").unlink(missing_ok=True)
    assert contents(machine.letsencrypt) == before


def test_a_certificate_that_nobody_would_renew_is_named_before_anything_is_turned_off(
    machine: Machine,
) -> None:
    machine.issue("moved.example.test")
    machine.issue("stays.example.test")
    machine.take("moved.example.test")
    finish = ("import", "--finish", "--from", str(machine.letsencrypt), "--yes")

    refused = machine.certctl(*finish)
    left = machine.certctl(*finish, "--leave", "stays.example.test", "--json")

    assert (refused.exit_status, "stays.example.test would not be renewed" in refused.stderr) == (
        2,
        True,
    )
    assert left.json()["data"]["finished"] == [
        {
            "client": "certbot",
            "turned_off": [],
            "already": [],
            "by_hand": [],
            "left": ["stays.example.test"],
        }
    ]


def test_a_check_asks_the_ca_for_the_accounts_and_tries_each_way_of_validation_once(
    machine: Machine,
) -> None:
    machine.issue("checked.example.test")
    machine.issue("same.example.test")
    machine.issue("hooked.example.test")
    conf = machine.letsencrypt / "renewal" / "hooked.example.test.conf"
    conf.write_text(
        conf.read_text().replace(
            "authenticator = standalone",
            'authenticator = manual\nmanual_auth_hook = "echo no >&2; exit 7"',
        )
    )
    before, orders = contents(machine.letsencrypt), machine.requested("order-plz")

    checked = machine.certctl(
        *("import", "--check", "--from", str(machine.letsencrypt), "--json"),
        *("--ca-bundle", str(machine.ca.ca_bundle)),
    )

    host = machine.ca.directory_url.split("/")[2]
    said = checked.json()["data"]["checked"]
    asked = [each["subject"] for each in said if "revoked" in each["text"]]
    account, standalone, hooked = (each for each in said if "revoked" not in each["text"])
    assert asked == [f"{each}.example.test" for each in ("checked", "hooked", "same")]
    assert (account["problem"], account["text"]) == (False, f"known to {host}")
    assert standalone == {
        "subject": "standalone: checked.example.test and 1 more",
        "text": f"a dry run validated its names at {host}, and was abandoned there",
        "problem": False,
        "unknown": False,
    }
    assert (hooked["subject"], hooked["problem"]) == (
        "http-hook (certbot protocol): hooked.example.test",
        True,
    )
    assert "the dry run failed: " in hooked["text"]
    assert machine.requested("order-plz") == orders + 2
    assert contents(machine.letsencrypt) == before
    assert {each.name for each in machine.home.iterdir()} == {"journal", "locks", "run.json"}


def test_a_link_that_was_replaced_is_told_and_made_again(machine: Machine) -> None:
    machine.issue("link.example.test")
    machine.take("link.example.test")
    path = machine.letsencrypt / "live/link.example.test/cert.pem"
    path.unlink()
    path.symlink_to("../../archive/link.example.test/cert1.pem")

    status = machine.certctl("import", "--status", "--json")
    again = machine.take("link.example.test")

    assert [each["broken"] for each in status.json()["data"]["imported"]] == [[str(path)]]
    assert again.exit_status == 0
    assert path.readlink() == machine.home / "live/link.example.test/cert.pem"


def test_older_versions_come_along_and_can_be_rolled_back_to(machine: Machine) -> None:
    machine.issue("older.example.test")
    first = machine.served("older.example.test")
    machine.certbot("renew", "--force-renewal")
    machine.take("older.example.test", "--history")

    rolled = machine.certctl("rollback", "older.example.test")

    assert rolled.exit_status == 0, rolled
    assert machine.served("older.example.test") == first


def test_after_a_key_rollover_the_current_key_goes_back_too(machine: Machine) -> None:
    machine.issue("rolled.example.test")
    machine.issue("beside.example.test")
    machine.take("rolled.example.test")

    rolled = machine.certctl("account", "rollover", "--ca", machine.ca.directory_url)
    undone = machine.certctl("import", "--undo", "rolled.example.test", "--yes")
    machine.certbot("renew", "--force-renewal")

    assert (rolled.exit_status, undone.exit_status) == (0, 0)
    assert "certificates that it still renews with it cannot be renewed there" in rolled.stderr
    assert [
        numbers(machine.letsencrypt / "archive" / name)
        for name in ("rolled.example.test", "beside.example.test")
    ] == [[1, 2], [1, 2]]


def test_deactivating_an_account_names_the_client_that_has_it_too(machine: Machine) -> None:
    machine.issue("shared.example.test")
    machine.take("shared.example.test")

    done = machine.certctl("account", "deactivate", "--ca", machine.ca.directory_url, "--yes")

    assert done.exit_status == 0
    assert f"certbot in {machine.letsencrypt} has the account" in done.stderr


def test_doctor_finds_a_link_that_was_replaced_and_a_certificate_that_both_renew(
    machine: Machine,
) -> None:
    name = "doctor.example.test"
    machine.issue(name)
    machine.take(name)
    path = machine.letsencrypt / "live" / name / "cert.pem"
    path.unlink()
    path.symlink_to(f"../../archive/{name}/cert1.pem")
    conf = machine.letsencrypt / "renewal" / f"{name}.conf"
    conf.write_bytes(conf.with_suffix(".conf.imported").read_bytes())

    found = machine.certctl("doctor", "--json").json()["data"]["findings"]

    assert [each["code"] for each in found if each["code"].startswith("import.")] == [
        "import.link",
        "import.both",
    ]


def test_an_account_key_is_adopted_by_register(machine: Machine) -> None:
    machine.issue("account.example.test")
    (key,) = machine.letsencrypt.glob("accounts/*/*/*/private_key.json")
    accounts = machine.registrations()

    adopted = machine.certctl(
        *("register", "--account-key", str(key), "--ca", machine.ca.directory_url),
        *("--ca-bundle", str(machine.ca.ca_bundle), "--json"),
    )

    (regr,) = machine.letsencrypt.glob("accounts/*/*/*/regr.json")
    assert adopted.exit_status == 0, adopted
    assert adopted.json()["data"]["account"]["url"] in regr.read_text()
    assert machine.registrations() <= accounts + 1  # the question whether the CA knows the key


def contents(directory: Path) -> dict[str, str]:
    """What is in a directory: links by their target, files by a digest."""
    return {
        str(path.relative_to(directory)): os.fspath(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def numbers(archive: Path) -> Sequence[int]:
    found = [int(each.stem.removeprefix("fullchain")) for each in archive.glob("fullchain*.pem")]
    return sorted(found)
