"""Certificates with several CAs over months: when the next one is asked, and what happens then.

The CAs are scripted, and the clock is steered. How each failure of a real CA is told apart is in
tests/real/test_fallback_ca.py.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl.engine.report import Report
from certctl.inspection.explain import explain
from certctl.inspection.overview import overview
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import CaUnavailable
from certctl.model.names import parse_identifiers
from certctl.operations.issue import edit
from certctl.operations.revoke import revoke
from certctl.rules.renewal import attempts
from tests.lab.scripted_ca.faults import Fault, drop_connection, problem
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.operations import Machine, codes, key_matches

NAME = "a.example"
MAINTENANCE = problem("serverInternal", 503, "maintenance", retry_after=3600)
LIMITED = problem("rateLimited", 429, "too many", retry_after=3600)


@dataclass
class Several:
    """A machine with several CAs of the same standing; those that are `down` place no order."""

    machine: Machine
    cas: Sequence[ScriptedCA]
    down: set[int] = field(default_factory=set)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(each.directory_url for each in self.cas)

    def issue(self, *names: str, **request: Any) -> Report:
        return self.machine.issue(*(names or (NAME,)), **request)

    def renew(self, *names: str, **request: Any) -> Report:
        return self.machine.renew(*names, **request)

    def orders(self) -> list[int]:
        return [each.count("new-order") for each in self.cas]

    def issuer(self, name: str = NAME) -> int:
        """Which of the CAs issued what is live."""
        return self.urls.index(self.machine.live(name).request.ca)

    def breaks(self, which: int, fault: Fault = MAINTENANCE) -> None:
        """Until it `works` again, a CA answers nothing else to new orders."""
        self.down.add(which)
        self.cas[which].script("new-order", fault, times=ALWAYS, when=lambda _: which in self.down)

    def works(self, which: int) -> None:
        self.down.discard(which)

    def pass_days(self, days: float) -> None:
        self.machine.pass_time(timedelta(days=days))
        for each in self.cas[1:]:
            each.backdated = self.cas[0].backdated

    def add_spec(self, name: str) -> None:
        """Write a specification as a person may, for `renew` to obtain."""
        path = self.machine.spec_file(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        listed = ", ".join(f'"{each}"' for each in self.urls)
        path.write_text(
            f'version = 1\nnames = ["{name}"]\nca = [{listed}]\n'
            f'ca_bundle = "{self.machine.flags["ca_bundle"]}"\n'
            f'[challenge]\nhttp_address = "127.0.0.1"\nhttp_port = {self.machine.port}\n'
        )


def several(tmp_path: Path, number: int) -> Iterator[Several]:
    with ExitStack() as stack:
        cas = [stack.enter_context(ScriptedCA()) for _ in range(number)]
        roots = tmp_path / "roots.pem"
        roots.write_bytes(b"".join(each.ca_bundle.read_bytes() for each in cas))
        for each in cas:
            each.renewal_info = False
        machine = Machine(tmp_path / "home", cas[0])
        for each in cas:
            each.validate_http01 = ("127.0.0.1", machine.port)
        urls = tuple(each.directory_url for each in cas)
        machine.flags |= {"ca": urls, "ca_bundle": str(roots)}
        yield Several(machine, cas)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Several]:
    yield from several(tmp_path, 2)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Several]:
    yield from several(tmp_path, 3)


def done(report: Report) -> bool:
    return report.exit_status == 0 and not report.all_errors


def test_accounts_are_registered_beforehand_and_only_the_first_ca_is_asked(two: Several) -> None:
    assert done(two.issue())

    assert [each.count("new-account") for each in two.cas] == [1, 1]
    assert two.orders() == [1, 0]
    stored = two.machine.spec_file(NAME).read_text()
    assert f'ca = ["{two.urls[0]}", "{two.urls[1]}"]' in stored


def test_one_ca_stays_one_word(two: Several) -> None:
    two.issue(options={"ca": (two.urls[1],)})

    assert f'ca = "{two.urls[1]}"' in two.machine.spec_file(NAME).read_text()


def test_the_second_ca_waits_until_half_of_the_time_for_renewal_is_over(two: Several) -> None:
    two.issue()
    two.breaks(0)
    two.pass_days(61)

    first = two.renew()
    two.pass_days(2)
    second = two.renew()
    assert two.orders()[1] == 0
    two.pass_days(13)
    third = two.renew()

    assert (codes(first), codes(second)) == (["acme.unavailable"], ["acme.unavailable"])
    [outcome] = first.outcomes
    assert isinstance(outcome.error, CaUnavailable)
    assert "is asked from" in (outcome.error.hint or "")
    assert done(third)
    assert two.issuer() == 1
    assert key_matches(two.machine.home / "live" / NAME)
    [event] = two.machine.happened("ca.next")
    assert (event.failed_ca, event.ca) == two.urls


def test_a_certificate_of_the_second_ca_is_kept_and_then_the_first_is_asked_again(
    two: Several,
) -> None:
    two.breaks(0)
    two.issue()
    assert two.issuer() == 1
    before = two.orders()

    assert done(two.renew())
    assert two.orders() == before
    two.works(0)
    two.pass_days(61)

    assert done(two.renew())
    assert two.issuer() == 0


def test_by_hand_a_valid_certificate_waits_too_but_a_new_name_does_not(two: Several) -> None:
    two.issue()
    two.breaks(0)

    forced = two.renew(NAME, force=True)
    with two.machine.run() as run:
        added = edit(run, (NAME,), parse_identifiers(["b.example"]), (), {})

    assert codes(forced) == ["acme.unavailable"]
    assert done(added)
    assert two.issuer() == 1


def test_no_order_says_that_it_replaces_a_certificate_of_another_ca(two: Several) -> None:
    for each in two.cas:
        each.renewal_info = True
    two.issue()
    two.cas[0].script("new-order", LIMITED, times=ALWAYS)
    two.pass_days(89)

    assert done(two.renew())

    placed = [each.payload for each in two.cas[1].requests if each.resource == "new-order"]
    assert ["replaces" in each for each in placed] == [False]
    assert {each.resource for each in two.cas[0].requests} >= {"renewal-info"}


def test_both_at_their_limits_is_told_once_and_each_has_its_own_backoff(two: Several) -> None:
    two.issue()
    two.breaks(0, LIMITED)
    two.breaks(1, problem("rateLimited", 429, "too many", retry_after=7200))
    two.pass_days(80)

    report = two.renew()

    assert codes(report) == ["acme.rate_limited"]
    assert report.exit_status == 6
    state = two.machine.status(NAME).renewal_state
    first, second = (attempts(state, each).retry_at for each in two.urls)
    assert first is not None
    assert second is not None
    assert second - first == timedelta(hours=1)
    before = two.orders()
    two.pass_days(0.01)
    assert codes(two.renew()) == ["acme.rate_limited"]
    assert two.orders() == before
    two.pass_days(0.05)
    two.renew()
    assert [now - then for then, now in zip(before, two.orders(), strict=True)] == [1, 0]


def test_the_third_ca_is_asked_if_two_are_out_of_service(three: Several) -> None:
    three.breaks(0)
    three.breaks(1, drop_connection())

    assert done(three.issue())

    assert three.issuer() == 2


def test_a_refused_name_is_no_reason_to_ask_another_ca(two: Several) -> None:
    two.breaks(0, problem("rejectedIdentifier", 400, "policy forbids it"))

    report = two.issue()

    assert codes(report) == ["acme.refused"]
    assert two.orders()[1] == 0


def test_a_failed_validation_is_no_reason_to_ask_another_ca(two: Several) -> None:
    two.cas[0].validate_http01 = ("127.0.0.1", 9)

    report = two.issue()

    assert codes(report) == ["challenge.failed"]
    assert two.orders()[1] == 0


def test_a_failure_of_the_second_ca_says_what_the_first_one_said(two: Several) -> None:
    two.breaks(0)
    two.breaks(1, problem("rejectedIdentifier", 400, "policy forbids it"))

    report = two.issue()

    assert codes(report) == ["acme.refused"]
    [error] = report.all_errors
    assert "policy forbids it" in error.message
    assert "maintenance" in error.message
    assert not two.machine.spec_file(NAME).exists()


def test_a_run_that_is_killed_after_the_failure_goes_on_with_the_second_ca(two: Several) -> None:
    two.issue("other.example")
    two.add_spec(NAME)
    two.breaks(0, LIMITED)
    two.machine.ca = two.cas[1]  # the one at which it is killed
    before = two.orders()[0]
    two.machine.killed_at("directory", "renew")
    assert attempts(two.machine.status(NAME).renewal_state, two.urls[0]).failures == 1
    assert two.orders()[0] == before + 1

    assert done(two.renew())

    assert two.issuer() == 1
    assert two.orders()[0] == before + 1


def test_an_order_that_is_not_finished_in_time_is_left_and_forgotten(two: Several) -> None:
    two.cas[0].finalize_polls = ALWAYS

    assert done(two.issue(options={"order_timeout": 60.0}))

    assert two.issuer() == 1
    two.cas[0].finalize_polls = 0
    assert done(two.renew())
    assert two.issuer() == 1
    assert two.machine.store.pending(NAME) is None


def test_an_order_that_may_still_be_finished_in_time_is_waited_for(two: Several) -> None:
    first = two.cas[0]
    first.script("finalize", drop_connection(after_processing=True), times=ALWAYS)
    first.script(
        "order", drop_connection(), times=ALWAYS, when=lambda _: first.count("finalize") > 0
    )

    report = two.issue(options={"order_timeout": 7200.0})

    assert codes(report) == ["acme.unavailable"]
    assert two.orders() == [1, 0]
    two.pass_days(0.1)
    assert done(two.issue())
    assert two.issuer() == 1


def test_a_version_is_revoked_at_the_ca_that_issued_it(two: Several) -> None:
    two.breaks(0)
    two.issue()
    assert two.issuer() == 1

    with two.machine.run() as run:
        revoke(run, NAME, RevocationReason.SUPERSEDED, Afterwards.REPLACE)

    assert [each.count("revoke-cert") for each in two.cas] == [0, 1]
    assert two.issuer() == 1


def test_a_replacement_for_a_revoked_certificate_comes_from_the_second_ca(two: Several) -> None:
    two.issue()
    two.breaks(0, drop_connection())

    with two.machine.run() as run:
        revoke(run, NAME, RevocationReason.KEY_COMPROMISE, Afterwards.REPLACE)

    assert [each.count("revoke-cert") for each in two.cas] == [1, 0]
    assert two.issuer() == 1


def test_list_and_explain_say_which_ca_is_in_use_and_why(two: Several) -> None:
    two.breaks(0)
    two.issue()

    with two.machine.run() as run:
        [view] = overview(run)
        facts = {each.key: each.text for each in explain(run, NAME).facts}

    assert (view.ca_url, view.cas, view.fallback) == (two.urls[1], two.urls, True)
    assert "maintenance" in facts["out_of_service"]
    assert facts["cas"].startswith("its CAs in their order: ")
    assert "next_ca" in facts


def test_fewer_cas_are_an_edit_and_another_order_changes_nothing_that_is_issued(
    two: Several,
) -> None:
    two.issue()
    with two.machine.run() as run:
        assert done(edit(run, (NAME,), (), (), {"ca": tuple(reversed(two.urls))}))
    assert two.orders() == [1, 0]

    with two.machine.run() as run:
        assert done(edit(run, (NAME,), (), (), {"ca": two.urls[1]}))

    assert two.orders() == [1, 1]
    assert f'ca = "{two.urls[1]}"' in two.machine.spec_file(NAME).read_text()


def test_an_outage_costs_the_first_ca_a_few_requests_whatever_is_due(two: Several) -> None:
    two.issue("warm.example")
    names = [f"site-{number}.example" for number in range(1000)]
    for each in names:
        two.add_spec(each)
    for ca in two.cas:
        ca.authorizations_start = "valid"
    two.breaks(0)
    before = two.orders()[0]

    report = two.renew()

    assert done(report)
    assert {two.issuer(each) for each in names} == {1}
    asked = two.orders()[0] - before
    assert asked <= int(two.machine.settings().integer("jobs")) + 3


@pytest.mark.parametrize("number", [1, 2])
def test_a_ca_whose_directory_cannot_be_fetched_is_tried_once_for_all_that_wait(
    two: Several, number: int
) -> None:
    two.issue("warm.example")
    names = [f"site-{count}.example" for count in range(20)]
    for each in names:
        two.add_spec(each)
        if number == 1:
            path = two.machine.spec_file(each)
            path.write_text(path.read_text().replace(f', "{two.urls[1]}"', ""))
    before = two.cas[0].count("directory")
    two.cas[0].script("directory", drop_connection(), times=ALWAYS)

    report = two.renew()

    assert two.cas[0].count("directory") - before == 5  # once, with all its retries
    if number == 1:
        assert set(codes(report)) == {"acme.unavailable"}
    else:
        assert done(report)
        assert {two.issuer(each) for each in names} == {1}
