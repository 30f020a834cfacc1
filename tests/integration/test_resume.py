"""Runs that were killed: the next one goes on with the same order, and ends as it should have."""

from datetime import timedelta
from pathlib import Path

import pytest

from certctl.engine.report import Report
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Task
from tests.lab.scripted_ca.faults import drop_connection, problem
from tests.support.operations import Machine, key_matches, lines, noting


def orders(machine: Machine) -> int:
    return machine.ca.count("new-order")


def everything_fits(machine: Machine, name: str = "a.example") -> bool:
    """Whether what is live belongs together, and nothing is left of the run that was killed."""
    temporary = [path for path in machine.home.rglob("*") if ".new-" in path.name]
    pending = machine.store.pending(name)
    return key_matches(machine.home / "live" / name) and not temporary and pending is None


def done(report: Report) -> bool:
    return report.exit_status == 0 and not report.all_errors


# each is a request during which the first run dies, after the CA has done it
@pytest.mark.parametrize(
    "resource", ["new-order", "authorization", "challenge", "order", "finalize", "certificate"]
)
def test_a_first_issue_that_was_killed_is_finished_with_the_same_order(
    machine: Machine, resource: str
) -> None:
    machine.ca.finalize_polls = 1
    if resource == "challenge":
        # nobody answers any more once it is dead
        machine.ca.validate_http01 = None
    machine.killed_at(resource, "issue", "a.example")
    assert machine.status("a.example").live is None
    known = machine.store.pending("a.example")
    assert known is not None

    report = machine.issue("a.example")

    assert done(report)
    assert everything_fits(machine)
    # only where the order's URL never reached us is it placed again
    assert orders(machine) == (2 if resource == "new-order" else 1)
    assert len(machine.ca.issued) == 1


@pytest.mark.parametrize(
    ("age", "orders_placed"),
    [(timedelta(hours=23), 1), (timedelta(hours=25), 2)],
    ids=["less than a day", "more than a day"],
)
def test_an_order_is_resumed_for_a_day(
    machine: Machine, age: timedelta, orders_placed: int
) -> None:
    machine.ca.finalize_polls, machine.ca.retry_after = 3, 30
    machine.issue("a.example", options={"order_timeout": 45.0})
    machine.ca.finalize_polls = 0
    machine.pass_time(age)

    report = machine.issue("a.example", options={"order_timeout": 600.0})

    assert done(report)
    assert orders(machine) == orders_placed


def test_an_order_of_which_the_answer_was_never_seen_is_the_same_where_the_ca_says_so(
    machine: Machine,
) -> None:
    machine.ca.reuse_pending_orders = True
    machine.killed_at("new-order", "issue", "a.example")

    report = machine.issue("a.example")

    assert done(report)
    assert [one["identifiers"][0]["value"] for one in machine.ca.payloads("new-order")] == [
        "a.example",
        "a.example",
    ]
    assert {one.order_url for one in machine.ca.issued} == {machine.live("a.example").order_url}
    assert len(machine.ca.accounts[0].orders) == 1


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("archive/a.example/1", id="before the version has its name"),
        pytest.param("deployed/a.example.json", id="before the target is written"),
        pytest.param("live/a.example", id="before the flip"),
        pytest.param("renewal/a.example.json", id="before the memory is written"),
    ],
)
def test_a_first_issue_killed_while_it_saves_buys_nothing_twice(
    machine: Machine, path: str
) -> None:
    machine.killed_before_rename(path, "issue", "a.example")

    report = machine.issue("a.example")

    assert done(report)
    assert everything_fits(machine)
    assert orders(machine) == 1
    assert [one.number for one in machine.store.versions("a.example")] == [1]
    assert not machine.status("a.example").undeployed
    machine.renew()  # the kill came before the CA was asked for advice, which is done now
    assert machine.renew().outcomes == ()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("archive/a.example/2", id="before the version has its name"),
        pytest.param("deployed/a.example.json", id="before the target is written"),
        pytest.param("live/a.example", id="before the flip"),
        pytest.param("renewal/a.example.json", id="before the memory is written"),
    ],
)
def test_a_renewal_killed_while_it_saves_leaves_the_old_version_or_the_new_one(
    machine: Machine, path: str, tmp_path: Path
) -> None:
    hook = noting(tmp_path / "seen", "$CERTCTL_CERT_VERSION")
    machine.issue("a.example", options={"deploy.deploy_hook": hook})
    spec = machine.spec_file("a.example")
    spec.write_text('key_type = "ecdsa-p384"\n' + spec.read_text())

    machine.killed_before_rename(path, "renew")
    assert key_matches(machine.home / "live/a.example")
    report = machine.renew()

    assert done(report)
    assert everything_fits(machine)
    assert orders(machine) == 2
    assert (machine.live("a.example").number, machine.live("a.example").facts.key_type) == (
        2,
        "ecdsa-p384",
    )
    assert lines(tmp_path / "seen") == ["1", "2"]
    assert machine.renew().outcomes == ()


def test_a_forced_renewal_that_was_killed_after_saving_is_not_taken_for_the_next_one(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.killed_before_rename("renewal/a.example.json", "renew", "--force")

    assert machine.renew().exit_status == 0
    assert machine.store.pending("a.example") is None
    assert machine.live("a.example").number == 2
    machine.renew(force=True)

    assert machine.live("a.example").number == 3
    assert orders(machine) == 3


def test_what_is_wanted_otherwise_meanwhile_is_ordered_anew(machine: Machine) -> None:
    machine.killed_at("authorization", "issue", "a.example")

    report = machine.issue("a.example", options={"key_type": "ecdsa-p384"})

    assert done(report)
    assert orders(machine) == 2
    assert machine.live("a.example").facts.key_type == "ecdsa-p384"
    assert key_matches(machine.home / "live/a.example")


def test_an_order_that_the_ca_has_forgotten_is_placed_again(machine: Machine) -> None:
    machine.killed_at("authorization", "issue", "a.example")
    machine.ca.script("order", problem("malformed", 404))

    assert done(machine.issue("a.example"))
    assert orders(machine) == 2


def test_an_order_that_became_invalid_is_placed_again(machine: Machine) -> None:
    machine.killed_at("authorization", "issue", "a.example")
    machine.ca.on("order", lambda body: body.update(status="invalid"), times=1)

    assert done(machine.issue("a.example"))
    assert orders(machine) == 2


def test_an_order_survives_an_outage_of_the_ca(machine: Machine) -> None:
    machine.ca.script("certificate", drop_connection(), times=5)

    first = machine.issue("a.example")
    second = machine.issue("a.example")

    assert first.exit_status == 6
    assert done(second)
    assert orders(machine) == 1
    assert len(machine.ca.issued) == 1


def test_an_order_survives_a_rate_limit_on_the_way(machine: Machine) -> None:
    machine.ca.script("finalize", problem("rateLimited", 429, retry_after=3600))

    first = machine.issue("a.example")
    second = machine.issue("a.example")

    assert first.exit_status == 6
    assert done(second)
    assert orders(machine) == 1


def test_an_account_made_meanwhile_does_not_get_the_order_of_another(machine: Machine) -> None:
    machine.killed_at("authorization", "issue", "a.example")
    machine.ca.deactivate_accounts()
    assert machine.command("register").exit_status == 0

    assert done(machine.issue("a.example"))
    assert orders(machine) == 2


def test_tokens_in_a_webroot_are_removed_by_the_next_run(machine: Machine, tmp_path: Path) -> None:
    webroot = tmp_path / "webroot"
    webroot.mkdir()
    machine.ca.validate_http01 = None
    machine.killed_at("challenge", "issue", "a.example", "--webroot", str(webroot))
    tokens = [path for path in webroot.rglob("*") if path.is_file()]

    report = machine.issue("a.example", options={"challenge.webroots": (str(webroot),)})

    assert len(tokens) == 1
    assert done(report)
    assert list(webroot.iterdir()) == []
    assert machine.store.journal.leftovers("a.example") == []


def test_tokens_are_removed_though_the_certificate_is_proved_otherwise_now(
    machine: Machine, tmp_path: Path
) -> None:
    webroot = tmp_path / "webroot"
    webroot.mkdir()
    validated_at, machine.ca.validate_http01 = machine.ca.validate_http01, None
    machine.killed_at("challenge", "issue", "a.example", "--webroot", str(webroot))
    machine.ca.validate_http01 = validated_at

    report = machine.issue("a.example", options={"challenge.method": "standalone"})

    assert done(report)
    assert list(webroot.iterdir()) == []


def test_what_a_killed_order_placed_is_removed_though_nothing_is_due(machine: Machine) -> None:
    webroot = machine.home.parent / "www"
    webroot.mkdir()
    machine.issue("a.example")
    machine.renew()
    challenge = ChallengeSpec("webroot", webroots=(str(webroot),))
    identifier = machine.live("a.example").facts.identifiers[0]
    task = Task(identifier, "http-01", "t" * 22, "t.k", "https://ca.example/1", "a.example")
    with machine.run() as run:
        solver = run.solver(challenge)
        placements = [solver.plan(task)]
        run.services.records.place(challenge, placements)
        solver.present(placements)
    assert len([each for each in webroot.rglob("*") if each.is_file()]) == 1

    with machine.store.lock("a.example", timeout=0):
        machine.renew()  # whoever holds the lock may still need it
        assert machine.store.journal.with_leftovers() == ["a.example"]
    machine.renew()

    assert [each for each in webroot.rglob("*") if each.is_file()] == []
    assert machine.store.journal.with_leftovers() == []
