"""What `import --check` tries at a CA with a staging directory, as Let's Encrypt has: the dry run
is there, with an account of its own, and the CA itself gets no order.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from certctl.operations.import_check import Checked
from certctl.operations.import_choice import Consent, find_machine
from certctl.operations.import_trial import try_ways
from tests.integration.test_issue import PUBLIC, STAGING
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.foreign_homes import unpack
from tests.support.operations import Machine, reached_at

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="certbot's home belongs to root")

NAME = "versions.example.org"


@pytest.fixture
def staged(machine: Machine) -> Iterator[tuple[Machine, ScriptedCA]]:
    """A machine to which a CA of its own is Let's Encrypt, and the other one its staging."""
    with ScriptedCA() as public:
        machine.endpoints = {PUBLIC: reached_at(public), STAGING: reached_at(machine.ca)}
        yield machine, public


def tried(machine: Machine, root: Path, *, terms: bool = True) -> list[Checked]:
    given = {key: machine.flags[key] for key in ("challenge.http_address", "challenge.http_port")}
    machine.flags = {"account.agree_tos": True} if terms else {}
    conf = unpack("certbot5-conf-extra-files", root) / f"etc/letsencrypt/renewal/{NAME}.conf"
    conf.write_text(conf.read_text().replace("= webroot", "= standalone"))
    found = find_machine(root, None)
    with machine.run() as run:
        return try_ways(found, given, Consent(terms=terms), run)


def test_a_dry_run_is_at_staging_with_an_account_of_its_own(
    staged: tuple[Machine, ScriptedCA], tmp_path: Path
) -> None:
    machine, public = staged

    (checked,) = tried(machine, tmp_path / "root")

    assert (checked.subject, checked.text, checked.problem) == (
        f"standalone: {NAME}",
        "a dry run got a certificate at letsencrypt-staging, and discarded it",
        False,
    )
    assert public.requests == []
    assert len(machine.ca.issued) == 1
    assert machine.ca.count("new-account") == 1
    assert list(machine.store.records.names()) == []


def test_without_consent_nothing_is_registered_at_staging(
    staged: tuple[Machine, ScriptedCA], tmp_path: Path
) -> None:
    machine, public = staged

    (checked,) = tried(machine, tmp_path / "root", terms=False)

    assert checked.problem
    assert "--agree-tos" in checked.text
    assert (public.requests, machine.ca.count("new-account")) == ([], 0)


def test_a_way_that_fails_at_staging_is_told_with_its_reason(
    staged: tuple[Machine, ScriptedCA], tmp_path: Path
) -> None:
    machine, _ = staged
    machine.ca.validate_http01 = ("127.0.0.1", 1)

    (checked,) = tried(machine, tmp_path / "root")

    assert checked.problem
    assert checked.text.startswith("the dry run failed: ")
