"""A dry run of forty certificates at a staging directory whose rate limits end it, or delay it."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from certctl.cli.environment import Environment
from certctl.cli.invocation import Invocation
from certctl.cli.reports import report_lines
from certctl.engine.report import Report
from certctl.model.errors import RateLimited
from certctl.model.values import Value
from certctl.output.certificates import report_result
from tests.integration.test_issue import PUBLIC, STAGING
from tests.lab.scripted_ca.faults import Fault, problem, response
from tests.support.homes import add_certificate
from tests.support.operations import Machine, reached_at

NAMES = [f"n{number:02}.example" for number in range(40)]

OF_THE_ACCOUNT_AT_STAGING = ("accounts", "locks", "log")
"""What a dry run may leave: the account at staging, lock files and the audit trail."""


@pytest.fixture
def forty(machine: Machine) -> Iterator[Machine]:
    """A machine with forty certificates of a public CA, none of which is due."""
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    machine.environment["CERTCTL_AGREE_TOS"] = "true"
    chosen: dict[str, Value] = {
        "ca": PUBLIC,
        "challenge.http_address": "127.0.0.1",
        "challenge.http_port": machine.port,
    }
    for name in NAMES:
        add_certificate(machine.home, name, chosen=chosen)
    before = contents(machine.home)
    yield machine
    assert contents(machine.home) == before, "a dry run left something on disk"


def contents(home: Path) -> Mapping[str, object]:
    """Every file, link and directory with something in it, except those that may change."""
    return {
        str(path.relative_to(home)): path.read_bytes() if path.is_file() else path.is_symlink()
        for path in home.rglob("*")
        if path.relative_to(home).parts[0] not in OF_THE_ACCOUNT_AT_STAGING
        if path.is_file() or path.is_symlink() or any(path.iterdir())
    }


def printed(report: Report, machine: Machine) -> tuple[list[str], list[str]]:
    """The lines that a user sees of a report: its results, and its errors."""
    streams = io.StringIO(), io.StringIO(), io.StringIO()
    invocation = Invocation(Environment(*streams, {}, machine.home, 0))
    with machine.run() as run:
        result = report_result(report, report_lines(report, run, invocation))
    invocation.output.finish("renew", result)
    _, stdout, stderr = (each.getvalue().splitlines() for each in streams)
    return stdout, stderr


def limit(retry_after: int | None) -> Fault:
    return problem("rateLimited", 429, "too many new orders", retry_after=retry_after)


def test_a_limit_of_an_hour_ends_it_and_each_name_is_told_as_tested_or_not(forty: Machine) -> None:
    forty.ca.script("new-order", limit(3600), times=1000, after=15)

    report = forty.renew(dry_run=True)

    tested = [each.name for each in report.outcomes if each.error is None]
    refused = [each for each in report.outcomes if isinstance(each.error, RateLimited)]
    assert report.exit_status == 3
    assert len(tested) == len(forty.ca.issued) == 15
    assert len(refused) == 25
    tried = forty.ca.count("new-order")
    assert tried < 40  # orders that are under way when the limit is reached end the others later
    assert [each.name for each in report.outcomes] == NAMES
    stdout, stderr = printed(report, forty)
    for name in tested:
        assert f"{name}: the dry run succeeded; nothing was saved." in stdout
    assert stdout[-1] == "40 certificates: 15 tested, 25 failed."
    errors = [each for each in stderr if "too many new orders" in each]
    assert [each.split(": ")[1] for each in errors] == [each.name for each in refused]
    assert sum("not tried, because others failed" in each for each in errors) == 40 - tried
    assert sum("Try again at" in each for each in stderr) == 25


def test_a_limit_from_the_start_is_later(forty: Machine) -> None:
    forty.ca.script("new-order", limit(None), times=1000)

    report = forty.renew(dry_run=True)

    assert report.exit_status == 6
    assert forty.ca.count("new-order") <= 3 + 8  # those under way when it is noticed
    assert {each.action for each in report.outcomes} == {"failed"}


@pytest.mark.parametrize(
    "refusal",
    [limit(7), response(429, "slow down", {"Retry-After": "7"})],
    ids=["of the CA", "of a proxy"],
)
def test_a_limit_of_seconds_is_waited_for(forty: Machine, refusal: Fault) -> None:
    forty.ca.script("new-order", refusal, times=4, after=15)

    report = forty.renew(dry_run=True)

    assert (report.exit_status, len(forty.ca.issued)) == (0, 40)
    assert max(forty.clock.waits) == 7
    assert {each.action for each in report.outcomes} == {"dry-run"}


def test_refusals_between_successes_do_not_end_it(forty: Machine) -> None:
    forty.environment["CERTCTL_JOBS"] = "1"
    for after in (5, 11, 17, 23):
        forty.ca.script("new-order", limit(3600), after=after)

    report = forty.renew(dry_run=True)

    failed = [each.name for each in report.outcomes if each.error is not None]
    assert (report.exit_status, len(failed), len(forty.ca.issued)) == (3, 4, 36)
